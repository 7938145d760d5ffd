package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestAnUnknownClientOrReturnAddressIsAPageAndNeverARedirect(t *testing.T) { // trap P21
	t.Parallel()
	w := start(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	disabled := w.app(t, storage.ClientWeb)
	w.updateClient(t, disabled, func(c *storage.Client) { now := w.now(); c.DisabledAt = &now })
	twice := func(name, value string) string { return a.begin().url() + "&" + name + "=" + url.QueryEscape(value) }
	pages := map[string]string{
		"unknown client":        a.begin("client_id", "nope").url(),
		"no client":             a.begin("client_id", "-").url(),
		"long client":           a.begin("client_id", strings.Repeat("x", 10_000)).url(),
		"disabled client":       disabled.begin().url(),
		"wrong redirect":        a.begin("redirect_uri", "https://evil.test/cb").url(),
		"no redirect":           a.begin("redirect_uri", "-").url(),
		"redirect twice":        twice("redirect_uri", "https://evil.test/cb"),
		"state twice":           twice("state", "b"),
		"client twice":          twice("client_id", "b"),
		"challenge twice":       twice("code_challenge", "b"),
		"bad type and redirect": a.begin("response_type", "foo", "redirect_uri", "https://evil.test/").url(),
		"no type and redirect":  a.begin("response_type", "-", "redirect_uri", "https://evil.test/").url(),
		"silent, bad redirect":  a.begin("prompt", "none", "redirect_uri", "https://evil.test/").url(),
		"unknown kept request":  w.issuer + "/authorize?request=nope",
	}
	texts := map[string]string{}
	for name, address := range pages {
		p := b.get(address)
		if p.status != 400 || p.left != nil || p.header.Get("Location") != "" || !strings.Contains(p.body, "We can't continue") && !strings.Contains(p.body, "We can&#39;t continue") {
			t.Errorf("%s: %d at %s, left %v; want our error page", name, p.status, p.url, p.left)
		}
		if strings.Contains(p.body, "evil.test") {
			t.Errorf("%s: the page repeats the foreign address", name)
		}
		texts[name] = strings.Split(strings.Split(p.body, "<main")[1], "reference")[0]
	}
	if texts["unknown client"] != texts["disabled client"] {
		t.Error("unknown and disabled clients read differently")
	}
}

func TestErrorsForTheClientGoToItWithStateAndIssuer(t *testing.T) { // conformance 37, 38, 56; traps P20, P31, P32, P33
	t.Parallel()
	w := start(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	for _, tc := range []struct {
		name, want string
		params     []string
	}{
		{"no response_type", "invalid_request", []string{"response_type", "-"}},
		{"unknown response_type", "unsupported_response_type", []string{"response_type", "foo"}},
		{"response_type CODE", "unsupported_response_type", []string{"response_type", "CODE"}},
		{"implicit", "unsupported_response_type", []string{"response_type", "token"}},
		{"implicit id_token", "unsupported_response_type", []string{"response_type", "id_token token"}},
		{"hybrid", "unsupported_response_type", []string{"response_type", "code id_token"}},
		{"unknown response_mode", "invalid_request", []string{"response_mode", "jwt"}},
		{"request object", "request_not_supported", []string{"request", "eyJhbGciOiJub25lIn0.e30."}},
		{"request_uri", "request_uri_not_supported", []string{"request_uri", "https://evil.test/r"}},
		{"registration", "registration_not_supported", []string{"registration", "{}"}},
		{"prompt none and login", "invalid_request", []string{"prompt", "none login"}},
		{"max_age negative", "invalid_request", []string{"max_age", "-1"}},
		{"max_age a word", "invalid_request", []string{"max_age", "abc"}},
		{"unknown scope only", "invalid_scope", []string{"scope", "nope"}},
		{"malformed scope", "invalid_scope", []string{"scope", `open"id`}},
		{"unknown resource", "invalid_target", []string{"resource", "https://api.test/"}},
		{"prompt none, nobody", "login_required", []string{"prompt", "none"}},
	} {
		state := randomText(140)
		answer := b.get(a.begin(append(tc.params, "state", state)...).url()).answer()
		if answer.Get("error") != tc.want || answer.Get("state") != state || answer.Get("iss") != w.issuer || answer.Has("code") {
			t.Errorf("%s: %v; want %s with state and iss", tc.name, answer, tc.want)
		}
		for name := range answer {
			if name != "error" && name != "error_description" && name != "state" && name != "iss" {
				t.Errorf("%s: unexpected parameter %s", tc.name, name)
			}
		}
		for _, r := range answer.Get("error_description") {
			if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
				t.Errorf("%s: error_description has %q", tc.name, r)
			}
		}
	}
}

func TestParametersWithoutMeaningHereNeverFailARequest(t *testing.T) { // conformance 41, 42
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for _, params := range [][]string{
		{"extra", "foobar", "approval_prompt", "force", "access_type", "offline"},
		{"display", "popup"}, {"display", "sing"}, {"ui_locales", "xx-YY de"}, {"claims_locales", "de"},
		{"acr_values", "urn:none 1 2"}, {"id_token_hint", "garbage"}, {"login_hint", `"><img src=x onerror=alert(1)>`},
		{"nonce", randomText(384)}, {"scope", "offline_access email openid profile"}, {"scope", "openid email unknown:scope"},
		{"prompt", "sing"}, {"max_age", "10000"}, {"claims", "{}"}, {"code_challenge_method", "S256", "state", ""},
	} {
		f := a.begin(params...)
		answer := b.get(f.url()).answer()
		if answer.Get("code") == "" {
			t.Errorf("%v: %v, want a code", params, answer)
			continue
		}
		if n := f.params.Get("nonce"); len(n) == 384 {
			if _, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token")); id["nonce"] != n {
				t.Errorf("a nonce of 384 characters came back as %v", id["nonce"])
			}
		}
	}
	p := w.browser(t).get(a.begin("login_hint", `"><img src=x onerror=alert(1)>`).url()).at("/login")
	if strings.Contains(p.body, "<img src=x") {
		t.Error("login_hint is not escaped")
	}
}

