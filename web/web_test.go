package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"idp/web"
)

func TestEveryErrorHasAFaceInBothForms(t *testing.T) {
	t.Parallel()
	site, log := newSite(t, nil)
	cause := errors.New("cause-4711")
	for name, row := range map[string]struct {
		err        error
		status     int
		code, says string
		retry      string
	}{
		"database trouble":          {fmt.Errorf("cause-4711: %w", context.DeadlineExceeded), 503, "temporarily_unavailable", "try again in a minute", "2"},
		"database trouble, wrapped": {&web.Error{Status: 400, Code: "invalid_grant", Message: "No.", Err: fmt.Errorf("cause-4711: %w", context.DeadlineExceeded)}, 503, "temporarily_unavailable", "try again in a minute", "2"},
		"unknown":                   {fmt.Errorf("do it: %w", cause), 500, "server_error", "Something went wrong on our side", ""},
		"two faces":                 {&web.Error{Status: 400, Message: "This link has expired.", Err: cause}, 400, "invalid_request", "This link has expired.", ""},
		"two faces, wrapped":        {fmt.Errorf("do it: %w", &web.Error{Status: 403, Message: "Not yours.", Err: cause}), 403, "access_denied", "Not yours.", ""},
		"own code":                  {&web.Error{Status: 400, Code: "invalid_client", Message: "Who?", Err: cause}, 400, "invalid_client", "Who?", ""},
		"too often":                 {&web.Error{Status: 429, Message: "Too often.", RetryAfter: 1500 * time.Millisecond, Err: cause}, 429, "temporarily_unavailable", "Too often.", "2"},
		"gone away":                 {fmt.Errorf("cause-4711: %w", context.Canceled), 499, "invalid_request", "cancelled", ""},
		"too large":                 {fmt.Errorf("cause-4711: %w", &http.MaxBytesError{Limit: 1}), 413, "invalid_request", "too large", ""},
	} {
		asJSON, asPage := ask(site, false, get("/"), fails(row.err)), ask(site, true, get("/"), fails(row.err))
		for form, r := range map[string]reply{"JSON": asJSON, "page": asPage} {
			reference := r.header.Get("X-Request-Id")
			if r.status != row.status || !strings.Contains(r.body, row.says) || r.header.Get("Retry-After") != row.retry {
				t.Errorf("%s as %s: %d, Retry-After %q, %s; want %d, %q, %q", name, form, r.status, r.header.Get("Retry-After"), r.body, row.status, row.retry, row.says)
			}
			if strings.Contains(r.body, "cause-4711") || !strings.Contains(r.body, reference) || reference == "" {
				t.Errorf("%s as %s: must show the reference %q and never the cause: %s", name, form, reference, r.body)
			}
			if !strings.Contains(log.String(), "request="+reference) {
				t.Errorf("%s as %s: no log line for %q", name, form, reference)
			}
		}
		var answer map[string]string
		if err := json.Unmarshal([]byte(asJSON.body), &answer); err != nil || answer["error"] != row.code {
			t.Errorf("%s: %s (%v); want error %q", name, asJSON.body, err, row.code)
		}
		if !strings.Contains(asPage.body, "<main") || !strings.HasPrefix(asPage.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: no page: %s", name, asPage.body)
		}
	}
	if !strings.Contains(log.String(), "cause-4711") {
		t.Error("the cause is not in the log")
	}
}

func TestErrorDescriptionsKeepToTheirCharacters(t *testing.T) { // RFC 6749, 5.2
	t.Parallel()
	site, _ := newSite(t, nil)
	r := ask(site, false, get("/"), fails(&web.Error{Status: 400, Message: "We can’t say “no\" \\ to\n\x7f ünïcode <b>"}))
	var answer map[string]string
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
		t.Fatal(err)
	}
	if got, want := answer["error_description"], "We can't say 'no'  to ncode <b>"; got != want {
		t.Errorf("error_description = %q, want %q", got, want)
	}
	wantHeaders(t, "JSON", r.header, map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
	})
}

