package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestAttacksOnSignOutAndSessions(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-068 a sign-out that leads somewhere else", signOutElsewhere},
		{"A-069 a sign-out from another site", signOutFromElsewhere},
		{"A-070 a sign-out with a hint that proves nothing", signOutByForgedHint},
		{"A-071 the cookie of a session that has ended", endedSession},
		{"A-086 a cookie or a request that somebody planted", plantedCookies},
		{"A-097 a step before its turn", stepsOutOfTurn},
		{"A-098 making an account where that is for operators", closedSignUp},
		{"A-099 consent that somebody else gives", borrowedConsent},
	})
}

// cookies are the browser's for the provider, by name.
func (b *browser) cookies() map[string]string {
	issuer, err := url.Parse(b.w.issuer)
	if err != nil {
		b.t.Fatal(err)
	}
	m := map[string]string{}
	for _, c := range b.jar.Cookies(issuer) {
		m[c.Name] = c.Value
	}
	return m
}

// plant puts a cookie into the browser.
func (b *browser) plant(name, value string) {
	issuer, err := url.Parse(b.w.issuer)
	if err != nil {
		b.t.Fatal(err)
	}
	b.jar.SetCookies(issuer, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// signedIn says whether the browser's account page opens.
func (b *browser) signedIn() bool { b.t.Helper(); return b.get("/account").url.Path == "/account" }

func (s *scene) bye() *app {
	return s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.PostLogoutRedirectURIs = []string{"https://rp1.test/bye"} })
}

func signOutElsewhere(s *scene) {
	a, b := s.bye(), s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice)
	p := b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {"https://rp1.test/bye"}, "state": {"s"}}.Encode())
	if p.left == nil || p.left.String() != "https://rp1.test/bye?state=s" {
		s.Fatalf("the control left to %v, want the app", p.left)
	}
	for _, uri := range []string{
		"https://evil1.test", "//evil1.test", `/\evil1.test`, "https://rp1.test/bye/", "https://rp1.test/bye?x=1", "https://rp1.test/bye#x", "https://rp1.test/byeevil1", "https://rp1.test.evil1.test/bye",
		"https://rp1.test@evil1.test/bye", "javascript:alert(1)", "HTTPS://rp1.test/bye", "https://rp1.test/cb",
	} {
		for name, q := range map[string]url.Values{
			"no hint":     {"post_logout_redirect_uri": {uri}},
			"client_id":   {"post_logout_redirect_uri": {uri}, "client_id": {a.ID}, "state": {"s"}},
			"with a hint": {"post_logout_redirect_uri": {uri}, "id_token_hint": {tokens.text("id_token")}, "state": {"s"}},
		} {
			p := b.get("/logout?" + q.Encode())
			if p.left != nil || p.status != 200 {
				s.Errorf("%s, %s: %d, left to %v; want a page", uri, name, p.status, p.left)
			}
			s.onlyText(uri, p, "evil1", "alert(1)")
		}
	}
	for _, q := range []url.Values{{"post_logout_redirect_uri": {"https://rp1.test/bye"}}, {"post_logout_redirect_uri": {"https://rp1.test/bye"}, "client_id": {a.ID}}} {
		if p := b.get("/logout?" + q.Encode()); p.left != nil { // registered, but nobody proves who asks
			s.Errorf("%v: left to %v, want a page", q, p.left)
		}
	}
}

