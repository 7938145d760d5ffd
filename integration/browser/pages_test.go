package browser

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"idp/integration/dev"
)

// pages are all that a person can come to see, each with the way there. Pages
// that only stop with scripts switched off say so.
var pages = []struct {
	name     string
	noScript bool
	arrive   func(b *tab)
}{
	{"login", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login")
		b.wait("#username")
	}},
	{"login-plain", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.wait("#username")
	}},
	{"login-error", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login")
		b.signIn(dev.Person{Username: "nobody-" + b.t.Name(), Password: "wrong"})
		b.wait("#error")
	}},
	{"login-again", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.open(server(b.t).DemoURL + "/login?prompt=login")
		b.wait("#current-password")
	}},
	{"accounts-one", false, func(b *tab) {
		b.addAccount(person(b.t))
		b.open(server(b.t).DemoURL + "/login?prompt=select_account")
		b.wait("#accounts")
	}},
	{"accounts-several", false, func(b *tab) {
		b.addAccount(personNamed(b.t, "Ada Byron"))
		b.open(server(b.t).Issuer + "/logout")
		b.follow("#sign-out")
		b.addAccount(personNamed(b.t, "Charles Augustus Montgomery Featherstonehaugh-Cholmondeley"))
		b.addAccount(personNamed(b.t, ""))
		b.addAccount(person(b.t))
		b.open(server(b.t).DemoURL + "/login?prompt=select_account")
		b.wait("#accounts")
	}},
	{"accounts-error", false, func(b *tab) {
		b.addAccount(person(b.t))
		b.open(server(b.t).Issuer + "/login/accounts")
		eval[bool](b, `(document.querySelector(".account").value = "another", true)`)
		b.follow(".account")
		b.wait("#error")
	}},
	{"accounts-remove", false, func(b *tab) {
		b.addAccount(personNamed(b.t, "Ada Byron"))
		b.addAccount(person(b.t))
		b.open(server(b.t).Issuer + "/login/accounts")
		b.follow("#remove-mode")
		b.wait("#done")
	}},
	{"login-add", false, func(b *tab) {
		b.addAccount(person(b.t))
		b.open(server(b.t).DemoURL + "/login?prompt=select_account")
		b.follow("#add-account")
		b.wait("#choose-account")
	}},
	{"signup", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login?prompt=create")
		b.wait("#sign-up")
	}},
	{"signup-error", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.follow("#create-account")
		b.enter("#name", "Ada Byron")
		b.enter("#username", "ada-byron")
		b.enter("#new-password", "passwordpassword")
		b.follow("#sign-up")
		b.wait("#error")
	}},
	{"apps-open", false, func(b *tab) {
		b.signInToShop(person(b.t))
		b.open(server(b.t).Issuer + "/account/apps")
		b.wait("#open-0")
	}},
	{"consent", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login")
		b.signIn(person(b.t))
		b.wait("#allow")
	}},
	{"consent-known", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login?offline=no")
		b.signIn(person(b.t))
		b.follow("#allow")
		b.wait("#display-name")
		b.open(server(b.t).DemoURL + "/login")
		b.wait("#allow")
	}},
	{"consent-api", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/authorize?" + url.Values{
			"client_id": {"demo-web"}, "redirect_uri": {"http://localhost:9999/cb"}, "response_type": {"code"}, "scope": {"openid email notes:read notes:write"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}.Encode())
		b.signIn(person(b.t))
		b.wait("#api-0")
	}},
	{"unverified", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/authorize?" + url.Values{"client_id": {registered(b.t)}, "response_type": {"code"}, "scope": {"nope"}, "state": {"s"}}.Encode())
		b.wait("#continue")
	}},
	{"barred", false, func(b *tab) {
		client := strings.ToLower("club-" + rand.Text()[:10])
		operate(b.t, "group", "create", client)
		operate(b.t, "client", "create", "--id", client, "--name", "Chess Club", "--url", "https://club.test", "--access-group", client)
		b.open(server(b.t).Issuer + "/authorize?client_id=" + client + "&response_type=code&scope=openid&redirect_uri=https://club.test/callback" +
			"&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
		b.signIn(person(b.t))
		b.wait("#switch")
	}},
	{"device", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/device")
		b.wait("#user-code")
	}},
	{"device-error", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/device?user_code=bcdfghjk")
		b.follow("#continue")
		b.wait("#error")
	}},
	{"device-confirm", false, func(b *tab) {
		b.typeDeviceCode()
		b.wait("#shown-code")
	}},
	{"device-done", false, func(b *tab) {
		b.typeDeviceCode()
		b.follow("#allow")
		b.wait("h1")
	}},
	{"device-refused", false, func(b *tab) {
		b.typeDeviceCode()
		b.follow("#deny")
		b.wait("h1")
	}},
	{"form-post", true, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login?response_mode=form_post")
		b.signIn(person(b.t))
		b.follow("#allow")
		b.wait("#form-post")
	}},
	{"account", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.until("the account", `location.pathname === "/account"`)
	}},
	{"apps", false, func(b *tab) {
		b.signInToShop(person(b.t))
		b.open(server(b.t).Issuer + "/account/apps")
		b.wait("#remove-0")
	}},
	{"apps-removed", false, func(b *tab) {
		b.signInToShop(person(b.t))
		b.open(server(b.t).Issuer + "/account/apps")
		b.follow("#remove-0")
		b.wait("#notice")
	}},
	{"security", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.open(server(b.t).Issuer + "/account/security")
		b.wait("#change-password")
	}},
	{"security-error", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.open(server(b.t).Issuer + "/account/security")
		b.enter("#current-password", "not this one")
		b.enter("#new-password", "a long enough sentence of words")
		b.follow("#change-password")
		b.wait("#error")
	}},
	{"logout", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.open(server(b.t).Issuer + "/logout")
		b.wait("#sign-out")
	}},
	{"logout-apps", false, func(b *tab) {
		b.signInToShop(person(b.t))
		b.open(server(b.t).Issuer + "/logout")
		b.wait("#told")
	}},
	{"logout-told", false, func(b *tab) {
		b.signInToShop(person(b.t))
		b.open(server(b.t).Issuer + "/logout")
		b.follow("#sign-out")
		b.wait("#told")
	}},
	{"signing-out", false, func(b *tab) { // as long as a frame loads, the page stays
		f := newFramed(b.t, true)
		f.signIn(b)
		f.signOut(b)
	}},
	{"logout-done", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login")
		b.signIn(person(b.t))
		b.open(server(b.t).Issuer + "/logout")
		b.follow("#sign-out")
		b.wait("h1")
	}},
	{"error-client", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/authorize?client_id=nobody")
		b.wait("#error")
	}},
	{"error-request", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/login?request=nonsense")
		b.wait("#error")
	}},
	{"not-found", false, func(b *tab) {
		b.open(server(b.t).Issuer + "/nowhere")
		b.wait("#error")
	}},
	{"shop", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/")
		b.wait("#log-in")
	}},
	{"shop-logged-in", false, func(b *tab) { b.signInToShop(person(b.t)) }},
	{"shop-problem", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/login?prompt=none")
		b.wait("#error-code")
	}},
	{"shop-in-the-browser", false, func(b *tab) {
		b.open(server(b.t).DemoURL + "/spa")
		b.wait("#spa-log-in")
	}},
}

