package integration

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"idp/oauth"
	"idp/storage"
)

// Modules of the plan oidcc-dynamic-certification-test-plan that a static client can go through. The
// modules that register clients, and those of the response types id_token and token, are not here, nor is
// oidcc-registration-logo-uri: our pages show no pictures from addresses of strangers.

func TestOIDFDynamicPlanWithStaticClients(t *testing.T) {
	runPlan(t, false, []oidfModule{
		{"oidcc-idtoken-rs256", idTokenSignature},
		{"oidcc-userinfo-rs256", userInfoRS256},
		{"oidcc-ensure-redirect-uri-in-authorization-request", redirectURIMissing},
		{"oidcc-redirect-uri-query-OK", redirectURIQuery},
		{"oidcc-redirect-uri-query-mismatch", redirectURIQueryWrong("?dummy1=lorem&dummy2=ipsum", "?dummy1=lorem&dummy2=dolor")},
		{"oidcc-redirect-uri-query-added", redirectURIQueryWrong("", "?dummy1=lorem&dummy2=ipsum")},
		{"oidcc-redirect-uri-regfrag", redirectURIFragment},
		{"oidcc-registration-policy-uri", consentLink(func(c *storage.Client, uri string) { c.PolicyURI = uri })},
		{"oidcc-registration-tos-uri", consentLink(func(c *storage.Client, uri string) { c.TosURI = uri })},
		{"oidcc-server-rotate-keys", rotateKeys},
		{"oidcc-refresh-token-rp-key-rotation", clientKeyRotation},
		{"oidcc-request-uri-unsigned", requestURI},
		{"oidcc-request-uri-signed-rs256", requestURI},
		{"oidcc-ensure-client-assertion-with-iss-aud-succeeds", clientAssertion},
	})
}

// The suite runs its modules with other kinds of clients too, where a provider says that it has them.
func TestOIDFServerModuleWithOtherClients(t *testing.T) {
	variant := func(change func(c *storage.Client)) func(t *testing.T, s *oidf) {
		return func(t *testing.T, s *oidf) {
			f := s.request(t, s.client(t, change), "scope", "openid profile email address phone offline_access", "prompt", "consent")
			f.pkce()
			tokens := f.signIn(s.w.browser(t))
			s.w.clock.advance(time.Second)
			fresh, err := f.refresh(tokens.RefreshToken, "")
			if err != nil {
				t.Fatal(err)
			}
			checkRefreshedIDToken(t, tokens.claims, f.take(fresh).claims)
		}
	}
	runPlan(t, false, []oidfModule{
		{"oidcc-server client_auth_type=none", variant(func(c *storage.Client) { c.Type, c.AuthMethod, c.PKCEOptional = storage.ClientSPA, "none", false })},
		{"oidcc-server id_token_signed_response_alg=ES256", variant(func(c *storage.Client) { c.IDTokenAlg = "ES256" })},
		{"oidcc-server id_token_signed_response_alg=PS256", variant(func(c *storage.Client) { c.IDTokenAlg = "PS256" })},
		{"oidcc-server id_token_signed_response_alg=EdDSA", variant(func(c *storage.Client) { c.IDTokenAlg = "EdDSA" })},
		{"oidcc-server subject_type=pairwise", variant(func(c *storage.Client) { c.SubjectType, c.Sector = "pairwise", "suite.test" })},
		{"oidcc-server with access tokens that are JWTs", variant(func(c *storage.Client) { c.AccessTokenFormat = "jwt" })},
	})
}

// rsaKey is a client's key for request objects and assertions.
type rsaKey struct {
	private *rsa.PrivateKey
	kid     string
}

func newRSAKey(t testing.TB) rsaKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return rsaKey{private, randomText(8)}
}

func (k rsaKey) public(t testing.TB) []byte {
	return jwks(t, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: "RS256", Use: "sig"})
}

func (k rsaKey) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(mustJSON(t, claims)))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// object signs parameters as a request object.
func (k rsaKey) object(t testing.TB, s *oidf, params url.Values) string {
	now := s.w.now().Unix()
	all := map[string]any{"iss": params.Get("client_id"), "aud": s.w.issuer, "iat": now, "nbf": now, "exp": now + 300}
	for name, values := range params {
		all[name] = values[0]
	}
	return k.sign(t, all)
}

func userInfoRS256(t *testing.T, s *oidf) {
	a := s.client(t, func(c *storage.Client) { c.UserInfoAlg = "RS256" })
	f := s.request(t, a)
	tokens := f.exchange(f.code(s.w.browser(t)))
	userInfoGet(t, s, tokens)
	if s.wire.status != 200 || s.wire.header.Get("Content-Type") != "application/jwt" {
		t.Fatalf("userinfo: %d %s", s.wire.status, s.wire.header.Get("Content-Type"))
	}
	checkSignature(t, s.keys, string(s.wire.body))
	header, info := claims(t, string(s.wire.body))
	if header["alg"] != "RS256" || info["iss"] != s.w.issuer || info["aud"] != a.ID || info["sub"] != tokens.claims["sub"] {
		t.Errorf("header %v, claims %v", header, info)
	}
}

func redirectURIMissing(t *testing.T, s *oidf) {
	two := s.client(t, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, oidfCallback+"/2") })
	for _, a := range []*app{s.client(t), two} {
		oidfStays(t, s.w.browser(t).get(s.request(t, a, "redirect_uri", "-").url()))
	}
}