func TestAPostedRequestBehavesLikeOneByGet(t *testing.T) { // conformance 34
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	f.exchange(b.post("/authorize", f.params).pass(ada).Get("code")).ok()
	f = a.begin("prompt", "none")
	f.exchange(b.post("/authorize", f.params).answer().Get("code")).ok() // signed in though posted
}

func TestARegisteredQueryIsKept(t *testing.T) { // conformance 36
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RedirectURIs = []string{"https://rp.test/cb?tenant=a%20b"} })
	ada, b := w.person(t, "ada"), w.browser(t)
	f := a.begin()
	answer := b.get(f.url()).pass(ada)
	if answer.Get("tenant") != "a b" {
		t.Errorf("answer = %v, want the registered query kept", answer)
	}
	f.exchange(answer.Get("code")).ok()
}

func TestLoopbackPortsOfNativeAppsVary(t *testing.T) { // RFC 8252; A-007
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientNative), w.person(t, "ada"), w.browser(t)
	for _, uri := range []string{"http://127.0.0.1:51234/cb", "http://localhost:8123/cb", "com.test.app:/cb"} {
		f := a.begin("redirect_uri", uri)
		p := b.get(f.url())
		f.exchange(p.pass(ada).Get("code")).ok()
	}
}

func TestPromptAndMaxAgeAskAgain(t *testing.T) { // conformance 44-49; traps P14, P15, P16
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	authTime := func(f *flow, answer url.Values) float64 {
		t.Helper()
		_, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token"))
		return id["auth_time"].(float64)
	}
	if got := b.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("prompt=none, nobody: %q", got)
	}
	first := a.begin("max_age", "10000")
	t0 := authTime(first, b.get(first.url()).pass(ada))
	w.clock.advance(10 * time.Second)
	for _, params := range [][]string{{"max_age", "10000"}, {"prompt", "none"}, {"prompt", "none", "max_age", "60"}} {
		f := a.begin(params...)
		if got := authTime(f, b.get(f.url()).answer()); got != t0 {
			t.Errorf("%v: auth_time = %v, want that of the first sign-in, %v", params, got, t0)
		}
	}
	if got := b.get(a.begin("prompt", "none", "max_age", "1").url()).answer().Get("error"); got != "login_required" {
		t.Errorf("prompt=none with an old session: %q, want login_required", got)
	}
	last := t0
	for _, params := range [][]string{{"prompt", "login"}, {"max_age", "1"}, {"max_age", "0"}} {
		w.clock.advance(5 * time.Second)
		f := a.begin(params...)
		p := b.get(f.url()).at("/login")
		got := authTime(f, p.pass(ada))
		if got <= last {
			t.Errorf("%v: auth_time = %v, want later than %v", params, got, last)
		}
		last = got
	}
	b.get(a.begin("prompt", "consent").url()).at("/consent")
	other := w.app(t, storage.ClientWeb)
	if got := b.get(other.begin("prompt", "none").url()).answer().Get("error"); got != "consent_required" {
		t.Errorf("prompt=none without consent: %q, want consent_required", got)
	}
}

func TestTheHintedPersonOrNobody(t *testing.T) { // conformance 50; trap P18
	t.Parallel()
	w := start(t)
	a, ada, bob := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	b := w.browser(t)
	_, tokens := a.signIn(b, ada)
	hint := tokens.text("id_token")
	w.clock.advance(time.Hour) // expired hints count
	if got := b.get(a.begin("prompt", "none", "id_token_hint", hint).url()).answer(); got.Get("code") == "" {
		t.Errorf("the hinted person is signed in: %v, want a code", got)
	}
	other := w.browser(t)
	a.signIn(other, bob)
	if got := other.get(a.begin("prompt", "none", "id_token_hint", hint).url()).answer().Get("error"); got != "login_required" {
		t.Errorf("somebody else is signed in: %q, want login_required", got)
	}
	p := other.get(a.begin("id_token_hint", hint).url()).at("/login")
	p = p.submit(map[string]string{"username": bob.Username, "password": bob.Password})
	if got := p.answer().Get("error"); got != "login_required" {
		t.Errorf("somebody else signed in for it: %q, want login_required", got)
	}
}

