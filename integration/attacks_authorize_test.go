package integration

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/oauth"
	"idp/storage"
)

func TestAttacksOnTheAuthorizationEndpoint(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-001 an address that looks like the registered one", redirects((*scene).web1,
			"https://rp1.test.evil1.test/cb", "https://rp1.test.evil1.test", "https://rp1.testevil1.test/cb")},
		{"A-002 a path that some server would normalise", redirects((*scene).web1,
			"https://rp1.test/cb/../evil", "https://rp1.test/cb/..;/evil", "https://rp1.test/cb%2f..%2fevil", "https://rp1.test/cb%252f..", "https://rp1.test//cb", "https://rp1.test/cb/")},
		{"A-003 a user name in the address", redirects((*scene).web1,
			"https://rp1.test@evil1.test/cb", "https://u:p@rp1.test/cb", "https://a@b@rp1.test/cb")},
		{"A-004 backslashes and white space", redirects((*scene).web1,
			`https://rp1.test\@evil1.test/cb`, `https:\\rp1.test\cb`, "https://rp1.test/\tcb", "https://rp1.test/cb\n", "https://rp1.test/cb ", " https://rp1.test/cb", "https://rp1.test/cb\x00")},
		{"A-005 another spelling of the same address", redirects((*scene).web1,
			"HTTPS://rp1.test/cb", "https://RP1.test/cb", "https://rp1.test:443/cb", "https://rp1.test/CB", "https://rp1.test./cb", "https://rp1.test/%63b")},
		{"A-007 the path of a loopback address", redirects((*scene).nat1,
			"http://127.0.0.1:51234/c%62", "http://127.0.0.1:51234/cb%2F", "http://127.0.0.1:51234/cb/", "http://127.0.0.2:51234/cb", "http://[::1]:51234/cb", "com.test.nat1:/other", "com.test.nat1://cb")},
		{"A-008 everything else of a loopback address", redirects((*scene).nat1,
			"http://x:y@127.0.0.1:5/cb", "http://127.0.0.1:5/cb?", "http://127.0.0.1:5/cb#", "http://127.0.0.1:0/cb", "http://127.0.0.1:99999/cb", "http://127.0.0.1:05/cb", "http://127.0.0.1:/cb", "https://127.0.0.1:5/cb")},
		{"A-010 a fragment", redirects((*scene).web1, "https://rp1.test/cb#x", "https://rp1.test/cb#", "https://rp1.test/cb%23")},
		{"A-006 a parameter twice", repeatedParameters},
		{"A-009 loopback ports of clients that are not native", webLoopback},
		{"A-011 a client that is not there, or not any more", unknownClients},
		{"A-012 the return address is judged before the rest", orderOfChecks},
		{"A-013 response types that put tokens into URLs", implicitTypes},
		{"A-014 script in what form_post carries", formPostScript},
		{"A-015 scopes without end", endlessScopes},
		{"A-016 no PKCE challenge", challenges(
			[]string{"code_challenge", "-", "code_challenge_method", "-"}, []string{"code_challenge", "-"}, []string{"code_challenge", ""})},
		{"A-017 weak PKCE challenges", challenges(
			[]string{"code_challenge_method", "plain"}, []string{"code_challenge_method", "-"}, []string{"code_challenge_method", "s256"},
			[]string{"code_challenge", strings.Repeat("a", 42)}, []string{"code_challenge", strings.Repeat("a", 44)}, []string{"code_challenge", strings.Repeat("a", 128)},
			[]string{"code_challenge", strings.Repeat("a", 43) + "="}, []string{"code_challenge", strings.Repeat("a", 42) + "+"}, []string{"code_challenge", strings.Repeat("a", 42) + "~"})},
		{"A-018 prompt=none where the person is needed", silence},
		{"A-020 request objects that nobody vouches for", requestObjects},
		{"A-023 strangers' texts in links to our pages", strangersTexts},
		{"A-024 errors for the client come from a known client only", errorsByRedirect},
		{"A-025 scripts of another origin", foreignOrigins},
	})
}