func redirectURIQuery(t *testing.T, s *oidf) {
	a := s.client(t, func(c *storage.Client) { c.RedirectURIs = []string{oidfCallback + "?dummy1=lorem&dummy2=ipsum"} })
	s.request(t, a).signIn(s.w.browser(t)) // checkRedirect looks for the query
	s.request(t, a, "prompt", "none").fails(s.w.browser(t), "login_required")
}

func redirectURIQueryWrong(registered, sent string) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		a := s.client(t, func(c *storage.Client) { c.RedirectURIs = []string{oidfCallback + registered} })
		oidfStays(t, s.w.browser(t).get(s.request(t, a, "redirect_uri", oidfCallback+sent).url()))
	}
}

func redirectURIFragment(t *testing.T, s *oidf) {
	c := *s.client(t).Client
	c.RedirectURIs = []string{oidfCallback + "#foobar"}
	if err := oauth.CheckClient(&c); err == nil || !strings.Contains(err.Error(), "fragment") {
		t.Errorf("a redirect URI with a fragment is registered: %v", err)
	}
}

// consentLink looks for a link that the client registered, where the person decides about it.
func consentLink(set func(c *storage.Client, uri string)) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		const uri = "https://suite.test/test/a/idp/document.html"
		b := s.w.browser(t)
		p := b.get(s.request(t, s.client(t, func(c *storage.Client) { set(c, uri) })).url()).at("/login")
		p = p.submit(map[string]string{"username": s.who.Username, "password": s.who.Password}).at("/consent")
		if !strings.Contains(p.body, `<a href="`+uri+`"`) {
			t.Errorf("there is no link to %s:\n%s", uri, p.body)
		}
	}
}

// rotateKeys: what was signed before a rotation verifies after it, and the new key was there to be found
// before it signed (OpenID Connect Core, 10.1.1).
func rotateKeys(t *testing.T, s *oidf) {
	a := s.client(t)
	first := s.request(t, a).signIn(s.w.browser(t))
	if _, err := oauth.RotateKeys(context.Background(), s.w.db, oauth.RotateOptions{Alg: "RS256", Now: s.w.now()}); err != nil {
		t.Fatal(err)
	}
	if err := s.w.servers[0].RunJobs(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.fetchKeys(t)
	checkSignature(t, s.keys, first.raw)
	for range 10 {
		s.w.clock.advance(6 * time.Hour)
		if err := s.w.servers[0].RunJobs(context.Background()); err != nil {
			t.Fatal(err)
		}
		second := s.request(t, a).signIn(s.w.browser(t)) // verified with the keys that were fetched before
		if second.header["kid"] != first.header["kid"] {
			verifier := oidc.NewVerifier(s.w.issuer, oidc.NewRemoteKeySet(s.ctx, s.endpoint(t, "jwks_uri")), &oidc.Config{ClientID: a.ID, Now: s.w.clock.now})
			if _, err := verifier.Verify(s.ctx, second.raw); err != nil {
				t.Errorf("a library that fetches the keys now: %v", err)
			}
			return
		}
	}
	t.Error("the new key never signed")
}

// clientAssertion authenticates by private_key_jwt with the issuer as audience.
func clientAssertion(t *testing.T, s *oidf) {
	key := newRSAKey(t)
	a := s.client(t, func(c *storage.Client) { c.AuthMethod, c.JWKS = "private_key_jwt", key.public(t) })
	f := s.request(t, a)
	f.exchangeAsserted(t, key, f.code(s.w.browser(t)))
}

func (f *oidfFlow) exchangeAsserted(t testing.TB, key rsaKey, code string) *oidfTokens {
	t.Helper()
	return f.exchange(code, oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		oauth2.SetAuthURLParam("client_assertion", key.clientAssertion(t, f.s, f.app)))
}

func (k rsaKey) clientAssertion(t testing.TB, s *oidf, a *app) string {
	now := s.w.now().Unix()
	return k.sign(t, map[string]any{"iss": a.ID, "sub": a.ID, "aud": s.w.issuer, "jti": randomText(20), "iat": now, "exp": now + 60})
}

// clientKeyRotation: a refresh token outlives the key that the client had when it got it.
func clientKeyRotation(t *testing.T, s *oidf) {
	old, fresh := newRSAKey(t), newRSAKey(t)
	a := s.client(t, func(c *storage.Client) { c.AuthMethod, c.JWKS = "private_key_jwt", old.public(t) })
	f := s.request(t, a, "scope", "openid offline_access", "prompt", "consent")
	tokens := f.exchangeAsserted(t, old, f.code(s.w.browser(t)))
	s.w.updateClient(t, a, func(c *storage.Client) { c.JWKS = fresh.public(t) })
	refresh := func(key rsaKey) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}, "client_assertion": {key.clientAssertion(t, s, a)},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
		header := http.Header{}
		maps.Copy(header, oidfForm())
		s.fetch(t, "POST", s.provider.Endpoint().TokenURL, header, form.Encode())
	}
	refresh(old)
	checkTokenError(t, s.wire, 401, "invalid_client")
	s.w.clock.advance(time.Second)
	refresh(fresh)
	checkTokenAnswer(t, s.wire, []string{"openid", "offline_access"})
}
