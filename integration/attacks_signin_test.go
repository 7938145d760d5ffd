package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestAttacksOnTheSignIn(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-085 which accounts are there", accountOracle},
		{"A-087 guessing a password", guessedPassword},
		{"A-088 a sign-in that leads somewhere else", openRedirects},
		{"A-096 an address that the client made up", madeUpAddresses},
		{"A-100 requests that are too large", tooLarge},
		{"A-101 lines of the log that somebody else writes", logForgery},
		{"A-103 passwords at the edge", edgePasswords},
	})
}

// try submits the sign-in page.
func (b *browser) try(name, password string) *page {
	b.t.Helper()
	return b.get("/login").at("/login").submit(map[string]string{"username": name, "password": password})
}

// guest is a person of this case alone.
func (s *scene) guest() *person {
	s.Helper()
	return s.person(s, "g"+strings.ToLower(randomText(9)))
}

// accountOracle compares the answers. That each costs one hash, whatever is wrong, is in the tests of
// package login; times are not compared on a machine that does other things too.
func accountOracle(s *scene) {
	known, suspended, deleted := s.guest(), s.guest(), s.guest()
	if b := s.browser(s); b.try(known.Username, known.Password).url.Path != "/account" {
		s.Fatal("the control cannot sign in")
	}
	s.setState(suspended, storage.UserSuspended)
	s.setState(deleted, storage.UserDeleted)
	shape := func(name string) string {
		b := s.browser(s)
		p := b.try(name, "not the password")
		h := p.header.Clone()
		for _, changing := range []string{"Date", "X-Request-Id", "Content-Length"} { // the length is that of the name
			h.Del(changing)
		}
		for i, c := range h["Set-Cookie"] {
			h["Set-Cookie"][i] = strings.Replace(c, b.cookies()["idp_flow"], "FLOW", 1)
		}
		return fmt.Sprint(p.status, h, strings.ReplaceAll(p.body, name, "NAME"))
	}
	want := shape(known.Username)
	for name, who := range map[string]string{"unknown": "nobody" + randomText(4), "suspended": suspended.Username, "deleted": deleted.Username, "by address": known.Email, "an unknown address": "x@evil1.test"} {
		if got := shape(who); got != want {
			s.Errorf("%s: the answer is\n%s\nwant that of a wrong password:\n%s", name, got, want)
		}
	}
}

// guessedPassword tries over both replicas; the other bounds (an account's, a network's) are in the tests of
// package login.
func guessedPassword(s *scene) {
	who := s.guest()
	owner, stranger := s.browser(s), s.arena.b.from(s, s.world, nextAddress()).browser(s)
	if owner.try(who.Username, who.Password).url.Path != "/account" {
		s.Fatal("the control cannot sign in")
	}
	refused := 0
	for range 14 {
		switch p := stranger.try(who.Username, "wrong "+randomText(8)); {
		case p.status == 429 && p.header.Get("Retry-After") != "" && strings.Contains(p.body, "Too many attempts"):
			refused++
		case p.status != 422:
			s.Fatalf("a wrong password: %d at %s", p.status, p.url.Path)
		}
	}
	if refused < 3 {
		s.Errorf("of 14 guesses from one address %d were refused, want all after 10", refused)
	}
	if p := stranger.try(who.Username, who.Password); p.status != 429 {
		s.Errorf("the right password, once refused: %d, want 429 all the same", p.status)
	}
	owner.post("/logout", url.Values{"confirm": {"yes"}})
	if owner.try(who.Username, who.Password).url.Path != "/account" { // from the browser that they know
		s.Error("the guesses of a stranger lock the owner out")
	}
}

func openRedirects(s *scene) {
	who := s.arena.alice
	if s.browser(s).try(who.Username, who.Password).url.Path != "/account" {
		s.Fatal("the control cannot sign in")
	}
	b := s.browser(s)
	b.get("/login")
	for _, to := range []string{"//evil1.test", `/\evil1.test`, "/%09/evil1.test", "/\t/evil1.test", "https:evil1.test", "https://evil1.test", "javascript:alert(1)", "/account/../../evil1.test", "/account@evil1.test", "/account?x=//evil1.test", "evil1.test"} {
		for _, name := range []string{"to", "return_to", "next", "back", "flow", "continue", "redirect_uri", "url"} {
			p := b.get("/login?" + url.Values{name: {to}}.Encode())
			if p.left != nil || p.status != 200 && p.status != 400 {
				s.Errorf("%s=%q: %d, left to %v", name, to, p.status, p.left)
			}
			s.onlyText(name+"="+to, p, "evil1", "alert(1)")
		}
		s.refusedPage("request="+to, b.get("/login?"+url.Values{"request": {to}}.Encode()), to)
	}
	for _, to := range []string{"//evil1.test", `/\evil1.test`, "javascript:alert(1)"} { // and after the sign-in
		b := s.browser(s)
		b.get("/login")
		p := b.post("/login?next="+url.QueryEscape(to), url.Values{"username": {who.Username}, "password": {who.Password}, "to": {to}, "next": {to}, "return_to": {to}})
		if p.left != nil || p.url.Path != "/account" {
			s.Errorf("to %q: at %s, left to %v; want /account", to, p.url, p.left)
		}
	}
}

