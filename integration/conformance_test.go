package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

// Lines of the conformance list that no other file is about.

func TestEachPageHasItsPathAndItsPhrase(t *testing.T) { // conformance 61
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	shows := func(p *page, path, phrase string, names ...string) *page {
		t.Helper()
		if p.at(path); !strings.Contains(p.body, phrase) {
			t.Errorf("%s does not say %q:\n%s", path, phrase, p.body)
		}
		if got := p.header.Get("Cross-Origin-Opener-Policy"); got != "" {
			t.Errorf("%s cuts itself off from the app that opened its window: %s", path, got)
		}
		for _, name := range names {
			if !strings.Contains(p.body, name) {
				t.Errorf("%s has no %s", path, name)
			}
		}
		return p
	}
	p := shows(b.get(a.begin().url()), "/login", "<h1>Sign in</h1>", `name="username"`, `name="password"`, `id="username"`, `id="current-password"`, `id="sign-in"`)
	p = shows(p.submit(map[string]string{"username": ada.Username, "password": ada.Password}), "/consent", "wants to use your account</h1>", `id="allow"`, `id="deny"`, `name="decision"`)
	p.submit(map[string]string{"decision": "allow"}).answer()
	p = shows(b.get("/logout"), "/logout", "Sign out", `id="sign-out"`)
	shows(p.submit(nil), "/logout/done", "signed out")
	shows(b.get(a.begin("client_id", "nobody").url()), "/authorize", "<h1>We can't continue</h1>", `id="error"`)
}

func TestPagesEncodeWhatClientsSay(t *testing.T) { // conformance 62; A-014
	t.Parallel()
	w := start(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	a, ada, b := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Name = evil; c.PolicyURI = "https://rp.test/?a=\"><script>" }), w.person(t, "ada"), w.browser(t)
	check := func(p *page) *page {
		t.Helper()
		for _, bad := range []string{"<script>alert", "<img src=x", `"><script>`, "javascript:"} {
			if strings.Contains(p.body, bad) {
				t.Errorf("%s holds %s:\n%s", p.url, bad, p.body)
			}
		}
		csp := p.header.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy %q", p.url, csp)
		}
		return p
	}
	p := check(b.get(a.begin("login_hint", evil, "state", evil, "ui_locales", evil, "claims_locales", evil).url()).at("/login"))
	p = check(p.submit(map[string]string{"username": evil, "password": "wrong"}).at("/login"))
	p = check(p.submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/consent"))
	if got := p.submit(map[string]string{"decision": "deny"}).answer(); got.Get("state") != evil || got.Get("error") != "access_denied" {
		t.Errorf("answer %v", got)
	}
	for _, uri := range []string{"https://evil.test/cb", "javascript:alert(1)", "//evil.test", callback + "/../x", `https://rp.test/cb"><script>`} {
		p := check(b.get(a.begin("redirect_uri", uri).url()))
		if p.left != nil || p.status != 400 || strings.Contains(p.body, "evil.test") {
			t.Errorf("%s: %d, left to %v\n%s", uri, p.status, p.left, p.body)
		}
	}
}

func TestTheTokenEndpointReadsFormsOnlyAndIsNeverStored(t *testing.T) { // conformance 71, 72
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	f := a.begin()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {w.browser(t).get(f.url()).pass(ada).Get("code")}, "client_id": {a.ID},
		"code_verifier": {f.verifier}, "redirect_uri": {callback}}
	for _, kind := range []string{"", "application/json", "multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded; charset=utf-16", "application/x-www-form-urlencoded2", "x"} {
		r := w.send(t, "POST", "/token", http.Header{"Content-Type": {kind}}, form.Encode()).fails(400, "invalid_request")
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%q: %v", kind, r.header)
		}
	}
	w.send(t, "POST", "/token?"+form.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "").fails(400, "invalid_request")
	r := w.send(t, "POST", "/token", http.Header{"Content-Type": {"Application/X-WWW-Form-URLencoded; charset=UTF-8"}}, form.Encode()).ok() // none of the others used up the code
	expires, _ := r.body["expires_in"].(float64)
	if r.access() == "" || r.text("token_type") != "Bearer" || expires < 1 || expires > 86400 || r.text("scope") == "" || r.text("id_token") == "" || r.refresh() == "" {
		t.Errorf("answer %s", r.raw)
	}
	for name, r := range map[string]reply{
		"success": r, "no body": w.send(t, "POST", "/token", nil, ""), "by GET": w.send(t, "GET", "/token", nil, ""), "wrong client": w.post(t, "/token", nil, url.Values{"client_id": {"nobody"}, "grant_type": {"refresh_token"}}),
	} {
		if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: Cache-Control %q, %s", name, r.header.Get("Cache-Control"), r.header.Get("Content-Type"))
		}
	}
}

