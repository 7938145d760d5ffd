package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// session is one person logged in to the shop. Its lock is held while the
// provider is asked: two clicks on "Refresh" must not spend the same refresh
// token twice.
type session struct {
	mu        sync.Mutex
	token     *oauth2.Token
	id        *identity
	sid       string // of the provider's session; the same as long as this one
	userinfo  answer
	since     time.Time
	refreshed int
}

// identity is a verified ID token.
type identity struct {
	raw            string
	token          *oidc.IDToken
	header, claims string // decoded and indented
}

// answer is what the userinfo endpoint said.
type answer struct {
	Body   string // indented JSON; empty if the call failed
	Err    string
	At     time.Time
	claims map[string]any
}

// verify checks the ID token of a token response: signature, issuer, audience
// and time by the library, at_hash here (OpenID Connect Core 1.0, 3.1.3.7-8).
func (a *app) verify(ctx context.Context, p *provider, token *oauth2.Token) (*identity, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, untrusted(errors.New("token response has no id_token"))
	}
	verified, err := p.Verifier(&oidc.Config{ClientID: a.Web.ID, Now: a.now}).Verify(ctx, raw)
	if err != nil {
		return nil, untrusted(fmt.Errorf("verify ID token: %w", err))
	}
	if verified.AccessTokenHash != "" {
		if err := verified.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, untrusted(fmt.Errorf("verify at_hash: %w", err))
		}
	}
	parts := strings.Split(raw, ".")
	return &identity{raw: raw, token: verified, header: readable(parts[0]), claims: readable(parts[1])}, nil
}

func untrusted(err error) *failure {
	return &failure{
		Status:  http.StatusBadGateway,
		Title:   "The ID token cannot be trusted",
		Message: "The shop checked it and will not let anybody in with it. The log says why.",
		Err:     err,
	}
}

// readable decodes one part of a token for people.
func readable(part string) string {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return part
	}
	return indented(text)
}

func indented(text []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return string(text)
	}
	return out.String()
}

// current returns the session of the person who asks.
func (a *app) current(r *http.Request) (*session, bool) {
	return a.sessions.look(cookie(r, sessionCookie), a.now())
}

func notLoggedIn() *failure {
	return &failure{Status: http.StatusUnauthorized, Title: "You are not logged in", Message: "The shop has forgotten you, or never knew you. Log in first."}
}

// refresh trades the refresh token for new tokens.
func (a *app) refresh(w http.ResponseWriter, r *http.Request) error {
	s, ok := a.current(r)
	if !ok {
		return notLoggedIn()
	}
	p, ctx, err := a.discover(r.Context())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.RefreshToken == "" {
		return &failure{Status: http.StatusBadRequest, Title: "There is no refresh token", Message: "This login did not ask for offline access. Log in again with it."}
	}
	token, err := a.oauth(p).TokenSource(ctx, &oauth2.Token{RefreshToken: s.token.RefreshToken}).Token()
	if err != nil {
		f := a.refused("refresh the tokens", err)
		if f.Code == "invalid_grant" {
			// The provider took the access back; holding on to it is of no use.
			a.endSession(w, r)
			f.Status, f.Title = http.StatusOK, "Your access has ended"
			f.Message = a.Brand + " no longer accepts this login: somebody signed out, removed the shop, or the time was up. Log in again."
		}
		return f
	}
	if _, ok := token.Extra("id_token").(string); ok {
		id, err := a.verify(ctx, p, token)
		if err != nil {
			return err
		}
		// OpenID Connect Core 1.0, 12.2: it must be the same person.
		if id.token.Subject != s.id.token.Subject {
			return untrusted(fmt.Errorf("refreshed ID token is for subject %q, want %q", id.token.Subject, s.id.token.Subject))
		}
		s.id = id
	}
	s.token = token
	s.refreshed++
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// userinfo asks the userinfo endpoint again.
func (a *app) userinfo(w http.ResponseWriter, r *http.Request) error {
	s, ok := a.current(r)
	if !ok {
		return notLoggedIn()
	}
	p, ctx, err := a.discover(r.Context())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.userinfo = a.ask(ctx, p, s)
	http.Redirect(w, r, "/#userinfo", http.StatusSeeOther)
	return nil
}

// ask calls the userinfo endpoint. That it fails is shown, not returned: a
// revoked access token is worth seeing, and ends nothing here.
func (a *app) ask(ctx context.Context, p *provider, s *session) answer {
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(s.token))
	if err != nil {
		return answer{Err: err.Error(), At: a.now()}
	}
	// OpenID Connect Core 1.0, 5.3.2: without this check, one person's token
	// could be dressed with another's claims.
	if info.Subject != s.id.token.Subject {
		return answer{Err: "The answer is about somebody else: " + info.Subject, At: a.now()}
	}
	var body json.RawMessage
	var claims map[string]any
	if err := errors.Join(info.Claims(&body), info.Claims(&claims)); err != nil {
		return answer{Err: err.Error(), At: a.now()}
	}
	return answer{Body: indented(body), At: a.now(), claims: claims}
}

// logout ends the shop's session and then the provider's, which returns to
// the home page (OpenID Connect RP-Initiated Logout 1.0, 2).
func (a *app) logout(w http.ResponseWriter, r *http.Request) error {
	s, ok := a.current(r)
	if !ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	p, _, err := a.discover(r.Context())
	if err != nil {
		return err
	}
	a.endSession(w, r)
	target, err := url.Parse(p.endSession)
	if err != nil || p.endSession == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	state := rand.Text()
	a.transactions.put(a.browser(w, r)+" "+state, transaction{logout: true}, a.now())
	s.mu.Lock()
	raw := s.id.raw
	s.mu.Unlock()
	query := target.Query()
	query.Set("id_token_hint", raw)
	query.Set("client_id", a.Web.ID)
	query.Set("post_logout_redirect_uri", a.home)
	query.Set("state", state)
	target.RawQuery = query.Encode()
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
	return nil
}

// forget ends the shop's session alone. The next login shows that the
// provider still knows the person.
func (a *app) forget(w http.ResponseWriter, r *http.Request) error {
	a.endSession(w, r)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (a *app) endSession(w http.ResponseWriter, r *http.Request) {
	a.sessions.take(cookie(r, sessionCookie), a.now())
	a.setCookie(w, sessionCookie, "", http.SameSiteLaxMode)
}