func madeUpAddresses(s *scene) {
	who := s.guest()
	ip := func() (ip string) {
		if err := s.db.Pool().QueryRow(context.Background(), `select ip from sessions where user_id = $1 order by created_at desc limit 1`, who.ID).Scan(&ip); err != nil {
			s.Fatal(err)
		}
		return ip
	}
	address := nextAddress()
	there := s.arena.b.from(s, s.world, address)
	signIn := func(w *world, password string, header http.Header) *page {
		b := w.browser(s)
		b.get("/login")
		req := b.request(s, "POST", "/login", url.Values{"username": {who.Username}, "password": {password}})
		for name, values := range header {
			req.Header[name] = values
		}
		return b.follow(req)
	}
	if p := signIn(there, who.Password, nil); p.url.Path != "/account" || ip() != address {
		s.Fatalf("the control is at %s, signed in from %s; want %s", p.url.Path, ip(), address)
	}
	for name, header := range map[string]http.Header{
		"X-Forwarded-For":          {"X-Forwarded-For": {"1.2.3.4, 10.0.0.1"}},
		"one that names a proxy":   {"X-Forwarded-For": {"1.2.3.4, 127.0.0.1"}},
		"50 hops":                  {"X-Forwarded-For": {strings.Repeat("1.2.3.4, ", 50) + "5.6.7.8"}},
		"two headers":              {"X-Forwarded-For": {"1.2.3.4", "5.6.7.8"}},
		"garbage":                  {"X-Forwarded-For": {"unknown, _hidden, ::, 1.2.3.4.5"}},
		"X-Real-IP and the others": {"X-Real-Ip": {"1.2.3.4"}, "Cf-Connecting-Ip": {"1.2.3.4"}, "True-Client-Ip": {"1.2.3.4"}, "X-Client-Ip": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4"}},
	} {
		if p := signIn(there, who.Password, header); p.url.Path != "/account" || ip() != address {
			s.Errorf("%s: at %s, signed in from %s; want %s", name, p.url.Path, ip(), address)
		}
	}
	// Another address in each request does not give more tries.
	target, refused := s.guest(), 0
	who = target
	for i := range 12 {
		if signIn(there, "wrong", http.Header{"X-Forwarded-For": {fmt.Sprintf("1.2.3.%d", i)}}).status == 429 {
			refused++
		}
	}
	if refused == 0 {
		s.Error("12 guesses with 12 made-up addresses were all taken")
	}
}

func TestAttacksWithMadeUpAddressesPastTheBalancer(t *testing.T) {
	t.Parallel()
	w := start(t) // trusts no proxy
	t.Run("A-096 a header from a peer that is no proxy of ours", func(t *testing.T) {
		ada, b := w.person(t, "ada"), w.browser(t)
		b.get("/login")
		req := b.request(t, "POST", "/login", url.Values{"username": {ada.Username}, "password": {ada.Password}})
		req.Header.Set("X-Forwarded-For", "1.2.3.4")
		b.follow(req).at("/account")
		var ip string
		if err := w.db.Pool().QueryRow(context.Background(), `select ip from sessions where user_id = $1`, ada.ID).Scan(&ip); err != nil || ip != "127.0.0.1" {
			t.Errorf("signed in from %q (%v), want the peer of the connection", ip, err)
		}
	})
}

// tooLarge goes past the balancer, which would refuse some of it itself. Slow clients and streams of
// HTTP/2 that end at once are for the server's time-outs and for net/http.
func tooLarge(s *scene) {
	a := s.m2m1()
	a.token(clientCredentials).ok()
	address := s.replicas[0]
	ask := func(head, body string) int {
		s.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			s.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		sent := make(chan struct{})
		go func() { // the server may answer, and stop reading, in the middle
			defer close(sent)
			io.WriteString(c, head+"\r\nHost: "+strings.TrimPrefix(s.issuer, "http://")+"\r\n"+body)
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0 // the connection was closed
		}
		resp.Body.Close()
		c.Close()
		<-sent
		return resp.StatusCode
	}
	form := func(body string) string {
		return fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if got := ask("GET /jwks HTTP/1.1", "\r\n"); got != 200 {
		s.Fatalf("the control got %d", got)
	}
	s.nothing(func() {
		for _, tc := range []struct {
			name, head, body string
			want             []int
		}{
			{"headers of 1 MB", "GET /jwks HTTP/1.1", "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", []int{431, 0}},
			{"10 000 headers", "GET /jwks HTTP/1.1", strings.Repeat("X: y\r\n", 10_000) + "\r\n", []int{431, 0}},
			{"500 cookies", "GET /login HTTP/1.1", "Cookie: " + strings.Repeat("idp_sid=x; ", 500) + "a=b\r\n\r\n", []int{200, 400, 431}},
			{"a URL of 64 kB", "GET /authorize?x=" + strings.Repeat("x", 64<<10) + " HTTP/1.1", "\r\n", []int{431, 414, 0}},
			{"a body of 10 MB", "POST /token HTTP/1.1", form("x=" + strings.Repeat("x", 10<<20)), []int{413, 0}},
			{"a body without end", "POST /token HTTP/1.1", "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("8000\r\n"+strings.Repeat("x", 0x8000)+"\r\n", 100), []int{413, 0}},
			{"10 000 fields", "POST /token HTTP/1.1", form(strings.Repeat("a=1&", 10_000)), []int{400, 413}},
			{"10 000 fields on the sign-in page", "POST /login HTTP/1.1", form(strings.Repeat("a=1&", 10_000)), []int{400, 413}},
			{"two lengths", "POST /token HTTP/1.1", "Content-Length: 3\r\nContent-Length: 30\r\n\r\na=b", []int{400, 0}},
			{"a length and chunks", "POST /token HTTP/1.1", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n", []int{400, 0}},
		} {
			got, known := ask(tc.head, tc.body), false
			for _, want := range tc.want {
				known = known || got == want
			}
			if !known {
				s.Errorf("%s: %d, want %v (0: closed)", tc.name, got, tc.want)
			}
		}
		idle := make([]net.Conn, 300)
		for i := range idle {
			var err error
			if idle[i], err = net.Dial("tcp", address); err != nil {
				s.Fatal(err)
			}
			defer idle[i].Close()
		}
	})
	a.w = s.at(s, 0)
	a.token(clientCredentials).ok() // others are served meanwhile
}

func logForgery(s *scene) { // what is logged is judged when the processes have ended: logbook.check
	evil := `x"} {"level":"info","msg":"forged"}` + "\r\n" + `{"level":"info","msg":"forged"}`
	password := "a password in the wrong field " + randomText(8)
	s.arena.b.never(password)
	s.arena.b.never(`"msg":"forged"`)
	who := s.guest()
	s.arena.b.never(who.Password)
	if s.browser(s).try(who.Username, who.Password).url.Path != "/account" {
		s.Fatal("the control cannot sign in")
	}
	for _, name := range []string{evil, "x\r\ny", "x\x00y", "\xff\xfe", strings.Repeat("x", 10_000), password, password + "@example.test"} {
		b := s.browser(s)
		b.get("/login")
		req := b.request(s, "POST", "/login", url.Values{"username": {name}, "password": {who.Password + "!"}})
		req.Header.Set("User-Agent", strings.Repeat("x", 20_000)+evil[:10])
		if p := b.follow(req); p.status != 422 && p.status != 400 {
			s.Errorf("%.30q: %d, want a refusal", name, p.status)
		}
	}
	for _, id := range []string{evil, strings.Repeat("x", 300), "\xff"} {
		s.post(s, "/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {password}})
		s.post(s, "/token", nil, url.Values{"grant_type": {evil}, "client_id": {"x"}})
		s.browser(s).get("/authorize?" + url.Values{"client_id": {id}, "redirect_uri": {"https://evil1.test/" + id}}.Encode())
	}
}

func edgePasswords(s *scene) { // longer than the cap: as wrong as any other, and no hash (package login)
	long := strings.Repeat("correct horse battery ", 4)[:80]
	for _, tc := range []struct {
		name, password string
		wrong          []string
	}{
		{"73 bytes and more", long + "A", []string{long + "B", long, (long + "A")[:72], long + "a"}},
		{"spaces around", "  seven quiet herons  ", []string{"seven quiet herons", " seven quiet herons ", "  seven quiet herons"}},
		{"emoji", "heron 🦩🦩🦩 at dusk", []string{"heron 🦩🦩 at dusk", "heron ??? at dusk", "heron  at dusk"}},
		{"256 characters", strings.Repeat("é", 256), []string{strings.Repeat("é", 255), strings.Repeat("é", 257)}},
	} {
		who := s.guest()
		hash, err := s.login.HashPassword(context.Background(), tc.password)
		if err != nil {
			s.Fatal(err)
		}
		if err := s.db.SetPassword(context.Background(), storage.NewPassword{UserID: who.ID, Hash: hash, Now: s.now()}); err != nil {
			s.Fatal(err)
		}
		b := s.browser(s)
		if p := b.try(who.Username, tc.password); p.url.Path != "/account" {
			s.Errorf("%s: the right password: %d at %s", tc.name, p.status, p.url.Path)
		}
		for _, wrong := range append(tc.wrong, strings.Repeat("x", 1025), strings.Repeat("x", 40_000)) {
			if p := s.browser(s).try(who.Username, wrong); p.status != 422 {
				s.Errorf("%s: %.40q...: %d at %s, want 422", tc.name, wrong, p.status, p.url.Path)
			}
		}
		b = s.browser(s)
		b.get("/login")
		if p := b.post("/login", url.Values{"username": {who.Username}, "password": {strings.Repeat("x", 1<<20)}}); p.status != 413 {
			s.Errorf("a password of 1 MB: %d, want 413", p.status)
		}
	}
}
