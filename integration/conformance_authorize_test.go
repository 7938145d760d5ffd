package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestAClientMayPostARequestFromItsOwnSite(t *testing.T) { // conformance 34
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	req := b.request(t, "POST", "/authorize", f.params)
	req.Header.Set("Origin", "https://rp.test")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	f.exchange(b.follow(req).pass(ada).Get("code")).ok()
}

func TestARedirectURIIsLeftOutOnlyWhereThereIsOne(t *testing.T) { // conformance 35; RFC 6749, 3.1.2.3
	t.Parallel()
	w := start(t)
	one := w.app(t, storage.ClientWeb)
	several := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://rp.test/other") })
	query := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RedirectURIs = []string{"https://rp.test/cb?a=b"} })
	b := w.browser(t)
	b.get(one.begin("redirect_uri", "-", "scope", "profile").url()).at("/login") // plain OAuth
	for name, address := range map[string]string{
		"OpenID Connect wants it":  one.begin("redirect_uri", "-").url(),
		"which of two":             several.begin("redirect_uri", "-", "scope", "profile").url(),
		"without the query":        query.begin("redirect_uri", "https://rp.test/cb").url(),
		"with another query":       query.begin("redirect_uri", "https://rp.test/cb?a=c").url(),
		"with more query":          query.begin("redirect_uri", "https://rp.test/cb?a=b&c=d").url(),
		"another of its addresses": several.begin("redirect_uri", "https://rp.test/bye").url(),
	} {
		if p := b.get(address); p.status != 400 || p.left != nil || p.header.Get("Location") != "" {
			t.Errorf("%s: %d, left to %v; want our error page", name, p.status, p.left)
		}
	}
}

func TestErrorsFollowTheResponseMode(t *testing.T) { // conformance 37, 55
	t.Parallel()
	w := start(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	for _, params := range [][]string{{"response_type", "-"}, {"prompt", "none"}, {"scope", "nope"}} {
		f := a.begin(append(params, "response_mode", "form_post")...)
		p := b.get(f.url())
		action, fields := p.form()
		if p.status != http.StatusOK || action != callback || fields.Get("error") == "" || fields.Get("state") != f.params.Get("state") || fields.Get("iss") != w.issuer || !strings.Contains(p.body, `method="post"`) {
			t.Errorf("%v: %d to %q with %v", params, p.status, action, fields)
		}
	}
}

func TestTheOrderOfParametersMeansNothing(t *testing.T) { // conformance 41
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	f := a.begin()
	parts := strings.Split(f.params.Encode(), "&")
	for range len(parts) {
		parts = append(parts[1:], parts[0])
		if code := b.get("/authorize?" + strings.Join(parts, "&")).answer().Get("code"); code == "" {
			t.Errorf("no code for %v", parts)
		}
	}
}

func TestOfflineAccessIsAskedForOnce(t *testing.T) { // conformance 51
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada, "scope", "openid email")
	f := a.begin("scope", "openid email offline_access")
	p := b.get(f.url()).at("/consent")
	f.exchange(p.submit(map[string]string{"decision": "allow"}).answer().Get("code")).ok()
	if code := b.get(f.url()).answer().Get("code"); code == "" {
		t.Error("what was allowed is asked for again")
	}
	p = b.get(a.begin("scope", "openid email offline_access", "prompt", "consent").url()).at("/consent")
	p.submit(map[string]string{"decision": "allow"}).answer()
}

func TestTheVisitOfABrowserThatKeepsNothingElse(t *testing.T) { // conformance 60: the cookies of one visit are enough
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	b := w.browser(t)
	f := a.begin()
	var set []*http.Cookie
	p := b.get(f.url()).at("/login")
	set = append(set, (&http.Response{Header: p.header}).Cookies()...)
	before := b.cookies()["idp_sid"]
	p = p.submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/consent")
	if after := b.cookies()["idp_sid"]; after == "" || after == before {
		t.Error("the sign-in gave no new session cookie")
	}
	for _, c := range set {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.Path != "/" {
			t.Errorf("cookie %s", c.Raw)
		}
	}
	f.exchange(p.submit(map[string]string{"decision": "allow"}).answer().Get("code")).ok()
	fresh := w.browser(t) // nothing of the first visit
	f = a.begin()
	f.exchange(fresh.get(f.url()).pass(ada).Get("code")).ok()
}

func TestEachPageHasItsPathItsPhraseAndStableNames(t *testing.T) { // conformance 52, 61
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	shows := func(p *page, path, phrase string, marks ...string) {
		t.Helper()
		p.at(path)
		if !strings.Contains(p.body, phrase) || strings.Contains(p.body, "<noscript") {
			t.Errorf("%s does not say %q, or needs a script", path, phrase)
		}
		for _, mark := range marks {
			if !strings.Contains(p.body, mark) {
				t.Errorf("%s has no %s", path, mark)
			}
		}
	}
	p := b.get(f.url())
	shows(p, "/login", "Sign in", `name="username"`, `name="password"`, `id="sign-in"`)
	p = p.submit(map[string]string{"username": ada.Username, "password": ada.Password})
	shows(p, "/consent", "wants to use your account", `id="allow"`, `id="deny"`, `name="decision"`)
	p.submit(map[string]string{"decision": "allow"}).answer()
	p = b.get("/logout")
	shows(p, "/logout", "Sign out", `id="sign-out"`)
	shows(p.submit(nil), "/logout/done", "signed out")
	shows(b.get("/authorize?client_id=nope"), "/authorize", "We can't continue", `id="error"`)
}

func TestAPageNeverLinksToAnAddressThatIsNotRegistered(t *testing.T) { // conformance 62
	t.Parallel()
	w := start(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	for _, uri := range []string{"https://evil.test/cb", "javascript:alert(1)", "https://rp.test/cb/../evil"} {
		p := b.get("/authorize?" + url.Values{"client_id": {a.ID}, "redirect_uri": {uri}, "response_type": {"code"}, "scope": {"openid"}}.Encode())
		if p.status != 400 || strings.Contains(p.body, "evil") || strings.Contains(p.body, "alert(1)") {
			t.Errorf("%s: %d\n%s", uri, p.status, p.body)
		}
		csp := p.header.Get("Content-Security-Policy")
		if strings.Contains(csp, "unsafe-inline") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("CSP %s", csp)
		}
	}
}
