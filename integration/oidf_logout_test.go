package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

// The plans oidcc-rp-initiated-logout-certification-test-plan, oidcc-backchannel-rp-initiated-logout-
// and oidcc-frontchannel-rp-initiated-logout-certification-test-plan. Their modules that look at
// metadata are in oidf_config_test.go.
//
// Not to be tested here: TLS of the connection that brings a logout token (the receiver is plain http on
// loopback), and when it comes (the test runs the jobs). The frame of the front channel is read and not
// loaded; browsers keep cookies from frames of other sites, so that we show none for those: the suite's
// own address would have to be of the provider's site.

func TestOIDFRPInitiatedLogoutPlan(t *testing.T) { runPlan(t, false, rpLogoutModules) }

var rpLogoutModules = []oidfModule{
	{"oidcc-rp-initiated-logout", rpInitiatedLogout("")},
	{"oidcc-rp-initiated-logout-no-state", rpInitiatedLogout("state")},
	{"oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) {
		q.Set("post_logout_redirect_uri", strings.Replace(oidfGoodbye, "post_logout", "bad_post_logout", 1))
	})},
	{"oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) {
		q.Set("post_logout_redirect_uri", oidfGoodbye+"?foo=bar")
	})},
	{"oidcc-rp-initiated-logout-modified-id-token-hint", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) {
		parts := strings.Split(q.Get("id_token_hint"), ".")
		q.Set("id_token_hint", base64.RawURLEncoding.EncodeToString([]byte(`{"alg": "none"}`))+"."+parts[1]+".")
	})},
	{"oidcc-rp-initiated-logout-bad-id-token-hint", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) {
		now := f.s.w.now().Unix()
		q.Set("id_token_hint", newRSAKey(t).sign(t, map[string]any{"iss": f.app.ID, "aud": f.s.w.issuer, "sub": "SubjectID", "nonce": "flibble", "iat": now, "exp": now + 300}))
	})},
	{"oidcc-rp-initiated-logout-no-id-token-hint", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) { q.Del("id_token_hint") })},
	{"oidcc-rp-initiated-logout-no-params", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) { clear(q) })},
	{"oidcc-rp-initiated-logout-no-post-logout-redirect-uri", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) { q.Del("post_logout_redirect_uri") })},
	{"oidcc-rp-initiated-logout-only-state", noRedirect(func(t testing.TB, f *oidfFlow, q url.Values) {
		q.Del("id_token_hint")
		q.Del("post_logout_redirect_uri")
	})},
}

func TestOIDFBackChannelLogoutPlan(t *testing.T) {
	runPlan(t, false, []oidfModule{{"oidcc-backchannel-rp-initiated-logout", backChannelLogout}})
}

func TestOIDFFrontChannelLogoutPlan(t *testing.T) {
	runPlan(t, false, []oidfModule{{"oidcc-frontchannel-rp-initiated-logout", frontChannelLogout}})
}

// endSession makes a sign-out request; its state has every printable character.
func (f *oidfFlow) endSession(idToken string) url.Values {
	state := "abcXYZ0123456789"
	for c := '!'; c <= '~'; c++ {
		state += string(c)
	}
	return url.Values{"id_token_hint": {idToken}, "post_logout_redirect_uri": {oidfGoodbye}, "state": {state}}
}

// signOut sends the browser to the end_session_endpoint, and confirms if it is asked.
func (f *oidfFlow) signOut(b *browser, q url.Values) *page {
	f.t.Helper()
	p := b.get(f.s.endpoint(f.t, "end_session_endpoint") + "?" + q.Encode())
	if p.left == nil && p.url.Path == "/logout" && strings.Contains(p.body, `id="sign-out"`) {
		p = p.submit(nil)
	}
	return p
}

// checkGoodbye checks where the browser went after a sign-out: state as it was sent, and nothing else.
func checkGoodbye(t testing.TB, to *url.URL, q url.Values) {
	t.Helper()
	if to == nil {
		t.Fatal("the browser is not sent to the post-logout redirect URI")
	}
	base, query := *to, to.Query()
	base.RawQuery = ""
	if base.String() != oidfGoodbye || !slices.Equal(query["state"], q["state"]) {
		t.Errorf("left to %s, want %s with state %q", to, oidfGoodbye, q.Get("state"))
	}
	onlyMembers(t, "the sign-out redirect", query, "state")
}

// signedOutNow checks that prompt=none finds nobody.
func (s *oidf) signedOutNow(t testing.TB, a *app, b *browser) {
	t.Helper()
	s.request(t, a, "prompt", "none", "state", oidfRandom(128)).fails(b, "login_required", "interaction_required", "account_selection_required", "consent_required")
}

