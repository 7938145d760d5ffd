package login

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
	"idp/web"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

const rightPassword = "tide coral lantern 47"

// site is the sign-in page on a server of its own, with a database and a clock of its own.
type site struct {
	t     *testing.T
	db    *storage.DB
	login *Login
	url   string
	http  *http.Client // trusts the server's certificate
	ahead atomic.Int64 // how far the clock is ahead, in nanoseconds

	meanwhile atomic.Pointer[func()] // happens once, when somebody looks at the clock next
}

func (s *site) now() time.Time {
	if f := s.meanwhile.Swap(nil); f != nil {
		(*f)()
	}
	return time.Now().UTC().Truncate(time.Microsecond).Add(time.Duration(s.ahead.Load()))
}

func (s *site) wait(d time.Duration) { s.ahead.Add(int64(d)) }

func start(t *testing.T) *site            { return startWith(t, false) }
func startHTTPS(t *testing.T) *site       { return startWith(t, true) }
func (s *site) person(name string) string { return s.personWith(name, rightPassword) }

func startWith(t *testing.T, https bool) *site {
	t.Helper()
	s := &site{t: t, db: storagetest.New(t)}
	log := slog.New(slog.DiscardHandler)
	pages, err := web.NewPages(web.PagesConfig{Files: os.DirFS("../templates"), Brand: "Example ID", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	scheme := "http"
	if https {
		scheme = "https"
	}
	issuer := &url.URL{Scheme: scheme, Host: server.Listener.Addr().String()}
	ws := web.New(web.Config{
		Issuer: issuer, Pages: pages, Log: log, Unavailable: storage.Unavailable,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	s.login = New(Config{DB: s.db, Site: ws, Log: log, Now: s.now})
	mux := http.NewServeMux()
	mux.Handle("/login", ws.Route("login", true, ws.Browser(s.login.SignIn)))
	mux.Handle("/account", ws.Route("account", true, s.login.User(func(w http.ResponseWriter, r *http.Request) error {
		_, user := From(r.Context())
		io.WriteString(w, user.Username)
		return nil
	})))
	mux.Handle("/logout", ws.Route("logout", true, func(w http.ResponseWriter, r *http.Request) error {
		if _, err := s.login.End(w, r, "signed_out"); err != nil {
			return err
		}
		return web.See(w, r, "/login")
	}))
	server.Config.Handler = ws.Root(mux)
	if https {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	s.url, s.http = issuer.String(), server.Client()
	return s
}

// personWith makes an account and returns its id.
func (s *site) personWith(name, password string) string {
	s.t.Helper()
	hash := ""
	if password != "" {
		var err error
		if hash, err = s.login.HashPassword(context.Background(), password); err != nil {
			s.t.Fatal(err)
		}
	}
	u := storage.User{ID: storage.NewID("usr_"), Username: name, Email: name + "@example.test", CreatedAt: s.now()}
	if err := s.db.CreateUser(context.Background(), u, hash, storage.Event{}); err != nil {
		s.t.Fatal(err)
	}
	return u.ID
}

// browser has cookies, and follows no redirect.
type browser struct {
	*site
	client  http.Client
	from    string // X-Forwarded-For
	headers http.Header
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{site: s, headers: http.Header{}, client: http.Client{
		Jar: jar, Transport: s.http.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body string
}

func (a answer) location() string { return a.Header.Get("Location") }

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	for name, values := range b.headers {
		r.Header[name] = values
	}
	if b.from != "" {
		r.Header.Set("X-Forwarded-For", b.from)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// try opens the page and sends the form.
func (b *browser) try(name, password string, more ...string) answer {
	b.t.Helper()
	form := url.Values{"username": {name}, "password": {password}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	if b.value(web.FlowCookie) == "" {
		b.get("/login")
	}
	return b.post("/login", form)
}

// signIn is a try that must work.
func (b *browser) signIn(name string, more ...string) answer {
	b.t.Helper()
	a := b.try(name, rightPassword, more...)
	if a.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("sign in as %s: status %d, want 303; page:\n%s", name, a.StatusCode, a.body)
	}
	return a
}

// who is the user name that the browser is signed in as, "" for nobody.
func (b *browser) who() string {
	b.t.Helper()
	a := b.get("/account")
	if a.StatusCode == http.StatusOK {
		return a.body
	}
	if a.location() != "/login?to=%2Faccount" {
		b.t.Fatalf("/account: status %d to %q, want a way to sign in", a.StatusCode, a.location())
	}
	return ""
}

func (b *browser) site0() *url.URL {
	u, err := url.Parse(b.url)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// value is a cookie's value, whatever its prefix.
func (b *browser) value(name string) string {
	for _, k := range b.client.Jar.Cookies(b.site0()) {
		if strings.TrimPrefix(k.Name, "__Host-") == name {
			return k.Value
		}
	}
	return ""
}

func (b *browser) plant(name, value string) {
	b.client.Jar.SetCookies(b.site0(), []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// request keeps a request for the browser, of a client that is made with it.
func (b *browser) request(params url.Values) storage.Request {
	b.t.Helper()
	if b.value(web.FlowCookie) == "" {
		b.get("/login")
	}
	client := storage.Client{ID: storage.NewID("cli_"), Source: "admin", CreatedAt: b.now(), ClientMetadata: storage.ClientMetadata{
		Name: "Acme Wiki", URI: "https://wiki.example/start", RedirectURIs: []string{"https://wiki.example:8443/cb"},
	}}
	if err := b.db.CreateClient(b.t.Context(), client, storage.Event{}); err != nil {
		b.t.Fatal(err)
	}
	if params == nil {
		params = url.Values{}
	}
	r := storage.Request{
		ID: storage.NewID("req_"), ClientID: client.ID, Params: params, BrowserHash: storage.HashSecret(b.value(web.FlowCookie)),
		CreatedAt: b.now(), ExpiresAt: b.now().Add(30 * time.Minute),
	}
	if err := b.db.KeepRequest(b.t.Context(), r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

// count runs a query that gives one number.
func (s *site) count(query string, args ...any) int {
	s.t.Helper()
	var n int
	if err := s.db.Pool().QueryRow(s.t.Context(), query, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func expectPage(t *testing.T, a answer, status int, text string) {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(strings.ReplaceAll(a.body, "&#39;", "'"), text) {
		t.Errorf("got status %d, want %d with %q; page:\n%s", a.StatusCode, status, text, a.body)
	}
}