func signOutFromElsewhere(s *scene) {
	a, b := s.bye(), s.browser(s)
	s.works(a, b, s.arena.alice)
	for _, method := range []string{"GET", "POST"} {
		for _, form := range []url.Values{{}, {"confirm": {"yes"}}, {"client_id": {a.ID}}, {"post_logout_redirect_uri": {"https://rp1.test/bye"}, "state": {"s"}}} {
			req := b.request(s, method, "/logout", form)
			if method == "GET" {
				req = b.request(s, method, "/logout?"+form.Encode(), nil)
			}
			req.Header.Set("Origin", "https://evil1.test")
			req.Header.Set("Sec-Fetch-Site", "cross-site")
			p := b.follow(req)
			asked := strings.Contains(p.body, `id="sign-out"`)
			if p.left != nil || !asked && p.status != 403 {
				s.Errorf("%s %v: %d at %s, left to %v; want the question, or 403", method, form, p.status, p.url.Path, p.left)
			}
			if !b.signedIn() {
				s.Fatalf("%s %v of another site signed the person out", method, form)
			}
		}
	}
	b.get("/logout").at("/logout").submit(nil).at("/logout/done") // the control: the person can
	if b.signedIn() {
		s.Error("the session is alive after the person signed out")
	}
}

func signOutByForgedHint(s *scene) {
	a, other := s.bye(), s.web2()
	b, stranger := s.browser(s), s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice)
	_, mallorys := s.works(a, stranger, s.arena.mallory)
	hint := tokens.text("id_token")
	parts := strings.Split(hint, ".")
	_, key := s.jwt1()
	_, payload := claims(s, hint)
	payload["header:typ"] = "JWT"
	foreign := key.assertion(s, a.ID, a.ID, payload)
	payload["iss"] = "https://evil1.test"
	for name, hint := range map[string]string{
		"alg none":             "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"a foreign key":        foreign,
		"another issuer":       key.assertion(s, a.ID, a.ID, payload),
		"no signature":         parts[0] + "." + parts[1] + ".",
		"signature of another": parts[0] + "." + parts[1] + "." + strings.Split(mallorys.text("id_token"), ".")[2],
		"an access token":      tokens.access(),
		"random":               randomText(64),
		"somebody else's":      mallorys.text("id_token"),
	} {
		for _, more := range []url.Values{{}, {"client_id": {other.ID}}} {
			more.Set("id_token_hint", hint)
			more.Set("post_logout_redirect_uri", "https://rp1.test/bye")
			p := b.get("/logout?" + more.Encode())
			if p.left != nil || !strings.Contains(p.body, `id="sign-out"`) {
				s.Errorf("%s: %d at %s, left to %v; want the question", name, p.status, p.url.Path, p.left)
			}
		}
		if !b.signedIn() {
			s.Fatalf("%s: signed out without a question", name)
		}
	}
	p := b.get("/logout?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://rp1.test/bye"}}.Encode())
	if p.left == nil || b.signedIn() {
		s.Errorf("the control: left to %v, want the app and no session", p.left)
	}
}

func endedSession(s *scene) {
	a, b := s.bye(), s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice, "scope", "openid email")
	stolen := b.cookies()
	thief := func(replica int) *browser {
		t := s.at(s, replica).browser(s)
		for name, value := range stolen {
			t.plant(name, value)
		}
		return t
	}
	for i := range s.replicas {
		if !thief(i).signedIn() {
			s.Fatalf("the control failed: replica %d does not know the session", i+1)
		}
	}
	for _, path := range []string{"/account", "/account/apps", "/account/security", "/login", "/logout"} {
		if got := b.get(path).header.Get("Cache-Control"); got != "no-store" { // or the Back button shows it
			s.Errorf("%s: Cache-Control %q, want no-store", path, got)
		}
	}
	at1 := s.at(s, 0).browser(s)
	for name, value := range stolen {
		at1.plant(name, value)
	}
	at1.get("/logout").at("/logout").submit(nil).at("/logout/done")
	for i := range s.replicas { // at once, wherever the sign-out was
		t := thief(i)
		for _, path := range []string{"/account", "/account/apps", "/account/security"} {
			if p := t.get(path); p.url.Path != "/login" {
				s.Errorf("replica %d shows %s with the cookie of an ended session", i+1, path)
			}
		}
		if got := t.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
			s.Errorf("replica %d answers prompt=none with %q, want login_required", i+1, got)
		}
		if r := s.at(s, i).send(s, "GET", "/userinfo", bearerHeader(tokens.access()), ""); r.status != 401 {
			s.Errorf("replica %d: userinfo %d, want 401", i+1, r.status)
		}
	}
}