func TestLongRequestsWorkAndLongerOnesAreRefused(t *testing.T) { // conformance 118, against the real server
	t.Parallel()
	w := startProcesses(t, 1)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	state := randomText(128)
	if got := b.get(a.begin("state", state, "claims_locales", strings.Repeat("de ", 300), "extra", strings.Repeat("x", 6000)).url()).pass(ada).Get("state"); got != state {
		t.Errorf("state %q, want %q", got, state)
	}
	for _, tc := range []struct {
		name, path string
		header     http.Header
		low, high  int
	}{
		{"30 KB of headers", "/jwks", http.Header{"Cookie": {"a=" + strings.Repeat("x", 30<<10)}}, 200, 200},
		{"32 KB of headers at userinfo", "/userinfo", http.Header{"Cookie": {"a=" + strings.Repeat("x", 31<<10)}}, 401, 401},
		{"100 KB of headers", "/jwks", http.Header{"Cookie": {"a=" + strings.Repeat("x", 100<<10)}}, 400, 499},
		{"20 KB of URL", "/authorize?x=" + strings.Repeat("x", 20<<10), nil, 400, 499},
		{"100 KB of URL", "/authorize?x=" + strings.Repeat("x", 100<<10), nil, 400, 499},
	} {
		if r := w.send(t, "GET", tc.path, tc.header, ""); r.status < tc.low || r.status > tc.high {
			t.Errorf("%s: %d, want %d to %d", tc.name, r.status, tc.low, tc.high)
		}
	}
}

func TestClocksMayDifferByTenSeconds(t *testing.T) { // conformance 120
	t.Parallel()
	w := start(t)
	machine, key := w.assertionApp(t)
	signing, object := w.signingApp(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	signing.signIn(b, ada)
	for name, tc := range map[string]struct {
		claims func(now int64) map[string]any
		ok     bool
	}{
		"expired 9 s ago":   {func(now int64) map[string]any { return map[string]any{"exp": now - 9, "iat": now - 60} }, true},
		"issued 10 s ahead": {func(now int64) map[string]any { return map[string]any{"iat": now + 10} }, true},
		"valid 10 s ahead":  {func(now int64) map[string]any { return map[string]any{"nbf": now + 10} }, true},
		"expired long ago":  {func(now int64) map[string]any { return map[string]any{"exp": now - 90, "iat": now - 120} }, false},
		"issued far ahead":  {func(now int64) map[string]any { return map[string]any{"iat": now + 90} }, false},
		"valid far ahead":   {func(now int64) map[string]any { return map[string]any{"nbf": now + 90} }, false},
	} {
		assertion := key.assertion(t, machine.ID, w.issuer, tc.claims(w.now().Unix()))
		if r := w.post(t, "/token", nil, assertionForm(assertion)); (r.status == 200) != tc.ok {
			t.Errorf("an assertion %s: %d %s", name, r.status, r.raw)
		}
		f := signing.begin("prompt", "none")
		q := url.Values{"client_id": {signing.ID}, "request": {object.object(t, f, tc.claims(w.now().Unix()))}}
		p := b.get("/authorize?" + q.Encode())
		if got := p.left != nil && p.left.Query().Get("code") != ""; got != tc.ok {
			t.Errorf("a request object %s: left to %v (%d)", name, p.left, p.status)
		}
	}
	// What we store is in UTC, to the microsecond, and what we say of it in whole seconds.
	_, tokens := signing.signIn(b, ada)
	_, id := claims(t, tokens.text("id_token"))
	for _, at := range []string{"iat", "exp", "auth_time"} {
		if n, ok := id[at].(float64); !ok || n != float64(int64(n)) {
			t.Errorf("%s = %v", at, id[at])
		}
	}
}
