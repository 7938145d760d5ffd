package integration

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"idp/storage"
)

// The plan oidcc-basic-certification-test-plan: response_type=code, client_secret_basic, static clients.
// The form post plan runs the same modules (oidf_formpost_test.go).
//
// Other than in the suite: the screenshots of sign-in and error pages, which a person looks at, are
// checks of the page's path and status here. Modules that a static client skips (oidcc-idtoken-unsigned)
// or that our metadata turns off (unsigned request objects, request_uri) check that what is not
// advertised is refused in the right way.

func TestOIDFBasicPlan(t *testing.T) { runPlan(t, false, basicModules) }

var basicModules = []oidfModule{
	{"oidcc-server", serverModule(storage.ClientMetadata{})},
	{"oidcc-response-type-missing", responseTypeMissing},
	{"oidcc-idtoken-signature", idTokenSignature},
	{"oidcc-idtoken-unsigned", idTokenUnsigned},
	{"oidcc-userinfo-get", userInfoModule(userInfoGet)},
	{"oidcc-userinfo-post-header", userInfoModule(userInfoPostHeader)},
	{"oidcc-userinfo-post-body", userInfoModule(userInfoPostBody)},
	{"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", oidfPlain("nonce", "-")},
	{"oidcc-scope-profile", oidfPlain("scope", "openid profile")},
	{"oidcc-scope-email", oidfPlain("scope", "openid email")},
	{"oidcc-scope-address", oidfPlain("scope", "openid address")},
	{"oidcc-scope-phone", oidfPlain("scope", "openid phone")},
	{"oidcc-scope-all", oidfPlain("scope", "openid profile email address phone")},
	{"oidcc-ensure-other-scope-order-succeeds", oidfPlain("scope", "email openid")},
	{"oidcc-alternate-happy-flow", otherOrder},
	{"oidcc-display-page", oidfPlain("display", "page")},
	{"oidcc-display-popup", oidfPlain("display", "popup")},
	{"oidcc-prompt-login", promptLogin},
	{"oidcc-prompt-none-not-logged-in", promptNoneNotLoggedIn},
	{"oidcc-prompt-none-logged-in", oidfAgain("prompt", "none")},
	{"oidcc-max-age-1", maxAge1},
	{"oidcc-max-age-10000", oidfAgain("max_age", "10000")},
	{"oidcc-ensure-request-with-unknown-parameter-succeeds", oidfPlain("extra", "foobar")},
	{"oidcc-id-token-hint", idTokenHint},
	{"oidcc-login-hint", oidfPlain("login_hint", "buffy@suite.test")},
	{"oidcc-ui-locales", oidfPlain("ui_locales", "se")},
	{"oidcc-claims-locales", oidfPlain("claims_locales", "se")},
	{"oidcc-ensure-request-with-acr-values-succeeds", acrValues},
	{"oidcc-codereuse", codeReuse(0)},
	{"oidcc-codereuse-30seconds", codeReuse(30 * time.Second)},
	{"oidcc-ensure-registered-redirect-uri", registeredRedirectURI},
	{"oidcc-ensure-post-request-succeeds", postRequest},
	{"oidcc-server-client-secret-post", serverModule(storage.ClientMetadata{AuthMethod: "client_secret_post"})},
	{"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", requestURI},
	{"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", unsignedRequestObject},
	{"oidcc-claims-essential", oidfPlain("claims", `{"userinfo":{"name":{"essential":true}}}`)},
	{"oidcc-ensure-request-object-with-redirect-uri", requestObjectRedirect},
	{"oidcc-refresh-token", refreshTokenModule},
	{"oidcc-ensure-request-with-valid-pkce-succeeds", validPKCE},
}

// oidfPlain runs one flow with those parameters.
func oidfPlain(overrides ...string) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) { s.request(t, s.client(t), overrides...).signIn(s.w.browser(t)) }
}

