package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"idp/storage"
	"idp/web"
)

// introspection is RFC 7662, 2.2. An inactive token has no other member.
type introspection struct {
	Active    bool     `json:"active"`
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  audience `json:"aud,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Username  string   `json:"username,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`

	Actor json.RawMessage `json:"act,omitempty"` // who acts for the subject (RFC 8693, 4.1)
}

// Introspect tells a client that authenticates whether a token counts (RFC 7662): its own, those
// for the API it is, or all if an operator said so. Everybody else's token is simply not active.
func (o *OAuth) Introspect(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	if client.Public() {
		return invalidClient(w, credentials{}, errors.New("a public client cannot introspect"))
	}
	if form.Get("token") == "" {
		return invalidRequest("The parameter token is missing.")
	}
	answer, err := o.introspect(r.Context(), client, form.Get("token"))
	if errors.Is(err, errStale) {
		if client, err = o.refreshClient(w, r, form, client); err == nil {
			answer, err = o.introspect(r.Context(), client, form.Get("token"))
		}
	}
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	if !accepts(r, introspectionJWT) {
		return web.JSON(w, http.StatusOK, answer)
	}
	return o.answerJWT(w, introspectionJWT, cmp.Or(client.IntrospectionAlg, "RS256"), typIntrospection, signedIntrospection{
		Issuer: o.Issuer, Audience: client.ID, IssuedAt: o.now().Unix(), Introspection: answer,
	})
}

const introspectionJWT = "application/token-introspection+jwt"

// signedIntrospection is RFC 9701, 5. It has no sub and no exp, so that nobody takes it for a token.
type signedIntrospection struct {
	Issuer        string `json:"iss"`
	Audience      string `json:"aud"`
	IssuedAt      int64  `json:"iat"`
	Introspection any    `json:"token_introspection"`
}

// accepts says whether a request asks for that very media type: wildcards get the usual answer.
func accepts(r *http.Request, mediaType string) bool {
	for _, header := range r.Header.Values("Accept") {
		for _, entry := range strings.Split(header, ",") {
			kind, params, err := mime.ParseMediaType(entry)
			if err != nil || kind != mediaType {
				continue
			}
			q, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
			return err == nil && q > 0
		}
	}
	return false
}

// introspect gives the members of the answer: those that say what the token is, and what the rules
// of its client add.
func (o *OAuth) introspect(ctx context.Context, client *storage.Client, s string) (any, error) {
	none := introspection{}
	if strings.HasPrefix(s, string(refreshToken)) {
		g, err := o.readRefreshToken(ctx, s, client)
		if err != nil || g == nil || g.ClientID != client.ID || g.IdleExpiresAt == nil || !o.now().Before(*g.IdleExpiresAt) || !g.Alive(o.now()) {
			return none, err
		}
		a := o.describeGrant(g, g.Scopes)
		a.Expires, a.IssuedAt = g.Idles(*g.IdleExpiresAt).Unix(), g.CreatedAt.Unix()
		if g.RotatedAt != nil {
			a.IssuedAt = g.RotatedAt.Unix()
		}
		return a, nil
	}
	t, err := o.readAccessToken(ctx, s, client.ID)
	if err == nil && t != nil && t.CallerVersion != client.Version {
		return none, errStale
	}
	if err != nil || !t.live(o.now()) || !o.mayIntrospect(client, t) {
		return none, err
	}
	if t.ClientID != client.ID && !client.IntrospectAll {
		// An API hears of its own scopes, not of what else the app may do (RFC 7662, 2.2).
		catalog, err := o.DB.CatalogAt(ctx, t.CatalogVersion)
		if err != nil {
			return none, err
		}
		t.scopes = scopesFor(t.scopes, client.Audience, catalog)
	}
	a := o.describeGrant(t.GrantFacts, t.scopes)
	a.TokenType, a.IssuedAt, a.Expires, a.Audience, a.ID = "Bearer", t.issued.Unix(), t.expires.Unix(), t.resources, tokenID(t.ID, t.number)
	if t.ClientID != client.ID {
		if client, err = o.clientOf(ctx, t.GrantFacts); errors.Is(err, storage.ErrNotFound) {
			return none, nil
		} else if err != nil {
			return none, err
		}
	}
	return merged(accountOf(client, t.GrantFacts, t.scopes).accessToken(), a), nil
}

// mayIntrospect: the token's own client, an API in its audience, or one with the right to all.
func (o *OAuth) mayIntrospect(c *storage.Client, t *presented) bool {
	return t.ClientID == c.ID || c.IntrospectAll || slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(t.resources, a) })
}

func (o *OAuth) describeGrant(g *storage.GrantFacts, scopes []string) introspection {
	a := introspection{Active: true, Issuer: o.Issuer, Subject: g.Subject, ClientID: g.ClientID, Scope: joinScopes(scopes), ACR: g.ACR, Actor: g.Actor}
	if g.User != nil && slices.Contains(scopes, "profile") {
		a.Username = g.User.Username
	}
	if g.AuthTime != nil {
		a.AuthTime = g.AuthTime.Unix()
	}
	return a
}

// readRefreshToken gives the grant of a genuine refresh token of the present generation; nil when
// it is none.
func (o *OAuth) readRefreshToken(ctx context.Context, s string, caller *storage.Client) (*storage.GrantFacts, error) {
	t, err := parseToken(refreshToken, s)
	if err != nil {
		return nil, nil
	}
	g, err := o.readGrant(ctx, t, caller.ID)
	if err == nil && g != nil && g.CallerVersion != caller.Version {
		return nil, errStale
	}
	if err != nil || g == nil || int64(t.number) != int64(g.Generation) {
		return nil, err
	}
	return g, nil
}
