package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"idp/storage"
)

// tested is what idp test prints.
type tested struct {
	Findings []struct {
		Check  string
		Passed bool
		Why    string
	}
	Error   string
	IDToken struct {
		Claims map[string]any
	} `json:"id_token"`
	UserInfo    map[string]any
	SessionGone *bool `json:"session_gone"`
}

func (r tested) failed() []string {
	var out []string
	for _, f := range r.Findings {
		if !f.Passed {
			out = append(out, f.Check)
		}
	}
	return out
}

// idpTest runs idp test; visit gets the addresses that it wants a browser to open.
func (w *world) idpTest(t *testing.T, issuer, stdin string, visit func(address string), args ...string) (result tested, code int, printed string) {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"test"}, append(args, "--json")...)
	if args[1] != "token" {
		args = append(args, "--timeout", "20s")
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "IDP_ISSUER="+issuer, "IDP_DATABASE_URL="+w.dbURL)
	cmd.Stdin = strings.NewReader(stdin)
	var out, told bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		told.WriteString(lines.Text() + "\n")
		if address := strings.TrimSpace(lines.Text()); strings.HasPrefix(address, "http://") {
			visit(address)
		}
	}
	if err := cmd.Wait(); err != nil {
		if _, ok := err.(*exec.ExitError); !ok {
			t.Fatal(err)
		}
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &result); err != nil {
			t.Fatalf("%v in %s", err, out.Bytes())
		}
	}
	return result, cmd.ProcessState.ExitCode(), out.String() + told.String()
}

// walk goes through the pages of the provider, and to whatever loopback address it is sent.
func (b *browser) walk(who *person, address string) {
	b.t.Helper()
	p := b.get(address)
	for range 12 {
		switch {
		case p.left != nil:
			p = b.get(p.left.String())
		case p.url.Path == "/login":
			p = p.submit(map[string]string{"username": who.Username, "password": who.Password})
		case p.url.Path == "/consent":
			p = p.submit(map[string]string{"decision": "allow"})
		default:
			return
		}
	}
	b.t.Fatalf("the browser goes round in circles, at %s", p.url)
}

func (w *world) clientIDs(t *testing.T) []string {
	t.Helper()
	all, err := w.db.Clients(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range all {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestTestLoginActsAsAStrictApp(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	visit := func(b *browser) func(string) { return func(address string) { b.walk(ada, address) } }

	r, code, printed := w.idpTest(t, w.issuer, "", visit(w.browser(t)), "login")
	if code != 0 || r.failed() != nil || len(r.Findings) < 15 {
		t.Errorf("a temporary client: exit code %d\n%s", code, printed)
	}
	if r.IDToken.Claims["sub"] != ada.ID || r.UserInfo["email"] != ada.Email {
		t.Errorf("ID token %v, userinfo %v", r.IDToken.Claims, r.UserInfo)
	}
	if left := w.clientIDs(t); len(left) > 0 {
		t.Errorf("clients are left over: %v", left)
	}

	native := w.app(t, storage.ClientNative, func(c *storage.Client) { c.RedirectURIs = []string{"http://127.0.0.1/callback"} })
	if _, code, printed := w.idpTest(t, w.issuer, "", visit(w.browser(t)), "login", "--client", native.ID, "--scope", "openid offline_access"); code != 0 {
		t.Errorf("a native client: exit code %d\n%s", code, printed)
	}
	address := "http://" + freeAddress(t) + "/cb"
	web := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.RedirectURIs = []string{address} })
	if _, code, printed := w.idpTest(t, w.issuer, web.secret+"\n", visit(w.browser(t)), "login", "--client", web.ID, "--secret-stdin", "--redirect-uri", address); code != 0 || strings.Contains(printed, web.secret) {
		t.Errorf("a web client: exit code %d\n%s", code, printed)
	}
	if r, code, printed := w.idpTest(t, w.issuer, "wrong", visit(w.browser(t)), "login", "--client", web.ID, "--secret-stdin", "--redirect-uri", address); code != 5 || r.Error != "invalid_client" || strings.Join(r.failed(), " ") != "token.answer" {
		t.Errorf("a wrong secret: exit code %d\n%s", code, printed)
	}
}

func TestTestTokenActsForTheClientItself(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientMachine)
	nobody := func(address string) { t.Errorf("a browser is wanted at %s", address) }
	if _, code, printed := w.idpTest(t, w.issuer, "", nobody, "token"); code != 0 {
		t.Errorf("a temporary client: exit code %d\n%s", code, printed)
	}
	if _, code, printed := w.idpTest(t, w.issuer, a.secret, nobody, "token", "--client", a.ID, "--secret-stdin", "--scope", "api:read"); code != 0 {
		t.Errorf("a client: exit code %d\n%s", code, printed)
	}
	if r, code, printed := w.idpTest(t, w.issuer, a.secret, nobody, "token", "--client", a.ID, "--secret-stdin", "--scope", "nope"); code != 5 || r.Error != "invalid_scope" {
		t.Errorf("a scope it may not have: exit code %d\n%s", code, printed)
	}
	if _, code, printed := w.idpTest(t, "http://127.0.0.1:1", a.secret, nobody, "token", "--client", a.ID, "--secret-stdin"); code != 5 {
		t.Errorf("nobody there: exit code %d\n%s", code, printed)
	}
	if left := w.clientIDs(t); len(left) != 1 {
		t.Errorf("clients are %v, want only that of the test", left)
	}
}

