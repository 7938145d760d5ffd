package demo

import (
	"go/format"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// shop is the demo app on a port of its own, and a browser in front of it
// that follows no redirects.
type shop struct {
	t       *testing.T
	url     string
	issuer  *issuer
	browser *http.Client
}

func newShop(t *testing.T) *shop {
	t.Helper()
	web := Client{ID: "demo-web", Secret: "s3cret & more"}
	i := newIssuer(t, web)
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	server.Config.Handler = Handler(Config{
		Issuer: i.URL, BaseURL: base, Web: web, SPA: Client{ID: "demo-spa"},
		Brand: "Example ID", Username: "ada", Password: "analytical-engine",
	})
	server.Start()
	t.Cleanup(server.Close)
	return &shop{t, base, i, newBrowser(t)}
}

func newBrowser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type reply struct {
	status   int
	body     string
	location *url.URL
	header   http.Header
}

func (s *shop) get(path string) reply {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(r)
}

func (s *shop) post(path string, form url.Values, origin string) reply {
	s.t.Helper()
	r, err := http.NewRequest("POST", s.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", origin)
	return s.do(r)
}

func (s *shop) do(r *http.Request) reply {
	s.t.Helper()
	resp, err := s.browser.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	location, _ := resp.Location()
	return reply{resp.StatusCode, string(body), location, resp.Header}
}

// begin starts a login and returns the authorize request.
func (s *shop) begin(query string) url.Values {
	s.t.Helper()
	got := s.get("/login" + query)
	if got.status != http.StatusSeeOther || !strings.HasPrefix(got.location.String(), s.issuer.URL+"/authorize?") {
		s.t.Fatalf("GET /login%s: got %d to %v, want 303 to the authorization endpoint", query, got.status, got.location)
	}
	return got.location.Query()
}

// answer is the provider's answer to an authorize request.
func (s *shop) answer(request url.Values) url.Values {
	return url.Values{"code": {s.issuer.approve(request)}, "state": {request.Get("state")}, "iss": {s.issuer.URL}}
}

func (s *shop) logIn() {
	s.t.Helper()
	got := s.get("/callback?" + s.answer(s.begin("")).Encode())
	if got.status != http.StatusSeeOther || got.location.String() != s.url+"/" {
		s.t.Fatalf("GET /callback: got %d to %v, want 303 to the home page\n%s", got.status, got.location, got.body)
	}
}

func (s *shop) wantBody(got reply, status int, parts ...string) {
	s.t.Helper()
	if got.status != status {
		s.t.Errorf("status: got %d, want %d", got.status, status)
	}
	for _, part := range parts {
		if !strings.Contains(got.body, part) {
			s.t.Errorf("page lacks %q; got:\n%s", part, got.body)
		}
	}
}

func (s *shop) wantLoggedOut() {
	s.t.Helper()
	s.wantBody(s.get("/"), 200, `id="log-in" href="/login"`)
}

func TestTheHomePageOffersALogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	got := s.get("/")
	s.wantBody(got, 200, "Log in with Example ID", `id="log-in"`, "<code>ada</code>", "<code>analytical-engine</code>")
	policy := got.header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self' " + s.issuer.URL, "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("Content-Security-Policy lacks %q; got %q", part, policy)
		}
	}
}

