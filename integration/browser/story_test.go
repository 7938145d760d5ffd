package browser

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// withAndWithoutScript runs a story twice: every flow works without JavaScript.
func withAndWithoutScript(t *testing.T, story func(t *testing.T, l look)) {
	t.Parallel()
	t.Run("with script", func(t *testing.T) { t.Parallel(); story(t, look{}) })
	t.Run("without script", func(t *testing.T) { t.Parallel(); story(t, look{noScript: true}) })
}

func TestAPersonLogsInRefreshesAndLogsOut(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		shop, p := server(t).DemoURL, person(t)
		b := newTab(t, l)

		b.open(shop + "/")
		b.follow("#log-in")
		b.wait("#username")
		if !b.atProvider() {
			t.Fatalf("sign-in page is at %s, want it at %s", b.url(), server(t).Issuer)
		}
		if got := b.text("h1"); got != "Sign in" {
			t.Errorf("heading = %q, want %q", got, "Sign in")
		}
		b.signIn(p)

		b.wait("#allow")
		if got := b.text("h1"); !strings.HasSuffix(got, "wants to use your account") {
			t.Errorf("heading = %q, want … wants to use your account", got)
		}
		if got := b.text("#main"); !strings.Contains(got, p.Username) {
			t.Errorf("the consent page does not say who is signed in: %q", got)
		}
		b.follow("#allow")

		b.wait("#display-name")
		if !b.atShop() {
			t.Fatalf("after consent the browser is at %s, want %s", b.url(), shop)
		}
		first := b.tokens()
		if first.access == "" || first.refresh == "" {
			t.Fatalf("tokens = %+v, want an access token and a refresh token", first)
		}
		if first.claims.Issuer != server(t).Issuer || first.claims.Subject == "" {
			t.Errorf("ID token says iss %q sub %q, want iss %q and some sub", first.claims.Issuer, first.claims.Subject, server(t).Issuer)
		}
		if got := b.text("#userinfo-answer"); !strings.Contains(got, first.claims.Subject) {
			t.Errorf("userinfo = %q, want the subject %s in it", got, first.claims.Subject)
		}

		b.follow("#refresh")
		b.until("a refreshed session", `document.querySelector("#refresh-count")?.innerText === "1 time"`)
		second := b.tokens()
		if second.access == first.access || second.refresh == first.refresh {
			t.Errorf("refreshing gave the same tokens again")
		}
		if second.claims.Subject != first.claims.Subject {
			t.Errorf("sub = %q after refreshing, want %q", second.claims.Subject, first.claims.Subject)
		}
		b.follow("#call-userinfo")
		if b.has("#userinfo-error") {
			t.Errorf("userinfo with the refreshed token: %s", b.text("#userinfo-error"))
		}

		b.follow("#log-out")
		b.wait("#signed-out")
		if !b.atShop() {
			t.Errorf("after logging out the browser is at %s, want %s", b.url(), shop)
		}

		b.open(shop + "/login?prompt=none")
		b.wait("#error-code")
		if got := b.text("#error-code"); got != "login_required" {
			t.Errorf("prompt=none after logging out gives %q, want login_required", got)
		}
	})
}

func TestCancelGoesBackWithAccessDenied(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		b := newTab(t, l)
		b.open(server(t).DemoURL + "/")
		b.follow("#log-in")
		b.signIn(person(t))
		b.follow("#deny")
		b.wait("#error-code")
		if got := b.text("#error-code"); got != "access_denied" || !b.atShop() {
			t.Errorf("error = %q at %s, want access_denied at the shop", got, b.url())
		}
	})
}

func TestCancellingTheSignInGoesBackWithAccessDenied(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).DemoURL + "/")
	b.follow("#log-in")
	b.follow(`#main a[href*="cancel"]`)
	b.wait("#error-code")
	if got := b.text("#error-code"); got != "access_denied" || !b.atShop() {
		t.Errorf("error = %q at %s, want access_denied at the shop", got, b.url())
	}
}

func TestAWrongPasswordKeepsTheNameAndSaysSo(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		p := person(t)
		b := newTab(t, l)
		b.open(server(t).DemoURL + "/")
		b.follow("#log-in")
		wrong := p
		wrong.Password = "not the password at all"
		b.signIn(wrong)

		b.wait("#error")
		field := func(selector, of string) string {
			return eval[string](b, `document.querySelector("`+selector+`").`+of)
		}
		if got := field("#username", "value"); got != p.Username {
			t.Errorf("user name field = %q, want %q", got, p.Username)
		}
		if got := field("#current-password", "value"); got != "" {
			t.Errorf("password field = %q, want it empty", got)
		}
		if got := field("#error", `getAttribute("role")`); got != "alert" {
			t.Errorf("role of the error = %q, want alert", got)
		}
		b.until("the focus on the error or a field", `["error", "username", "current-password"].includes(document.activeElement?.id)`)
		if got := eval[string](b, "document.title"); !strings.HasPrefix(got, "Error: ") {
			t.Errorf("title = %q, want it to begin with Error:", got)
		}

		b.signIn(p)
		b.wait("#allow")
	})
}

