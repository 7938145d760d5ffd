package browser

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"idp/integration/dev"
)

// personNamed is person with a name of its own, "" for none.
func personNamed(t testing.TB, name string) dev.Person {
	t.Helper()
	p := dev.Person{Username: "person-" + strings.ToLower(rand.Text()[:10]), Password: rand.Text()}
	args := []string{"user", "create", "--username", p.Username, "--email", p.Username + "@example.test", "--password-stdin", "--json"}
	if name != "" {
		args = append(args, "--name", name)
	}
	if _, err := server(t).Run(context.Background(), p.Password+"\n", args...); err != nil {
		t.Fatal(err)
	}
	return p
}

// addAccount signs somebody in beside those who are signed in already.
func (b *tab) addAccount(p dev.Person) {
	b.t.Helper()
	b.open(server(b.t).Issuer + "/login?add=1")
	b.signIn(p)
	b.until("the account", `location.pathname === "/account"`)
}

// chooseAccount presses the row of a person on the page that the tab is on.
func (b *tab) chooseAccount(p dev.Person) {
	b.t.Helper()
	b.wait("#accounts")
	row := eval[int](b, fmt.Sprintf(`[...document.querySelectorAll("#accounts li")].findIndex((e) => e.innerText.includes(%s)) + 1`, quote(p.Username)))
	if row == 0 {
		b.t.Fatalf("%s is not among %q", p.Username, b.text("#accounts"))
	}
	b.follow(fmt.Sprintf("#accounts li:nth-child(%d) .account", row))
}

func TestTwoPeopleShareABrowser(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		shop := server(t).DemoURL
		ada, bob := person(t), person(t)
		b := newTab(t, l)
		b.signInToShop(ada)
		first := b.tokens().claims.Subject
		b.follow("#forget")

		// Bob signs in beside Ada.
		b.follow("#log-in-select")
		b.follow("#add-account")
		b.signIn(bob)
		b.follow("#allow")
		b.wait("#display-name")
		second := b.tokens().claims.Subject
		if second == first {
			t.Fatal("bob is ada")
		}
		b.follow("#forget")

		// Ada again, without her password.
		b.follow("#log-in-select")
		b.wait("#accounts")
		if got := strings.Count(b.text("#accounts"), "Signed in"); got != 2 {
			t.Errorf("%d are signed in, want 2: %q", got, b.text("#accounts"))
		}
		b.open(b.url()) // a reload
		b.chooseAccount(ada)
		b.wait("#display-name")
		if got := b.tokens().claims.Subject; got != first || !b.atShop() {
			t.Errorf("signed in as %s at %s, want ada at the shop", got, b.url())
		}
		b.follow("#forget")

		// Back from the shop: the request was answered, which is said with a way on.
		b.follow("#log-in-select")
		chooser := b.url()
		b.chooseAccount(bob)
		b.wait("#display-name")
		if got := b.tokens().claims.Subject; got != second {
			t.Errorf("signed in as %s, want bob", got)
		}
		b.open(chooser)
		b.wait("#error")
		if got := b.text("#error"); !strings.Contains(got, "answered already") {
			t.Errorf("going back says %q, want that it was answered", got)
		}

		// One sign-out on our own page for everybody.
		b.open(server(t).Issuer + "/logout")
		b.follow("#sign-out")
		b.open(shop + "/login?prompt=none")
		b.wait("#error-code")
		if got := b.text("#error-code"); got != "login_required" {
			t.Errorf("after signing out prompt=none gives %q, want login_required", got)
		}
		b.open(shop + "/login?prompt=select_account")
		b.wait("#accounts")
		if got := b.text("#accounts"); strings.Contains(got, "Signed in") || strings.Contains(got, ada.Username) {
			t.Errorf("after signing out the chooser says %q", got)
		}
	})
}

func TestSomebodyMakesAnAccountOnTheWayToAnApp(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		b := newTab(t, l)
		b.open(server(t).DemoURL + "/")
		b.follow("#log-in-create")
		if got := b.text("h1"); got != "Create account" || !b.atProvider() {
			t.Fatalf("heading %q at %s, want Create account at the provider", got, b.url())
		}
		username := "new-" + strings.ToLower(rand.Text()[:10])
		b.enter("#name", "Nora Newman")
		b.enter("#username", username)
		b.enter("#new-password", username)
		eval[bool](b, `(document.querySelector("#new-password").removeAttribute("minlength"), true)`)
		b.follow("#sign-up")
		b.wait("#error")
		if got := b.focused(); got != "new-password" {
			t.Errorf("the focus is on %q, want new-password", got)
		}
		b.enter("#new-password", "ferns beside nine lamps")
		b.follow("#sign-up")
		b.follow("#allow")
		b.wait("#display-name")
		if got := b.text("#display-name"); !strings.Contains(got, "Nora Newman") || !b.atShop() {
			t.Errorf("the shop greets %q at %s, want Nora Newman", got, b.url())
		}
	})
}

func TestAnAppIsOpenedFromTheListOfApps(t *testing.T) {
	t.Parallel()
	b := newTab(t, look{})
	b.signInToShop(person(t))
	b.follow("#forget")
	b.open(server(t).Issuer + "/account/apps")
	b.follow("#open-0")
	b.wait("#display-name")
	if !b.atShop() {
		t.Errorf("the browser is at %s, want it logged in at the shop", b.url())
	}
}
