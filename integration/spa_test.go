package integration

import (
	"net/url"
	"testing"
	"time"

	"idp/storage"
)

// spa is a browser app as its preset makes it: no offline_access, refresh tokens that end with the
// session.
func (w *world) spa(t testing.TB) *app {
	return w.app(t, storage.ClientSPA, func(c *storage.Client) {
		c.Scopes, c.SessionRefresh = []string{"openid", "profile", "email"}, true
		c.Lifetimes = storage.Lifetimes{AccessToken: 600, RefreshIdle: 8 * 3600, RefreshMax: 24 * 3600}
	})
}

// signedIn says whether the access token counts at userinfo.
func (a *app) signedIn(tokens reply) bool {
	a.t.Helper()
	return a.w.send(a.t, "GET", "/userinfo", bearerHeader(tokens.access()), "").status == 200
}

func TestABrowserAppIsSignedOutWithItsSession(t *testing.T) { // RFC 10017, 8
	t.Parallel()
	w := start(t)
	spa, ada, b := w.spa(t), w.person(t, "ada"), w.browser(t)
	_, tokens := spa.signIn(b, ada) // asks for offline_access, too
	if got := tokens.text("scope"); got != "openid profile email" {
		t.Errorf("scope = %q, want no offline_access", got)
	}
	tokens = spa.refresh(tokens.refresh()).ok()
	b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}, "client_id": {spa.ID}}.Encode())
	spa.refresh(tokens.refresh()).fails(400, "invalid_grant")
	if spa.signedIn(tokens) {
		t.Error("the access token counts after the sign-out")
	}
}

func TestRotationExtendsNoBrowserAppsGrant(t *testing.T) { // RFC 10017, 8
	t.Parallel()
	w := start(t)
	spa, ada, b := w.spa(t), w.person(t, "ada"), w.browser(t)
	begun := w.clock.now()
	_, first := spa.signIn(b, ada)
	at := func(after time.Duration) { w.clock.advance(begun.Add(after).Sub(w.clock.now())) }
	tokens := first
	for h := 1; h < 20; h++ { // somebody works all day, and opens the app anew now and then
		at(time.Duration(h) * time.Hour)
		tokens = spa.refresh(tokens.refresh()).ok()
		if h%6 == 0 {
			if p := b.get(spa.begin("prompt", "none").url()); p.answer().Get("code") == "" {
				t.Fatalf("after %d hours: %v", h, p.answer())
			}
		}
	}
	// A sign-in that began in the same session ends with it, and not a day later.
	at(20 * time.Hour)
	_, late := spa.signIn(b, ada, "prompt", "none")
	at(24*time.Hour - 5*time.Minute)
	tokens, late = spa.refresh(tokens.refresh()).ok(), spa.refresh(late.refresh()).ok()
	for _, r := range []reply{tokens, late} {
		if in := r.body["expires_in"].(float64); in < 1 || in > 300 {
			t.Errorf("expires_in = %v five minutes before the end of the session", in)
		}
	}
	at(24*time.Hour + time.Second)
	for _, r := range []reply{tokens, late} {
		spa.refresh(r.refresh()).fails(400, "invalid_grant")
		if spa.signedIn(r) {
			t.Error("an access token outlives the session")
		}
	}
}

// Background refreshes are no sign of a person: an open tab alone keeps nobody signed in.
func TestAnUnattendedTabDoesNotKeepTheSessionAlive(t *testing.T) {
	t.Parallel()
	w := start(t)
	spa, ada, b := w.spa(t), w.person(t, "ada"), w.browser(t)
	_, tokens := spa.signIn(b, ada)
	for range 7 {
		w.clock.advance(time.Hour)
		tokens = spa.refresh(tokens.refresh()).ok()
	}
	w.clock.advance(time.Hour + time.Minute)
	spa.refresh(tokens.refresh()).fails(400, "invalid_grant")
	if got := b.get(spa.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("error = %q, want login_required", got)
	}
}

func TestAReloadedAppSignsInWithoutAPage(t *testing.T) { // prompt=none at top level; conformance 44
	t.Parallel()
	w := start(t)
	spa, ada, b := w.spa(t), w.person(t, "ada"), w.browser(t)
	if got := b.get(spa.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("before the sign-in: error = %q, want login_required", got)
	}
	spa.signIn(b, ada)
	for _, mode := range []string{"query", "fragment"} {
		f := spa.begin("prompt", "none", "response_mode", mode)
		p := b.get(f.url())
		if len(p.hops) != 1 || p.left == nil {
			t.Fatalf("%s: %v, want one hop and back", mode, p.hops)
		}
		answer := p.left.Query()
		if mode == "fragment" {
			answer, _ = url.ParseQuery(p.left.Fragment)
			if p.left.RawQuery != "" {
				t.Errorf("fragment: the query says %q", p.left.RawQuery)
			}
		}
		if answer.Get("state") != f.params.Get("state") || answer.Get("iss") != w.issuer {
			t.Errorf("%s: answer %v", mode, answer)
		}
		f.exchange(answer.Get("code")).ok()
	}
}