func TestAnAnswerAsAFormComesBack(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		b := newTab(t, l)
		b.open(server(t).DemoURL + "/")
		b.follow("#log-in-form-post")
		b.signIn(person(t))
		b.follow("#allow")
		if l.noScript {
			b.wait("#form-post")
			if !strings.HasPrefix(b.text("h1"), "Back to") || !b.atProvider() {
				t.Errorf("heading %q at %s, want Back to … at the provider", b.text("h1"), b.url())
			}
			b.follow("#continue")
		}
		b.wait("#display-name")
		if !b.atShop() {
			t.Errorf("the browser is at %s, want the shop", b.url())
		}
	})
}

func TestTheSecondVisitGoesStraightThrough(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.signInToShop(person(t))
	b.follow("#forget")
	b.wait("#log-in")
	b.follow("#log-in")
	if !b.atShop() || !b.has("#display-name") {
		t.Errorf("the browser is at %s, want it logged in at the shop", b.url())
	}

	b.follow("#forget")
	b.follow("#log-in-silent")
	if !b.atShop() || !b.has("#display-name") {
		t.Errorf("prompt=none: the browser is at %s, want it logged in at the shop", b.url())
	}

	b.follow("#log-in-again")
	b.wait("#current-password")
	if got := b.text("h1"); got != "Confirm it's you" {
		t.Errorf("prompt=login: heading = %q, want %q", got, "Confirm it's you")
	}

	b.open(server(t).DemoURL + "/login?prompt=consent")
	b.wait("#allow")
}

func TestStayingSignedInIsAChoice(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		remember bool
		days     float64 // how long the cookie lives
	}{
		"ends with the browser": {remember: false},
		"stays on this device":  {remember: true, days: 30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := person(t)
			b := newTab(t, look{})
			b.open(server(t).Issuer + "/login")
			if tc.remember {
				b.press("#remember")
			}
			b.signIn(p)
			b.until("the account", `location.pathname === "/account"`)
			c := b.cookies(server(t).Issuer)["idp_sid"]
			if c == nil {
				t.Fatal("there is no session cookie")
			}
			if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || strings.HasPrefix(c.Domain, ".") {
				t.Errorf("session cookie = %+v, want HttpOnly, SameSite=Lax, Path=/ and no Domain", c)
			}
			if c.Session == tc.remember {
				t.Errorf("the cookie ends with the browser: %v, want %v", c.Session, !tc.remember)
			}
			if days := time.Until(time.Unix(int64(c.Expires), 0)).Hours() / 24; tc.remember && (days < tc.days-1 || days > tc.days+1) {
				t.Errorf("the cookie lives %.1f days, want about %.0f", days, tc.days)
			}
			if strings.Contains(eval[string](b, "document.cookie"), "idp_") {
				t.Error("scripts can read the session cookie")
			}
		})
	}
}

func TestSigningOutWithoutAHintAsksFirst(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		b := newTab(t, l)
		b.open(server(t).Issuer + "/login")
		b.signIn(person(t))
		b.open(server(t).Issuer + "/logout")
		b.wait("#sign-out")
		b.follow("#sign-out")
		b.until("the signed-out page", `document.querySelector("h1")?.innerText === "You're signed out"`)
		b.open(server(t).Issuer + "/account")
		b.wait("#current-password")
	})
}

func TestAfterSigningOutTheBackButtonShowsNothing(t *testing.T) {
	t.Parallel()
	p := person(t)
	b := newTab(t, look{})
	b.open(server(t).Issuer + "/login")
	b.signIn(p)
	b.until("the account", `location.pathname === "/account"`)
	b.open(server(t).Issuer + "/logout")
	b.follow("#sign-out")
	b.wait("h1")
	for range 2 {
		b.do("go back", chromedp.NavigateBack())
		b.wait("body")
		if got := b.text("body"); strings.Contains(got, p.Username) {
			t.Errorf("after signing out, Back shows at %s: %q", b.url(), got)
		}
	}
}