func TestDenyingTellsTheClient(t *testing.T) { // conformance 52
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	p := b.get(f.url()).submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/consent")
	back := *p
	answer := p.submit(map[string]string{"decision": "deny"}).answer()
	if answer.Get("error") != "access_denied" || answer.Get("state") != f.params.Get("state") || answer.Get("iss") != w.issuer {
		t.Errorf("answer = %v, want access_denied", answer)
	}
	if again := back.submit(map[string]string{"decision": "allow"}); again.left != nil || again.status != 400 {
		t.Errorf("a denied request was allowed later: %v", again.left)
	}
}

func TestFormPostAnswersAsAFormAndEscapes(t *testing.T) { // conformance 55; A-014; trap P34
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	evil := `"><script>alert(1)</script>`
	f := a.begin("response_mode", "form_post", "state", evil)
	p := b.get(f.url())
	action, fields := p.form()
	if p.status != http.StatusOK || action != callback || fields.Get("state") != evil || fields.Get("iss") != w.issuer {
		t.Errorf("form_post: %d, action %q, fields %v", p.status, action, fields)
	}
	if strings.Contains(p.body, "<script>alert") || p.header.Get("Cache-Control") != "no-store" {
		t.Errorf("form_post page is not escaped, or may be stored:\n%s", p.body)
	}
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https://rp.test;") || strings.Contains(csp, "unsafe-inline") {
		t.Errorf("CSP = %s", csp)
	}
	f.exchange(fields.Get("code")).ok()
	_, fields = b.get(a.begin("response_mode", "form_post", "response_type", "token").url()).form()
	if fields.Get("error") != "unsupported_response_type" {
		t.Errorf("an error by form_post = %v", fields)
	}
}

func TestAKeptRequestBelongsToOneBrowser(t *testing.T) { // conformance 63
	t.Parallel()
	w := start(t)
	a, ada, mallory := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	p := mallory.get(a.begin().url()).at("/login")
	victim := w.browser(t)
	a.signIn(victim, ada)
	for _, path := range []string{"/login", "/consent", "/authorize"} {
		if got := victim.get(path + "?" + p.url.RawQuery); got.left != nil || got.status != 400 {
			t.Errorf("%s of another browser's request: %d, left %v; want an error page", path, got.status, got.left)
		}
	}
}

func TestTabsDoNotMixUpAndAReloadIsHarmless(t *testing.T) { // conformance 63
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f1, f2 := a.begin("scope", "openid email"), a.begin("scope", "openid profile")
	tab1, tab2 := b.get(f1.url()).at("/login"), b.get(f2.url()).at("/login")
	b.get(tab1.url.String()).at("/login")
	a2 := tab2.pass(ada)
	a1 := tab1.pass(ada)
	if a1.Get("state") != f1.params.Get("state") || a2.Get("state") != f2.params.Get("state") {
		t.Error("the tabs got one another's state")
	}
	if got := f1.exchange(a1.Get("code")).ok().text("scope"); got != "openid email" {
		t.Errorf("tab 1 got the scope %q", got)
	}
	f2.exchange(a2.Get("code")).ok()
}

func TestAnExpiredRequestCanBeStartedAgain(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	b.get(a.begin().url()).at("/login")
	f := a.begin()
	p := b.get(f.url()).at("/login")
	w.clock.advance(31 * time.Minute)
	p = b.get("/authorize?" + p.url.RawQuery)
	if p.status != 400 || !strings.Contains(p.body, "Start again") {
		t.Fatalf("an expired request shows %d:\n%s", p.status, p.body)
	}
	f.exchange(b.get(f.url()).pass(ada).Get("code")).ok()
}

func TestNativeAppsAskEachTime(t *testing.T) { // RFC 8252, 8.6
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientNative), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	b.get(a.begin().url()).at("/consent")
	house := w.app(t, storage.ClientNative, func(c *storage.Client) { c.SkipConsent = true })
	if got := b.get(house.begin().url()).answer().Get("code"); got == "" {
		t.Error("a first-party app was not let through")
	}
}

func TestAConsentFormOfSomebodyElseIsShownAgain(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	p := b.get(a.begin().url()).submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/consent")
	b.get("/login?" + p.url.RawQuery + "&switch=1").at("/login").submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/consent")
	p = p.submit(map[string]string{"decision": "allow"}).at("/consent")
	if !strings.Contains(p.body, bob.Email) {
		t.Error("the page does not say who is signed in now")
	}
}
