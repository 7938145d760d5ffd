package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestLongRequestsWork(t *testing.T) { // conformance 38, 118
	t.Parallel()
	w := startProcesses(t, 1) // limits of headers are the server's
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	state := randomText(2000)
	f := a.begin("state", state, "nonce", randomText(500), "ui_locales", strings.Repeat("en ", 300), "acr_values", strings.Repeat("a ", 400), "unknown", strings.Repeat("x", 3500))
	if n := len(f.url()); n < 8000 {
		t.Fatalf("the URL has %d bytes, want one of 8 KB", n)
	}
	answer := b.get(f.url()).pass(ada)
	if answer.Get("state") != state {
		t.Error("the state came back changed")
	}
	tokens := f.exchange(answer.Get("code")).ok()
	h := bearerHeader(tokens.access())
	h.Set("X-Filler", strings.Repeat("x", 24<<10))
	w.send(t, "GET", "/userinfo", h, "").ok()
	h.Set("X-Filler", strings.Repeat("x", 64<<10))
	if r := w.send(t, "GET", "/userinfo", h, ""); r.status < 400 || r.status >= 500 {
		t.Errorf("headers of 64 KB: %d, want 4xx", r.status)
	}
}

// TestNoEndpointFailsOnMalformedInput sends what no honest client sends to every path that the
// provider has. Machine endpoints answer JSON, pages HTML, and nobody answers 5xx.
func TestNoEndpointFailsOnMalformedInput(t *testing.T) { // conformance 119
	t.Parallel()
	w := start(t)
	programs := []string{"/token", "/par", "/userinfo", "/introspect", "/revoke"}
	pages := []string{"/authorize", "/consent", "/login", "/login/accounts", "/logout", "/logout/done", "/account", "/account/apps", "/account/security", "/error", "/nowhere", "/signup"}
	const form = "application/x-www-form-urlencoded"
	bodies := []struct{ kind, body string }{
		{form, ""}, {form, "%zz"}, {form, "a=%00"}, {form, "=&=&&;;"}, {form, "client_id=%ff%fe&request=%00"}, {form, strings.Repeat("a&", 5000)}, {form, "code=\x00\xff"},
		{"application/json", "{"}, {"multipart/form-data", "--x"}, {"text/xml", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>"}, {"", "\x00\x01"}, {form + "; charset=\"", "a=b"},
	}
	queries := []string{"", "?%zz", "?request=%00", "?client_id=" + strings.Repeat("%ff", 300), "?a=" + strings.Repeat("&b=", 3000), "?request=1&request=2&client_id=x", "?%00=%00", "?id_token_hint=a.b.c&claims={&max_age=x"}
	headers := []http.Header{
		{}, {"Authorization": {"Basic"}}, {"Authorization": {"Basic " + strings.Repeat("A", 5000)}}, {"Authorization": {"Bearer a.b.c"}}, {"Authorization": {"DPoP x"}},
		{"Cookie": {"idp_sid=%00; idp_flow=\"; idp_accounts=x.y.z; idp_dev=" + strings.Repeat("x", 3000)}}, {"Accept": {"\xff"}}, {"Origin": {"\xff"}}, {"If-None-Match": {strings.Repeat(`"x",`, 500)}},
	}
	try := func(method, path string, header http.Header, body string, page bool) {
		t.Helper()
		header = header.Clone()
		if page {
			header.Add("Accept", "text/html")
		}
		r := w.send(t, method, path, header, body)
		if r.status >= 500 {
			t.Errorf("%s %.80s %.80v %.40q: %d %.200s", method, path, header, body, r.status, r.raw)
		}
		if kind := r.header.Get("Content-Type"); r.status >= 400 && method != "HEAD" && (page && path != "/nowhere" && !strings.HasPrefix(kind, "text/html") || !page && kind != "application/json") {
			t.Errorf("%s %.80s: %d as %q", method, path, r.status, kind)
		}
	}
	for i, path := range append(programs, pages...) {
		page := i >= len(programs)
		for _, b := range bodies {
			h := http.Header{}
			if b.kind != "" {
				h.Set("Content-Type", b.kind)
			}
			try("POST", path, h, b.body, page)
		}
		for _, q := range queries {
			try("GET", path+q, http.Header{}, "", page)
		}
		for _, h := range headers {
			try("GET", path, h, "", page)
			h = h.Clone()
			h.Set("Content-Type", form)
			try("POST", path, h, url.Values{"token": {"x"}, "grant_type": {"client_credentials"}}.Encode(), page)
		}
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "FOO"} {
			try(method, path, http.Header{}, "x", page)
		}
	}
}
