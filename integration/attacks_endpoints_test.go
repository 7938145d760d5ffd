package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"

	"idp"
	"idp/storage"
)

func TestAttacksOnEndpointsThatReadTokens(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-060 introspection by those who may not know", nosyIntrospection},
		{"A-061 introspection with somebody's access token", introspectionByToken},
		{"A-063 revocation of what is not one's own", strangeRevocations},
		{"A-064 userinfo with anything else than a token for it", strangeUserinfo},
		{"A-065 what discovery must never promise", promises},
		{"A-066 foreign hosts and forwarded headers", foreignHosts},
		{"A-067 the key set holds public halves only", keySet},
	})
}

func nosyIntrospection(s *scene) {
	const api = "https://api1.test"
	a := s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.Resources = []string{api, "https://api2.test"} })
	rs := s.client(storage.ClientMachine, "", func(c *storage.Client) { c.Audience = []string{api} })
	other, evil := s.web2(), s.evil1()
	b := s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice)
	_, forAPI := s.works(a, b, s.arena.alice, "resource", api)
	_, forOther := s.works(a, b, s.arena.alice, "resource", "https://api2.test")
	if !a.active(tokens.access()) || !rs.active(forAPI.access()) {
		s.Fatal("the control failed: those who may know are not told")
	}
	nothing := func(name string, who *app, token string) {
		s.Helper()
		if r := who.call("/introspect", url.Values{"token": {token}}); r.status != 200 || strings.TrimSpace(r.raw) != `{"active":false}` || r.header.Get("Cache-Control") != "no-store" {
			s.Errorf("%s: %d %s, want active false and nothing else", name, r.status, r.raw)
		}
	}
	s.nothing(func() {
		for _, token := range []string{tokens.access(), tokens.refresh()} {
			s.refused("nobody", s.post(s, "/introspect", nil, url.Values{"token": {token}}), 401, "invalid_client")
			s.refused("evil1", evil.call("/introspect", url.Values{"token": {token}}), 401, "invalid_client")
			nothing("web2", other, token)
			nothing("an API that it is not for", rs, token)
		}
		nothing("a token for another API", rs, forOther.access())
		nothing("its refresh token", rs, forAPI.refresh())
		nothing("garbage", a, "x")
		nothing("an ID token", a, tokens.text("id_token"))
	})
	s.everywhere(a, tokens.access(), true)
}

func introspectionByToken(s *scene) {
	a, evil, b := s.web1(), s.evil1(), s.browser(s)
	_, victims := s.works(a, b, s.arena.alice)
	_, own := s.works(evil, s.browser(s), s.arena.mallory)
	s.nothing(func() {
		for _, token := range []string{victims.refresh(), victims.access(), own.access()} {
			for _, form := range []url.Values{{"token": {token}}, {"token": {token}, "client_id": {a.ID}}, {"token": {token}, "client_id": {evil.ID}}} {
				r := s.post(s, "/introspect", bearerHeader(own.access()), form)
				s.refused("with an access token", r, 401, "invalid_client")
				if strings.Contains(r.raw, "active") {
					s.Errorf("the answer tells of the token: %s", r.raw)
				}
			}
		}
	})
}

func strangeRevocations(s *scene) { // another client's token: 200, and nothing happens (doc/decisions/0010)
	a, other := s.web1(), s.web2()
	_, tokens := s.works(a, s.browser(s), s.arena.alice)
	s.nothing(func() {
		if r := a.call("/revoke", url.Values{"token": {"unknown"}}); r.status != 200 {
			s.Errorf("an unknown token: %d, want 200", r.status)
		}
		for _, token := range []string{tokens.access(), tokens.refresh()} {
			if r := other.call("/revoke", url.Values{"token": {token}}); r.status != 200 {
				s.Errorf("another client's token: %d, want 200", r.status)
			}
			s.refused("nobody", s.post(s, "/revoke", nil, url.Values{"token": {token}}), 401, "invalid_client")
			s.refused("in its client's name, without the secret", s.post(s, "/revoke", nil, url.Values{"token": {token}, "client_id": {a.ID}}), 401, "invalid_client")
			s.everywhere(a, token, true)
		}
	})
	for range 2 { // the control: its owner can, and a second time is no error
		a.call("/revoke", url.Values{"token": {tokens.refresh()}}).ok()
	}
	s.everywhere(a, tokens.access(), false)
}