func serverModule(m storage.ClientMetadata) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		a := s.client(t, func(c *storage.Client) {
			if m.AuthMethod != "" {
				c.AuthMethod = m.AuthMethod
			}
		})
		f := s.request(t, a)
		tokens := f.signIn(s.w.browser(t))
		if tokens.claims["at_hash"] == nil || tokens.claims["sid"] == nil {
			t.Errorf("the ID token has %v, want at_hash and sid too", names(tokens.claims))
		}
		for _, credentials := range []http.Header{(&app{Client: a.Client, secret: "wrong"}).basicHeader(), {}} { // and no code is spent by that
			form := url.Values{"grant_type": {"authorization_code"}, "code": {tokens.AccessToken}, "redirect_uri": {oidfCallback}}
			if credentials.Get("Authorization") == "" {
				form.Set("client_id", a.ID)
				form.Set("client_secret", "wrong")
			}
			header := oidfForm()
			for name, values := range credentials {
				header[name] = values
			}
			s.fetch(t, "POST", s.endpoint(t, "token_endpoint"), header, form.Encode())
			checkTokenError(t, s.wire, 401, "invalid_client")
			if credentials.Get("Authorization") != "" && !strings.HasPrefix(s.wire.header.Get("WWW-Authenticate"), "Basic") {
				t.Errorf("WWW-Authenticate %q, want Basic", s.wire.header.Get("WWW-Authenticate"))
			}
		}
	}
}

func responseTypeMissing(t *testing.T, s *oidf) {
	s.request(t, s.client(t), "response_type", "-").fails(s.w.browser(t), "invalid_request", "unsupported_response_type")
}

func idTokenSignature(t *testing.T, s *oidf) {
	tokens := s.request(t, s.client(t)).signIn(s.w.browser(t))
	if tokens.header["alg"] != "RS256" || tokens.header["kid"] == nil {
		t.Errorf("header %v, want RS256 with a kid", tokens.header)
	}
}

func idTokenUnsigned(t *testing.T, s *oidf) {
	if slices.Contains(metadataList(t, s.metadata, "id_token_signing_alg_values_supported"), "none") {
		t.Error("unsigned ID tokens are advertised")
	}
}

func userInfoModule(ask func(t testing.TB, s *oidf, tokens *oidfTokens)) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		f := s.request(t, s.client(t), "scope", "openid profile email address phone")
		tokens := f.signIn(s.w.browser(t))
		f.userInfo(tokens, func() { ask(t, s, tokens) })
		if s.wire.header.Get("Date") == "" || !strings.Contains(s.wire.header.Get("Cache-Control"), "no-store") {
			t.Errorf("headers %v", s.wire.header)
		}
		bad := *tokens
		bad.Token = &oauth2.Token{AccessToken: tokens.AccessToken[:len(tokens.AccessToken)-6] + "AAAAAA", TokenType: "Bearer"}
		ask(t, s, &bad)
		checkChallenge(t, s.wire, 401, "invalid_token")
	}
}

func userInfoGet(t testing.TB, s *oidf, tokens *oidfTokens) {
	s.fetch(t, "GET", s.endpoint(t, "userinfo_endpoint"), bearerHeader(tokens.AccessToken), "")
	if s.wire.status == 200 {
		info, err := s.provider.UserInfo(s.ctx, oauth2.StaticTokenSource(tokens.Token))
		if err != nil || info.Subject != tokens.claims["sub"] {
			t.Errorf("a library: %v, %v", info, err)
		}
	}
}

func userInfoPostHeader(t testing.TB, s *oidf, tokens *oidfTokens) {
	header := bearerHeader(tokens.AccessToken)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.fetch(t, "POST", s.endpoint(t, "userinfo_endpoint"), header, "")
}

func userInfoPostBody(t testing.TB, s *oidf, tokens *oidfTokens) {
	s.fetch(t, "POST", s.endpoint(t, "userinfo_endpoint"), oidfForm(), url.Values{"access_token": {tokens.AccessToken}}.Encode())
}

// otherOrder turns scopes and parameters around.
func otherOrder(t *testing.T, s *oidf) {
	f, b := s.request(t, s.client(t), "scope", "email openid"), s.w.browser(t)
	parts := strings.Split(f.params.Encode(), "&")
	slices.Reverse(parts)
	answer := f.callback(s.settle(t, b.get(s.provider.Endpoint().AuthURL+"?"+strings.Join(parts, "&"))))
	checkSuccess(t, s.w.issuer, f.params, answer)
	f.exchange(answer.Get("code"))
}

func promptLogin(t *testing.T, s *oidf) {
	a, b := s.client(t), s.w.browser(t)
	first := s.request(t, a).signIn(b)
	s.w.clock.advance(time.Second)
	second := s.request(t, a, "prompt", "login")
	b.get(second.url()).at("/login")
	checkLaterSignIn(t, first.claims, second.signIn(b).claims)
}

func promptNoneNotLoggedIn(t *testing.T, s *oidf) {
	s.request(t, s.client(t), "prompt", "none", "state", oidfRandom(128)).
		fails(s.w.browser(t), "login_required", "interaction_required", "account_selection_required", "consent_required")
}

