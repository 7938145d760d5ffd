package browser

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// authorize is an address of the authorization endpoint with something changed.
func authorize(t *testing.T, change map[string]string) string {
	t.Helper()
	c, err := server(t).Client("demo-web")
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {c.RedirectURIs[0]}, "scope": {"openid"}, "state": {"some-state"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for name, value := range change {
		q.Set(name, value)
	}
	return server(t).Issuer + "/authorize?" + q.Encode()
}

// mustBeCalm checks what every page of trouble owes to a person.
func (b *tab) mustBeCalm() {
	b.t.Helper()
	b.wait("#error")
	if !b.atProvider() {
		b.t.Errorf("the browser is at %s, want it to stay at the provider", b.url())
	}
	if got := b.text("h1"); got == "" {
		b.t.Error("the page has no heading")
	}
	if got := b.text("#error"); len(got) < 20 || strings.Contains(got, "on our side") {
		b.t.Errorf("the page explains %q, want what happened and how to go on", got)
	}
	if got := b.text("#main"); !strings.Contains(got, "reference") {
		b.t.Errorf("the page shows no reference code: %q", got)
	}
}

func TestAnUntrustedRequestStaysAtTheProvider(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]string{
		"unknown client":     {"client_id": "nobody", "redirect_uri": "https://evil.example/cb"},
		"wrong redirect":     {"redirect_uri": "https://evil.example/cb"},
		"script as redirect": {"redirect_uri": "javascript:alert(document.domain)//evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, look{})
			b.open(authorize(t, change))
			b.mustBeCalm()
			links := eval[[]string](b, `[...document.querySelectorAll("[href], [src], [action], [formaction]")].map((e) => e.outerHTML)`)
			for _, link := range links {
				if strings.Contains(link, "evil.example") || strings.Contains(link, "javascript:") {
					t.Errorf("the page leads to the stranger: %s", link)
				}
			}
		})
	}
}

func TestAnUnknownRequestIsExplained(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/login?request=nonsense", "/consent?request=nonsense", "/authorize?request=nonsense", "/login?request=00000000-0000-7000-8000-000000000000"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, look{})
			b.open(server(t).Issuer + path)
			b.mustBeCalm()
		})
	}
}

func TestAPageThatDoesNotExistIsExplained(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).Issuer + "/nowhere")
	b.mustBeCalm()
}

func TestALostCookieIsExplained(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(authorize(t, nil))
	b.wait("#username")
	call(b, network.ClearBrowserCookies, struct{}{})
	b.signIn(person(t))
	b.mustBeCalm()
}

func TestARequestBelongsToTheBrowserThatBeganIt(t *testing.T) {
	t.Parallel()
	victim := newTab(t, look{})
	victim.open(authorize(t, nil))
	victim.wait("#username")

	other := newTab(t, look{})
	other.open(victim.url())
	other.mustBeCalm()
	if other.has("#current-password") {
		t.Error("another browser may sign in for this request")
	}
}

func TestAFormFromAnotherSiteDoesNothing(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).Issuer + "/login")
	b.signIn(person(t))
	b.until("the account", `location.pathname === "/account"`)
	before := b.cookies(server(t).Issuer)["idp_sid"].Value

	// 127.0.0.1 is another site than localhost.
	b.open(serve(t, "script-src 'none'", `<form method="post" action="`+server(t).Issuer+`/logout"><input type="hidden" name="confirm" value="yes"><button id="lure">Win a prize</button></form>`))
	b.follow("#lure")
	b.open(server(t).Issuer + "/account")
	if after := b.cookies(server(t).Issuer)["idp_sid"]; after == nil || after.Value != before || b.has("#current-password") {
		t.Errorf("a form of another site signed the person out; the browser is at %s", b.url())
	}
}