func plantedCookies(s *scene) {
	a := s.web1()
	victim, attacker := s.browser(s), s.browser(s)
	f := a.begin()
	kept := attacker.get(f.url()).at("/login") // the attacker's own request, in the attacker's browser
	control := s.browser(s)
	s.works(a, control, s.arena.alice)

	// A link into the attacker's request.
	for _, path := range []string{"/login?", "/consent?", "/authorize?", "/login?switch=1&"} {
		s.refusedPage("a link to another browser's request", victim.get(path+kept.url.RawQuery))
		s.refusedPage("the same, signed in", control.get(path+kept.url.RawQuery))
	}
	// Cookies that the attacker chose or has, in the victim's browser.
	s.works(a, attacker, s.arena.mallory)
	planted := attacker.cookies()
	for name, value := range planted {
		victim.plant(name, value)
	}
	victim.plant("idp_sid", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	victim.get("/login").submit(map[string]string{"username": s.arena.alice.Username, "password": s.arena.alice.Password})
	if !victim.signedIn() {
		s.Fatal("the victim cannot sign in")
	}
	fresh := victim.cookies()
	for _, name := range []string{"idp_sid", "idp_dev"} {
		if fresh[name] == "" || fresh[name] == planted[name] || strings.HasPrefix(fresh[name], "AAAAAAAA") {
			s.Errorf("%s is the planted one after the sign-in", name)
		}
	}
	if body := victim.get("/account").body; strings.Contains(body, "mallory") || !strings.Contains(body, "alice") {
		s.Error("the victim's browser does not show the victim's account")
	}
	if p := attacker.get("/account"); strings.Contains(p.body, "alice") {
		s.Error("the attacker's cookies opened the victim's account")
	}
	// Signing in again gives another value, and the one before is dead.
	before := victim.cookies()["idp_sid"]
	victim.get(a.begin("prompt", "login").url()).at("/login").pass(s.arena.alice)
	if victim.cookies()["idp_sid"] == before {
		s.Error("the session cookie is the same after a second sign-in")
	}
	old := s.browser(s)
	old.plant("idp_sid", before)
	if old.signedIn() {
		s.Error("the cookie from before the second sign-in still works")
	}
}

func stepsOutOfTurn(s *scene) { // second factors have their own cases when they are there
	a := s.web1()
	b := s.browser(s)
	f := a.begin()
	p := b.get(f.url()).at("/login")
	request := p.url.Query().Get("request")
	s.nothing(func() {
		for _, form := range []url.Values{
			{"request": {request}}, {"request": {request}, "decision": {"allow"}}, {"request": {request}, "decision": {"allow"}, "person": {s.arena.alice.ID}, "asked": {"x"}},
			{"request": {request}, "decision": {"deny"}, "person": {s.arena.alice.ID}},
		} {
			if got := b.post("/consent", form); got.left != nil || got.url.Path != "/login" {
				s.Errorf("consent before the sign-in, %v: at %s, left to %v; want the sign-in", form, got.url.Path, got.left)
			}
		}
		for _, form := range []url.Values{{}, {"request": {request}}, {"request": {request}, "username": {"alice"}}, {"request": {request}, "password": {"x"}}} {
			if got := b.post("/login", form); got.left != nil || got.url.Path != "/login" || got.status != 422 && got.status != 200 {
				s.Errorf("an empty sign-in, %v: %d at %s", form, got.status, got.url.Path)
			}
		}
		for _, path := range []string{"/authorize?request=" + request, "/consent?request=" + request, "/account"} {
			b.get(path).at("/login")
		}
		// Signed in, but not asked: the consent step cannot be skipped.
		p = p.submit(map[string]string{"username": s.arena.alice.Username, "password": s.arena.alice.Password}).at("/consent")
		for _, path := range []string{"/authorize?request=" + request, "/login?request=" + request + "&switch=0", "/authorize?request=" + request + "&prompt=none"} {
			if got := b.get(path); got.left != nil {
				s.Errorf("%s led to %v without consent", path, got.left)
			}
		}
		if got := b.post("/consent", url.Values{"request": {request}, "decision": {"allow"}, "person": {s.arena.mallory.ID}}); got.left != nil {
			s.Errorf("consent in somebody else's name led to %v", got.left)
		}
	})
	f.exchange(p.submit(map[string]string{"decision": "allow"}).answer().Get("code")).ok() // the control: in order, it works
}

func borrowedConsent(s *scene) {
	a, b := s.web1(), s.browser(s)
	f := a.begin()
	p := b.get(f.url()).submit(map[string]string{"username": s.arena.alice.Username, "password": s.arena.alice.Password}).at("/consent")
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || p.header.Get("X-Frame-Options") != "DENY" {
		s.Errorf("the page can be framed: %s", csp)
	}
	_, fields := p.form()
	fields.Set("decision", "allow")
	s.nothing(func() {
		for _, from := range []http.Header{{"Origin": {"https://evil1.test"}}, {"Origin": {"null"}}, {"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://x.evil1.test"}}} {
			req := b.request(s, "POST", "/consent", fields)
			req.Header.Del("Origin")
			for name, values := range from {
				req.Header[name] = values
			}
			if got := b.follow(req); got.status != 403 || got.left != nil {
				s.Errorf("consent posted with %v: %d, left to %v; want 403", from, got.status, got.left)
			}
		}
		// The consent page of mallory's request, opened and answered by alice.
		mallory := s.browser(s)
		theirs := mallory.get(a.begin().url()).submit(map[string]string{"username": s.arena.mallory.Username, "password": s.arena.mallory.Password}).at("/consent")
		s.refusedPage("opened", b.get("/consent?"+theirs.url.RawQuery))
		_, borrowed := theirs.form()
		borrowed.Set("decision", "allow")
		s.refusedPage("posted", b.post("/consent", borrowed))
		borrowed.Set("person", s.arena.alice.ID)
		s.refusedPage("posted as alice", b.post("/consent", borrowed))
	})
	answer := p.submit(map[string]string{"decision": "allow"}).answer()
	s.nothing(func() {
		if again := p.submit(map[string]string{"decision": "allow"}); again.left != nil {
			s.Errorf("approving twice gave a second answer: %v", again.left)
		}
	})
	f.exchange(answer.Get("code")).ok()
}

