// Package browser tries the product as a person does: in a real browser,
// against a real `idp dev`, on the pages as they are served.
//
// Set IDP_SCREENSHOTS to a folder to keep pictures of all pages. Without a
// browser on the machine the tests are skipped, except with CI or
// IDP_REQUIRE_BROWSER set: then they fail.
package browser

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"idp/integration/dev"

	"github.com/chromedp/chromedp"
)

// shared are the things that all tests use and that are slow to start.
var shared struct {
	browser string // path
	chrome  lazy[context.Context]
	server  lazy[*dev.Server]
}

// lazy is made by the first test that needs it.
type lazy[T any] struct {
	once sync.Once
	made bool
	v    T
	err  error
}

func (l *lazy[T]) get(t testing.TB, make func() (T, error)) T {
	t.Helper()
	l.once.Do(func() {
		l.v, l.err = make()
		l.made = l.err == nil
	})
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.v
}

const noBrowser = "the browser tests need Chromium. Install it, for instance: apt-get install chromium-headless-shell"

func TestMain(m *testing.M) {
	shared.browser = findBrowser()
	if shared.browser == "" {
		dev.Shout("NO BROWSER: " + noBrowser)
	}
	code := m.Run()
	if shared.chrome.made {
		if err := chromedp.Cancel(shared.chrome.v); err != nil {
			fmt.Fprintln(os.Stderr, "close the browser:", err)
		}
	}
	if shared.server.made {
		if err := shared.server.v.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: stop the server:", err)
			code = max(code, 1)
		} else if code != 0 {
			fmt.Fprintf(os.Stderr, "the server's last lines:\n%s\n", shared.server.v.Log())
		}
	}
	os.Exit(code)
}

func needBrowser(t testing.TB) {
	t.Helper()
	if shared.browser == "" {
		dev.Missing(t, noBrowser)
	}
}

func chrome(t testing.TB) context.Context {
	t.Helper()
	needBrowser(t)
	return shared.chrome.get(t, func() (context.Context, error) { return launch(shared.browser) })
}

func server(t testing.TB) *dev.Server {
	t.Helper()
	needBrowser(t)
	return shared.server.get(t, func() (*dev.Server, error) { return dev.Start(context.Background()) })
}

// person makes an account nobody else uses, so that tests do not see one
// another's consents.
func person(t testing.TB) dev.Person {
	t.Helper()
	p, err := server(t).NewPerson(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signIn fills in the sign-in page that the tab is on.
func (b *tab) signIn(p dev.Person) {
	b.t.Helper()
	b.enter("#username", p.Username)
	b.enter("#current-password", p.Password)
	b.follow("#sign-in")
}

// signInToShop goes from the shop through sign-in and consent back to the shop.
func (b *tab) signInToShop(p dev.Person) {
	b.t.Helper()
	b.open(server(b.t).DemoURL + "/")
	b.follow("#log-in")
	b.signIn(p)
	b.follow("#allow")
	b.wait("#display-name")
}

// atProvider and atShop say whose page the tab is on.
func (b *tab) atProvider() bool { return strings.HasPrefix(b.url(), server(b.t).Issuer+"/") }

func (b *tab) atShop() bool { return strings.HasPrefix(b.url(), server(b.t).DemoURL+"/") }
