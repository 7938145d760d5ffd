package browser

import (
	"context"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"idp/integration/dev"
)

// notes is an app without a server, on oidc-client-ts, at an origin of its own: its page is in
// testdata/notes, its library comes from integration/node. Try it with:
//
//	go test ./integration/browser -run OIDCClientTS
type notes struct {
	url    string
	client string
}

var notesApp lazy[*notes]

func startNotes(t testing.TB) *notes {
	t.Helper()
	idp := server(t)
	folder, err := dev.NodeFolder(t.Context())
	if err != nil {
		dev.Missing(t, "oidc-client-ts cannot be tried: "+err.Error())
	}
	return notesApp.get(t, func() (*notes, error) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		app := &notes{url: "http://127.0.0.1:" + port}
		out, err := idp.Run(context.Background(), "", "client", "create", "--preset", "spa", "--name", "Notes", "--url", app.url, "--json")
		if err != nil {
			return nil, err
		}
		var made struct {
			ID string `json:"client_id"`
		}
		if err := json.Unmarshal(out, &made); err != nil {
			return nil, err
		}
		app.client = made.ID
		page, err := template.ParseFiles("testdata/notes/app.html")
		if err != nil {
			return nil, err
		}
		show := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			page.Execute(w, map[string]string{"Issuer": idp.Issuer, "Client": app.client})
		}
		file := func(name string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) }
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /{$}", show)
		mux.HandleFunc("GET /callback", show)
		mux.HandleFunc("GET /app.js", file("testdata/notes/app.js"))
		mux.HandleFunc("GET /oidc-client-ts.min.js", file(filepath.Join(folder, "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js")))
		go http.Serve(l, mux) // until the tests end
		return app, nil
	})
}

// openNotes opens the app in a new profile. It finds nobody signed in.
func openNotes(t *testing.T) (*notes, *tab) {
	t.Helper()
	app := startNotes(t)
	b := newTab(t, look{})
	b.open(app.url)
	b.notesSay("signed out", "login_required")
	return app, b
}

func (b *tab) notesSay(status, reason string) {
	b.t.Helper()
	b.until("the app with: "+status+" "+reason, `document.querySelector("#status")?.innerText === `+quote(status)+` && document.querySelector("#reason").innerText.includes(`+quote(reason)+`)`)
}

func (b *tab) signInToNotes(p dev.Person) {
	b.t.Helper()
	b.follow("#sign-in")
	b.signIn(p)
	b.follow("#allow")
	b.notesSay("signed in", "")
	if got := b.text("#who"); got != p.Username {
		b.t.Errorf("the app greets %q, want %q", got, p.Username)
	}
}

type noteTokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
}

func (b *tab) noteTokens() noteTokens {
	b.t.Helper()
	return eval[noteTokens](b, `JSON.parse(localStorage.getItem(key))`)
}

// refreshNotes presses the button and waits for its outcome.
func (b *tab) refreshNotes() bool {
	b.t.Helper()
	return eval[bool](b, `refresh().then((user) => user !== null)`)
}

func TestOIDCClientTSSignsInStaysAndRefreshes(t *testing.T) { // RFC 10017
	for _, mode := range []string{"query", "fragment"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			app, b := openNotes(t)
			p := person(t)
			eval[bool](b, `sessionStorage.setItem("mode", `+quote(mode)+`), true`)
			b.open(app.url) // with that response mode
			b.signInToNotes(p)
			first := b.noteTokens()

			b.open(app.url)
			b.notesSay("signed in", "")
			if b.noteTokens() != first {
				t.Error("a reload changed the tokens")
			}
			if !b.refreshNotes() {
				t.Fatalf("refresh: %s", b.text("#reason"))
			}
			second := b.noteTokens()
			if second.Access == first.Access || second.Refresh == first.Refresh || second.ID == first.ID {
				t.Error("a silent refresh gave old tokens")
			}
			b.press("#userinfo")
			b.until("the claims", `document.querySelector("#answer").innerText.includes('"status":200') && document.querySelector("#answer").innerText.includes(`+quote(p.Username)+`)`)

			// The app loses all that it knew: the provider still knows the person.
			eval[bool](b, `localStorage.clear(), sessionStorage.clear(), sessionStorage.setItem("mode", `+quote(mode)+`), true`)
			b.open(app.url)
			b.notesSay("signed in", "")
			if third := b.noteTokens(); third.Refresh == second.Refresh || b.text("#who") != p.Username {
				t.Error("signing in without a page gave no tokens of its own")
			}
			if !b.refreshNotes() {
				t.Errorf("refresh after that: %s", b.text("#reason"))
			}
		})
	}
}

// rendezvous makes the next token request of this tab wait for that of the other one.
const rendezvous = `(() => {
	const real = fetch, channel = new BroadcastChannel("rendezvous");
	let met, other = new Promise((resolve) => { met = resolve }), arrived = false;
	channel.onmessage = ({data}) => { met(); if (data === "here" && arrived) channel.postMessage("too") };
	window.fetch = async (url, init) => {
		if (String(url).endsWith("/token")) {
			arrived = true;
			channel.postMessage("here");
			await other;
			window.fetch = real;
		}
		return real(url, init);
	};
	return true;
})()`