func TestALoginAsksForEverythingThatProtectsIt(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	first, second := s.begin(""), s.begin("?prompt=login&offline=no&response_mode=form_post")
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "demo-web", "redirect_uri": s.url + "/callback",
		"scope": "openid profile email offline_access", "code_challenge_method": "S256", "prompt": "", "response_mode": "",
	} {
		if got := first.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if first.Get(name) == "" || first.Get(name) == second.Get(name) {
			t.Errorf("%s: got %q and %q, want two that differ", name, first.Get(name), second.Get(name))
		}
	}
	for name, want := range map[string]string{"scope": "openid profile email", "prompt": "login", "response_mode": "form_post"} {
		if got := second.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestALoginShowsWhoCameAndWhatWasIssued(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	got := s.get("/")
	s.wantBody(got, 200, "Ada &lt;b&gt;Lovelace&lt;/b&gt;", "ada@example.org (verified)", `<dd id="sub" dir="auto">usr_1</dd>`,
		"at_", s.issuer.refresh, "&#34;alg&#34;: &#34;RS256&#34;", "&#34;at_hash&#34;", `id="log-out"`, `id="refresh"`)
	if strings.Contains(got.body, "<b>Lovelace") {
		t.Error("a claim reached the page unescaped")
	}
}

func TestTwoTabsMayLogInSideBySide(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	first, second := s.begin(""), s.begin("")
	for _, request := range []url.Values{first, second} {
		if got := s.get("/callback?" + s.answer(request).Encode()); got.status != http.StatusSeeOther {
			t.Errorf("callback: got %d, want 303\n%s", got.status, got.body)
		}
	}
}

func TestAFormPostAnswerIsTakenFromTheProvidersPage(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	got := s.post("/callback", s.answer(s.begin("?response_mode=form_post")), s.issuer.URL)
	if got.status != http.StatusSeeOther {
		t.Fatalf("POST /callback: got %d, want 303\n%s", got.status, got.body)
	}
	s.wantBody(s.get("/"), 200, "ada@example.org")
}

func TestAnAnswerThatWasNotAskedForIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(s *shop, answer url.Values)
		want   string
	}{
		"wrong state":   {func(_ *shop, a url.Values) { a.Set("state", "other") }, "not started here"},
		"no state":      {func(_ *shop, a url.Values) { a.Del("state") }, "not started here"},
		"other browser": {func(s *shop, _ url.Values) { s.browser = newBrowser(s.t) }, "not started here"},
		"wrong iss":     {func(_ *shop, a url.Values) { a.Set("iss", "https://evil.example") }, "comes from somebody else"},
		"no iss":        {func(_ *shop, a url.Values) { a.Del("iss") }, "comes from somebody else"},
		"two iss":       {func(_ *shop, a url.Values) { a.Add("iss", "https://evil.example") }, "comes from somebody else"},
		"error, wrong iss": {func(_ *shop, a url.Values) {
			a.Set("error", "access_denied")
			a.Set("iss", "https://evil.example")
		}, "comes from somebody else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			answer := s.answer(s.begin(""))
			c.change(s, answer)
			s.wantBody(s.get("/callback?"+answer.Encode()), 400, c.want)
			s.wantLoggedOut()
			if len(s.issuer.codes) != 1 {
				t.Error("the code of a refused answer was spent")
			}
		})
	}
}

func TestAnAnswerWorksOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	answer := s.answer(s.begin("")).Encode()
	s.get("/callback?" + answer)
	s.wantBody(s.get("/callback?"+answer), 400, "not started here")
}

func TestAnErrorResponseIsShownCalmly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	answer := url.Values{"state": {s.begin("?prompt=none").Get("state")}, "iss": {s.issuer.URL}, "error": {"login_required"}, "error_description": {"<i>Nobody</i> is here"}}
	s.wantBody(s.get("/callback?"+answer.Encode()), 200, "Nobody is signed in at Example ID", `id="error-code">login_required<`, "&lt;i&gt;Nobody&lt;/i&gt; is here", `id="log-in"`)
}

func TestAnIDTokenForAnotherLoginIsNotTrusted(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.issuer.nonce = "of another login"
	s.wantBody(s.get("/callback?"+s.answer(s.begin("")).Encode()), 502, "The ID token cannot be trusted")
	s.wantLoggedOut()
}

func TestARefusedCodeIsShownWithItsError(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.issuer.refuse = map[string]string{"error": "invalid_grant", "error_description": "The code was used before."}
	s.wantBody(s.get("/callback?"+s.answer(s.begin("")).Encode()), 502, "gave no tokens", "invalid_grant", "The code was used before.")
}

func TestRefreshReplacesTheTokens(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	before := s.issuer.refresh
	for range 2 {
		if got := s.post("/refresh", nil, s.url); got.status != http.StatusSeeOther {
			t.Fatalf("POST /refresh: got %d, want 303\n%s", got.status, got.body)
		}
	}
	got := s.get("/")
	s.wantBody(got, 200, s.issuer.refresh, `id="refresh-count">2 times`)
	if strings.Contains(got.body, before) {
		t.Error("the spent refresh token is still shown")
	}
}

func TestAccessTakenBackEndsTheLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	s.issuer.refresh = ""
	s.wantBody(s.post("/refresh", nil, s.url), 200, "Your access has ended", "invalid_grant")
	s.wantLoggedOut()
}

func TestAnOutageOfTheProviderKeepsTheLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	s.issuer.refuse = map[string]string{"error": "temporarily_unavailable"}
	s.wantBody(s.post("/refresh", nil, s.url), 502, "temporarily_unavailable")
	s.wantBody(s.get("/"), 200, "ada@example.org")
}

func TestUserinfoIsAskedAgainOnDemand(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	s.post("/userinfo", nil, s.url)
	if s.issuer.userinfos != 2 {
		t.Errorf("userinfo calls: got %d, want 2: one at login, one on demand", s.issuer.userinfos)
	}
}