// redirects wants an error page for each of the addresses, and the registered one to work.
func redirects(client func(*scene) *app, uris ...string) func(*scene) {
	return func(s *scene) {
		a, b := client(s), s.browser(s)
		if a.Type == storage.ClientNative {
			s.works(a, b, s.arena.alice, "redirect_uri", "http://127.0.0.1:51234/cb")
		}
		s.works(a, b, s.arena.alice)
		s.nothing(func() {
			for _, uri := range uris {
				for _, prompt := range []string{"-", "none"} { // signed in and consented: a code would come at once
					s.refusedPage(uri+" prompt "+prompt, b.get(a.begin("redirect_uri", uri, "prompt", prompt).url()), uri)
				}
			}
		})
	}
}

func repeatedParameters(s *scene) {
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	s.nothing(func() {
		evil := url.QueryEscape("https://evil1.test/cb")
		for _, extra := range []string{"redirect_uri=" + evil, "state=b", "client_id=" + a.ID, "client_id=evil", "code_challenge=b", "scope=openid", "nonce=b", "prompt=none", "response_type=token", "response_mode=form_post"} {
			f := a.begin("prompt", "none", "response_mode", "query")
			s.refusedPage("after: "+extra, b.get(f.raw("&"+extra)))
			s.refusedPage("before: "+extra, b.get(s.issuer+"/authorize?"+extra+"&"+f.params.Encode()))
		}
	})
}

func webLoopback(s *scene) {
	secure := s.client(storage.ClientWeb, "https://127.0.0.1/s")
	plain := s.client(storage.ClientWeb, "http://127.0.0.1/cb")
	b := s.browser(s)
	s.works(secure, b, s.arena.alice)
	s.works(plain, b, s.arena.alice)
	s.nothing(func() {
		s.refusedPage("http for https", b.get(secure.begin("redirect_uri", "http://127.0.0.1:9/s").url()))
		s.refusedPage("another port of https", b.get(secure.begin("redirect_uri", "https://127.0.0.1:9/s").url()))
		s.refusedPage("another port of http", b.get(plain.begin("redirect_uri", "http://127.0.0.1:9/cb").url()))
		s.refusedPage("localhost", b.get(plain.begin("redirect_uri", "http://localhost/cb").url()))
	})
}

func unknownClients(s *scene) {
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	disabled := s.web1()
	s.updateClient(s, disabled, func(c *storage.Client) { now := s.now(); c.DisabledAt = &now })
	s.nothing(func() {
		for _, id := range []string{"nope", "", "-", strings.Repeat("x", 10_000), "nope\x00", "' or 1=1 --", a.ID + " ", strings.ToUpper(a.ID)} {
			s.refusedPage("client_id "+fmt.Sprintf("%.40q", id), b.get(a.begin("client_id", id, "redirect_uri", "https://evil1.test/").url()))
		}
		text := func(p *page) string {
			s.refusedPage("unknown or disabled", p)
			_, rest, _ := strings.Cut(p.body, "<main")
			return strings.Split(rest, "reference")[0]
		}
		unknown := text(b.get(a.begin("client_id", "nope", "redirect_uri", "https://evil1.test/").url()))
		if text(b.get(disabled.begin().url())) != unknown || text(b.get(disabled.begin("redirect_uri", "https://evil1.test/").url())) != unknown {
			s.Error("an unknown and a disabled client read differently")
		}
	})
}

func orderOfChecks(s *scene) {
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	s.nothing(func() {
		for _, params := range [][]string{{"response_type", "foo"}, {"response_type", "-"}, {"response_mode", "jwt"}, {"scope", "nope"}, {"prompt", "none login"}, {"code_challenge", "-"}, {"request", "x"}} {
			s.refusedPage(fmt.Sprint(params), b.get(a.begin(append(params, "redirect_uri", "https://evil1.test/cb")...).url()))
			s.refusedPage(fmt.Sprint(params, " and no client"), b.get(a.begin(append(params, "client_id", "nope")...).url()))
			f := a.begin(params...)
			if p := b.get(f.url()); p.left == nil || p.left.Host != "rp1.test" { // the same fault with the right address
				s.Errorf("%v with the registered address: %d, left to %v; want the client", params, p.status, p.left)
			}
		}
	})
}

