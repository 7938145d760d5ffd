package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

// Endpoints that scripts call, and that must tell them why they did not work. Metadata and keys are
// for scripts of every origin.
var scriptEndpoints = []string{"/token", "/par", "/userinfo", "/revoke", "/introspect"}

func readableFrom(r reply) string {
	if r.header.Get("Access-Control-Allow-Credentials") != "" {
		r.t.Errorf("credentials are allowed: %v", r.header)
	}
	return r.header.Get("Access-Control-Allow-Origin")
}

func TestScriptsReadAnswersAndErrorsOfTheirOwnClient(t *testing.T) { // A-025; conformance 95
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	spa := w.app(t, storage.ClientSPA, func(c *storage.Client) { c.RedirectURIs = []string{"https://spa.test:443/cb"} })
	named := w.app(t, storage.ClientSPA, func(c *storage.Client) {
		c.RedirectURIs, c.AllowedOrigins = []string{"https://named.test/cb"}, []string{"https://app.named.test"}
	})
	web := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RedirectURIs = []string{"https://web.test/cb"} })
	gone := w.app(t, storage.ClientSPA, func(c *storage.Client) { c.RedirectURIs = []string{"https://gone.test/cb"} })
	_, tokens := spa.signIn(w.browser(t), ada)
	_, plain := spa.signIn(w.browser(t), ada, "scope", "email")
	_, dead := spa.signIn(w.browser(t), ada)
	spa.call("/revoke", url.Values{"token": {dead.refresh()}}).ok()
	now := w.now()
	w.updateClient(t, gone, func(c *storage.Client) { c.DisabledAt = &now })

	const (
		own, others, evil = "https://spa.test", "https://web.test", "https://evil.test"
		anybodys          = "any client's"
	)
	basic := func(id, secret string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
	}
	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	assertion := "e30." + base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"sub":%q,"azp":%q,"allowed-origins":[%q]}`, spa.ID, spa.ID, evil))) + ".e30"
	big := "client_id=" + spa.ID + "&x=" + strings.Repeat("x", 70<<10)
	type request struct {
		name, method, path string
		header             http.Header
		body               string
		status             int
		reader             string // the origin that may read the answer
	}
	tests := []request{
		{"refresh", "POST", "/token", nil, form("grant_type", "refresh_token", "refresh_token", tokens.refresh(), "client_id", spa.ID), 200, own},
		{"bad refresh token", "POST", "/token", nil, form("grant_type", "refresh_token", "refresh_token", "x", "client_id", spa.ID), 400, own},
		{"no grant type", "POST", "/token", nil, form("client_id", spa.ID), 400, own},
		{"unknown grant type", "POST", "/token", nil, form("client_id", spa.ID, "grant_type", "password"), 400, own},
		{"allowed origins of the client", "POST", "/token", nil, form("client_id", named.ID), 400, "https://app.named.test"},
		{"disabled client", "POST", "/token", nil, form("client_id", gone.ID, "grant_type", "refresh_token", "refresh_token", "x"), 401, "https://gone.test"},
		{"wrong secret", "POST", "/token", basic(web.ID, "wrong"), form("grant_type", "refresh_token", "refresh_token", "x"), 401, others},
		{"forged assertion", "POST", "/token", nil, form("grant_type", "refresh_token", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion), 401, own},
		{"unknown client", "POST", "/token", nil, form("grant_type", "refresh_token", "client_id", "nobody"), 401, anybodys},
		{"userinfo", "GET", "/userinfo", bearerHeader(tokens.access()), "", 200, own},
		{"userinfo, no token", "GET", "/userinfo", nil, "", 401, anybodys},
		{"userinfo, garbage", "GET", "/userinfo", bearerHeader("x"), "", 401, anybodys},
		{"userinfo, forged token", "GET", "/userinfo", bearerHeader(tokens.access()[:len(tokens.access())-4] + "AAAA"), "", 401, anybodys},
		{"userinfo, revoked", "GET", "/userinfo", bearerHeader(dead.access()), "", 401, own},
		{"userinfo, without openid", "GET", "/userinfo", bearerHeader(plain.access()), "", 403, own},
		{"userinfo, token in the URL", "GET", "/userinfo?access_token=x", nil, "", 400, anybodys},
		{"revoke", "POST", "/revoke", nil, form("token", "x", "client_id", spa.ID), 200, own},
		{"revoke nothing", "POST", "/revoke", nil, form("client_id", spa.ID), 400, own},
		{"push", "POST", "/par", nil, spa.begin().params.Encode(), 201, own},
		{"push nothing", "POST", "/par", nil, form("client_id", spa.ID), 400, own},
		{"introspect", "POST", "/introspect", basic(web.ID, web.secret), form("token", "x"), 200, others},
		{"introspect as a public client", "POST", "/introspect", nil, form("token", "x", "client_id", spa.ID), 401, own},
	}
	for _, path := range scriptEndpoints {
		tests = append(tests,
			request{path + " by DELETE", "DELETE", path, nil, "", 405, anybodys},
			request{path + " body too big", "POST", path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, big, 413, anybodys})
		if path != "/userinfo" { // any body will do there
			tests = append(tests,
				request{path + " as JSON", "POST", path, http.Header{"Content-Type": {"application/json"}}, `{"client_id":"` + spa.ID + `"}`, 400, anybodys},
				request{path + " unreadable", "POST", path, nil, "client_id=%zz", 400, anybodys},
				request{path + " twice", "POST", path, nil, "client_id=" + spa.ID + "&token=a&token=b", 400, own},
				request{path + " nobody", "POST", path, nil, "token=x", 0, anybodys})
		}
	}
	for _, tc := range tests {
		for _, origin := range []string{own, others, "https://app.named.test", "https://named.test", "https://gone.test", evil, "null", "https://spa.test.evil.test", "https://SPA.test", ""} {
			if tc.name == "refresh" && origin != own && origin != evil {
				continue // each uses a token up
			}
			header := tc.header.Clone()
			if header == nil {
				header = http.Header{}
			}
			if tc.method == "POST" && header.Get("Content-Type") == "" {
				header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if origin != "" {
				header.Set("Origin", origin)
			}
			r := w.send(t, tc.method, tc.path, header, tc.body)
			want := ""
			if origin == tc.reader || tc.reader == anybodys && (origin == own || origin == others || origin == "https://app.named.test" || origin == "https://gone.test") {
				want = origin
			}
			if got := readableFrom(r); got != want {
				t.Errorf("%s from %q: Access-Control-Allow-Origin %q, want %q", tc.name, origin, got, want)
			}
			if tc.status != 0 && r.status != tc.status || r.header.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: %d %s, Vary %q; want %d, Origin", tc.name, origin, r.status, r.raw, r.header.Get("Vary"), tc.status)
			}
			if want != "" && !strings.Contains(r.header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
				t.Errorf("%s: a script cannot read the challenge", tc.name)
			}
			if r.status >= 400 && (r.text("error") == "" || r.text("error_description") == "") {
				t.Errorf("%s: %d %s is no error that a script can read", tc.name, r.status, r.raw)
			}
		}
	}
}

func TestScriptsOfEveryOriginReadMetadataAndKeys(t *testing.T) { // conformance 112
	t.Parallel()
	w := start(t)
	for _, path := range []string{"/jwks", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			r := w.send(t, method, path, http.Header{"Origin": {"https://anybody.test"}}, "")
			if got := readableFrom(r); got != "*" || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d, Access-Control-Allow-Origin %q, %s", method, path, r.status, got, r.header.Get("Content-Type"))
			}
		}
	}
}

func TestNoScriptReadsPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	spa, ada, b := w.app(t, storage.ClientSPA), w.person(t, "ada"), w.browser(t)
	spa.signIn(b, ada)
	for _, origin := range []string{"https://rp.test", "https://evil1.test", "null"} {
		for _, path := range []string{"/authorize", "/authorize?client_id=" + spa.ID, "/login", "/consent", "/logout", "/logout/done", "/account", "/account/apps", "/account/security", "/error", "/", "/nowhere", "/.well-known/nothing", "/.well-known/change-password"} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				r := w.send(t, method, path, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"GET"}}, "")
				if got := readableFrom(r); got != "" {
					t.Errorf("%s %s from %s: Access-Control-Allow-Origin %q, want none", method, path, origin, got)
				}
			}
		}
	}
}

func TestAPreflightIsForEverybodyAndWithoutCredentials(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, path := range append(scriptEndpoints, "/jwks", "/.well-known/openid-configuration") {
		r := w.send(t, "OPTIONS", path, http.Header{"Origin": {"https://anybody.test"}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization"}}, "")
		if got := readableFrom(r); r.status != 204 || got != "*" || r.header.Get("Access-Control-Max-Age") != "7200" || !strings.Contains(r.header.Get("Access-Control-Allow-Headers"), "Authorization, Content-Type, DPoP") {
			t.Errorf("OPTIONS %s: %d %v", path, r.status, r.header)
		}
	}
}

func TestErrorsOfAnOutageAndOfFloodsAreReadableToo(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.app(t, storage.ClientSPA, func(c *storage.Client) { c.RedirectURIs = []string{"https://other.test/cb"} })
	spa, web, ada := w.app(t, storage.ClientSPA), w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := spa.signIn(w.browser(t), ada)
	from := func(origin string, h http.Header) http.Header {
		h = h.Clone()
		if h == nil {
			h = http.Header{}
		}
		h.Set("Origin", origin)
		return h
	}
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(web.ID+":wrong"))}}
	var last reply
	for range 21 {
		last = w.post(t, "/token", from("https://rp.test", basic), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}})
	}
	if got := readableFrom(last); last.status != 429 || got != "https://rp.test" {
		t.Errorf("too many attempts: %d, Access-Control-Allow-Origin %q", last.status, got)
	}

	// While the database is away, origins are remembered for longer than they are believed.
	garbage := func(origin string) reply { return w.send(t, "GET", "/userinfo", from(origin, bearerHeader("x")), "") }
	if got := readableFrom(garbage("https://rp.test")); got != "https://rp.test" {
		t.Fatalf("Access-Control-Allow-Origin %q", got)
	}
	w.outage(t)
	w.clock.advance(2 * time.Minute)
	for _, origin := range []string{"https://rp.test", "https://evil.test"} {
		r := w.send(t, "GET", "/userinfo", from(origin, bearerHeader(tokens.access())), "")
		if got := readableFrom(r); r.status != 503 || (got == origin) != (origin == "https://rp.test") {
			t.Errorf("outage, from %s: %d, Access-Control-Allow-Origin %q", origin, r.status, got)
		}
		if got := readableFrom(garbage(origin)); (got == origin) != (origin == "https://rp.test") {
			t.Errorf("outage, garbage from %s: Access-Control-Allow-Origin %q", origin, got)
		}
	}
}

func TestANewClientsOriginIsKnownAMinuteLater(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientSPA)
	garbage := func(origin string) bool {
		return readableFrom(w.send(t, "GET", "/userinfo", http.Header{"Origin": {origin}, "Authorization": {"Bearer x"}}, "")) != ""
	}
	if !garbage("https://rp.test") || garbage("https://new.test") {
		t.Fatal("the origins of clients, and only those, may read errors")
	}
	w.updateClient(t, a, func(c *storage.Client) { c.RedirectURIs = []string{"https://new.test/cb"} })
	w.clock.advance(time.Minute + time.Second)
	if garbage("https://rp.test") || !garbage("https://new.test") {
		t.Error("a minute after a client moved, its old origin may read errors, or its new one may not")
	}
}
