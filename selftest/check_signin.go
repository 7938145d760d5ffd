package selftest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const mendRequest = "Run a released version of the provider: this rule is its own."

// enterChecks come before those that need a browser.
var enterChecks = []Check{
	{"proxy.redirects", "Redirects reach the browser as they are.", "Send an authorization request and look where it leads.",
		"The proxy must neither follow redirects itself nor rewrite Location (proxy_redirect off; ProxyPassReverse with the public address).", issued,
		func(r *run) error {
			p, err := r.newBrowser().send(http.MethodGet, r.begin(r.web).url(), nil, "")
			if err != nil {
				return err
			}
			location := p.header.Get("Location")
			if p.status != http.StatusSeeOther && p.status != http.StatusFound || location == "" {
				return fmt.Errorf("the answer is %d without a redirect, want one to the sign-in page", p.status)
			}
			u, err := p.url.Parse(location)
			if err != nil || u.Scheme != r.site.Scheme || u.Host != r.site.Host || u.Path != r.site.Path+"/login" {
				return fmt.Errorf("it leads to %s, want %s/login", withoutQuery(location), r.issuer)
			}
			return nil
		}},
	{"cookies.kept", "Cookies reach the browser.", "Look for the cookie of the sign-in page.", "Let Set-Cookie through; nothing between may cache pages.", needs("proxy.redirects"),
		func(r *run) error {
			r.browser = r.newBrowser()
			r.browser.header = forgedHeader()
			r.first, r.cookies = r.begin(r.web), nil
			p, err := r.browser.get(r.first.url())
			if err != nil {
				return err
			}
			if r.front = p; len(r.cookies) == 0 {
				return errors.New("none is set")
			}
			if !p.has("sign-in") {
				return p.unlike("the sign-in page")
			}
			return nil
		}},
}

var authorizeChecks = []Check{
	{"authorize.client", "An unknown app gets nothing, and nobody is sent anywhere.", "Ask as a client that does not exist.", mendRequest, issued,
		refusedOnPage("client_id", "selftest-nobody")},
	{"authorize.redirect", "Answers go to registered addresses only, letter by letter.", "Ask with a redirect URI that is one letter longer.", mendRequest, issued,
		func(r *run) error { return refusedOnPage("redirect_uri", r.web.redirectURI+"x")(r) }},
	{"authorize.pkce", "Nobody gets a code without PKCE.", "Ask without code_challenge.", mendRequest, needs("proxy.redirects"), refusedToClient("invalid_request", "code_challenge", "-", "code_challenge_method", "-")},
	{"authorize.plain", "PKCE is by S256 only.", "Ask with code_challenge_method=plain.", mendRequest, needs("proxy.redirects"), refusedToClient("invalid_request", "code_challenge_method", "plain")},
	{"authorize.type", "There is no implicit flow.", "Ask with response_type=token.", mendRequest, needs("proxy.redirects"), refusedToClient("unsupported_response_type", "response_type", "token")},
	{"authorize.silent", "prompt=none shows no page.", "Ask so in a browser where nobody is signed in.", mendRequest, needs("proxy.redirects"), refusedToClient("login_required", "prompt", "none")},
	{"authorize.native", "A native app's loopback redirect may have any port.", "Ask with a port that is not registered.", mendRequest, needs("proxy.redirects"),
		func(r *run) error {
			return r.begin(r.native, "prompt", "none").refused(r.newBrowser(), "login_required")
		}},
	{"authorize.post", "An authorization request may be posted.", "Post one, as a form of an app's page does.", "Let POST to /authorize through, and its body.", needs("cookies.kept"),
		func(r *run) error {
			b := r.newBrowser()
			p, err := b.follow(http.MethodPost, r.endpoint("authorization_endpoint"), b.formHeader(r.web.origin), r.begin(r.web).params.Encode())
			if err != nil {
				return err
			}
			if !p.has("sign-in") {
				return p.unlike("the sign-in page")
			}
			return nil
		}},
	{"proxy.long", "Long authorization requests get through.", "Send one of 7 KB.",
		"Raise the proxy's limits of request lines and headers to 16 KB (large_client_header_buffers, LimitRequestLine, tune.bufsize).", needs("cookies.kept"),
		func(r *run) error {
			p, err := r.newBrowser().get(r.begin(r.web, "selftest", strings.Repeat("x", 6500)).url())
			if err != nil {
				return err
			}
			if !p.has("sign-in") {
				return p.unlike("the sign-in page")
			}
			return nil
		}},
	{"par.request", "Apps may push their requests.", "Push one and use the request_uri.", "Let POST to /par through.", needs("errors.json", "proxy.authorization", "proxy.redirects"),
		func(r *run) error {
			f := r.begin(r.web, "prompt", "none")
			pushed, err := r.post("pushed_authorization_request_endpoint", r.web.credentials, f.params)
			if err != nil {
				return err
			}
			if err := pushed.want(http.StatusCreated, ""); err != nil {
				return err
			}
			f.params = url.Values{"client_id": {r.web.id}, "request_uri": {pushed.text("request_uri")}}
			p, err := r.newBrowser().get(f.url())
			if err != nil {
				return err
			}
			answer, err := p.answer()
			if err != nil {
				return err
			}
			return same("error", answer.Get("error"), "login_required")
		}},
}