func TestAttacksOnRevocationDuringAnOutage(t *testing.T) {
	t.Parallel()
	w := start(t)
	t.Run("A-062 a database that refuses to write", func(t *testing.T) {
		ctx := context.Background()
		a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
		_, tokens := a.signIn(w.browser(t), ada)
		_, control := a.signIn(w.browser(t), ada)
		a.call("/revoke", url.Values{"token": {control.refresh()}}).ok()
		admin, err := pgx.Connect(ctx, w.dbURL)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(ctx)
		database := pgx.Identifier{admin.Config().Database}.Sanitize()
		standby := func(yes bool) { // connections take the setting when they begin
			for _, sql := range []string{
				"set default_transaction_read_only = off",
				fmt.Sprintf("alter database %s set default_transaction_read_only = %v", database, yes),
				"select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
			} {
				if _, err := admin.Exec(ctx, sql); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The pool notices its cut connections one by one, with a 503 each; a client tries again.
		patient := func(path, token string) (r reply) {
			for range 12 {
				if r = a.call(path, url.Values{"token": {token}}); r.status != 503 {
					break
				}
			}
			return r
		}
		standby(true)
		for _, token := range []string{tokens.refresh(), tokens.access()} {
			r := patient("/revoke", token)
			if r.status != 503 || r.text("error") != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
				t.Errorf("revocation without writing: %d %s, want 503 with Retry-After", r.status, r.raw)
			}
			if patient("/introspect", token).ok().body["active"] != true {
				t.Error("the token is not active, though nothing could be written")
			}
		}
		standby(false)
		patient("/revoke", tokens.refresh()).ok()
		if a.active(tokens.access()) || a.active(tokens.refresh()) {
			t.Error("a token is active after the revocation")
		}
	})
}

func strangeUserinfo(s *scene) { // proofs of possession: with DPoP
	const api = "https://api1.test"
	a := s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.Resources, c.AccessTokenFormat = []string{api}, "jwt" })
	b := s.browser(s)
	f, tokens := s.works(a, b, s.arena.alice)
	s.send(s, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	plain := a.begin("scope", "email")
	_ = f
	withoutOpenID := plain.exchange(b.get(plain.url()).pass(s.arena.alice).Get("code")).ok()
	forAPI := a.begin("scope", "email", "resource", api)
	apiTokens := forAPI.exchange(b.get(forAPI.url()).pass(s.arena.alice).Get("code")).ok()
	revoked := a.refresh(tokens.refresh()).ok()
	a.call("/revoke", url.Values{"token": {revoked.access()}}).ok()
	for _, tc := range []struct {
		name, path string
		header     http.Header
		status     []int
		challenge  string
	}{
		{"in the URL", "/userinfo?access_token=" + url.QueryEscape(tokens.access()), nil, []int{400, 401}, `Bearer `},
		{"in the URL and in the header", "/userinfo?access_token=x", bearerHeader(tokens.access()), []int{400}, `error="invalid_request"`},
		{"an ID token", "/userinfo", bearerHeader(tokens.text("id_token")), []int{401}, `error="invalid_token"`},
		{"a refresh token", "/userinfo", bearerHeader(tokens.refresh()), []int{401}, `error="invalid_token"`},
		{"without openid", "/userinfo", bearerHeader(withoutOpenID.access()), []int{403}, `error="insufficient_scope"`},
		{"for an API alone", "/userinfo", bearerHeader(apiTokens.access()), []int{401}, `error="invalid_token"`},
		{"revoked", "/userinfo", bearerHeader(revoked.access()), []int{401}, `error="invalid_token"`},
		{"two headers", "/userinfo", http.Header{"Authorization": {"Bearer " + tokens.access(), "Bearer x"}}, []int{400, 401}, `Bearer `},
		{"Basic", "/userinfo", a.basicHeader(), []int{401}, `Bearer `},
		{"nothing", "/userinfo", nil, []int{401}, `Bearer `},
	} {
		r := s.send(s, "GET", tc.path, tc.header, "")
		known := false
		for _, status := range tc.status {
			known = known || r.status == status
		}
		if !known || !strings.Contains(r.header.Get("WWW-Authenticate"), tc.challenge) || r.header.Get("Cache-Control") != "no-store" || strings.Contains(r.raw, "alice") || r.body["sub"] != nil {
			s.Errorf("%s: %d, %q, %s; want %v, %s", tc.name, r.status, r.header.Get("WWW-Authenticate"), r.raw, tc.status, tc.challenge)
		}
	}
	s.send(s, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
}

func promises(s *scene) {
	file, err := idp.Metadata()
	if err != nil {
		s.Fatal(err)
	}
	var golden map[string]any
	if err := json.Unmarshal(file, &golden); err != nil {
		s.Fatal(err)
	}
	delete(golden, "registration_endpoint") // switched off here
	first := s.at(s, 0).send(s, "GET", "/.well-known/openid-configuration", nil, "").ok()
	if got, want := names(first.body), names(golden); !slices.Equal(got, want) {
		s.Errorf("the members are %v, want those of the file: %v", got, want)
	}
	for i := range s.replicas {
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
			if r := s.at(s, i).send(s, "GET", path, nil, "").ok(); r.raw != first.raw {
				s.Errorf("%s of replica %d differs:\n%s", path, i+1, r.raw)
			}
		}
	}
	want := mustJSON(s, first.body)
	for _, never := range []string{`"none"`, `"HS256"`, `"plain"`, `"token"`, `"id_token"`, `"implicit"`, `"password"`, `"id_token token"`} {
		text := want
		if never == `"none"` { // the name of a public client's method, and of a prompt
			for _, name := range []string{"prompt_values_supported", "token_endpoint_auth_methods_supported", "revocation_endpoint_auth_methods_supported"} {
				text = strings.Replace(text, mustJSON(s, first.body[name]), "", 1)
			}
		}
		if strings.Contains(text, never) {
			s.Errorf("the metadata promises %s", never)
		}
	}
	if mustJSON(s, first.body["code_challenge_methods_supported"]) != `["S256"]` || first.body["authorization_response_iss_parameter_supported"] != true {
		s.Error("the metadata does not promise S256 alone, and iss in answers")
	}
}