func TestLogOutEndsBothSessions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	got := s.post("/logout", nil, s.url)
	if got.status != http.StatusSeeOther || !strings.HasPrefix(got.location.String(), s.issuer.URL+"/logout?") {
		t.Fatalf("POST /logout: got %d to %v, want 303 to the end session endpoint", got.status, got.location)
	}
	query := got.location.Query()
	if query.Get("post_logout_redirect_uri") != s.url+"/" || query.Get("client_id") != "demo-web" || strings.Count(query.Get("id_token_hint"), ".") != 2 {
		t.Errorf("sign-out request: got %v", query)
	}
	back := "/?state=" + query.Get("state")
	s.wantBody(s.get(back), 200, `id="signed-out"`, `id="log-in"`)
	if strings.Contains(s.get(back).body, `id="signed-out"`) {
		t.Error("the notice of a sign-out came twice")
	}
}

func TestAStateOfASignOutIsNoLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	state := s.post("/logout", nil, s.url).location.Query().Get("state")
	s.wantBody(s.get("/callback?code=x&iss="+url.QueryEscape(s.issuer.URL)+"&state="+state), 400, "not started here")
}

func TestForgetEndsTheShopsSessionAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	if got := s.post("/forget", nil, s.url); got.location == nil || got.location.String() != s.url+"/" {
		t.Errorf("POST /forget: got %d to %v, want the home page", got.status, got.location)
	}
	s.wantLoggedOut()
}

func TestOtherSitesCannotPressTheButtons(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.logIn()
	for _, path := range []string{"/refresh", "/userinfo", "/logout", "/forget"} {
		if got := s.post(path, nil, "https://evil.example"); got.status != http.StatusForbidden {
			t.Errorf("POST %s from another site: got %d, want 403", path, got.status)
		}
	}
	s.wantBody(s.get("/"), 200, "ada@example.org")
}

func TestTheProviderMayStartLater(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.issuer.down.Store(true)
	s.wantBody(s.get("/"), 200, "Log in with Example ID")
	s.wantBody(s.get("/login"), 502, "Example ID does not answer")
	s.issuer.down.Store(false)
	s.begin("")
}

func TestTheBrowserAppIsToldItsClient(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, path := range []string{"/spa", "/spa/callback?code=x"} {
		s.wantBody(s.get(path), 200, "&#34;client&#34;:&#34;demo-spa&#34;", s.url+"/spa/callback", `id="spa-log-in"`, `id="spa-out"`)
	}
	if got := s.get("/files/spa.js"); got.status != 200 || !strings.Contains(got.header.Get("Content-Type"), "javascript") {
		t.Errorf("GET /files/spa.js: got %d %s, want a script", got.status, got.header.Get("Content-Type"))
	}
}

func TestBothNamesOfThisMachineLeadToOne(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	port := s.url[strings.LastIndex(s.url, ":"):]
	r, err := http.NewRequest("GET", "http://localhost"+port+"/login?prompt=login", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Host = strings.TrimPrefix(s.url, "http://")
	r.Host = "localhost" + port
	if got := s.do(r); got.location == nil || got.location.String() != s.url+"/login?prompt=login" {
		t.Errorf("got %d to %v, want the same page at %s", got.status, got.location, s.url)
	}
}

func TestTheCodeSampleIsGo(t *testing.T) {
	t.Parallel()
	a := newApp(Config{Issuer: "http://localhost:8080", BaseURL: "http://localhost:5555/", Web: Client{ID: "demo-web"}})
	code, err := a.code()
	if err != nil {
		t.Fatal(err)
	}
	formatted, err := format.Source([]byte(code))
	if err != nil {
		t.Fatalf("%v\n%s", err, code)
	}
	if string(formatted) != code {
		t.Errorf("got:\n%s\nwant:\n%s", code, formatted)
	}
	if !strings.Contains(code, `"http://localhost:5555/callback"`) {
		t.Errorf("the sample does not name the redirect URI:\n%s", code)
	}
}

func TestMemoryForgetsTheOldestAndTheExpired(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := newMemory[int](2, time.Minute)
	for i, key := range []string{"a", "b", "c"} {
		m.put(key, i, now)
	}
	for key, want := range map[string]bool{"a": false, "b": true, "c": true} {
		if _, got := m.look(key, now); got != want {
			t.Errorf("%s kept: got %t, want %t", key, got, want)
		}
	}
	if _, ok := m.look("c", now.Add(time.Minute)); ok {
		t.Error("got a value after its time")
	}
	if _, ok := m.take("b", now); !ok {
		t.Error("take: got nothing, want the value")
	}
	if _, ok := m.take("b", now); ok {
		t.Error("take: got the value twice")
	}
	m.put("d", 3, now.Add(time.Hour))
	if got := m.byAge.Len(); got != 1 {
		t.Errorf("values kept: got %d, want 1", got)
	}
}

func TestRedirectURIsAreThoseInUse(t *testing.T) {
	t.Parallel()
	web, spa, home := RedirectURIs("http://localhost:5555/")
	for got, want := range map[string]string{web[0]: "http://localhost:5555/callback", spa[0]: "http://localhost:5555/spa/callback", home[0]: "http://localhost:5555/"} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