func TestAPanicIsOneFailedRequest(t *testing.T) {
	t.Parallel()
	site, log := newSite(t, nil)
	fall := func(http.ResponseWriter, *http.Request) error { panic("cause-4711") }
	browser := get("/")
	browser.Header.Set("Accept", "text/html,*/*")
	for name, r := range map[string]reply{"JSON": ask(site, false, get("/"), fall), "page": ask(site, true, browser, fall)} {
		if r.status != 500 || strings.Contains(r.body, "cause-4711") || !strings.Contains(r.body, r.header.Get("X-Request-Id")) {
			t.Errorf("%s: %d %s; want 500 with a reference", name, r.status, r.body)
		}
		if page := strings.Contains(r.body, "<main"); page != (name == "page") {
			t.Errorf("%s got a page = %v", name, page)
		}
	}
	if text := log.String(); !strings.Contains(text, "cause-4711") || !strings.Contains(text, "web_test.go") {
		t.Errorf("the log does not tell the panic and where it was: %s", text)
	}
	late := ask(site, false, get("/"), func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusAccepted)
		panic("late")
	})
	if late.status != http.StatusAccepted || late.body != "" {
		t.Errorf("a panic after the answer changed it to %d %q", late.status, late.body)
	}
	if r := ask(site, false, get("/"), greets); r.status != 200 {
		t.Errorf("the next request got %d", r.status)
	}
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler passed on", got)
		}
	}()
	ask(site, false, get("/"), func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
}

func TestForwardedAddressesCountFromTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, func(c *web.Config) {
		for _, p := range []string{"10.0.0.0/8", "192.0.2.1/32", "fd00::/8"} {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
	})
	for name, row := range map[string]struct {
		remote string
		header []string
		want   string
	}{
		"direct":                             {"203.0.113.5:999", nil, "203.0.113.5"},
		"direct, forged":                     {"203.0.113.5:999", []string{"198.51.100.7"}, "203.0.113.5"},
		"through a proxy":                    {"10.1.2.3:999", []string{"198.51.100.7"}, "198.51.100.7"},
		"through two":                        {"10.1.2.3:999", []string{"198.51.100.7, 192.0.2.1"}, "198.51.100.7"},
		"two headers":                        {"10.1.2.3:999", []string{"198.51.100.7", "192.0.2.1"}, "198.51.100.7"},
		"forged before the proxy":            {"10.1.2.3:999", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},
		"forged as a trusted one":            {"10.1.2.3:999", []string{"1.1.1.1, 10.9.9.9, 198.51.100.7, 192.0.2.1"}, "198.51.100.7"},
		"only proxies":                       {"10.1.2.3:999", []string{"10.4.4.4"}, "10.4.4.4"},
		"proxy without the header":           {"10.1.2.3:999", nil, "10.1.2.3"},
		"garbage":                            {"10.1.2.3:999", []string{"198.51.100.7, <script>"}, "10.1.2.3"},
		"garbage behind a good one":          {"10.1.2.3:999", []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		"empty":                              {"10.1.2.3:999", []string{""}, "10.1.2.3"},
		"IPv6 proxy and client":              {"[fd00::1]:999", []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv6 direct, forged":                {"[2001:db8::9]:999", []string{"198.51.100.7"}, "2001:db8::9"},
		"IPv4 client in IPv6":                {"10.1.2.3:999", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"IPv4 proxy in IPv6":                 {"[::ffff:10.1.2.3]:999", []string{"198.51.100.7"}, "198.51.100.7"},
		"trusted hop in another notation":    {"10.1.2.3:999", []string{"198.51.100.7, ::ffff:192.0.2.1"}, "198.51.100.7"},
		"a socket without an address":        {"@", []string{"198.51.100.7"}, "@"},
		"link-local with a zone, no trusted": {"[fe80::1%eth0]:999", []string{"198.51.100.7"}, "fe80::1%eth0"},
	} {
		r := get("/")
		r.RemoteAddr = row.remote
		r.Header["X-Forwarded-For"] = row.header
		r.Header.Set("X-Real-Ip", "6.6.6.6")
		r.Header.Set("Forwarded", "for=6.6.6.6")
		got := ""
		ask(site, false, r, func(w http.ResponseWriter, r *http.Request) error {
			got = web.ClientIP(r.Context())
			return nil
		})
		if got != row.want {
			t.Errorf("%s: client IP = %q, want %q", name, got, row.want)
		}
	}
}

func TestOnlyTheIssuersHostIsServed(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for host, want := range map[string]int{
		"id.example.com": 200, "ID.Example.COM": 200,
		"evil.test": 421, "id.example.com.evil.test": 421, "id.example.com:8443": 421, "": 421, "127.0.0.1": 421, "id.example.com.": 421,
	} {
		r := get("/")
		r.Host = host
		r.Header.Set("X-Forwarded-Host", "id.example.com")
		got := ask(site, false, r, greets)
		if got.status != want || strings.Contains(got.body, "evil") || want == 421 && strings.Contains(got.body, "hello") {
			t.Errorf("Host %q: %d %s; want %d", host, got.status, got.body, want)
		}
	}
}

func TestBodiesAreReadUpTo64KiB(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	echo := func(w http.ResponseWriter, r *http.Request) error {
		if _, err := web.Form(r); err != nil {
			return err
		}
		return greets(w, r)
	}
	raw := func(w http.ResponseWriter, r *http.Request) error {
		if _, err := io.ReadAll(r.Body); err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		return greets(w, r)
	}
	for name, h := range map[string]web.Handler{"form": echo, "raw": raw} {
		for size, want := range map[int]int{64 << 10: 200, 64<<10 + 1: 413, 1 << 20: 413} {
			if r := ask(site, true, post("/", "a="+strings.Repeat("x", size-2)), h); r.status != want {
				t.Errorf("%s of %d bytes: %d, want %d", name, size, r.status, want)
			}
		}
	}
}

func TestOtherSitesCannotPostToPages(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for name, row := range map[string]struct {
		method, fetchSite, origin string
		want                      int
	}{
		"same origin":                       {"POST", "same-origin", issuer, 200},
		"typed by the person":               {"POST", "none", "", 200},
		"another site":                      {"POST", "cross-site", "https://evil.test", 403},
		"another site, forged Origin":       {"POST", "cross-site", issuer, 403},
		"another host of ours":              {"POST", "same-site", "https://shop.example.com", 403},
		"old browser, own Origin":           {"POST", "", issuer, 200},
		"old browser, other Origin":         {"POST", "", "https://evil.test", 403},
		"old browser, Origin null":          {"POST", "", "null", 403},
		"sandboxed, Origin null":            {"POST", "cross-site", "null", 403},
		"no browser":                        {"POST", "", "", 200},
		"unknown value":                     {"POST", "elsewhere", "", 403},
		"another site reads":                {"GET", "cross-site", "https://evil.test", 200},
		"another site asks for the headers": {"HEAD", "cross-site", "https://evil.test", 200},
		"another site deletes":              {"DELETE", "cross-site", "https://evil.test", 403},
	} {
		r := post("/", "")
		r.Method = row.method
		for key, value := range map[string]string{"Sec-Fetch-Site": row.fetchSite, "Origin": row.origin} {
			if value != "" {
				r.Header.Set(key, value)
			}
		}
		reached := false
		got := ask(site, true, r, site.Browser(func(w http.ResponseWriter, r *http.Request) error {
			reached = true
			return greets(w, r)
		}))
		if got.status != row.want || reached != (row.want == 200) {
			t.Errorf("%s: %d, reached the handler: %v; want %d", name, got.status, reached, row.want)
		}
	}
}

func TestEveryAnswerCarriesTheGeneralSecurityHeaders(t *testing.T) {
	t.Parallel()
	plainHTTP, _ := newSite(t, func(c *web.Config) { c.Issuer = &url.URL{Scheme: "http", Host: "id.example.com"} })
	site, _ := newSite(t, nil)
	foreign := get("/")
	foreign.Host = "evil.test"
	for name, r := range map[string]reply{
		"answer": ask(site, false, get("/"), greets), "error": ask(site, true, get("/"), fails(errors.New("x"))), "foreign host": ask(site, false, foreign, greets),
		"redirect": ask(site, true, get("/"), func(w http.ResponseWriter, r *http.Request) error { return web.See(w, r, "/login") }),
	} {
		wantHeaders(t, name, r.header, map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-Robots-Tag": "noindex",
			"Strict-Transport-Security": "max-age=63072000; includeSubDomains", "Cache-Control": "no-store",
		})
		if !regexp.MustCompile(`^[0-9a-z]{16}$`).MatchString(r.header.Get("X-Request-Id")) || !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: headers = %v", name, r.header)
		}
	}
	if got := ask(plainHTTP, false, get("/"), greets).header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("Strict-Transport-Security over http = %q, want none", got)
	}
}