func TestTestLogoutTellsWhetherTheSessionIsGone(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	r, code, printed := w.idpTest(t, w.issuer, "", func(address string) { b.walk(ada, address) }, "logout")
	if code != 0 || r.SessionGone == nil || !*r.SessionGone {
		t.Errorf("exit code %d\n%s", code, printed)
	}
	if p := b.get("/account"); p.url.Path != "/login" {
		t.Errorf("the browser is at %s, want it signed out", p.url)
	}

	// Somebody who does not sign out although the app sends them there.
	native := w.app(t, storage.ClientNative, func(c *storage.Client) { c.RedirectURIs = []string{"http://127.0.0.1/callback"} })
	first := w.app(t, storage.ClientNative, func(c *storage.Client) {
		c.RedirectURIs, c.SkipConsent = []string{"http://127.0.0.1/callback"}, true
	})
	for _, tc := range []struct {
		a       *app
		signOut bool
	}{{native, true}, {native, false}, {first, false}} {
		b := w.browser(t)
		_, code, printed := w.idpTest(t, w.issuer, "", func(address string) {
			if strings.Contains(address, "/logout?") && !tc.signOut {
				return
			}
			b.walk(ada, address)
		}, "logout", "--client", tc.a.ID)
		if want := map[bool]int{true: 0, false: 5}[tc.signOut]; code != want {
			t.Errorf("signing out %v: exit code %d, want %d\n%s", tc.signOut, code, want, printed)
		}
	}
}

// TestTestLoginNamesWhatAStrictAppRefuses spoils one thing at a time on the way.
func TestTestLoginNamesWhatAStrictAppRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(*http.Response)
		want  string
	}{
		"state dropped": {func(r *http.Response) { withoutParam(r, "state") }, "answer.state"},
		"iss dropped":   {func(r *http.Response) { withoutParam(r, "iss") }, "answer.iss"},
		"answers kept": {func(r *http.Response) {
			if r.Request.URL.Path == "/token" {
				r.Header.Set("Cache-Control", "public")
			}
		}, "token.store"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{clock: &clock{}}
			front := httptest.NewUnstartedServer(nil)
			w.issuer = "http://" + front.Listener.Addr().String()
			w.replicas = []string{freeAddress(t)}
			w.open(t)
			w.startProcess(t, w.replicas[0])
			front.Config.Handler = &httputil.ReverseProxy{
				Rewrite: func(r *httputil.ProxyRequest) {
					r.SetURL(&url.URL{Scheme: "http", Host: w.replicas[0]})
					r.Out.Host = r.In.Host
				},
				ModifyResponse: func(r *http.Response) error { tc.spoil(r); return nil },
			}
			front.Start()
			t.Cleanup(front.Close)
			w.transport = &http.Transport{}
			t.Cleanup(w.transport.CloseIdleConnections)
			ada, b := w.person(t, "ada"), w.browser(t)
			r, code, printed := w.idpTest(t, w.issuer, "", func(address string) { b.walk(ada, address) }, "login")
			if got := strings.Join(r.failed(), " "); code != 5 || got != tc.want {
				t.Errorf("exit code %d, refused %q, want %q\n%s", code, got, tc.want, printed)
			}
		})
	}
}

// withoutParam takes a parameter out of the address that a redirect leads to, when it leaves.
func withoutParam(r *http.Response, name string) {
	u, err := url.Parse(r.Header.Get("Location"))
	if err != nil || u.Host == "" {
		return
	}
	q := u.Query()
	q.Del(name)
	u.RawQuery = q.Encode()
	r.Header.Set("Location", u.String())
}
