package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/net/html"
	"golang.org/x/oauth2"

	"idp"
	"idp/storage"
)

// The plans of the OpenID Foundation's conformance suite, as tests: one file for each plan
// (oidf_config_test.go and so on), in it a subtest for each module, by the module's own name. What the
// modules check of every message is in oidf_checks_test.go, and what the suite only warns about fails
// here. The suite itself is a Java server with a browser that needs a public address; these tests say
// what it would say, and doc/decisions/0022-conformance-plans.md says what is left for a real run.
//
// The client side is golang.org/x/oauth2, coreos/go-oidc and go-jose: none of our code. The provider
// is served over https, so that addresses and cookies are those of production. Waiting is done by the
// provider's clock.

// oidf is one run of a plan against one provider.
type oidf struct {
	w        *world
	wire     *wire // what the last request to the provider was answered
	ctx      context.Context
	provider *oidc.Provider
	metadata map[string]any
	keys     jose.JSONWebKeySet
	who      *person // somebody with every standard claim
	formPost bool    // response_mode=form_post in every request
}

// runPlan starts a provider and runs the modules, one after the other, as the suite does.
func runPlan(t *testing.T, formPost bool, modules []oidfModule) {
	t.Helper()
	t.Parallel()
	s := openOIDF(t)
	s.formPost = formPost
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) { m.run(t, s) })
	}
}

type oidfModule struct {
	name string
	run  func(t *testing.T, s *oidf)
}

