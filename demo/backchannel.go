package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// LogoutURI is the address to register for the web client of a shop that is
// reached at base, so that the provider can tell it of sign-outs (OpenID
// Connect Back-Channel Logout 1.0).
func LogoutURI(base string) string { return strings.TrimSuffix(base, "/") + logoutPath }

const (
	logoutPath  = "/backchannel-logout"
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// toldLogout takes the provider's word, server to server, that somebody has
// signed out there, and ends their sessions here. No browser takes part.
func (a *app) toldLogout(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxAnswerBytes)
	p, ctx, err := a.discover(r.Context())
	if err != nil {
		return err // with a status that makes the provider try again
	}
	told, err := a.verifyLogout(ctx, p, r.PostFormValue("logout_token"))
	if err != nil {
		a.Log.Warn("demo shop", "path", r.URL.Path, "error", err)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		return json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": err.Error()})
	}
	names := a.sessions.takeAll(func(s *session) bool {
		if told.SID != "" {
			return s.sid == told.SID
		}
		return s.id.token.Subject == told.Subject
	}, a.now())
	for _, name := range names {
		a.told.put(name, a.now(), a.now()) // for the page that this browser sees next
	}
	a.Log.Info("demo shop", "path", r.URL.Path, "sessions_ended", len(names))
	w.WriteHeader(http.StatusOK)
	return nil
}

// logoutToken is what a logout token says, beside what the library checks.
type logoutToken struct {
	Subject string
	SID     string                     `json:"sid"`
	ID      string                     `json:"jti"`
	Nonce   *string                    `json:"nonce"`
	Events  map[string]json.RawMessage `json:"events"`
}

// verifyLogout checks a logout token (OpenID Connect Back-Channel Logout 1.0,
// 2.6): signature, issuer, audience and time by the library, the rest here.
func (a *app) verifyLogout(ctx context.Context, p *provider, raw string) (logoutToken, error) {
	var t logoutToken
	verified, err := p.Verifier(&oidc.Config{ClientID: a.Web.ID, Now: a.now}).Verify(ctx, raw)
	if err != nil {
		return t, fmt.Errorf("verify logout token: %w", err)
	}
	if err := verified.Claims(&t); err != nil {
		return t, fmt.Errorf("read claims: %w", err)
	}
	t.Subject = verified.Subject
	var header struct{ Typ string }
	part, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil || json.Unmarshal(text, &header) != nil {
		return t, errors.New("its header cannot be read")
	}
	var event map[string]any
	switch {
	case !strings.EqualFold(header.Typ, "logout+jwt"):
		return t, fmt.Errorf("its type is %q, not logout+jwt", header.Typ)
	case json.Unmarshal(t.Events[logoutEvent], &event) != nil || event == nil:
		return t, errors.New("it tells of no logout")
	case t.Nonce != nil:
		return t, errors.New("it has a nonce, as only ID tokens have")
	case t.Subject == "" && t.SID == "":
		return t, errors.New("it names neither a session nor a person")
	case t.ID == "":
		return t, errors.New("it has no jti")
	case !a.heard.add(t.ID, struct{}{}, a.now()):
		return t, errors.New("it was here before")
	}
	return t, nil
}

// sessionOf is the sid of an ID token: how the provider names the session in
// logout tokens.
func sessionOf(id *oidc.IDToken) string {
	var claims struct {
		SID string `json:"sid"`
	}
	if err := id.Claims(&claims); err != nil {
		return "" // sign-outs are told by subject alone then
	}
	return claims.SID
}

// toldAt says when the provider ended the session that this browser had here.
func (a *app) toldAt(w http.ResponseWriter, r *http.Request) time.Time {
	at, ok := a.told.take(cookie(r, sessionCookie), a.now())
	if ok {
		a.setCookie(w, sessionCookie, "", http.SameSiteLaxMode)
	}
	return at
}
