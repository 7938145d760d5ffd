package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"idp/storage"
	"idp/web"
)

// Who may register clients by the registration endpoint.
const (
	RegistrationOff   = "off"   // nobody: there is no such endpoint
	RegistrationToken = "token" // holders of an initial access token
	RegistrationOpen  = "open"  // everybody
)

const (
	// unusedLife is how long a client stays that registered itself and was never allowed anything: a
	// weekend, so that who registers on Friday finds it on Monday.
	unusedLife = 72 * time.Hour
	mostUnused = 10_000 // such clients at a time

	maxRegistrations = 60 // an hour, without an initial access token, from one network
)

// registered is the answer of RFC 7591, 3.2.1 and RFC 7592, 3.
type registered struct {
	ClientID        string `json:"client_id"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	Secret          string `json:"client_secret,omitempty"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // with a secret: 0, it does not expire
	AccessToken     string `json:"registration_access_token"`
	URI             string `json:"registration_client_uri"`
	clientInformation
}

func (o *OAuth) registered(c *storage.Client, secret, accessToken string) registered {
	r := registered{ClientID: c.ID, IssuedAt: c.CreatedAt.Unix(), Secret: secret, AccessToken: accessToken, URI: o.Issuer + "/register/" + c.ID, clientInformation: informationOf(c)}
	if secret != "" {
		r.SecretExpiresAt = new(int64)
	}
	return r
}

// Register is the client registration endpoint (RFC 7591, 3; OpenID Connect Registration, 3).
func (o *OAuth) Register(w http.ResponseWriter, r *http.Request) error {
	if err := o.registrationOffered(); err != nil {
		return err
	}
	now, ctx := o.now(), r.Context()
	initial, err := o.initialToken(w, r)
	if err != nil {
		return err
	}
	var in clientInformation
	if err := readRegistration(r, &in); err != nil {
		return err
	}
	c, err := in.describeClient(&storage.Client{Source: sourceRegistration, CreatedAt: now, UpdatedAt: now, Version: 1})
	if err != nil {
		return err
	}
	if initial == nil { // addresses that strangers name are fetched only within the budget, too
		wait, err := o.DB.Spend(ctx, now, storage.Budget{Key: "register:" + web.ClientNetwork(ctx), Every: time.Hour / maxRegistrations, Burst: maxRegistrations})
		if err != nil {
			return err
		}
		if wait > 0 {
			return &web.Error{Status: http.StatusTooManyRequests, RetryAfter: wait, Message: "Too many clients were registered from your network in the last hour. Try again later, and keep what a registration gave you."}
		}
	}
	if err := o.settleRegistration(ctx, &c, &storage.Client{}); err != nil {
		return err
	}
	c.ID = storage.NewID("cli_")
	secret, accessToken := giveSecret(&c, now), storage.NewSecret("idp_rat_")
	event := storage.Event{At: now, Kind: "client.registered", ClientID: c.ID, Actor: c.ID, IP: web.ClientIP(ctx), Details: map[string]any{"client_name": c.Name, "redirect_uris": c.RedirectURIs}}
	err = o.DB.RegisterClient(ctx, c, storage.Registration{
		AccessHash: storage.HashSecret(accessToken), InitialHash: initial, UnusedUntil: now.Add(unusedLife), MostUnused: mostUnused,
	}, event)
	switch {
	case errors.Is(err, storage.ErrTokenSpent):
		return o.badInitialToken(w, err)
	case errors.Is(err, storage.ErrRegistrationFull):
		return &web.Error{Status: http.StatusTooManyRequests, RetryAfter: time.Hour, Message: "Too many clients are registered that nobody uses. Try again later.", Err: err}
	case err != nil:
		return err
	}
	web.Note(ctx, "client_id", c.ID)
	o.allowClientOrigin(w, r, &c)
	return web.JSON(w, http.StatusCreated, o.registered(&c, secret, accessToken))
}

func (o *OAuth) registrationOffered() error {
	if o.Registration == RegistrationToken || o.Registration == RegistrationOpen {
		return nil
	}
	return refuse(http.StatusNotFound, "invalid_request", "Clients cannot register themselves here: an operator registers them.", nil)
}

// initialToken gives the hash of the initial access token, nil for none where none is needed. One
// that is sent has to count even there: whoever sends it relies on it.
func (o *OAuth) initialToken(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	token, problem := bearer(r)
	if problem != "" {
		return nil, invalidRequest(problem)
	}
	if token == "" {
		if o.Registration == RegistrationOpen && r.Header.Get("Authorization") == "" {
			return nil, nil
		}
		return nil, registrationChallenge(w, "", "Send an initial access token, which an operator of this service gives out.", nil)
	}
	hash := storage.HashSecret(token)
	counts, err := o.DB.RegistrationTokenCounts(r.Context(), hash, o.now())
	if err != nil {
		return nil, err
	}
	if !counts {
		return nil, o.badInitialToken(w, nil)
	}
	return hash, nil
}

func (o *OAuth) badInitialToken(w http.ResponseWriter, cause error) error {
	return registrationChallenge(w, "invalid_token", "The initial access token does not count: it is wrong, expired, used up or revoked. Ask an operator of this service for another.", cause)
}

