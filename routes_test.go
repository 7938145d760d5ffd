package idp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"idp/storage/storagetest"
)

// testServer is a prepared server on a database of its own.
func testServer(t *testing.T, change ...func(*Config)) *Server {
	t.Helper()
	s := coldServer(t, storagetest.URL(t), change...)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// testKey is a master key in base64.
const testKey = "c3RvcmFnZXRlc3Q6IDMyIGJ5dGVzLCBubyBzZWNyZXQ="

// coldServer is a server that has not looked for its database yet.
func coldServer(t *testing.T, url string, change ...func(*Config)) *Server {
	t.Helper()
	c := good()
	c.DatabaseURL, c.MasterKeyFile, c.MasterKey, c.Migrate = url, "", testKey, true
	c.Listen, c.OpsListen = "127.0.0.1:0", ""
	for _, f := range change {
		f(&c)
	}
	s, err := New(context.WithoutCancel(t.Context()), c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a request to the issuer's host and returns the answer.
func ask(s *Server, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, s.site.Issuer.Scheme+"://"+s.site.Issuer.Host+path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestTheHTTPSurfaceIsWhatTheGoldenFileSays(t *testing.T) {
	t.Parallel()
	s := coldServer(t, "postgres://nowhere.invalid/idp")
	var b strings.Builder
	for _, row := range s.routes() {
		fmt.Fprintf(&b, "%-24s %-9s %-42s %s\n", row.name, row.methods, row.path, row.guard)
	}
	const golden = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the routes differ from %s. If that is meant: go test -run GoldenFile . -update\ngot:\n%s\nwant:\n%s", golden, b.String(), want)
	}
}

func TestPathsAndMethodsThatAreNotThereAreSaidSo(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	for _, tc := range []struct {
		method, path, accept string
		status               int
		allow, kind          string
	}{
		{"GET", "/nowhere", "text/html", 404, "", "text/html"},
		{"GET", "/nowhere", "*/*", 404, "", "application/json"},
		{"GET", "/token/", "*/*", 404, "", "application/json"},
		{"GET", "//token", "*/*", 404, "", "application/json"},
		{"GET", "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200", "text/html", 404, "", "text/html"},
		{"GET", "/assets/nothing.css", "text/css", 404, "", "text/html"},
		{"GET", "/token", "text/html", 405, "POST, OPTIONS", "application/json"},
		{"PUT", "/authorize", "text/html", 405, "GET, POST, HEAD", "text/html"},
		{"BREW", "/authorize", "text/html", 405, "GET, POST, HEAD", "text/html"},
		{"DELETE", "/jwks", "", 405, "GET, HEAD, OPTIONS", "application/json"},
		{"GET", "/.well-known/security.txt", "", 404, "", "text/html"}, // none is configured
	} {
		w := ask(s, tc.method, tc.path, tc.accept)
		if w.Code != tc.status || w.Header().Get("Allow") != tc.allow || !strings.HasPrefix(w.Header().Get("Content-Type"), tc.kind) {
			t.Errorf("%s %s: %d, Allow %q, %s; want %d, Allow %q, %s", tc.method, tc.path, w.Code, w.Header().Get("Allow"), w.Header().Get("Content-Type"), tc.status, tc.allow, tc.kind)
		}
		if strings.Contains(w.Body.String(), "BREW") {
			t.Errorf("%s %s: the answer repeats what was sent", tc.method, tc.path)
		}
	}
}

func TestPreflightsAreAnsweredWhereScriptsMayCall(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	for path, want := range map[string]int{
		"/token": 204, "/introspect": 204, "/par": 204, "/userinfo": 204, "/revoke": 204, "/jwks": 204, "/.well-known/jwks.json": 204,
		"/.well-known/openid-configuration": 204, "/.well-known/oauth-authorization-server": 204,
		"/consent": 405, "/account": 405, "/authorize": 405, "/login": 405, "/logout": 405,
	} {
		if w := ask(s, "OPTIONS", path, ""); w.Code != want || (want == 204) != (w.Header().Get("Access-Control-Allow-Origin") == "*") {
			t.Errorf("OPTIONS %s: %d, Access-Control-Allow-Origin %q; want %d", path, w.Code, w.Header().Get("Access-Control-Allow-Origin"), want)
		}
	}
}

func TestMetadataIsFoundWhereverClientsLook(t *testing.T) {
	t.Parallel()
	for issuer, paths := range map[string][]string{
		"https://id.example.com": {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"https://id.example.com/tenant/a": {
			"/tenant/a/.well-known/openid-configuration", "/tenant/a/.well-known/oauth-authorization-server",
			"/.well-known/openid-configuration/tenant/a", "/.well-known/oauth-authorization-server/tenant/a",
		},
	} {
		s := testServer(t, func(c *Config) { c.Issuer = issuer })
		for _, path := range paths {
			w := ask(s, "GET", path, "")
			var doc struct{ Issuer, Token_endpoint string }
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Issuer != issuer || doc.Token_endpoint != issuer+"/token" {
				t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
			}
			if head := ask(s, "HEAD", path, ""); head.Code != 200 || head.Header().Get("ETag") != w.Header().Get("ETag") || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("HEAD %s: %d %v", path, head.Code, head.Header())
			}
		}
		at := strings.TrimPrefix(issuer, "https://id.example.com")
		for _, path := range []string{"/.well-known/oauth-protected-resource" + at, at + "/.well-known/oauth-protected-resource"} { // RFC 9728, 3.1
			w := ask(s, "GET", path, "")
			var doc struct{ Resource string }
			if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Resource != issuer {
				t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
			}
		}
		if got, want := ask(s, "GET", at+"/userinfo", "").Header().Get("WWW-Authenticate"), `resource_metadata="https://id.example.com/.well-known/oauth-protected-resource`+at+`"`; !strings.Contains(got, want) {
			t.Errorf("userinfo says %s, want %s", got, want)
		}
		// A tenant that is none: 4xx in JSON makes clients try the next address, 5xx makes some stop.
		for _, path := range []string{"/.well-known/openid-configuration/nobody", "/.well-known/oauth-authorization-server/nobody", "/nobody/.well-known/openid-configuration"} {
			for _, accept := range []string{"", "*/*", "application/json", "application/json, text/plain, */*"} {
				if w := ask(s, "GET", path, accept); w.Code != 404 || w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
					t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
				}
			}
		}
	}
}

func TestAnIssuerWithAPathOwnsNothingElse(t *testing.T) {
	t.Parallel()
	s := testServer(t, func(c *Config) { c.Issuer = "https://id.example.com/tenant" })
	for _, tc := range []struct {
		path, location string
		status         int
	}{
		{"/tenant", "/tenant/account", 303},
		{"/tenant/", "/tenant/account", 303},
		{"/tenant/account", "/tenant/login?to=%2Faccount", 303},
		{"/tenant/account/security", "/tenant/login?to=%2Faccount%2Fsecurity", 303},
		{"/tenant/login", "", 200},
		{"/tenant/jwks", "", 200},
		{"/.well-known/change-password", "https://id.example.com/tenant/account/security#password", 302},
		{"/robots.txt", "", 200},
		{"/", "", 404},
		{"/token", "", 404},
		{"/tenants/login", "", 404},
	} {
		w := ask(s, "GET", tc.path, "text/html")
		if w.Code != tc.status || w.Header().Get("Location") != tc.location {
			t.Errorf("GET %s: %d to %q, want %d to %q", tc.path, w.Code, w.Header().Get("Location"), tc.status, tc.location)
		}
	}
	w := ask(s, "GET", "/tenant/login", "text/html")
	if !strings.Contains(w.Body.String(), `action="/tenant/login"`) || !strings.Contains(w.Body.String(), `href="/tenant/assets/`) {
		t.Errorf("the login page leads elsewhere:\n%s", w.Body)
	}
}

func TestPasswordManagersAreLedToThePasswordPage(t *testing.T) {
	t.Parallel()
	w := ask(testServer(t), "GET", "/.well-known/change-password", "text/html")
	if want := "https://id.example.com/account/security#password"; w.Code != 302 || w.Header().Get("Location") != want {
		t.Errorf("change-password: %d to %q, want 302 to %q", w.Code, w.Header().Get("Location"), want)
	}
}

func TestTheSecurityContactIsPublished(t *testing.T) { // RFC 9116
	t.Parallel()
	s := testServer(t, func(c *Config) { c.SecurityContact = "mailto:security@example.com" })
	w := ask(s, "GET", "/.well-known/security.txt", "")
	fields := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		fields[name] = value
	}
	expires, err := time.Parse(time.RFC3339, fields["Expires"])
	if err != nil || time.Until(expires) < 30*24*time.Hour || time.Until(expires) > 365*24*time.Hour {
		t.Errorf("Expires = %q, want within a year", fields["Expires"])
	}
	if fields["Contact"] != "mailto:security@example.com" || fields["Canonical"] != "https://id.example.com/.well-known/security.txt" {
		t.Errorf("security.txt = %s", w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type = %s", got)
	}
}

func TestTheErrorPageShowsOurWordsOnly(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	for _, q := range []string{
		"error=x&error_description=%3Cscript%3Estranger%3C/script%3E",
		"error=access_denied&error_hint=stranger&error_uri=javascript:stranger",
		"error=stranger%22%3E",
	} {
		w := ask(s, "GET", "/error?"+q, "text/html")
		if w.Code != 400 || strings.Contains(w.Body.String(), "stranger") || !strings.Contains(w.Body.String(), "Go back to the app") {
			t.Errorf("/error?%s: %d\n%s", q, w.Code, w.Body)
		}
	}
}

func TestOtherHostsAreRefused(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	r := httptest.NewRequest("GET", "https://evil.example/login", nil)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d, want 421", w.Code)
	}
}
