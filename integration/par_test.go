package integration

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

// push pushes the parameters of a flow, and gives the address that a browser goes to.
func (f *flow) push(extra ...string) string {
	f.a.t.Helper()
	r := f.a.call("/par", f.params)
	if r.status != http.StatusCreated {
		f.a.t.Fatalf("push: %d %s", r.status, r.raw)
	}
	q := url.Values{"client_id": {f.a.ID}, "request_uri": {r.text("request_uri")}}
	for i := 0; i+1 < len(extra); i += 2 {
		q.Set(extra[i], extra[i+1])
	}
	return f.a.w.issuer + "/authorize?" + q.Encode()
}

func TestAPushedRequestIsAnsweredLikeAnyOther(t *testing.T) { // conformance 64, 68; RFC 9126, 2.2
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	r := a.call("/par", f.params)
	if r.status != 201 || r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("push: %d %v", r.status, r.header)
	}
	uri, lives := r.text("request_uri"), r.body["expires_in"].(float64)
	if rest, ok := strings.CutPrefix(uri, "urn:ietf:params:oauth:request_uri:"); !ok || len(rest) < 26 || lives < 5 || lives > 600 {
		t.Errorf("request_uri %q for %v s", uri, lives)
	}
	answer := b.get(f.push()).pass(ada)
	if answer.Get("state") != f.params.Get("state") || answer.Get("iss") != w.issuer {
		t.Errorf("answer = %v", answer)
	}
	_, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token"))
	if id["nonce"] != f.params.Get("nonce") {
		t.Errorf("nonce %v, want the pushed %s", id["nonce"], f.params.Get("nonce"))
	}
	// Signed in and consented, there is no step between.
	if p := b.get(a.begin().push()); p.left == nil || p.answer().Get("code") == "" {
		t.Errorf("at %s, want to be back at the client", p.url)
	}
}

func TestOnlyPushedValuesCount(t *testing.T) { // A-021; trap F8
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin("nonce", "-", "scope", "openid", "state", "-")
	address := f.push("nonce", "attacker", "prompt", "none", "max_age", "999999", "scope", "openid profile", "code_challenge", "x",
		"redirect_uri", "https://evil.test/cb", "state", "attacker", "response_mode", "form_post", "request", "a.b.c")
	p := b.get(address).at("/login") // and not login_required
	answer := p.pass(ada)
	if answer.Has("state") {
		t.Errorf("answer = %v, want no state", answer)
	}
	tokens := f.exchange(answer.Get("code")).ok()
	_, id := claims(t, tokens.text("id_token"))
	if id["nonce"] != nil || tokens.text("scope") != "openid" {
		t.Errorf("nonce %v, scope %q; want none and openid", id["nonce"], tokens.text("scope"))
	}
}

func TestAPushedRequestIsSpentByTheCodeAndNotByAPageLoad(t *testing.T) { // A-022; conformance 63, 68
	t.Parallel()
	w := start(t)
	web1, evil, ada, b := w.app(t, storage.ClientWeb), w.app(t, storage.ClientSPA), w.person(t, "ada"), w.browser(t)
	f := web1.begin()
	address := f.push()
	gone := func(name string, p *page) {
		t.Helper()
		if p.left != nil || p.status != 400 || p.header.Get("Location") != "" {
			t.Errorf("%s: %d at %s, left %v; want our error page", name, p.status, p.url, p.left)
		}
	}
	gone("another client", b.get(strings.Replace(address, "client_id="+web1.ID, "client_id="+evil.ID, 1)))
	gone("no client", b.get(strings.Replace(address, "client_id="+web1.ID+"&", "", 1)))
	b.get(address).at("/login")
	p := b.get(address).at("/login")
	gone("another browser, once one has it", w.browser(t).get(address))
	code := p.pass(ada).Get("code")
	gone("after the code", b.get(address))
	f.exchange(code).ok()

	unused := web1.begin().push()
	w.clock.advance(91 * time.Second)
	gone("after its time", b.get(unused))
	gone("never given", b.get(w.issuer+"/authorize?client_id="+web1.ID+"&request_uri=urn:ietf:params:oauth:request_uri:nope"))

	// Somebody who takes their time at the sign-in has as long as with any other request.
	other := w.browser(t)
	slow := web1.begin().push()
	p = other.get(slow).at("/login")
	w.clock.advance(10 * time.Minute)
	if code := p.pass(ada).Get("code"); code == "" {
		t.Error("a request that a browser took up ended with the time for taking it up")
	}
}