func openOIDF(t *testing.T) *oidf {
	t.Helper()
	s := &oidf{w: startTLS(t)}
	s.wire = &wire{next: s.w.transport}
	s.ctx = oidc.ClientContext(context.Background(), &http.Client{Transport: s.wire})
	provider, err := oidc.NewProvider(s.ctx, s.w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	s.provider = provider
	if err := provider.Claims(&s.metadata); err != nil {
		t.Fatal(err)
	}
	s.fetchKeys(t)
	s.who = s.w.person(t, "ada")
	return s
}

// fetchKeys reads the key set at jwks_uri.
func (s *oidf) fetchKeys(t testing.TB) {
	t.Helper()
	s.fetch(t, "GET", s.endpoint(t, "jwks_uri"), nil, "")
	s.keys = jose.JSONWebKeySet{}
	if err := json.Unmarshal(s.wire.body, &s.keys); err != nil {
		t.Fatalf("jwks_uri: %v in %s", err, s.wire.body)
	}
}

// endpoint is an address of the metadata.
func (s *oidf) endpoint(t testing.TB, name string) string {
	t.Helper()
	address, _ := s.metadata[name].(string)
	if address == "" {
		t.Fatalf("the metadata has no %s", name)
	}
	return address
}

// startTLS runs a provider as start does, but serves https.
func startTLS(t testing.TB, change ...func(*world)) *world {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	w := &world{clock: &clock{}, replicas: []string{server.Listener.Addr().String()}}
	w.issuer = "https://" + w.replicas[0]
	for _, f := range change {
		f(w)
	}
	w.open(t)
	srv, err := idp.New(context.Background(), w.config(), idp.Options{Log: testLog(t), Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	if err := srv.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.servers = append(w.servers, srv)
	server.Config.Handler = srv.Handler()
	server.StartTLS()
	t.Cleanup(server.Close)
	w.dialReplicas(t)
	w.transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	return w
}

// wire keeps the last answer, for what libraries do not show.
type wire struct {
	next   http.RoundTripper
	status int
	header http.Header
	body   []byte
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	w.status, w.header = resp.StatusCode, resp.Header
	if w.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(w.body))
	return resp, nil
}

// fetch sends a request that no library would send; the answer is on the wire.
func (s *oidf) fetch(t testing.TB, method, address string, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := s.wire.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// json is the answer on the wire.
func (s *oidf) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(s.wire.body, &m); err != nil {
		t.Fatalf("%v in %s", err, s.wire.body)
	}
	return m
}

const (
	oidfCallback = "https://suite.test/test/a/idp/callback"
	oidfGoodbye  = "https://suite.test/test/a/idp/post_logout_redirect"
)

// client registers a static client as the suite's instructions ask for: client_secret_basic, one
// redirect URI. PKCE is optional, because only one module of the plans sends it.
func (s *oidf) client(t testing.TB, change ...func(*storage.Client)) *app {
	t.Helper()
	return s.w.app(t, storage.ClientWeb, append([]func(*storage.Client){func(c *storage.Client) {
		c.Name, c.PKCEOptional = "OIDF conformance suite", true
		c.RedirectURIs, c.PostLogoutRedirectURIs = []string{oidfCallback}, []string{oidfGoodbye}
	}}, change...)...)
}

// oidfFlow is one authorization request of a module, and what comes of it.
type oidfFlow struct {
	s      *oidf
	t      testing.TB
	app    *app
	params url.Values
	secret string // PKCE verifier, if the module sends PKCE
	answer url.Values
}

// request makes an authorization request; overrides replace or ("-") remove parameters.
func (s *oidf) request(t testing.TB, a *app, overrides ...string) *oidfFlow {
	f := &oidfFlow{s: s, t: t, app: a, params: url.Values{
		"client_id": {a.ID}, "redirect_uri": {a.RedirectURIs[0]}, "scope": {"openid"}, "response_type": {"code"},
		"state": {oidfRandom(10)}, "nonce": {oidfRandom(10)},
	}}
	if s.formPost {
		f.params.Set("response_mode", "form_post")
	}
	f.with(overrides...)
	return f
}

func (f *oidfFlow) with(overrides ...string) {
	for i := 0; i+1 < len(overrides); i += 2 {
		if overrides[i+1] == "-" {
			f.params.Del(overrides[i])
		} else {
			f.params.Set(overrides[i], overrides[i+1])
		}
	}
}

// oidfRandom has every kind of character that needs no escaping in a URL.
func oidfRandom(n int) string { return randomText(n-4) + "-._~" }

func (f *oidfFlow) url() string { return f.s.provider.Endpoint().AuthURL + "?" + f.params.Encode() }

// visit follows the request through sign-in and consent, as the suite's browser does, until the
// browser is where it stays.
func (f *oidfFlow) visit(b *browser) *page { f.t.Helper(); return f.s.settle(f.t, b.get(f.url())) }

func (s *oidf) settle(t testing.TB, p *page) *page {
	t.Helper()
	for range 4 {
		switch {
		case p.left != nil, strings.Contains(p.body, `id="form-post"`): // the answer, be it at the consent page's address
			return p
		case p.url.Path == "/login":
			p = p.submit(map[string]string{"username": s.who.Username, "password": s.who.Password})
		case p.url.Path == "/consent":
			p = p.submit(map[string]string{"decision": "allow"})
		default:
			return p
		}
	}
	t.Fatalf("the browser does not come to rest; at %s", p.url)
	return nil
}

// callback takes the answer where the response mode says, and nowhere else.
func (f *oidfFlow) callback(p *page) url.Values {
	f.t.Helper()
	redirect, err := url.Parse(f.params.Get("redirect_uri"))
	if err != nil {
		f.t.Fatal(err)
	}
	if f.params.Get("response_mode") != "form_post" {
		if p.left == nil {
			f.t.Fatalf("the browser stays at %s (%d), want to be at the redirect URI\n%s", p.url, p.status, p.body)
		}
		f.answer = checkRedirect(f.t, redirect, p.left)
		return f.answer
	}
	if p.left != nil {
		f.t.Fatalf("a redirect to %s, want a form", p.left)
	}
	f.answer = checkFormPost(f.t, redirect, p)
	return f.answer
}

// code signs in, and gives the code of a right answer.
func (f *oidfFlow) code(b *browser) string {
	f.t.Helper()
	answer := f.callback(f.visit(b))
	checkSuccess(f.t, f.s.w.issuer, f.params, answer)
	return answer.Get("code")
}

// fails takes an error answer, which is one of those codes.
func (f *oidfFlow) fails(b *browser, codes ...string) {
	f.t.Helper()
	f.failsAt(b.get(f.url()), codes...)
}

func (f *oidfFlow) failsAt(p *page, codes ...string) {
	f.t.Helper()
	answer := f.callback(p)
	checkError(f.t, f.s.w.issuer, f.params, answer)
	if !slices.Contains(codes, answer.Get("error")) {
		f.t.Errorf("error %q, want one of %v", answer.Get("error"), codes)
	}
}

// oidfTokens are the tokens of one answer, the ID token taken apart.
type oidfTokens struct {
	*oauth2.Token
	raw            string
	header, claims map[string]any
}

func (f *oidfFlow) config() *oauth2.Config {
	endpoint := f.s.provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	if f.app.AuthMethod == "client_secret_basic" {
		endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{ClientID: f.app.ID, ClientSecret: f.app.secret, Endpoint: endpoint, RedirectURL: f.params.Get("redirect_uri")}
}

// exchange redeems a code and checks all that comes.
func (f *oidfFlow) exchange(code string, opts ...oauth2.AuthCodeOption) *oidfTokens {
	f.t.Helper()
	if f.secret != "" {
		opts = append(opts, oauth2.VerifierOption(f.secret))
	}
	token, err := f.config().Exchange(f.s.ctx, code, opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	tokens := f.take(token)
	checkNonce(f.t, tokens.claims, f.params.Get("nonce"))
	return tokens
}

// take checks a token response and its ID token, as every module does.
func (f *oidfFlow) take(token *oauth2.Token) *oidfTokens {
	f.t.Helper()
	s := f.s
	checkTokenAnswer(f.t, s.wire, scopeList(f.params.Get("scope")))
	tokens := &oidfTokens{Token: token}
	tokens.raw, _ = token.Extra("id_token").(string)
	tokens.header, tokens.claims = claims(f.t, tokens.raw)
	verified, err := s.provider.Verifier(&oidc.Config{ClientID: f.app.ID, Now: s.w.clock.now, SupportedSigningAlgs: []string{f.app.IDTokenAlg}}).Verify(s.ctx, tokens.raw)
	if err != nil {
		f.t.Fatalf("ID token: %v", err)
	}
	if err := verified.VerifyAccessToken(token.AccessToken); err != nil {
		f.t.Errorf("at_hash: %v", err)
	}
	checkSignature(f.t, s.keys, tokens.raw)
	checkIDToken(f.t, s.metadata, f.app.ID, s.w.now(), tokens.claims, f.asked("id_token"))
	return tokens
}

// asked are the claims that the claims parameter asks for in one of its members.
func (f *oidfFlow) asked(member string) []string {
	var c map[string]map[string]any
	if text := f.params.Get("claims"); text != "" {
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			f.t.Fatal(err)
		}
	}
	return slices.Collect(maps.Keys(c[member]))
}

// signIn goes through a whole flow, userinfo included.
func (f *oidfFlow) signIn(b *browser) *oidfTokens {
	f.t.Helper()
	tokens := f.exchange(f.code(b))
	f.userInfo(tokens, func() {
		f.s.fetch(f.t, "GET", f.s.endpoint(f.t, "userinfo_endpoint"), http.Header{"Authorization": {tokens.TokenType + " " + tokens.AccessToken}, "Accept": {"application/json"}}, "")
	})
	return tokens
}

// userInfo checks the answer to a userinfo request.
func (f *oidfFlow) userInfo(tokens *oidfTokens, ask func()) map[string]any {
	f.t.Helper()
	ask()
	if f.s.wire.status != 200 || f.s.wire.header.Get("Content-Type") != "application/json" {
		f.t.Fatalf("userinfo: %d %s %s", f.s.wire.status, f.s.wire.header.Get("Content-Type"), f.s.wire.body)
	}
	info := f.s.json(f.t)
	checkUserInfo(f.t, info, f.s.w.now(), scopeList(f.params.Get("scope")), f.asked("userinfo"))
	if info["sub"] != tokens.claims["sub"] {
		f.t.Errorf("userinfo is of %v, the ID token of %v", info["sub"], tokens.claims["sub"])
	}
	return info
}

func scopeList(s string) []string { return strings.Fields(s) }

// formOf finds the form that has every hidden field of an answer.
func formOf(t testing.TB, p *page) (attributes map[string]string, fields url.Values) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" {
			attributes = map[string]string{}
			for _, a := range n.Attr {
				attributes[a.Key] = a.Val
			}
			_, fields = p.form()
			return attributes, fields
		}
	}
	t.Fatalf("no form on %s (%d):\n%s", p.url, p.status, p.body)
	return nil, nil
}