// oidfAgain signs in, and a second time with those parameters, which must go through without the person.
func oidfAgain(overrides ...string) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		a, b := s.client(t), s.w.browser(t)
		first := s.request(t, a, "max_age", "15000").signIn(b)
		s.w.clock.advance(10 * time.Second)
		second := s.request(t, a, overrides...)
		checkSameSignIn(t, first.claims, second.silently(b).claims)
	}
}

// silently is signIn without the person: no page on the way.
func (f *oidfFlow) silently(b *browser) *oidfTokens {
	f.t.Helper()
	p := b.get(f.url())
	if len(p.hops) != 1 {
		f.t.Errorf("the browser went by %v", p.hops)
	}
	answer := f.callback(p)
	checkSuccess(f.t, f.s.w.issuer, f.params, answer)
	return f.exchange(answer.Get("code"))
}

func maxAge1(t *testing.T, s *oidf) {
	a, b := s.client(t), s.w.browser(t)
	first := s.request(t, a).signIn(b)
	s.w.clock.advance(2 * time.Second)
	second := s.request(t, a, "max_age", "1")
	b.get(second.url()).at("/login")
	tokens := second.signIn(b)
	checkLaterSignIn(t, first.claims, tokens.claims)
	checkTime(t, tokens.claims, "auth_time", s.w.now().Add(-time.Second), s.w.now().Add(time.Second))
}

func idTokenHint(t *testing.T, s *oidf) {
	a, b := s.client(t), s.w.browser(t)
	first := s.request(t, a).signIn(b)
	checkSameSignIn(t, first.claims, s.request(t, a, "prompt", "none", "id_token_hint", first.raw).silently(b).claims)
}

func acrValues(t *testing.T, s *oidf) {
	asked := metadataList(t, s.metadata, "acr_values_supported")
	tokens := s.request(t, s.client(t), "acr_values", strings.Join(asked, " ")).signIn(s.w.browser(t))
	if acr, _ := tokens.claims["acr"].(string); !slices.Contains(asked, acr) {
		t.Errorf("acr %q, want one of %v", acr, asked)
	}
}

func codeReuse(wait time.Duration) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		f, b := s.request(t, s.client(t)), s.w.browser(t)
		code := f.code(b)
		tokens := f.exchange(code)
		userInfoGet(t, s, tokens)
		s.w.clock.advance(wait)
		if _, err := f.config().Exchange(s.ctx, code); err == nil {
			t.Fatal("the code worked twice")
		}
		checkTokenError(t, s.wire, 400, "invalid_grant")
		userInfoGet(t, s, tokens) // a warning: the tokens of the first use should end (RFC 6749, 4.1.2)
		checkChallenge(t, s.wire, 401, "invalid_token")
	}
}

func registeredRedirectURI(t *testing.T, s *oidf) {
	f := s.request(t, s.client(t), "redirect_uri", oidfCallback+"/"+randomText(8))
	for _, p := range []*page{s.w.browser(t).get(f.url()), s.w.browser(t).post(s.provider.Endpoint().AuthURL, f.params)} {
		oidfStays(t, p)
	}
}

// oidfStays fails unless the browser is shown an error page of the provider.
func oidfStays(t testing.TB, p *page) {
	t.Helper()
	if p.left != nil || p.header.Get("Location") != "" || p.status != 400 || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
		t.Errorf("at %s, left to %v (%d), want an error page", p.url, p.left, p.status)
	}
	if strings.Contains(p.body, "suite.test") {
		t.Errorf("the page shows the address:\n%s", p.body)
	}
}

func postRequest(t *testing.T, s *oidf) {
	f, b := s.request(t, s.client(t)), s.w.browser(t)
	req := b.request(t, "POST", s.provider.Endpoint().AuthURL, f.params)
	req.Header.Set("Origin", "https://suite.test") // a form of another site
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	answer := f.callback(s.settle(t, b.follow(req)))
	checkSuccess(t, s.w.issuer, f.params, answer)
	f.exchange(answer.Get("code"))
}

func requestURI(t *testing.T, s *oidf) {
	if s.metadata["request_uri_parameter_supported"] != false {
		t.Error("request_uri is advertised")
	}
	s.request(t, s.client(t), "request_uri", "https://suite.test/request.jwt").fails(s.w.browser(t), "request_uri_not_supported")
}

