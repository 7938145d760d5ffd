package integration

import (
	"context"
	"net/http"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Modules of the plan oidcc-dynamic-certification-test-plan that register clients.

func TestOIDFDynamicPlanWithRegistration(t *testing.T) {
	t.Parallel()
	w := startTLS(t, func(w *world) { w.register = "open" })
	s := &oidf{w: w, wire: &wire{next: w.transport}, who: w.person(t, "ada")}
	s.ctx = oidc.ClientContext(context.Background(), &http.Client{Transport: s.wire})
	provider, err := oidc.NewProvider(s.ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Claims(&s.metadata); err != nil {
		t.Fatal(err)
	}
	s.provider = provider
	s.fetchKeys(t)
	for _, m := range []oidfModule{
		{"oidcc-server client_registration=dynamic_client", func(t *testing.T, s *oidf) { s.registers(t).signInWithPKCE(s.w.browser(t)) }},
		{"oidcc-userinfo-rs256", func(t *testing.T, s *oidf) {
			f := s.registers(t, "userinfo_signed_response_alg", "RS256")
			f.pkce()
			s.fetch(t, "GET", s.endpoint(t, "userinfo_endpoint"), bearerHeader(f.exchange(f.code(s.w.browser(t))).AccessToken), "")
			if s.wire.status != 200 || s.wire.header.Get("Content-Type") != "application/jwt" {
				t.Errorf("userinfo: %d %s", s.wire.status, s.wire.header.Get("Content-Type"))
			}
		}},
		{"oidcc-redirect-uri-regfrag", func(t *testing.T, s *oidf) {
			refusedWith(t, "a fragment", s.w.registers(t, metadata(t, "redirect_uris", []string{oidfCallback + "#foobar"}), ""), 400, "invalid_redirect_uri")
		}},
		{"oidcc-registration-jwks-uri", func(t *testing.T, s *oidf) {
			r := s.w.registers(t, metadata(t, "redirect_uris", []string{oidfCallback}, "jwks_uri", "https://suite.test/jwks", "token_endpoint_auth_method", "private_key_jwt"), "")
			if r.itself(s.w); r.text("jwks_uri") != "https://suite.test/jwks" {
				t.Errorf("%s", r.raw)
			}
		}},
	} {
		t.Run(m.name, func(t *testing.T) { m.run(t, s) })
	}
}

// registers makes a client as the suite does, and a request of it.
func (s *oidf) registers(t testing.TB, overrides ...any) *oidfFlow {
	t.Helper()
	r := s.w.registers(t, metadata(t, append([]any{"client_name", "OIDF conformance suite", "redirect_uris", []string{oidfCallback}, "grant_types", []string{"authorization_code"}}, overrides...)...), "")
	return s.request(t, r.itself(s.w))
}

func (f *oidfFlow) signInWithPKCE(b *browser) *oidfTokens {
	f.t.Helper()
	f.pkce()
	return f.signIn(b)
}