func TestARequestThatNobodyHasTakenUpBelongsToNoBrowser(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb)
	address, err := url.Parse(a.begin().push())
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimPrefix(address.Query().Get("request_uri"), "urn:ietf:params:oauth:request_uri:")
	for _, path := range []string{"/login?request=", "/consent?request=", "/authorize?request=", "/authorize?cancel=1&request="} {
		if p := w.browser(t).get(path + id); p.status != 400 || p.left != nil { // without a flow cookie there is no browser to match
			t.Errorf("%s: %d at %s, left %v; want our error page", path, p.status, p.url, p.left)
		}
	}
	if p := w.browser(t).get(address.String()); p.url.Path != "/login" {
		t.Errorf("afterwards: at %s (%d), want the sign-in", p.url, p.status)
	}
}

func TestAPushIsCheckedAtOnce(t *testing.T) { // conformance 65-67; A-022
	t.Parallel()
	w := start(t)
	a, spa := w.app(t, storage.ClientWeb), w.app(t, storage.ClientSPA)
	for _, tc := range []struct {
		name, code string
		params     []string
	}{
		{"request_uri", "invalid_request", []string{"request_uri", "urn:ietf:params:oauth:request_uri:x"}},
		{"unregistered redirect", "invalid_request", []string{"redirect_uri", "https://evil.test/cb"}},
		{"no redirect", "invalid_request", []string{"redirect_uri", "-"}},
		{"bad response_type", "unsupported_response_type", []string{"response_type", "token"}},
		{"no response_type", "invalid_request", []string{"response_type", "-"}},
		{"no PKCE", "invalid_request", []string{"code_challenge", "-", "code_challenge_method", "-"}},
		{"plain PKCE", "invalid_request", []string{"code_challenge_method", "plain"}},
		{"unknown scope", "invalid_scope", []string{"scope", "nope"}},
		{"unknown resource", "invalid_target", []string{"resource", "https://nope.test/"}},
		{"unknown response_mode", "invalid_request", []string{"response_mode", "jwt"}},
	} {
		a.call("/par", a.begin(tc.params...).params).fails(400, tc.code)
		spa.call("/par", spa.begin(tc.params...).params).fails(400, tc.code)
	}
	w.post(t, "/par", nil, a.begin().params).fails(401, "invalid_client") // a confidential client has to authenticate
	if r := spa.call("/par", spa.begin().params); r.status != 201 {
		t.Errorf("a public client: %d %s", r.status, r.raw)
	}
	for _, method := range []string{"GET", "PUT"} {
		if r := w.send(t, method, "/par", nil, ""); r.status != 405 || r.header.Get("Allow") == "" {
			t.Errorf("%s /par: %d, Allow %q", method, r.status, r.header.Get("Allow"))
		}
	}
	spa.call("/par", spa.begin("state", strings.Repeat("s", 2049)).params).fails(400, "invalid_request")
}

func TestAClientThatMustPushCannotDoWithout(t *testing.T) { // conformance 69
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RequirePushed = true }), w.person(t, "ada"), w.browser(t)
	if answer := b.get(a.begin().url()).answer(); answer.Get("error") != "invalid_request" {
		t.Errorf("plain parameters: %v, want invalid_request", answer)
	}
	if answer := b.get(a.begin().url() + "&pushed=1").answer(); answer.Get("error") != "invalid_request" {
		t.Errorf("a claim to have been pushed: %v, want invalid_request", answer)
	}
	f := a.begin()
	f.exchange(b.get(f.push()).pass(ada).Get("code")).ok()
}