// typeDeviceCode goes where a device sends people, and signs in.
func (b *tab) typeDeviceCode() {
	b.t.Helper()
	client := strings.ToLower("tv-" + rand.Text()[:10])
	operate(b.t, "client", "create", "--id", client, "--name", "Acme TV", "--preset", "native", "--grant-type", "urn:ietf:params:oauth:grant-type:device_code")
	resp, err := http.PostForm(server(b.t).Issuer+"/device_authorization", url.Values{"client_id": {client}, "scope": {"openid profile email"}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var codes struct {
		Address string `json:"verification_uri_complete"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&codes); err != nil || codes.Address == "" {
		b.t.Fatalf("%s, %v", resp.Status, err)
	}
	b.open(codes.Address)
	b.follow("#continue")
	b.signIn(person(b.t))
	b.wait("#allow")
}

// operate runs a command as an operator.
func operate(t testing.TB, args ...string) {
	t.Helper()
	if _, err := server(t).Run(context.Background(), "", append(args, "--json")...); err != nil {
		t.Fatal(err)
	}
}

// registered is the id of a client that registered itself.
func registered(t testing.TB) string {
	t.Helper()
	resp, err := http.Post(server(t).Issuer+"/register", "application/json", strings.NewReader(`{"client_name": "Super Helper", "redirect_uris": ["https://helper.example/callback"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("the registration: %d %v", resp.StatusCode, err)
	}
	return answer.ID
}

func TestEveryPageFitsItsScreenAndIsAccessible(t *testing.T) {
	t.Parallel()
	// Three at a time: more only wait for one another on a small machine.
	slots := make(chan struct{}, 3)
	for _, page := range pages {
		t.Run(page.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			server(t)
			b := newTab(t, look{noScript: page.noScript})
			page.arrive(b)
			for _, l := range []look{{}, {dark: true}, {width: 390}, {width: 390, dark: true}, {width: 320}, {width: 320, dark: true}} {
				// From here on scripts may run: axe-core is one. Those that
				// the page did not run when it came do not run now.
				b.look(l)
				b.screenshot(page.name + l.suffix())
				b.unfold(true)
				b.mustFit(l)
				b.mustBeAccessible(l)
				b.unfold(false)
			}
		})
	}
}

func (l look) suffix() string {
	suffix := ""
	if l.width != 0 {
		suffix = fmt.Sprintf("-%d", l.width)
	}
	if l.dark {
		suffix += "-dark"
	}
	return suffix
}

// unfold shows or hides what a page tells only to those who ask.
func (b *tab) unfold(open bool) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf(`(document.querySelectorAll("details").forEach((d) => { d.open = %v }), true)`, open))
}

// mustFit checks that nobody has to scroll sideways (WCAG 2.2, 1.4.10), and
// that what is to be touched on a phone is large enough to hit.
func (b *tab) mustFit(l look) {
	b.t.Helper()
	b.until("a settled page", `document.fonts.status === "loaded"`)
	size := eval[[]int](b, `[document.scrollingElement.scrollWidth, innerWidth]`)
	if size[0] > size[1] || l.width != 0 && int64(size[1]) != l.width {
		wide := eval[[]string](b, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))`)
		b.t.Errorf("%v: the page is %d wide on a screen of %d; too wide are %q", l, size[0], size[1], wide)
	}
	if l.width == 0 || l.width > 500 {
		return
	}
	small := eval[[]string](b, `[...document.querySelectorAll("button, input:not([type=hidden]):not([type=checkbox]), a.button")]
		.filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 40 && !e.matches(".show"))
		.map((e) => e.outerHTML.slice(0, 80) + " " + e.getBoundingClientRect().height)`)
	if len(small) > 0 {
		b.t.Errorf("%v: too low to be touched (below 40 px): %q", l, small)
	}
}

// mustBeAccessible runs axe-core on the page.
func (b *tab) mustBeAccessible(l look) {
	b.t.Helper()
	if !eval[bool](b, `typeof axe === "object"`) {
		source := axe(b.t)
		eval[bool](b, source+"\n;true")
	}
	violations := eval[[]struct {
		Rule, Help string
		At         []string
	}](b, `axe.run(document, {
		resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	}).then((r) => r.violations.map((v) => ({Rule: v.id, Help: v.help, At: v.nodes.map((n) => n.html.slice(0, 200) + " — " + n.failureSummary)})))`)
	for _, v := range violations {
		b.t.Errorf("%v: %s (%s) at\n%s", l, v.Rule, v.Help, strings.Join(v.At, "\n"))
	}
}

var axeSource struct {
	sync.Once
	text string
	err  error
}

// axe is the accessibility engine, which a page runs.
func axe(t testing.TB) string {
	t.Helper()
	axeSource.Do(func() {
		var folder string
		folder, axeSource.err = dev.NodeFolder(context.Background())
		if errors.Is(axeSource.err, dev.ErrNoNode) {
			dev.Shout("NO NODE: accessibility was not tried: " + axeSource.err.Error())
		}
		if axeSource.err == nil {
			var text []byte
			text, axeSource.err = os.ReadFile(filepath.Join(folder, "node_modules", "axe-core", "axe.min.js"))
			axeSource.text = string(text)
		}
	})
	if errors.Is(axeSource.err, dev.ErrNoNode) {
		dev.Missing(t, axeSource.err.Error())
	}
	if axeSource.err != nil {
		t.Fatalf("read axe-core: %v", axeSource.err)
	}
	return axeSource.text
}