// refusedOnPage asks with a parameter that no answer may go to an app with.
func refusedOnPage(pairs ...string) func(*run) error {
	return func(r *run) error {
		p, err := r.newBrowser().send(http.MethodGet, r.begin(r.web, pairs...).url(), nil, "")
		if err != nil {
			return err
		}
		if p.status < 400 || p.status >= 500 || p.header.Get("Location") != "" {
			return p.unlike("an error page")
		}
		return nil
	}
}

// refusedToClient asks with parameters that the app gets that error for.
func refusedToClient(code string, pairs ...string) func(*run) error {
	return func(r *run) error { return r.begin(r.web, pairs...).refused(r.newBrowser(), code) }
}

var signInChecks = []Check{
	{"signin.wrong", "A wrong password does not sign in.", "Type one.", mendRequest, needs("cookies.kept", "errors.json"),
		func(r *run) error {
			p, err := r.front.signIn("not the password")
			if err != nil {
				return err
			}
			if p.left != nil || !p.has("sign-in") {
				return p.unlike("the sign-in page again")
			}
			r.front = p
			return nil
		}},
	{"signin.foreign", "Other sites cannot send the sign-in form.", "Send it with the Origin of another site.", "Pass Origin and Sec-Fetch-Site on unchanged.", needs("cookies.kept"),
		func(r *run) error {
			b := r.newBrowser()
			header := b.formHeader("https://stranger.selftest.invalid")
			header.Set("Sec-Fetch-Site", "cross-site")
			p, err := b.send(http.MethodPost, r.issuer+"/login", header, url.Values{"username": {"x"}, "password": {"x"}}.Encode())
			if err != nil {
				return err
			}
			return p.want(http.StatusForbidden, "")
		}},
	{"signin.leave", "Nobody is led to other sites from the sign-in page.", "Ask to go on to one.", mendRequest, issued,
		func(r *run) error {
			p, err := r.get(r.issuer+"/login?to="+url.QueryEscape("https://stranger.selftest.invalid/"), nil)
			if err != nil {
				return err
			}
			if strings.Contains(string(p.raw)+p.header.Get("Location"), "stranger.selftest.invalid") {
				return errors.New("the address is taken over")
			}
			return nil
		}},
	{"signin.password", "A person signs in with the right password, and is asked for consent.", "Fill in the form, and look for the question.",
		"Look into the provider's log for the refused request. The Origin and Host of forms have to reach it unchanged.", needs("signin.wrong"),
		func(r *run) error {
			p, err := r.front.signIn(r.password)
			if err != nil {
				return err
			}
			if !p.has("allow") || !p.has("deny") {
				return p.unlike("the consent page")
			}
			r.front = p
			r.session, err = r.seenAddress()
			return err
		}},
	{"cookies.secure", "Browsers send cookies by https only.", "Look for Secure on every cookie.", "Do not rewrite cookies in the proxy (proxy_cookie_flags).", needs("cookies.kept"),
		everyCookie(true, func(c setCookie) bool { return c.Secure })},
	{"cookies.prefix", "No other host can plant our cookies.", "Look for __Host-, Path=/ and no Domain on every cookie.", "Do not rewrite cookies in the proxy (proxy_cookie_domain, proxy_cookie_path).", needs("cookies.kept"),
		everyCookie(true, func(c setCookie) bool {
			return strings.HasPrefix(c.Name, "__Host-") && c.Path == "/" && c.Domain == ""
		})},
	{"cookies.samesite", "Other sites cannot act with our cookies.", "Look for SameSite on every cookie.", "Do not rewrite cookies in the proxy.", needs("cookies.kept"),
		everyCookie(false, func(c setCookie) bool {
			return c.SameSite == http.SameSiteLaxMode || c.SameSite == http.SameSiteStrictMode
		})},
	{"cookies.scripts", "No script reads our cookies.", "Look for HttpOnly on every cookie.", "Do not rewrite cookies in the proxy.", needs("cookies.kept"),
		everyCookie(false, func(c setCookie) bool { return c.HttpOnly })},
	{"consent.deny", "Who says no shares nothing.", "Press Cancel.", mendRequest, needs("signin.password"),
		func(r *run) error {
			p, err := r.front.press("deny", nil)
			if err != nil {
				return err
			}
			params, err := p.answer()
			if err != nil {
				return err
			}
			r.answers = append(r.answers, answered{r.first, params})
			return same("error", params.Get("error"), "access_denied")
		}},
	{"consent.allow", "Who says yes gets back to the app with a code.", "Ask again, and press Allow.", mendRequest, needs("signin.password", "consent.deny"),
		func(r *run) (err error) {
			r.first = r.begin(r.web)
			r.firstCode, err = r.first.code(r.browser)
			return err
		}},
	{"consent.once", "Who is signed in and has said yes is not asked again.", "Ask with prompt=none.", mendRequest, needs("consent.allow"),
		func(r *run) error { _, err := r.begin(r.web, "prompt", "none").code(r.browser); return err }},
	{"signin.again", "An app may have the person sign in anew.", "Ask with prompt=login.", mendRequest, needs("consent.allow"),
		func(r *run) error {
			p, err := r.browser.get(r.begin(r.web, "prompt", "login").url())
			if err != nil {
				return err
			}
			if !p.has("sign-in") {
				return p.unlike("the sign-in page")
			}
			return nil
		}},
	{"authorize.state", "Every answer carries the state of its request.", "Look at all answers, errors too.", "Nothing between may change the query of a Location.", needs("consent.allow"),
		func(r *run) error {
			for _, a := range r.answers {
				if err := same("state", a.params.Get("state"), a.f.params.Get("state")); err != nil {
					return err
				}
			}
			return nil
		}},
	{"authorize.iss", "Every answer names the issuer (RFC 9207).", "Look at all answers, errors too.", "Nothing between may change the query of a Location.", needs("consent.allow"),
		func(r *run) error {
			for _, a := range r.answers {
				if err := same("iss", a.params.Get("iss"), r.issuer); err != nil {
					return err
				}
			}
			return nil
		}},
	{"authorize.form", "An answer can be posted to the app.", "Ask with response_mode=form_post.", mendRequest, needs("consent.allow"),
		func(r *run) error {
			p, err := r.browser.get(r.begin(r.web, "response_mode", "form_post").url())
			if err != nil {
				return err
			}
			if !strings.Contains(string(p.raw), `name="code"`) || !strings.Contains(string(p.raw), r.web.redirectURI) {
				return p.unlike("a form that posts to the app")
			}
			return nil
		}},
	{"proxy.forwarded", "Nobody can make up the address that they come from.", "Sign in with an X-Forwarded-For of one's own.",
		"Have the proxy append the address of its client to X-Forwarded-For, or replace the header; IDP_TRUSTED_PROXIES must name proxies only.", needs("signin.password"),
		func(r *run) error {
			if r.session == forged {
				return errors.New("the provider believes the address that the request made up")
			}
			return nil
		}},
	{"proxy.address", "The provider knows the address that people come from.", "Compare the address of the sign-in with those of the connection.",
		"Have the proxy send X-Forwarded-For, and set IDP_TRUSTED_PROXIES to its network; else all people share one budget of tries.", needs("proxy.forwarded"),
		func(r *run) error {
			local, remote := r.browser.local, r.browser.remote
			switch {
			case r.session == local:
				return nil
			case r.session == remote:
				return fmt.Errorf("it takes the proxy for the person: it saw %s, this machine is %s", r.session, local)
			case private(r.session) && !private(remote):
				return fmt.Errorf("it saw %s, an address behind the proxy", r.session)
			}
			return nil // changed on the way, as home routers do
		}},
}

// everyCookie looks at each cookie that was set, without its value: that is a secret.
func everyCookie(secureOnly bool, good func(setCookie) bool) func(*run) error {
	return func(r *run) error {
		if secureOnly && !r.secure() {
			return skip("the issuer is plain http")
		}
		for _, c := range r.cookies {
			if !good(c) {
				_, attributes, _ := strings.Cut(c.line, ";")
				return fmt.Errorf("%s has %s", c.Name, strings.TrimSpace(attributes))
			}
		}
		return nil
	}
}

func private(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast())
}
