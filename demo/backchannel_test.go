package demo

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
)

// logoutClaims are those of a logout token as the provider makes them.
func (s *shop) logoutClaims(jti string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": s.issuer.URL, "aud": "demo-web", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": jti,
		"sub": "usr_1", "sid": "sid-1", "events": map[string]any{logoutEvent: map[string]any{}},
	}
}

func (s *shop) told(token string) reply {
	s.t.Helper()
	return s.post("/backchannel-logout", url.Values{"logout_token": {token}}, "")
}

func TestTheProvidersWordEndsTheLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	if got := s.told(s.issuer.signAs("logout+jwt", s.logoutClaims("1"))); got.status != 200 {
		t.Fatalf("a logout token: got %d %s, want 200", got.status, got.body)
	}
	s.wantBody(s.get("/"), 200, `id="told"`, `id="log-in"`)
	if strings.Contains(s.get("/").body, `id="told"`) {
		t.Error("the notice came twice")
	}
	if got := s.told(s.issuer.signAs("logout+jwt", s.logoutClaims("2"))); got.status != 200 {
		t.Errorf("of a session that is over here: got %d, want 200", got.status)
	}
	s.logIn()
	bySubject := s.logoutClaims("3")
	delete(bySubject, "sid")
	s.told(s.issuer.signAs("logout+jwt", bySubject))
	s.wantLoggedOut()
}

func TestALogoutOfAnotherSessionEndsNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	other := s.logoutClaims("1")
	other["sid"] = "sid-2"
	if got := s.told(s.issuer.signAs("logout+jwt", other)); got.status != 200 {
		t.Errorf("got %d, want 200", got.status)
	}
	s.wantBody(s.get("/"), 200, `id="display-name"`)
}

func TestALogoutTokenThatProvesNothingIsRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	good := s.logoutClaims("good")
	change := func(name string, value any) string {
		c := maps.Clone(good)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return s.issuer.signAs("logout+jwt", c)
	}
	nobody := maps.Clone(good)
	delete(nobody, "sub")
	delete(nobody, "sid")
	signed := s.issuer.signAs("logout+jwt", good)
	for name, token := range map[string]string{
		"none":            "",
		"nonsense":        "a.b.c",
		"signature":       signed[:len(signed)-6] + "AAAAAA",
		"type":            s.issuer.signAs("JWT", good),
		"audience":        change("aud", "demo-spa"),
		"issuer":          change("iss", "https://evil.test"),
		"expired":         change("exp", time.Now().Add(-time.Hour).Unix()),
		"events missing":  change("events", nil),
		"other event":     change("events", map[string]any{"https://x.test": map[string]any{}}),
		"event no object": change("events", map[string]any{logoutEvent: nil}),
		"nonce":           change("nonce", "n"),
		"jti":             change("jti", nil),
		"nobody":          s.issuer.signAs("logout+jwt", nobody),
	} {
		if got := s.told(token); got.status != 400 || !strings.Contains(got.body, `"invalid_request"`) {
			t.Errorf("%s: got %d %s, want 400", name, got.status, got.body)
		}
	}
	s.wantBody(s.get("/"), 200, `id="display-name"`)
	once := s.issuer.signAs("logout+jwt", s.logoutClaims("once"))
	s.told(once)
	s.logIn()
	if got := s.told(once); got.status != 400 {
		t.Errorf("the same token again: got %d, want 400", got.status)
	}
	s.wantBody(s.get("/"), 200, `id="display-name"`)
}