func TestAChangedPasswordIsTheOneThatCounts(t *testing.T) {
	t.Parallel()
	p := person(t)
	b := newTab(t, look{})
	b.open(server(t).Issuer + "/login")
	b.signIn(p)
	b.open(server(t).Issuer + "/.well-known/change-password")
	const chosen = "three calm herons over water"
	b.enter("#current-password", p.Password)
	b.enter("#new-password", chosen)
	b.follow("#change-password")
	b.wait("#notice")

	b.open(server(t).Issuer + "/logout")
	b.follow("#sign-out")
	b.open(server(t).Issuer + "/login")
	b.signIn(p)
	b.wait("#error")
	p.Password = chosen
	b.signIn(p)
	b.until("the account", `location.pathname === "/account"`)
}

func TestTheBackButtonLeadsNowhereWrong(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).DemoURL + "/")
	b.follow("#log-in")
	p := person(t)
	b.signIn(p)
	b.wait("#allow")

	// Back to the password, and through once more.
	b.do("go back", chromedp.NavigateBack())
	b.wait("#current-password")
	b.signIn(p)
	b.wait("#allow")
	b.follow("#allow")
	b.wait("#display-name")

	// Back to a consent that is given already: allowing it again leads to an
	// explanation or to the shop, never to a broken page.
	b.do("go back", chromedp.NavigateBack())
	if b.atProvider() && b.has("#allow") {
		b.follow("#allow")
	}
	b.until("the shop, or a calm page", `["#display-name", "#error", "#log-in"].some((s) => document.querySelector(s))`)
	if got := b.text("#main"); strings.Contains(got, "on our side") {
		t.Errorf("allowing twice gives %q", got)
	}
}

func TestTwoTabsDoNotMixUpTheirRequests(t *testing.T) {
	t.Parallel()
	p := person(t)
	one := newTab(t, look{})
	one.open(server(t).DemoURL + "/")
	two := one.another(look{})
	two.open(server(t).DemoURL + "/")

	one.follow("#log-in")
	two.follow("#log-in-online") // asks for no refresh token
	one.wait("#current-password")
	two.wait("#current-password")

	one.signIn(p)
	one.wait("#allow")
	two.signIn(p)
	two.wait("#allow")

	one.follow("#allow")
	one.wait("#display-name")
	if !one.has("#refresh") {
		t.Error("the first tab asked for offline access and got no refresh token")
	}
	two.follow("#allow")
	two.wait("#display-name")
	if two.has("#refresh") {
		t.Error("the second tab asked for no offline access and got a refresh token")
	}
}

func TestThePageInTheBrowserLogsInByItself(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.open(server(t).DemoURL + "/spa")
	b.leave("the sign-in page", func() { b.press("#spa-log-in") })
	b.signIn(person(t))
	b.follow("#allow")
	b.wait("#spa-refresh")

	type held struct {
		Claims       map[string]any
		Userinfo     map[string]any
		RefreshToken string `json:"refresh_token"`
		Refreshed    int
	}
	read := func() held {
		var h held
		if err := json.Unmarshal([]byte(b.text("#spa-out")), &h); err != nil {
			t.Fatalf("the page shows %q: %v (%s)", b.text("#spa-out"), err, b.text("#spa-status"))
		}
		return h
	}
	first := read()
	if first.Claims["sub"] == nil || first.Userinfo["sub"] != first.Claims["sub"] {
		t.Errorf("claims %v, userinfo %v: want the same sub in both", first.Claims, first.Userinfo)
	}
	b.press("#spa-refresh")
	b.until("a refreshed token", `document.querySelector("#spa-out").innerText.includes('"refreshed": 1')`)
	if second := read(); second.RefreshToken == first.RefreshToken {
		t.Error("refreshing gave the same refresh token again")
	}
	b.press("#spa-userinfo")
	b.until("the answer", `!document.querySelector("#spa-userinfo").disabled`)
	if got := b.text("#spa-status"); got != "" {
		t.Errorf("the page says %q", got)
	}
	b.leave("the shop", func() { b.press("#spa-log-out") })
	b.wait("#log-in")
	if !b.atShop() {
		t.Errorf("after logging out the browser is at %s, want the shop", b.url())
	}
}

type tokens struct {
	access, refresh string
	claims          struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
}

// tokens reads what the shop shows.
func (b *tab) tokens() tokens {
	b.t.Helper()
	inner := func(selector string) string {
		return eval[string](b, `document.querySelector("`+selector+`")?.textContent ?? ""`)
	}
	got := tokens{access: inner("#access-token"), refresh: inner("#refresh-token")}
	if err := json.Unmarshal([]byte(inner("#id-token-claims")), &got.claims); err != nil {
		b.t.Fatalf("read the claims that the shop shows: %v", err)
	}
	return got
}
