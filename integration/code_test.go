package integration

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestLogInWithFromAuthorizeToSignOut(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	b := w.browser(t)
	f := a.begin()
	p := b.get(f.url()).at("/login")
	p = p.submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/consent")
	if !strings.Contains(p.body, "Acme Wiki") || !strings.Contains(p.body, "See your email address") {
		t.Errorf("the consent page does not say who asks for what:\n%s", p.body)
	}
	answer := p.submit(map[string]string{"decision": "allow"}).answer()
	if answer.Get("state") != f.params.Get("state") || answer.Get("iss") != w.issuer || len(answer) != 3 {
		t.Errorf("answer = %v, want code, state and iss", answer)
	}
	tokens := f.exchange(answer.Get("code")).ok()
	if got := tokens.text("token_type"); got != "Bearer" {
		t.Errorf("token_type = %q", got)
	}
	if got := tokens.body["expires_in"]; got != float64(600) {
		t.Errorf("expires_in = %v, want 600", got)
	}
	header, id := claims(t, tokens.text("id_token"))
	if header["alg"] != "RS256" || id["iss"] != w.issuer || id["aud"] != a.ID || id["nonce"] != f.params.Get("nonce") || id["sub"] != ada.ID || id["acr"] != "urn:idp:acr:1fa" {
		t.Errorf("ID token %v %v", header, id)
	}
	if _, has := id["email"]; has {
		t.Errorf("the ID token has profile claims: %v", names(id))
	}
	info := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	if info.text("sub") != ada.ID || info.text("email") != ada.Email || info.body["email_verified"] != true {
		t.Errorf("userinfo = %s", info.raw)
	}
	second := a.refresh(tokens.refresh()).ok()
	if second.refresh() == tokens.refresh() || second.access() == tokens.access() {
		t.Error("a refresh gave an old token again")
	}
	if !a.active(second.access()) || !a.active(tokens.access()) {
		t.Error("an access token is not active")
	}
	q := url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {"https://rp.test/bye"}, "state": {"s1"}}
	p = b.get("/logout?" + q.Encode())
	if p.left == nil || p.left.String() != "https://rp.test/bye?state=s1" {
		t.Errorf("sign-out went to %v (%s), want the app", p.left, p.url)
	}
	if got := b.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("prompt=none after sign-out = %q, want login_required", got)
	}
}

func TestASignedInPersonWhoConsentedIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	f := a.begin("scope", "openid email")
	f.exchange(b.get(f.url()).answer().Get("code")).ok()
	if p := b.get(a.begin("scope", "openid email address").url()); p.left != nil || p.url.Path != "/consent" {
		t.Errorf("a wider scope was not asked for: at %s", p.url)
	}
}

func TestAWrongAttemptDoesNotConsumeTheCode(t *testing.T) { // traps P1, F1, F2
	t.Parallel()
	w := start(t)
	a, other, ada, b := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	f.exchange(code, "code_verifier", randomText(48)).fails(400, "invalid_grant")
	f.exchange(code, "code_verifier", "-").fails(400, "invalid_grant")
	f.exchange(code, "redirect_uri", "https://rp.test/other").fails(400, "invalid_grant")
	otherFlow := *f
	otherFlow.a = other
	otherFlow.exchange(code).fails(400, "invalid_grant")
	f.exchange(code).ok()
}

func TestTheFifthWrongAttemptEndsTheCode(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	for _, verifier := range []string{"x", strings.Repeat("x", 42), strings.Repeat("x", 128), strings.Repeat("x", 43) + " ", strings.Repeat("x", 43) + "+"} {
		f.exchange(code, "code_verifier", verifier).fails(400, "invalid_grant")
	}
	f.exchange(code).fails(400, "invalid_grant")
}

func TestAReplayedCodeRevokesWhatCameFromIt(t *testing.T) { // RFC 6749, 4.1.2; A-026
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	tokens := f.exchange(code).ok()
	f.exchange(code).fails(400, "invalid_grant")
	if a.active(tokens.access()) {
		t.Error("the access token is active after a replay of its code")
	}
	a.refresh(tokens.refresh()).fails(400, "invalid_grant")
}

func TestAStrangersReplayEndsNothing(t *testing.T) { // trap F3; A-027
	t.Parallel()
	w := start(t)
	a, evil, ada, b := w.app(t, storage.ClientSPA), w.app(t, storage.ClientSPA), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	tokens := f.exchange(code).ok()
	stranger := *f
	stranger.a = evil
	stranger.exchange(code, "code_verifier", "-", "redirect_uri", "https://evil.test/cb").fails(400, "invalid_grant")
	f.exchange(code, "code_verifier", randomText(48)).fails(400, "invalid_grant")
	a.refresh(tokens.refresh()).ok()
}

func TestAnExpiredCodeIsInvalidGrant(t *testing.T) { // trap P41; A-033
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	w.clock.advance(61 * time.Second)
	f.exchange(code).fails(400, "invalid_grant")
}

func TestPKCEIsRequiredAndS256Only(t *testing.T) { // trap P30
	t.Parallel()
	w := start(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	for _, kind := range []string{storage.ClientWeb, storage.ClientSPA, storage.ClientNative} {
		a := w.app(t, kind)
		for _, bad := range [][]string{
			{"code_challenge", "-", "code_challenge_method", "-"},
			{"code_challenge", "-"},
			{"code_challenge_method", "plain"},
			{"code_challenge_method", "-"},
			{"code_challenge_method", "s256"},
			{"code_challenge", strings.Repeat("a", 42)},
			{"code_challenge", strings.Repeat("a", 44)},
			{"code_challenge", strings.Repeat("a", 43) + "="},
			{"code_challenge", strings.Repeat("a", 42) + "."},
		} {
			if got := b.get(a.begin(bad...).url()).answer().Get("error"); got != "invalid_request" {
				t.Errorf("%s %v: error = %q, want invalid_request", kind, bad, got)
			}
		}
	}
	legacy := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.PKCEOptional = true })
	f := legacy.begin("code_challenge", "-", "code_challenge_method", "-")
	code := b.get(f.url()).pass(ada).Get("code")
	f.exchange(code).fails(400, "invalid_grant") // a verifier without a challenge (RFC 9700, 4.8.2)
	f.exchange(code, "code_verifier", "-").ok()
}

func TestShortOrMissingStateAndNonceWork(t *testing.T) { // traps P12, P13
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin("state", "-", "nonce", "x")
	answer := b.get(f.url()).pass(ada)
	if answer.Has("state") {
		t.Errorf("answer has a state that nobody sent: %v", answer)
	}
	_, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token"))
	if id["nonce"] != "x" {
		t.Errorf("nonce = %v, want x", id["nonce"])
	}
	f = a.begin("nonce", "-", "state", "s")
	answer = b.get(f.url()).pass(ada)
	if answer.Get("state") != "s" {
		t.Errorf("state = %q, want s", answer.Get("state"))
	}
	if _, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token")); id["nonce"] != nil {
		t.Errorf("nonce = %v though none was sent", id["nonce"])
	}
}