// registrationChallenge is 401 by RFC 6750, 3.
func registrationChallenge(w http.ResponseWriter, code, message string, cause error) error {
	header := `Bearer realm="registration"`
	if code != "" {
		header += fmt.Sprintf(`, error="%s", error_description="%s"`, code, message)
	}
	w.Header().Set("WWW-Authenticate", header)
	if code == "" {
		code = "invalid_token"
	}
	return refuse(http.StatusUnauthorized, code, message, cause)
}

func readRegistration(r *http.Request, v any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return unregistrable("invalid_client_metadata", "Send the metadata as application/json.")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		return unregistrable("invalid_client_metadata", "The metadata must be one JSON object.")
	}
	if err := decodeStrict(body, v); err != nil {
		return refuse(http.StatusBadRequest, "invalid_client_metadata", "The metadata cannot be read: "+err.Error()+".", err)
	}
	return nil
}

// giveSecret makes the secret of a client that needs one and has none, and takes away that of one that
// needs none any more.
func giveSecret(c *storage.Client, now time.Time) string {
	needs := c.AuthMethod == "client_secret_basic" || c.AuthMethod == "client_secret_post"
	if !needs {
		c.Secrets = nil
	}
	if !needs || len(c.Secrets) > 0 {
		return ""
	}
	secret := storage.NewSecret("idp_cs_")
	c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret(secret), CreatedAt: now}}
	return secret
}

// Registered is the client configuration endpoint (RFC 7592): with its registration access token, a
// client that registered itself reads, replaces or deletes its registration. No other client can be
// reached through it.
func (o *OAuth) Registered(w http.ResponseWriter, r *http.Request) error {
	if err := o.registrationOffered(); err != nil {
		return err
	}
	token, problem := bearer(r)
	if problem != "" {
		return invalidRequest(problem)
	}
	if token == "" {
		return registrationChallenge(w, "", "Send the registration access token.", nil)
	}
	ctx, id, hash := r.Context(), strings.TrimPrefix(r.URL.Path, "/register/"), storage.HashSecret(token)
	c, err := o.DB.RegisteredClient(ctx, id, hash)
	if err != nil {
		return o.noRegistration(w, err)
	}
	web.Note(ctx, "client_id", c.ID)
	o.allowClientOrigin(w, r, c)
	switch r.Method {
	case http.MethodPut:
		return o.replaceRegistration(w, r, c, token)
	case http.MethodDelete:
		event := storage.Event{At: o.now(), Kind: "client.deleted", ClientID: id, Actor: id, IP: web.ClientIP(ctx)}
		if err := o.DB.DeleteRegisteredClient(ctx, id, hash, event.At, event); err != nil {
			return o.noRegistration(w, err)
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return web.JSON(w, http.StatusOK, o.registered(c, "", token))
}

// noRegistration is one answer for a client that is not there, one that somebody else registered, and
// one that an operator made: RFC 7592, 2.
func (o *OAuth) noRegistration(w http.ResponseWriter, err error) error {
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return registrationChallenge(w, "invalid_token", "The registration access token does not belong to a client at this address.", err)
}

// replacement is what a client sends to be described anew (RFC 7592, 2.2).
type replacement struct {
	ClientID string          `json:"client_id"`
	Secret   string          `json:"client_secret"`
	SetByUs1 json.RawMessage `json:"registration_access_token"`
	SetByUs2 json.RawMessage `json:"registration_client_uri"`
	SetByUs3 json.RawMessage `json:"client_secret_expires_at"`
	SetByUs4 json.RawMessage `json:"client_id_issued_at"`
	clientInformation
}

func (o *OAuth) replaceRegistration(w http.ResponseWriter, r *http.Request, old *storage.Client, token string) error {
	var in replacement
	if err := readRegistration(r, &in); err != nil {
		return err
	}
	now := o.now()
	switch {
	case in.ClientID != old.ID:
		return unregistrable("invalid_client_metadata", "client_id must be that of the client that is changed.")
	case in.Secret != "" && !old.SecretIs(in.Secret, now):
		return unregistrable("invalid_client_metadata", "client_secret is not the client's; a client cannot choose its secret.")
	case slices.ContainsFunc([]json.RawMessage{in.SetByUs1, in.SetByUs2, in.SetByUs3, in.SetByUs4}, func(m json.RawMessage) bool { return len(m) > 0 }):
		return unregistrable("invalid_client_metadata", "registration_access_token, registration_client_uri, client_secret_expires_at and client_id_issued_at are ours to set: leave them out.")
	}
	c, err := in.describeClient(old)
	if err != nil {
		return err
	}
	if err := o.settleRegistration(r.Context(), &c, old); err != nil {
		return err
	}
	c.Secrets = slices.Clone(old.Secrets)
	secret := giveSecret(&c, now)
	askAgain := c.Name != old.Name || c.URI != old.URI || !slices.Equal(c.RedirectURIs, old.RedirectURIs)
	event := storage.Event{At: now, Kind: "client.updated", ClientID: c.ID, Actor: c.ID, IP: web.ClientIP(r.Context()), Details: map[string]any{"client_name": c.Name, "redirect_uris": c.RedirectURIs}}
	err = o.DB.UpdateRegisteredClient(r.Context(), c, askAgain, now, event)
	if errors.Is(err, storage.ErrConflict) {
		return &web.Error{Status: http.StatusConflict, Code: "invalid_request", Message: "The client is being changed by another request. Read it, and try again.", Err: err}
	}
	if err != nil {
		return err
	}
	o.allowClientOrigin(w, r, &c)
	return web.JSON(w, http.StatusOK, o.registered(&c, secret, token))
}