func TestRedirectsUseGetAndStayBelowTheIssuersPath(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, func(c *web.Config) { c.Issuer = &url.URL{Scheme: "https", Host: "id.example.com", Path: "/auth"} })
	for to, want := range map[string]string{"/login?a=b": "/auth/login?a=b", "https://app.example/cb?code=c": "https://app.example/cb?code=c"} {
		r := ask(site, true, post("/", ""), func(w http.ResponseWriter, r *http.Request) error { return web.See(w, r, to) })
		if r.status != 303 || r.header.Get("Location") != want || r.body != "" {
			t.Errorf("See(%q) = %d to %q; want 303 to %q", to, r.status, r.header.Get("Location"), want)
		}
	}
}

func TestTheWayOnOfAnErrorStaysBelowTheIssuersPath(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, func(c *web.Config) { c.Issuer = &url.URL{Scheme: "https", Host: "id.example.com", Path: "/auth"} })
	for to, want := range map[string]string{"/login?to=x": "/auth/login?to=x", "https://app.example/": "https://app.example/"} {
		r := ask(site, true, get("/"), fails(&web.Error{Status: 400, Message: "No.", ActionText: "Go on", ActionURL: to}))
		if !strings.Contains(r.body, `href="`+want+`">Go on</a>`) {
			t.Errorf("way on to %q: want a link to %q in\n%s", to, want, r.body)
		}
	}
}

func TestRedirectsTakeNoHostForAPath(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for _, to := range []string{"//evil.test", "//evil.test/login", `/\evil.test`} {
		r := ask(site, true, post("/", ""), func(w http.ResponseWriter, r *http.Request) error { return web.See(w, r, to) })
		if r.status != 500 || r.header.Get("Location") != "" || strings.Contains(r.body, "evil.test") {
			t.Errorf("See(%q) = %d to %q; want 500 and no redirect", to, r.status, r.header.Get("Location"))
		}
	}
}

func TestOtherSitesCannotLoadAnswersForPrograms(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	answer := func(policy string) web.Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			if policy != "" {
				w.Header().Set("Cross-Origin-Resource-Policy", policy)
			}
			return web.JSON(w, 200, "hello")
		}
	}
	for name, row := range map[string]struct {
		h    web.Handler
		want string
	}{
		"answer":                 {answer(""), "same-origin"},
		"answer for all to load": {answer("cross-origin"), "cross-origin"},
		"error":                  {fails(errors.New("x")), "same-origin"},
	} {
		if got := ask(site, false, get("/"), row.h).header.Get("Cross-Origin-Resource-Policy"); got != row.want {
			t.Errorf("%s: Cross-Origin-Resource-Policy = %q, want %q", name, got, row.want)
		}
	}
}

func TestASecretInTheWrongPlaceIsNotLogged(t *testing.T) {
	t.Parallel()
	site, log := newSite(t, nil)
	secret := "idp_cs_" + strings.Repeat("aB3-_", 9)
	ask(site, false, get("/"), func(w http.ResponseWriter, r *http.Request) error {
		web.Note(r.Context(), "client_id", secret)
		return &web.Error{Status: 400, Message: "No.", Err: errors.New("unknown client " + secret + "; idp_sid is a cookie")}
	})
	if line := log.String(); strings.Contains(line, "aB3") || !strings.Contains(line, "client_id=idp_cs_…") || !strings.Contains(line, "unknown client idp_cs_…; idp_sid is a cookie") {
		t.Errorf("log = %q; want the secret cut at its prefix, and the rest whole", line)
	}
}

func TestALogLineTellsTheRequestAndCutsLongValues(t *testing.T) {
	t.Parallel()
	site, log := newSite(t, nil)
	ask(site, false, get("/secret-path?code=secret"), func(w http.ResponseWriter, r *http.Request) error {
		web.Note(r.Context(), "client", "first")
		web.Note(r.Context(), "client", strings.Repeat("x", 600)+"\nforged=line")
		return greets(w, r)
	})
	line := log.String()
	if strings.Count(line, "\n") != 1 || !strings.Contains(line, "route=test status=200") || !strings.Contains(line, "client="+strings.Repeat("x", 512)+"\n") {
		t.Errorf("log = %q; want one line with route, status and the client cut at 512", line)
	}
	if strings.Contains(line, "secret") || strings.Contains(line, "first") {
		t.Errorf("log = %q; want neither the query nor the note that was replaced", line)
	}
	web.Note(context.Background(), "outside", "a request") // is no panic
	if got := web.Reference(httptest.NewRequest("GET", "/", nil).Context()); got != "" {
		t.Errorf("reference outside a request = %q, want none", got)
	}
}
