package integration

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestSignOutByTheAppNeedsAHintOrAQuestion(t *testing.T) { // conformance 102-105, 108
	t.Parallel()
	w := start(t)
	a, other, ada := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb), w.person(t, "ada")
	b := w.browser(t)
	_, tokens := a.signIn(b, ada)
	hint := tokens.text("id_token")
	const bye = "https://rp.test/bye"
	signedIn := func() bool { return b.get(a.begin("prompt", "none").url()).answer().Get("code") != "" }
	for name, q := range map[string]url.Values{
		"nothing":                        {},
		"only state":                     {"state": {"s"}},
		"no hint":                        {"post_logout_redirect_uri": {bye}, "state": {"s"}},
		"client_id only":                 {"post_logout_redirect_uri": {bye}, "client_id": {a.ID}},
		"garbage hint":                   {"post_logout_redirect_uri": {bye}, "id_token_hint": {"x"}},
		"hint without a valid signature": {"post_logout_redirect_uri": {bye}, "id_token_hint": {hint[:len(hint)-8] + "AAAAAAAA"}},
		"hint of another client":         {"post_logout_redirect_uri": {bye}, "id_token_hint": {hint}, "client_id": {other.ID}},
		"access token as hint":           {"post_logout_redirect_uri": {bye}, "id_token_hint": {tokens.access()}},
	} {
		p := b.get("/logout?" + q.Encode())
		if p.left != nil || p.url.Path != "/logout" || !strings.Contains(p.body, `id="sign-out"`) {
			t.Errorf("%s: at %s, left %v; want the question", name, p.url, p.left)
		}
		if !signedIn() {
			t.Fatalf("%s: signed out without being asked", name)
		}
	}
	for name, uri := range map[string]string{"foreign": "https://evil.test", "protocol-relative": "//evil.test", "query added": bye + "?x=1", "suffix": bye + "x"} {
		p := b.get("/logout?" + url.Values{"post_logout_redirect_uri": {uri}, "id_token_hint": {hint}}.Encode())
		if p.left != nil {
			t.Errorf("%s: left to %s", name, p.left)
		}
		if p.url.Path != "/logout/done" {
			t.Errorf("%s: at %s, want the signed-out page", name, p.url)
		}
		_, tokens = a.signIn(b, ada)
		hint = tokens.text("id_token")
	}
	w.clock.advance(time.Hour) // expired hints count
	p := b.get("/logout?" + url.Values{"post_logout_redirect_uri": {bye}, "id_token_hint": {hint}}.Encode())
	if p.left == nil || p.left.String() != bye {
		t.Errorf("with a hint and no state: %v, want %s and nothing added", p.left, bye)
	}
	if got := b.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("after sign-out: %q", got)
	}
	if p := b.get("/logout?" + url.Values{"post_logout_redirect_uri": {bye}, "id_token_hint": {hint}, "state": {"s"}}.Encode()); p.left == nil || p.left.String() != bye+"?state=s" {
		t.Errorf("without a session: %v, want the app", p.left)
	}
}

func TestTheConfirmedSignOutEndsTheSessionInTheDatabase(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada, "scope", "openid email")
	thief := w.browser(t)
	issuer, _ := url.Parse(w.issuer)
	thief.jar.SetCookies(issuer, b.jar.Cookies(issuer))
	thief.get("/account").at("/account")
	p := b.get("/logout").at("/logout").submit(nil).at("/logout/done")
	if !strings.Contains(p.body, "signed out") {
		t.Errorf("signed-out page:\n%s", p.body)
	}
	thief.get("/account").at("/login")
	if a.active(tokens.access()) {
		t.Error("the access token of the ended session is active")
	}
}

func TestAnotherSiteCannotPostTheConfirmation(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for _, path := range []string{"/logout", "/login", "/consent", "/account/security"} {
		req := b.request(t, "POST", path, url.Values{"confirm": {"yes"}, "decision": {"allow"}})
		req.Header.Set("Origin", "https://evil.test")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		if p := b.follow(req); p.status != 403 || p.left != nil {
			t.Errorf("a cross-site POST to %s: %d, want 403", path, p.status)
		}
	}
	b.get("/account").at("/account")
}

func TestAPostedSignOutOfAnotherSiteIsAnsweredWithTheSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	form := url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {"https://rp.test/bye"}, "state": {"s"}}
	// A cross-site POST comes without our Lax cookies; the redirect that follows has them again.
	req := w.browser(t).request(t, "POST", "/logout", form)
	req.Header.Set("Origin", "https://rp.test")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p := b.get(resp.Header.Get("Location"))
	if p.left == nil || p.left.String() != "https://rp.test/bye?state=s" {
		t.Errorf("left to %v (%s), want the app", p.left, p.url.Path)
	}
	if got := b.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("after the sign-out: %q, want login_required", got)
	}
}