func TestAPushByAClientThatChangedIsJudgedAnew(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb)
	a.begin().push() // now the client is cached
	w.updateClient(t, a, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://rp.test/new") })
	a.begin("redirect_uri", "https://rp.test/new").push()
	w.updateClient(t, a, func(c *storage.Client) { now := w.now(); c.DisabledAt = &now })
	a.call("/par", a.begin().params).fails(401, "invalid_client")
}

func TestEveryResponseMode(t *testing.T) { // conformance 55
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for _, mode := range []string{"", "query", "fragment"} {
		f := a.begin("response_mode", mode)
		p := b.get(f.url())
		answer := p.answer()
		if got := p.left.Fragment != ""; got != (mode == "fragment") || p.left.RawQuery != "" && mode == "fragment" {
			t.Errorf("%q: answered at %s", mode, p.left)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(answer)), []string{"code", "iss", "state"}) {
			t.Errorf("%q: answer %v", mode, answer)
		}
		f.exchange(answer.Get("code")).ok()
		p = b.get(a.begin("response_mode", mode, "prompt", "none", "scope", "nope").url())
		if p.answer().Get("error") != "invalid_scope" || (p.left.Fragment != "") != (mode == "fragment") {
			t.Errorf("%q: the error went to %s", mode, p.left)
		}
	}
	p := b.get(a.begin("response_mode", "form_post").url())
	action, fields := p.form()
	if p.status != 200 || action != callback || fields.Get("code") == "" || fields.Get("iss") != w.issuer || p.header.Get("Cache-Control") != "no-store" {
		t.Errorf("form_post: %d to %q with %v", p.status, action, fields)
	}
}

func TestAnExpiredPushedRequestLeadsBackToTheApp(t *testing.T) { // only the client can push it anew
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RequirePushed, c.URI = true, "https://rp.test/home" }), w.person(t, "ada")
	b := w.browser(t)
	p := b.get(a.begin().push()).at("/login")
	w.clock.advance(31 * time.Minute)
	for _, address := range []string{p.url.String(), strings.Replace(p.url.String(), "/login", "/authorize", 1)} {
		p := b.get(address)
		if p.status != 400 || !strings.Contains(p.body, `href="https://rp.test/home"`) || strings.Contains(p.body, "/authorize?") {
			t.Errorf("%s: %d\n%s", address, p.status, p.body)
		}
	}
	// Who only took their time over the form goes on.
	if code := p.pass(ada).Get("code"); code == "" {
		t.Error("the form of an expired request led nowhere")
	}
}

func TestASignInBeforeTheBrowserCameIsNotOneForThePushedRequest(t *testing.T) { // OpenID Connect Core, 3.1.2.1: prompt=login, max_age
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	first := w.browser(t)
	a.signIn(first, ada) // and consented
	for _, asks := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
		f := a.begin(asks...)
		address := f.push()
		w.clock.advance(time.Second)
		b := w.browser(t)
		b.signInAs(ada) // after the push, for something else
		w.clock.advance(time.Second)
		p := b.get(address).at("/login")
		w.clock.advance(time.Second)
		if answer := p.pass(ada); answer.Get("code") == "" { // and that one is
			t.Errorf("%s: %v, want a code after the sign-in", asks, answer)
		}
	}
}

func TestAnExpiredRequestThatNamedAPersonIsNotStartedAgainWithoutThem(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	b := w.browser(t)
	p := b.get(a.begin("id_token_hint", tokens.text("id_token")).url()).at("/login")
	w.clock.advance(31 * time.Minute)
	if p := b.get(p.url.String()); p.status != 400 || strings.Contains(p.body, "/authorize?") {
		t.Errorf("%d\n%s", p.status, p.body)
	}
	plain := w.browser(t)
	p = plain.get(a.begin().url()).at("/login")
	w.clock.advance(31 * time.Minute)
	if p := plain.get(p.url.String()); p.status != 400 || !strings.Contains(p.body, "/authorize?") {
		t.Errorf("without a hint there is nothing to lose: %d\n%s", p.status, p.body)
	}
}