func TestOIDCClientTSRefreshesInTwoTabsAtOnce(t *testing.T) { // within the grace window
	t.Parallel()
	app, one := openNotes(t)
	one.signInToNotes(person(t))
	before := one.noteTokens()
	two := one.another(look{})
	two.open(app.url)
	two.notesSay("signed in", "")
	tabs := []*tab{one, two}
	for _, b := range tabs {
		eval[bool](b, rendezvous)
	}
	got := make([]noteTokens, 2)
	var both sync.WaitGroup
	for i, b := range tabs {
		both.Go(func() {
			var err error
			if got[i], err = try[noteTokens](b, `refresh().then((u) => ({access_token: u?.access_token, refresh_token: u?.refresh_token}))`); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if got[0].Refresh == "" || got[0].Refresh == before.Refresh || got[0].Refresh != got[1].Refresh || got[0].Access == got[1].Access {
		t.Fatalf("two tabs at once: %q and %q, want the same new refresh token and two access tokens", one.text("#reason"), two.text("#reason"))
	}
	for i, b := range tabs { // both go on, one after the other
		if !b.refreshNotes() {
			t.Errorf("tab %d is signed out: %s", i, b.text("#reason"))
		}
	}
}

func TestOIDCClientTSNoticesASignOut(t *testing.T) {
	t.Run("in another tab, by the storage event", func(t *testing.T) {
		t.Parallel()
		app, one := openNotes(t)
		one.signInToNotes(person(t))
		two := one.another(look{})
		two.open(app.url)
		two.notesSay("signed in", "")
		one.follow("#sign-out")
		one.until("the app again", `location.href === `+quote(app.url+"/"))
		one.notesSay("signed out", "")
		two.notesSay("signed out", "signed out in another tab")
	})
	t.Run("in another tab, without its storage", func(t *testing.T) {
		t.Parallel()
		app, one := openNotes(t)
		one.signInToNotes(person(t))
		two := one.another(look{})
		two.allow("400")
		two.open(app.url)
		two.notesSay("signed in", "")
		kept := eval[string](two, `localStorage.getItem(key)`)
		one.follow("#sign-out")
		one.notesSay("signed out", "")
		eval[bool](two, `localStorage.setItem(key, `+quote(kept)+`), true`) // as if it had missed the event
		if two.refreshNotes() {
			t.Error("a refresh token outlives the sign-out of its session")
		}
		two.notesSay("signed out", "invalid_grant: The code or refresh token is not valid")
	})
	t.Run("at the provider, by the next refresh", func(t *testing.T) {
		t.Parallel()
		app, b := openNotes(t)
		b.allow("400")
		b.allow("401")
		b.signInToNotes(person(t))
		other := b.another(look{})
		other.open(server(t).Issuer + "/logout")
		other.follow("#sign-out")
		other.until("the signed-out page", `location.pathname === "/logout/done"`)

		b.press("#userinfo") // the challenge is readable to scripts
		b.until("a refused access token", `document.querySelector("#answer").innerText.includes("invalid_token") && document.querySelector("#answer").innerText.includes("Bearer realm")`)
		if b.refreshNotes() {
			t.Error("a refresh token outlives the sign-out at the provider")
		}
		b.notesSay("signed out", "invalid_grant: The code or refresh token is not valid")
		if eval[bool](b, `localStorage.getItem(key) !== null`) {
			t.Error("the app keeps dead tokens")
		}
		b.open(app.url)
		b.notesSay("signed out", "")
	})
}

// A window that the app opened answers to it: the provider's pages do not cut the tie between the two.
func TestOIDCClientTSSignsInInAWindowOfItsOwn(t *testing.T) {
	t.Parallel()
	app, b := openNotes(t)
	p := person(t)
	b.signInToNotes(p)
	eval[bool](b, `localStorage.clear(), true`) // the provider knows the person, the app does not
	b.open(app.url)
	b.notesSay("signed out", "")
	b.press("#pop-up")
	b.notesSay("signed in", "")
	if got := b.text("#who"); got != p.Username {
		t.Errorf("the app greets %q, want %q", got, p.Username)
	}
}

// The message on a network that is down must not be what a script gets of a refusal.
func TestOIDCClientTSReadsEveryRefusal(t *testing.T) {
	t.Parallel()
	_, b := openNotes(t)
	for _, status := range []string{"400", "401", "405", "413"} {
		b.allow(status)
	}
	for name, request := range map[string]struct{ url, init, want string }{
		"garbage token":  {"/userinfo", `{headers: {authorization: "Bearer x"}}`, "401 invalid_token"},
		"no token":       {"/userinfo", `{}`, "401 invalid_token"},
		"JSON body":      {"/token", `{method: "POST", headers: {"content-type": "application/json"}, body: "{}"}`, "400 invalid_request"},
		"unknown client": {"/token", `{method: "POST", body: new URLSearchParams({grant_type: "refresh_token", client_id: "nobody"})}`, "401 invalid_client"},
		"too big":        {"/token", `{method: "POST", body: new URLSearchParams({x: "x".repeat(70000)})}`, "413 invalid_request"},
		"wrong method":   {"/token", `{}`, "405 invalid_request"},
		"push":           {"/par", `{method: "POST", body: new URLSearchParams({client_id: "nobody"})}`, "401 invalid_client"},
	} {
		got, err := try[string](b, `fetch(`+quote(server(t).Issuer+request.url)+`, `+request.init+`).then(async (r) => r.status + " " + (await r.json()).error)`)
		if err != nil || !strings.HasPrefix(got, request.want) {
			t.Errorf("%s: a script reads %q (%v), want %q", name, got, err, request.want)
		}
	}
}