// unsigned makes a request object of the parameters that has no signature.
func (f *oidfFlow) unsigned() string {
	inner := map[string]any{"iss": f.app.ID, "aud": f.s.w.issuer}
	for name, values := range f.params {
		inner[name] = values[0]
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(mustJSON(f.t, inner))) + "."
}

func unsignedRequestObject(t *testing.T, s *oidf) {
	if slices.Contains(metadataList(t, s.metadata, "request_object_signing_alg_values_supported"), "none") {
		t.Error("unsigned request objects are advertised")
	}
	f := s.request(t, s.client(t))
	f.with("request", f.unsigned())
	f.fails(s.w.browser(t), "request_not_supported")
}

// requestObjectRedirect puts a redirect URI into the request object and a wrong one beside it: unsigned,
// the wrong one is the only one that counts, so that nobody is redirected; signed, the inner one counts.
func requestObjectRedirect(t *testing.T, s *oidf) {
	f := s.request(t, s.client(t))
	f.with("request", f.unsigned(), "redirect_uri", oidfCallback+"/invalid")
	oidfStays(t, s.w.browser(t).get(f.url()))

	key := newRSAKey(t)
	signed := s.request(t, s.client(t, func(c *storage.Client) { c.JWKS = key.public(t) }))
	outer := signed.params
	signed.params = url.Values{"client_id": outer["client_id"], "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {oidfCallback + "/invalid"}, "state": {"outer"}, "nonce": {"outer"}}
	signed.params.Set("request", key.object(t, s, outer))
	p := s.settle(t, s.w.browser(t).get(signed.url()))
	signed.params = outer
	answer := signed.callback(p)
	checkSuccess(t, s.w.issuer, outer, answer)
	signed.exchange(answer.Get("code"))
}

func refreshTokenModule(t *testing.T, s *oidf) {
	one, two := s.client(t), s.client(t)
	s.refreshFlow(t, one, true)
	f, token := s.refreshFlow(t, two, false)
	f.app = one
	if _, err := f.refresh(token, ""); err == nil {
		t.Fatal("a client refreshed with another's refresh token")
	}
	checkTokenError(t, s.wire, 400, "invalid_grant")
	f.app = two
	if _, err := f.refresh(token, ""); err != nil {
		t.Errorf("the other client's try cost the right one its token: %v", err)
	}
}

// refreshFlow gets a refresh token and uses it.
func (s *oidf) refreshFlow(t testing.TB, a *app, withScope bool) (*oidfFlow, string) {
	t.Helper()
	f := s.request(t, a, "scope", "openid offline_access", "prompt", "consent", "nonce", oidfRandom(43))
	tokens := f.signIn(s.w.browser(t))
	s.w.clock.advance(time.Second)
	scope := ""
	if withScope {
		scope = "openid offline_access"
	}
	fresh, err := f.refresh(tokens.RefreshToken, scope)
	if err != nil {
		t.Fatal(err)
	}
	refreshed := f.take(fresh)
	checkRefreshedIDToken(t, tokens.claims, refreshed.claims)
	if refreshed.AccessToken == tokens.AccessToken {
		t.Error("the refresh gave the old access token")
	}
	f.userInfo(refreshed, func() { userInfoGet(t, s, refreshed) })
	return f, refreshed.RefreshToken
}

// refresh uses a refresh token; scope "" sends none.
func (f *oidfFlow) refresh(token, scope string) (*oauth2.Token, error) {
	if scope == "" {
		return f.config().TokenSource(f.s.ctx, &oauth2.Token{RefreshToken: token}).Token()
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {scope}}
	header := oidfForm()
	header.Set("Authorization", f.app.basicHeader().Get("Authorization"))
	f.s.fetch(f.t, "POST", f.s.provider.Endpoint().TokenURL, header, form.Encode())
	m := f.s.json(f.t)
	fresh := &oauth2.Token{TokenType: "Bearer"}
	fresh.AccessToken, _ = m["access_token"].(string)
	fresh.RefreshToken, _ = m["refresh_token"].(string)
	return fresh.WithExtra(m), nil
}

func validPKCE(t *testing.T, s *oidf) {
	f := s.request(t, s.client(t))
	f.pkce()
	f.signIn(s.w.browser(t))
}

// pkce has the flow send a challenge, and later its verifier.
func (f *oidfFlow) pkce() {
	f.secret = oauth2.GenerateVerifier()
	f.with("code_challenge", oauth2.S256ChallengeFromVerifier(f.secret), "code_challenge_method", "S256")
}
