package account

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"idp/login"
	"idp/storage"
	"idp/storage/storagetest"
	"idp/web"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

const (
	oldPassword = "tide coral lantern 47"
	newPassword = "seven quiet otters rowing"
)

// site is the account pages and the sign-in page on a server of their own.
type site struct {
	t   *testing.T
	db  *storage.DB
	url *url.URL
	ada storage.User

	meanwhile atomic.Pointer[func()] // happens once, when the account pages look at the clock next
}

func (s *site) now() time.Time {
	if f := s.meanwhile.Swap(nil); f != nil {
		(*f)()
	}
	return time.Now()
}

func start(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, db: storagetest.New(t)}
	db := s.db
	log := slog.New(slog.DiscardHandler)
	pages, err := web.NewPages(web.PagesConfig{Files: os.DirFS("../templates"), Brand: "Example ID", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	issuer := &url.URL{Scheme: "http", Host: server.Listener.Addr().String()}
	ws := web.New(web.Config{Issuer: issuer, Pages: pages, Log: log, Unavailable: storage.Unavailable})
	l := login.New(login.Config{DB: db, Site: ws, Log: log})
	a := New(Config{DB: db, Site: ws, Login: l, Now: s.now, Brand: "Example ID"})
	mux := http.NewServeMux()
	mux.Handle("/login", ws.Route("login", true, ws.Browser(l.SignIn)))
	mux.Handle("/account", ws.Route("account", true, ws.Browser(l.User(a.Home))))
	mux.Handle("/account/apps", ws.Route("apps", true, ws.Browser(l.User(a.Apps))))
	mux.Handle("/account/security", ws.Route("security", true, ws.Browser(l.User(a.Security))))
	server.Config.Handler = ws.Root(mux)
	server.Start()
	t.Cleanup(server.Close)

	now := time.Now().UTC()
	s.url = issuer
	s.ada = storage.User{
		ID: storage.NewID("usr_"), Username: "ada", Email: "ada@example.test", EmailVerifiedAt: &now,
		Profile: storage.Profile{Name: "Ada <Lovelace>"}, CreatedAt: now,
	}
	hash, err := l.HashPassword(t.Context(), oldPassword)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CreateUser(t.Context(), s.ada, hash, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser has cookies, and follows no redirect.
type browser struct {
	*site
	client http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) read(resp *http.Response, err error) (*http.Response, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, strings.ReplaceAll(string(body), "&#39;", "'")
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	return b.read(b.client.Get(b.url.String() + path))
}

func (b *browser) post(path string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	return b.read(b.client.PostForm(b.url.String()+path, form))
}

// signIn says whether the password lets ada in.
func (b *browser) signIn(password string) bool {
	b.t.Helper()
	b.get("/login")
	resp, _ := b.post("/login", url.Values{"username": {"ada"}, "password": {password}})
	return resp.StatusCode == http.StatusSeeOther
}

func (b *browser) signedIn() bool {
	b.t.Helper()
	resp, _ := b.get("/account")
	return resp.StatusCode == http.StatusOK
}

func (b *browser) change(old, chosen string) (*http.Response, string) {
	b.t.Helper()
	return b.post("/account/security", url.Values{"password": {old}, "new_password": {chosen}})
}

func TestAccountShowsWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	for _, path := range []string{"/account", "/account/security", "/account/apps"} {
		resp, _ := b.get(path)
		if want := "/login?to=" + url.QueryEscape(path); resp.StatusCode != 303 || resp.Header.Get("Location") != want {
			t.Errorf("%s signed out: status %d to %q, want 303 to %q", path, resp.StatusCode, resp.Header.Get("Location"), want)
		}
	}
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	resp, body := b.get("/account")
	for _, want := range []string{"Your account</h1>", "Ada &lt;Lovelace&gt;", "ada@example.test", "Verified", " UTC"} {
		if resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("status %d, page lacks %q:\n%s", resp.StatusCode, want, body)
		}
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
}

func TestChangingThePasswordSignsOutEverywhereElse(t *testing.T) {
	t.Parallel()
	s := start(t)
	here, there := s.browser(), s.browser()
	if !here.signIn(oldPassword) || !there.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	resp, body := here.change(oldPassword, newPassword)
	if to := resp.Header.Get("Location"); resp.StatusCode != 303 || to != "/account/security?changed=1" {
		t.Fatalf("status %d to %q, want 303 to the notice; page:\n%s", resp.StatusCode, to, body)
	}
	if _, body := here.get("/account/security?changed=1"); !strings.Contains(body, "Your password is changed") {
		t.Errorf("no notice in\n%s", body)
	}
	if !here.signedIn() || there.signedIn() {
		t.Errorf("signed in here %v, there %v; want here only", here.signedIn(), there.signedIn())
	}
	if s.browser().signIn(oldPassword) {
		t.Error("the old password still works")
	}
	if !s.browser().signIn(newPassword) {
		t.Error("the new password does not work")
	}
	events, err := s.db.Events(t.Context(), s.ada.ID, 10)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Kind == "password.changed" && e.Actor == s.ada.ID && e.IP == "127.0.0.1" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events of the change in %+v, want 1", n, events)
	}
}

func TestRefusedPasswordChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	for _, tc := range []struct{ old, chosen, want, field string }{
		{"wrong", newPassword, "That is not your current password.", "current-password"},
		{"", newPassword, "That is not your current password.", "current-password"},
		{oldPassword, "too short", "Use at least 15 characters.", "new-password"},
		{oldPassword, "", "Use at least 15 characters.", "new-password"},
		{oldPassword, "ada@example.test 1", "your name", "new-password"},
		{oldPassword, strings.Repeat("long ", 300), "too long", "new-password"},
	} {
		resp, body := b.change(tc.old, tc.chosen)
		if resp.StatusCode != 422 || !strings.Contains(body, tc.want) {
			t.Errorf("change(%q, %q): status %d, want 422 with %q; page:\n%s", tc.old, tc.chosen, resp.StatusCode, tc.want, body)
		}
		_, input, _ := strings.Cut(body, `<input id="`+tc.field+`"`)
		if input, _, _ = strings.Cut(input, ">"); !strings.Contains(input, `aria-invalid="true"`) {
			t.Errorf("change(%q, %q): field %s is not marked: %s", tc.old, tc.chosen, tc.field, input)
		}
		if tc.chosen != "" && strings.Contains(body, tc.chosen) {
			t.Errorf("change(%q, %q): the page holds the password", tc.old, tc.chosen)
		}
	}
	if !s.browser().signIn(oldPassword) {
		t.Error("the old password does not work any more")
	}
}

