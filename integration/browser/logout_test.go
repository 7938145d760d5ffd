package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestASignOutAtTheProviderIsNoticedInTheShop(t *testing.T) {
	withAndWithoutScript(t, func(t *testing.T, l look) {
		b := newTab(t, l)
		b.signInToShop(person(t))
		b.open(server(t).Issuer + "/logout")
		b.wait("#sign-out")
		if got := b.text("main"); !strings.Contains(got, "Demo shop") {
			t.Errorf("the question does not name the shop: %q", got)
		}
		b.follow("#sign-out")
		for began := time.Now(); time.Since(began) < 20*time.Second; { // until it is delivered
			b.open(server(t).Issuer + "/logout/done")
			if b.text("#told") == "1 app was told that you signed out." {
				break
			}
		}
		if got := b.text("#told"); got != "1 app was told that you signed out." {
			t.Errorf("the signed-out page says %q", got)
		}
		if !b.has("#kept") {
			t.Error("the shop keeps access while the person is away, and the page does not say so")
		}
		b.open(server(t).DemoURL + "/")
		b.wait("#told")
		b.wait("#log-in")
	})
}

// framed is an app of the provider's site that signs people out in a frame.
type framed struct {
	address, id string
	mu          sync.Mutex
	out         url.Values // with what the frame was loaded
	cookie      bool       // whether the app's cookie came along
}

func newFramed(t testing.TB, hangs bool) *framed {
	t.Helper()
	f := &framed{}
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cb":
			http.SetCookie(w, &http.Cookie{Name: "app", Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
			fmt.Fprint(w, `<!doctype html><title>App</title><link rel="icon" href="data:,"><p id="in">You are in</p>`)
		case "/front":
			_, err := r.Cookie("app")
			f.mu.Lock()
			f.out, f.cookie = r.URL.Query(), err == nil
			f.mu.Unlock()
			if hangs {
				<-release
			}
			fmt.Fprint(w, `<!doctype html><title>Out</title>`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(func() { close(release); s.Close() })
	f.address = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	var made struct {
		ID string `json:"client_id"`
	}
	out, err := server(t).Run(context.Background(), "", "client", "create", "--preset", "web", "--name", "Framed app", "--skip-consent",
		"--redirect-uri", f.address+"/cb", "--frontchannel-logout-uri", f.address+"/front", "--json")
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.id = made.ID
	return f
}

// signIn goes through the provider to the app.
func (f *framed) signIn(b *tab) {
	b.t.Helper()
	q := url.Values{
		"response_type": {"code"}, "client_id": {f.id}, "redirect_uri": {f.address + "/cb"}, "scope": {"openid"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	b.open(server(b.t).Issuer + "/authorize?" + q.Encode())
	b.signIn(person(b.t))
	b.wait("#in")
}

func TestAppsOfOurSiteAreToldInFrames(t *testing.T) { // conformance 107
	withAndWithoutScript(t, func(t *testing.T, l look) {
		f, b := newFramed(t, false), newTab(t, l)
		f.signIn(b)
		b.open(server(t).Issuer + "/logout")
		b.follow("#sign-out")
		b.until("the signed-out page, by itself", `location.pathname === "/logout/done"`)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.out.Get("iss") != server(t).Issuer || f.out.Get("sid") == "" || !f.cookie {
			t.Errorf("the frame was loaded with %v, cookie %v", f.out, f.cookie)
		}
	})
}

func TestAFrameThatHangsDoesNotKeepAnybody(t *testing.T) {
	t.Parallel()
	f, b := newFramed(t, true), newTab(t, look{})
	f.signIn(b)
	f.signOut(b)
	eval[bool](b, `document.querySelector("#continue").click() ?? true`)
	b.until("the signed-out page", `location.pathname === "/logout/done"`)
}

// signOut goes to the page that loads the frames.
func (f *framed) signOut(b *tab) {
	b.t.Helper()
	b.open(server(b.t).Issuer + "/logout")
	b.press("#sign-out")
	b.until("the page with frames", `document.querySelector("iframe") !== null && document.querySelector("#continue") !== null`)
}