func implicitTypes(s *scene) { // errors go at once to clients that an operator made: doc/decisions/0010
	a, signedIn, nobody := s.web1(), s.browser(s), s.browser(s)
	s.works(a, signedIn, s.arena.alice)
	s.nothing(func() {
		for _, kind := range []string{"token", "id_token", "id_token token", "code id_token", "code token", "code id_token token", "none", "CODE", "code "} {
			for _, b := range []*browser{signedIn, nobody} {
				f := a.begin("response_type", kind)
				s.sentBack(kind, b.get(f.url()), f, "unsupported_response_type")
			}
		}
	})
}

func formPostScript(s *scene) {
	a, b := s.client(storage.ClientWeb, "https://rp1.test/cb?a=%22onx="), s.browser(s)
	s.works(a, b, s.arena.alice)
	bad := *a.Client
	bad.RedirectURIs = []string{`https://rp1.test/cb?a="onx=`}
	if oauth.CheckClient(&bad) == nil {
		s.Error("an address with a quote can be registered")
	}
	for _, state := range []string{`"><script>alert(1)</script>`, `'onmouseover='alert(1)`, `</form><form action=https://evil1.test>`, "javascript:alert(1)"} {
		f := a.begin("response_mode", "form_post", "state", state)
		p := b.get(f.url())
		action, fields := p.form()
		if p.status != 200 || action != a.RedirectURIs[0] || fields.Get("state") != state || strings.Count(p.body, "<form") != 1 {
			s.Errorf("state %q: %d, action %q, state %q", state, p.status, action, fields.Get("state"))
		}
		s.onlyText(state, p, "alert(1)", "evil1")
		// No script stands in the page, so no nonce is needed either.
		csp := p.header.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "script-src 'self';") || !strings.Contains(csp, "form-action 'self' https://rp1.test;") {
			s.Errorf("CSP = %s", csp)
		}
		f.exchange(fields.Get("code")).ok()
	}
}

func endlessScopes(s *scene) {
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	s.works(a, b, s.arena.alice, "scope", "openid  openid") // two spaces: tolerated, and one scope
	var distinct strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&distinct, "s%d ", i)
	}
	s.nothing(func() {
		for name, scope := range map[string]string{
			"10 000 words":       distinct.String(),
			"500 words":          distinct.String()[:1900],
			"one word of 100 kB": strings.Repeat("x", 100_000),
			"control characters": "openid \x01", "a tab": "openid\temail", "a quote": `open"id`, "a backslash": `open\id`, "no ASCII": "openid é",
		} {
			for _, method := range []string{"GET", "POST"} {
				f := a.begin("scope", scope)
				var p *page
				if method == "POST" {
					p = b.post("/authorize", f.params)
				} else if len(scope) < 30_000 { // longer URLs do not pass the server's limit of headers
					p = b.get(f.url())
				} else {
					continue
				}
				if p.left != nil {
					s.sentBack(name, p, f, "invalid_scope", "invalid_request")
				} else if p.status < 400 || p.status >= 500 {
					s.Errorf("%s by %s: %d at %s, want a refusal", name, method, p.status, p.url.Path)
				}
			}
		}
	})
}

// challenges wants each of the requests to be refused, from confidential and public clients.
func challenges(bad ...[]string) func(*scene) {
	return func(s *scene) {
		b := s.browser(s)
		for _, a := range []*app{s.web1(), s.spa1()} {
			s.works(a, b, s.arena.alice)
			s.nothing(func() {
				for _, params := range bad {
					f := a.begin(params...)
					s.sentBack(fmt.Sprint(a.Type, params), b.get(f.url()), f, "invalid_request")
				}
				f := a.begin("code_challenge", strings.Repeat("a", 129)) // longer than any can be: not read at all
				s.refusedPage("129 characters", b.get(f.url()))
			})
		}
	}
}