func rpInitiatedLogout(without string) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		a := s.client(t)
		for _, byPost := range []bool{false, true} { // the suite does GET alone
			b := s.w.browser(t)
			f := s.request(t, a, "state", oidfRandom(128))
			q := f.endSession(f.signIn(b).raw)
			if without != "" {
				q.Del(without)
			}
			var p *page
			if byPost {
				p = b.post(s.endpoint(t, "end_session_endpoint"), q)
			} else {
				p = f.signOut(b, q)
			}
			checkGoodbye(t, p.left, q)
			s.signedOutNow(t, a, b)
		}
	}
}

// noRedirect signs out with a request that must not lead to the post-logout redirect URI: there is a page,
// or a question and then the page.
func noRedirect(change func(t testing.TB, f *oidfFlow, q url.Values)) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		a, b := s.client(t), s.w.browser(t)
		f := s.request(t, a, "state", oidfRandom(128))
		q := f.endSession(f.signIn(b).raw)
		change(t, f, q)
		p := f.signOut(b, q).at("/logout/done")
		if p.status != 200 || strings.Contains(p.body, oidfGoodbye) {
			t.Errorf("%d:\n%s", p.status, p.body)
		}
		s.signedOutNow(t, a, b)
	}
}

func backChannelLogout(t *testing.T, s *oidf) {
	rp := s.w.party(t, storage.ClientWeb, func(c *storage.Client) {
		c.PKCEOptional, c.BackchannelLogoutSession = true, true
		c.RedirectURIs, c.PostLogoutRedirectURIs = []string{oidfCallback}, []string{oidfGoodbye}
	})
	b := s.w.browser(t)
	f := s.request(t, rp.app, "state", oidfRandom(128))
	tokens := f.signIn(b)
	q := f.endSession(tokens.raw)
	checkGoodbye(t, f.signOut(b, q).left, q)
	if err := s.w.servers[0].RunJobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw := rp.one(t, "a sign-out") // by POST, as a form with logout_token alone: the receiver checks it
	checkSignature(t, s.keys, raw)
	header, logout := claims(t, raw)
	onlyMembers(t, "the logout token", logout, "iss", "sub", "aud", "iat", "exp", "jti", "events", "sid")
	if header["typ"] != "logout+jwt" || header["alg"] != rp.IDTokenAlg {
		t.Errorf("header %v", header)
	}
	for name, want := range map[string]any{"iss": s.w.issuer, "aud": rp.ID, "sub": tokens.claims["sub"], "sid": tokens.claims["sid"]} {
		if got := logout[name]; got != want || got == nil || got == "" {
			t.Errorf("%s of the logout token is %v, want %v", name, got, want)
		}
	}
	if events, err := json.Marshal(logout["events"]); err != nil || string(events) != `{"http://schemas.openid.net/event/backchannel-logout":{}}` {
		t.Errorf("events %s", events)
	}
	if jti, _ := logout["jti"].(string); jti == "" || logout["nonce"] != nil {
		t.Errorf("jti %q, nonce %v", jti, logout["nonce"])
	}
	checkTime(t, logout, "iat", s.w.now().Add(-time.Minute), s.w.now().Add(time.Minute))
	checkTime(t, logout, "exp", s.w.now(), s.w.now().Add(2*time.Minute))
	s.signedOutNow(t, rp.app, b)
}

func frontChannelLogout(t *testing.T, s *oidf) {
	const frame = "https://localhost:8443/test/a/idp/frontchannel_logout" // loopback is the provider's site here
	a, b := s.client(t, func(c *storage.Client) {
		c.FrontchannelLogoutURI, c.FrontchannelLogoutSession = frame, true
		c.RedirectURIs = []string{strings.Replace(frame, "frontchannel_logout", "callback", 1)}
	}), s.w.browser(t)
	f := s.request(t, a, "state", oidfRandom(128))
	tokens := f.signIn(b)
	q := f.endSession(tokens.raw)
	p := f.signOut(b, q)
	var seen []string
	for _, m := range regexp.MustCompile(`<iframe[^>]* src="([^"]+)"`).FindAllStringSubmatch(p.body, -1) {
		seen = append(seen, html.UnescapeString(m[1]))
	}
	if len(seen) != 1 {
		t.Fatalf("frames %v, want one\n%s", seen, p.body)
	}
	loaded, err := url.Parse(seen[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := (url.Values{"iss": {s.w.issuer}, "sid": {fmt.Sprint(tokens.claims["sid"])}}); !maps.EqualFunc(loaded.Query(), want, slices.Equal) {
		t.Errorf("the frame has %v, want %v", loaded.Query(), want)
	}
	if !strings.HasPrefix(seen[0], frame+"?") || !strings.Contains(p.header.Get("Content-Security-Policy"), "frame-src https://localhost:8443") {
		t.Errorf("frame %s under %s", seen[0], p.header.Get("Content-Security-Policy"))
	}
	_, next, _ := strings.Cut(p.header.Get("Refresh"), "url=")
	to, err := url.Parse(next)
	if err != nil {
		t.Fatal(err)
	}
	checkGoodbye(t, to, q)
	s.signedOutNow(t, a, b)
}
