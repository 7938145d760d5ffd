package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"idp/storage"
)

// outage makes the world's database refuse everybody until the returned function is called.
func (w *world) outage(t *testing.T) (over func()) {
	t.Helper()
	ctx := context.Background()
	target, err := url.Parse(w.dbURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(target.Path, "/")
	target.Path = "/postgres"
	admin, err := pgx.Connect(ctx, target.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(ctx) })
	allow := func(yes bool) {
		if _, err := admin.Exec(ctx, fmt.Sprintf(`alter database %s allow_connections %v`, pgx.Identifier{name}.Sanitize(), yes)); err != nil {
			t.Fatal(err)
		}
	}
	allow(false)
	if _, err := admin.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { allow(true) })
	return func() { allow(true) }
}

func TestAnOutageOfTheDatabaseIs503AndLosesNothing(t *testing.T) { // traps P24, P25; A-062
	t.Parallel()
	w := start(t)
	a, machine, ada, b := w.app(t, storage.ClientWeb), w.app(t, storage.ClientMachine), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	pending := a.begin()
	code := b.get(pending.url()).answer().Get("code")
	fresh := w.app(t, storage.ClientWeb) // in nobody's cache
	over := w.outage(t)
	for name, r := range map[string]reply{
		"code":               pending.exchange(code),
		"refresh":            a.refresh(tokens.refresh()),
		"client credentials": machine.token(url.Values{"grant_type": {"client_credentials"}}),
		"unknown client":     fresh.refresh(tokens.refresh()),
		"introspection":      a.call("/introspect", url.Values{"token": {tokens.access()}}),
		"revocation":         a.call("/revoke", url.Values{"token": {tokens.access()}}),
		"userinfo":           w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), ""),
	} {
		if r.status != 503 || r.text("error") != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s (Retry-After %q); want 503 temporarily_unavailable", name, r.status, r.raw, r.header.Get("Retry-After"))
		}
	}
	for _, address := range []string{a.begin().url(), "/login", "/account", "/logout", "/authorize?request=abc"} {
		p := b.get(address)
		if p.left != nil || p.status != 503 && p.url.Path != "/login" || !strings.Contains(p.body, "<main") {
			t.Errorf("%s: %d, left %v; want a calm page with 503", address, p.status, p.left)
		}
	}
	w.send(t, "GET", "/jwks", nil, "").ok()
	w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	over()
	pending.exchange(code).ok()
	a.refresh(tokens.refresh()).ok()
	if !a.active(tokens.access()) {
		t.Error("the access token is not active after the outage")
	}
}

func TestForeignHostsAndForwardedHeadersChangeNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	h := http.Header{"X-Forwarded-Host": {"evil.test"}, "X-Forwarded-Proto": {"https"}, "Forwarded": {"host=evil.test"}, "X-Original-Url": {"/evil"}}
	r := w.send(t, "GET", "/.well-known/openid-configuration", h, "").ok()
	if strings.Contains(r.raw, "evil") || r.text("issuer") != w.issuer {
		t.Errorf("discovery = %s", r.raw)
	}
	req, err := http.NewRequest(http.MethodGet, w.issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.test"
	resp, err := (&http.Client{Transport: w.transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("an unknown Host got %d, want 421", resp.StatusCode)
	}
}

func TestOversizedInputIsRefusedWithoutA5xx(t *testing.T) { // conformance 118, 119
	t.Parallel()
	w := start(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	for name, address := range map[string]string{
		"long state":       a.begin("state", strings.Repeat("x", 3000)).url(),
		"10 000 scopes":    a.begin("scope", strings.Repeat("s1 ", 4000)).url(),
		"one huge scope":   a.begin("scope", strings.Repeat("x", 7000)).url(),
		"64 kB of URL":     w.issuer + "/authorize?x=" + strings.Repeat("x", 20_000),
		"many parameters":  a.begin().url() + strings.Repeat("&a=1", 200),
		"huge id":          w.issuer + "/authorize?request=" + strings.Repeat("x", 1000),
		"NUL":              w.issuer + "/authorize?request=%00",
		"bad UTF-8":        a.begin("login_hint", "\xff\xfe").url(),
		"bad UTF-8 client": a.begin("client_id", "\xff\x00").url(),
		"bad UTF-8 nonce":  a.begin("nonce", "\xff\x00").url(),
	} {
		if p := b.get(address); p.status >= 500 {
			t.Errorf("%s: %d\n%s", name, p.status, p.body)
		}
	}
	for name, form := range map[string]url.Values{
		"NUL code":     {"grant_type": {"authorization_code"}, "code": {"\x00"}},
		"NUL refresh":  {"grant_type": {"refresh_token"}, "refresh_token": {"\x00\xff"}},
		"NUL scope":    {"grant_type": {"client_credentials"}, "scope": {"\x00"}},
		"NUL resource": {"grant_type": {"client_credentials"}, "resource": {"\x00"}},
	} {
		if r := a.token(form); r.status >= 500 {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if r := w.post(t, "/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_id": {"\x00"}}); r.status >= 500 {
		t.Errorf("NUL client_id: %d %s", r.status, r.raw)
	}
}