func foreignHosts(s *scene) {
	paths := []string{"/.well-known/openid-configuration", "/login", "/authorize?client_id=nope", "/token", "/jwks"}
	controls := map[string]string{}
	for _, path := range paths[:1] {
		controls[path] = s.send(s, "GET", path, nil, "").ok().raw
	}
	for name, value := range map[string]string{
		"X-Forwarded-Host": "evil1.test", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "4443", "Forwarded": "host=evil1.test;proto=https", "X-Original-Url": "/evil1", "X-Rewrite-Url": "/evil1",
		"X-Host": "evil1.test", "X-Forwarded-Server": "evil1.test", "X-Http-Host-Override": "evil1.test", "X-Forwarded-Prefix": "/evil1",
	} {
		for _, w := range []*world{s.world, s.at(s, 0)} { // through the balancer, and past it
			for _, path := range paths {
				r := w.send(s, "GET", path, http.Header{name: {value}, "Accept": {"text/html"}}, "")
				if strings.Contains(r.raw, "evil1") || strings.Contains(fmt.Sprint(r.header), "evil1") || controls[path] != "" && controls[path] != r.raw {
					s.Errorf("%s: %s changes the answer of %s: %d %v\n%s", name, value, path, r.status, r.header, r.raw)
				}
			}
		}
	}
	for _, host := range []string{"evil1.test", "evil1.test:80", strings.TrimPrefix(s.issuer, "http://") + ".evil1.test", "localhost"} {
		for _, path := range paths {
			for _, w := range []*world{s.world, s.at(s, 1)} {
				req, err := http.NewRequest("GET", s.issuer+path, nil)
				if err != nil {
					s.Fatal(err)
				}
				req.Host = host
				resp, err := w.transport.RoundTrip(req)
				if err != nil {
					s.Fatal(err)
				}
				resp.Body.Close()
				if (resp.StatusCode != 421 && resp.StatusCode != 404) || resp.Header.Get("Location") != "" || strings.Contains(resp.Header.Get("Cache-Control"), "public") {
					s.Errorf("Host %s, %s: %d, Cache-Control %q; want 421, and nothing that a cache keeps", host, path, resp.StatusCode, resp.Header.Get("Cache-Control"))
				}
			}
		}
	}
}

func keySet(s *scene) {
	first := s.at(s, 0).send(s, "GET", "/jwks", nil, "").ok()
	if second := s.at(s, 1).send(s, "GET", "/jwks", nil, "").ok(); second.raw != first.raw {
		s.Error("the replicas have different key sets")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(first.raw), &set); err != nil {
		s.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() || k.KeyID == "" || seen[k.KeyID] {
			s.Errorf("key %q: public %v, again %v", k.KeyID, k.IsPublic(), seen[k.KeyID])
		}
		seen[k.KeyID] = true
	}
	for _, key := range first.body["keys"].([]any) {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if key.(map[string]any)[private] != nil {
				s.Errorf("a key has the private member %s", private)
			}
		}
	}
	if first.header.Get("ETag") == "" || !strings.Contains(first.header.Get("Cache-Control"), "max-age=") {
		s.Errorf("headers %v, want ETag and max-age", first.header)
	}
	if r := s.send(s, "GET", "/jwks", http.Header{"If-None-Match": {first.header.Get("ETag")}}, ""); r.status != 304 {
		s.Errorf("with its ETag: %d, want 304", r.status)
	}
}