func closedSignUp(s *scene) { // invitations are not there; where sign-up is open, package login has its tests
	control := s.browser(s)
	if control.try(s.arena.alice.Username, s.arena.alice.Password).url.Path != "/account" {
		s.Fatal("the control cannot sign in")
	}
	count := func() (n int) {
		if err := s.db.Pool().QueryRow(s.Context(), `select count(*) from users where username like 'intruder%' or profile::text like '%Intruder%'`).Scan(&n); err != nil {
			s.Fatal(err)
		}
		return n
	}
	b := s.browser(s)
	b.get("/login")
	for _, path := range []string{"/signup", "/signup?to=/account", "/signup/", "/signup?prompt=create"} {
		for _, name := range []string{"intruder", s.arena.alice.Email, s.arena.alice.Username} {
			p := b.post(path, url.Values{"name": {"Intruder"}, "username": {name}, "new_password": {"seven quiet herons at dusk"}})
			if p.left != nil || p.status != 404 || b.cookies()["idp_sid"] != "" {
				s.Errorf("%s as %s: %d at %s; want 404", path, name, p.status, p.url.Path)
			}
		}
		if p := b.get(path); p.status != 404 {
			s.Errorf("GET %s: %d, want 404", path, p.status)
		}
	}
	if n := count(); n != 0 {
		s.Errorf("%d accounts were made", n)
	}
}