func silence(s *scene) { // no client can ask for a second factor yet
	a, other, b := s.web1(), s.web2(), s.browser(s)
	s.works(a, b, s.arena.alice)
	s.works(a, b, s.arena.alice, "prompt", "none")
	s.nothing(func() {
		f := a.begin("prompt", "none")
		s.sentBack("nobody is signed in", s.browser(s).get(f.url()), f, "login_required")
		f = other.begin("prompt", "none")
		s.sentBack("no consent", b.get(f.url()), f, "consent_required")
		f = a.begin("prompt", "none", "scope", "openid profile email address")
		s.sentBack("consent to less", b.get(f.url()), f, "consent_required")
		f = a.begin("prompt", "none", "max_age", "0")
		s.sentBack("signed in too long ago", b.get(f.url()), f, "login_required")
	})
}

func requestObjects(s *scene) {
	a, key := s.jwt1()
	other, otherKey := s.jwt1()
	b := s.browser(s)
	p := b.get(a.begin().url()).pass(s.arena.alice)
	if p.Get("code") == "" {
		s.Fatalf("the control ended with %v, want a code", p)
	}
	inside := map[string]any{"client_id": a.ID, "response_type": "code", "redirect_uri": "https://evil1.test/cb", "scope": "openid email api:read", "state": "inner", "nonce": "inner"}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"oauth-authz-req+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(mustJSON(s, inside))) + "."
	foreign := map[string]any{"client_id": other.ID, "response_type": "code", "redirect_uri": "https://jwt1.test/cb", "scope": "openid"}
	with := func(m map[string]any, name string, value any) map[string]any {
		out := map[string]any{name: value}
		for k, v := range m {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	honest := with(with(inside, "redirect_uri", "https://jwt1.test/cb"), "scope", "openid")
	s.nothing(func() {
		for name, object := range map[string]string{
			"unsigned":                          unsigned,
			"unsigned, with a signature":        unsigned + "AAAA",
			"signed by another client":          otherKey.assertion(s, a.ID, s.issuer, honest),
			"of another client":                 key.assertion(s, a.ID, s.issuer, foreign),
			"another client's whole":            otherKey.assertion(s, other.ID, s.issuer, foreign),
			"an object within":                  key.assertion(s, a.ID, s.issuer, with(honest, "request", "x")),
			"for another provider":              key.assertion(s, a.ID, "https://evil1.test", honest),
			"expired":                           key.assertion(s, a.ID, s.issuer, with(honest, "exp", s.now().Unix()-600)),
			"cut":                               key.assertion(s, a.ID, s.issuer, honest)[:100],
			"garbage":                           "x.y.z",
			"encrypted, by its number of parts": "a.b.c.d.e",
		} {
			f := a.begin("request", object, "scope", "openid")
			s.sentBack(name, b.get(f.url()), f, "invalid_request_object", "request_not_supported")
		}
		for _, uri := range []string{"https://evil1.test/object", "http://169.254.169.254/", "file:///etc/passwd", "https://jwt1.test/object"} {
			f := a.begin("request_uri", uri, "scope", "openid")
			p := b.get(f.url())
			if p.left != nil { // told, or shown: request_uri is from our own endpoint or from nowhere
				s.sentBack(uri, p, f, "request_uri_not_supported", "invalid_request_uri", "invalid_request")
			} else {
				s.refusedPage(uri, p, uri)
			}
		}
	})
}

func strangersTexts(s *scene) {
	a, b := s.web1(), s.browser(s)
	p := b.get("/error?error=access_denied")
	s.refusedPage("control", p)
	if !strings.Contains(p.body, "was not allowed") {
		s.Errorf("the error page does not explain access_denied:\n%s", p.body)
	}
	script := `<script>alert(1)</script>`
	for _, q := range []url.Values{
		{"error": {script}}, {"error": {"x"}, "error_description": {script}, "error_hint": {script}, "error_uri": {"javascript:alert(1)"}},
		{"error": {"access_denied"}, "error_description": {"Call +1 555 0100 with your password"}},
	} {
		p := b.get("/error?" + q.Encode())
		s.refusedPage(q.Encode(), p)
		if strings.Contains(p.body, "alert(1)") || strings.Contains(p.body, "555 0100") || strings.Contains(p.body, "javascript:") {
			s.Errorf("%v: the page repeats a stranger's text", q)
		}
	}
	hint := `"><img src=x onerror=alert(1)>`
	p = b.get(a.begin("login_hint", hint).url()).at("/login")
	_, fields := p.form()
	if fields.Get("username") != hint {
		s.Errorf("the field holds %q, want the hint as a value", fields.Get("username"))
	}
	s.onlyText("login_hint", p, "onerror", "alert(1)")
	strip := func(p *page) string {
		_, rest, _ := strings.Cut(p.body, "<h1>")
		before, _, _ := strings.Cut(rest, `name="request"`)
		return before
	}
	plain := strip(b.get(a.begin().url()).at("/login"))
	for i := range 30 { // nothing is looked up or kept by a locale: there is one catalogue
		if strip(b.get(a.begin("ui_locales", fmt.Sprintf("x%d-%s", i, randomText(8))).url()).at("/login")) != plain {
			s.Error("ui_locales changes the page")
		}
	}
}

func errorsByRedirect(s *scene) { // of self-registered clients: TestAnErrorLeadsNobodyStraightToAnUnverifiedApp
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	s.nothing(func() {
		f := a.begin("scope", "nope")
		s.sentBack("signed in", b.get(f.url()), f, "invalid_scope")
		s.sentBack("nobody", s.browser(s).get(f.url()), f, "invalid_scope")
		s.refusedPage("an address of nobody's", b.get(a.begin("scope", "nope", "redirect_uri", "https://evil1.test/cb").url()))
	})
}

func foreignOrigins(s *scene) {
	a, b := s.spa1(), s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice)
	send := func(method, path, origin, body string, more http.Header) reply {
		h := http.Header{"Origin": {origin}, "Content-Type": {"application/x-www-form-urlencoded"}}
		for k, v := range more {
			h[k] = v
		}
		return s.send(s, method, path, h, body)
	}
	own := "https://spa1.test"
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {a.ID}}.Encode()
	if got := send("POST", "/token", own, form, nil).header.Get("Access-Control-Allow-Origin"); got != own {
		s.Errorf("the app's own origin: %q", got)
	}
	s.nothing(func() {
		for _, origin := range []string{"https://evil1.test", "null", "https://spa1.test.evil1.test", "https://spa1.test:8443", "http://spa1.test", "HTTPS://SPA1.TEST"} {
			for _, r := range []reply{
				send("POST", "/token", origin, form, nil),
				send("POST", "/revoke", origin, url.Values{"token": {"x"}, "client_id": {a.ID}}.Encode(), nil),
				send("GET", "/userinfo", origin, "", bearerHeader(tokens.access())),
			} {
				if got := r.header.Get("Access-Control-Allow-Origin"); got != "" {
					s.Errorf("%s: Access-Control-Allow-Origin %q, want none", origin, got)
				}
			}
		}
		// Neither does an origin in the claims of a token that nobody verified. Errors that name no client
		// may be read from the origins of all clients, and of nobody else.
		unverified := base64.RawURLEncoding.EncodeToString([]byte(`{"client_id":"` + a.ID + `","allowed-origins":["https://evil3.test"]}`))
		for _, token := range []string{"x." + unverified + ".x", "x"} {
			if got := send("GET", "/userinfo", "https://evil3.test", "", bearerHeader(token)).header.Get("Access-Control-Allow-Origin"); got != "" {
				s.Errorf("claims that nobody verified: Access-Control-Allow-Origin %q, want none", got)
			}
		}
		for _, path := range []string{"/authorize", "/login", "/consent", "/logout", "/account", "/account/apps", "/error"} {
			for _, method := range []string{"GET", "OPTIONS", "POST"} {
				for _, origin := range []string{own, "https://evil1.test"} {
					if got := send(method, path, origin, "", nil).header.Get("Access-Control-Allow-Origin"); got != "" {
						s.Errorf("%s %s: Access-Control-Allow-Origin %q, want none ever", method, path, got)
					}
				}
			}
		}
	})
	if n, err := s.db.Client(context.Background(), a.ID); err != nil || len(n.AllowedOrigins) != 0 {
		s.Fatalf("the fixture has origins of its own: %v, %v", n, err)
	}
}