func TestCurrentPasswordCannotBeGuessedWithoutEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	for n := range 10 {
		if resp, _ := b.change("wrong", newPassword); resp.StatusCode != 422 {
			t.Fatalf("try %d: status %d, want 422", n+1, resp.StatusCode)
		}
	}
	resp, body := b.change(oldPassword, newPassword)
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "Too many attempts.") {
		t.Errorf("status %d, Retry-After %q, want 429; page:\n%s", resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
	if b.signIn(oldPassword) {
		t.Error("the sign-in page has tries of its own")
	}
}

// cookie is the value of one of the browser's cookies.
func (b *browser) cookie(name string) string {
	for _, k := range b.client.Jar.Cookies(b.url) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

func TestChangingThePasswordGivesTheSessionANewCookie(t *testing.T) {
	t.Parallel()
	s := start(t)
	b, thief := s.browser(), s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	stolen := b.cookie(web.SessionCookie)
	thief.client.Jar.SetCookies(s.url, []*http.Cookie{{Name: web.SessionCookie, Value: stolen, Path: "/"}})
	if !thief.signedIn() {
		t.Fatal("the stolen cookie does not work, so the test proves nothing")
	}
	if resp, body := b.change(oldPassword, newPassword); resp.StatusCode != 303 {
		t.Fatalf("status %d, want 303; page:\n%s", resp.StatusCode, body)
	}
	if !b.signedIn() || b.cookie(web.SessionCookie) == stolen {
		t.Errorf("signed in %v with a new cookie %v, want both", b.signedIn(), b.cookie(web.SessionCookie) != stolen)
	}
	if thief.signedIn() {
		t.Error("the cookie from before still works")
	}
}

func TestAPasswordIsChangedOnlyInTheStateThatWasConfirmed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		meanwhile func(s *site) error
		status    int
		says      string // on the page, or where it leads
		works     string // password afterwards
	}{
		"somebody else changed it": {func(s *site) error {
			other := s.browser()
			if !other.signIn(oldPassword) {
				return errors.New("could not sign in elsewhere")
			}
			if resp, _ := other.change(oldPassword, "another password entirely"); resp.StatusCode != 303 {
				return errors.New("could not change the password elsewhere")
			}
			return nil
		}, 409, "Your password was changed a moment ago", "another password entirely"},
		"the session was ended": {func(s *site) error {
			_, err := s.db.Pool().Exec(s.t.Context(), `update sessions set ended_at = $1`, time.Now())
			return err
		}, 303, "/login?to=/account/security", oldPassword},
		"the account was switched off": {func(s *site) error {
			_, err := s.db.SetUserState(s.t.Context(), s.ada.ID, storage.UserSuspended, time.Now(), storage.Event{})
			return err
		}, 303, "/login?to=/account/security", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			b := s.browser()
			if !b.signIn(oldPassword) {
				t.Fatal("could not sign in")
			}
			f := func() {
				if err := tc.meanwhile(s); err != nil {
					t.Error(err)
				}
			}
			s.meanwhile.Store(&f)
			resp, body := b.change(oldPassword, newPassword)
			if resp.StatusCode != tc.status || !strings.Contains(body+resp.Header.Get("Location"), tc.says) {
				t.Errorf("status %d to %q, want %d and %q; page:\n%s", resp.StatusCode, resp.Header.Get("Location"), tc.status, tc.says, body)
			}
			if s.browser().signIn(newPassword) {
				t.Error("the password was changed")
			}
			if tc.works != "" && !s.browser().signIn(tc.works) {
				t.Errorf("%q does not work", tc.works)
			}
		})
	}
}

func TestStayingSignedInOutlivesAChangeOfThePassword(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	b.get("/login")
	b.post("/login", url.Values{"username": {"ada"}, "password": {oldPassword}, "remember": {"1"}})
	resp, _ := b.change(oldPassword, newPassword)
	for _, k := range resp.Cookies() {
		if k.Name == web.SessionCookie && k.MaxAge > int((29*24*time.Hour).Seconds()) {
			return
		}
	}
	t.Errorf("cookies %v, want a session that lasts for 30 days", resp.Header["Set-Cookie"])
}

func TestPasswordFormOfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	form := url.Values{"password": {oldPassword}, "new_password": {newPassword}}
	r, err := http.NewRequest(http.MethodPost, s.url.String()+"/account/security", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, _ := b.read(b.client.Do(r)); resp.StatusCode != 403 {
		t.Errorf("status %d, want 403", resp.StatusCode)
	}
}
