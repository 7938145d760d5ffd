package integration

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestAttacksOnDevices(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-056 somebody else's device code", othersDeviceCode},
		{"A-058 approvals that nobody gave", approvalsNobodyGave},
	})
}

func TestGuessingUserCodes(t *testing.T) { // alone: it uses up what all have together
	t.Parallel()
	newArena(t).play(t, []attack{{"A-057 user codes are guessed", guessedUserCodes}})
}

// dev1 is a public client that uses the device grant.
func (s *scene) dev1(change ...func(*storage.Client)) *app {
	a := s.deviceApp(s, change...)
	s.clients = append(s.clients, a.ID)
	return a
}

func othersDeviceCode(s *scene) {
	a, evil := s.dev1(), s.dev1(func(c *storage.Client) { c.Source = "registration" })
	b := s.browser(s)
	d := a.device("openid")
	s.nothing(func() { evil.poll(d.text("device_code")).fails(400, "invalid_grant") })
	a.poll(d.text("device_code")).fails(400, "authorization_pending")
	b.confirming(s.arena.alice, d.text("user_code")).decide("allow").at("/device/done")
	s.nothing(func() { evil.poll(d.text("device_code")).fails(400, "invalid_grant") })
	a.poll(d.text("device_code")).ok()
	s.nothing(func() { evil.poll(d.text("device_code")).fails(400, "invalid_grant") })
}

func guessedUserCodes(s *scene) {
	a := s.dev1()
	guess := func(b *browser, code string) int {
		return b.get("/device").submit(map[string]string{"user_code": code}).status
	}
	wrong := func(b *browser) int { return guess(b, "BCDF-GHJK") }
	if status := guess(s.browser(s), a.device("openid").text("user_code")); status != 200 {
		s.Fatalf("the control failed: %d", status)
	}

	b := s.browser(s)
	for i := range 12 {
		if status, want := wrong(b), map[bool]int{true: 422, false: 429}[i < 10]; status != want {
			s.Errorf("guess %d in one browser: %d, want %d", i+1, status, want)
		}
	}
	if status := guess(s.browser(s), a.device("openid").text("user_code")); status != 429 {
		s.Errorf("another browser of the same network, with a right code: %d, want 429", status)
	}

	refused := false
	for range 60 {
		there := s.arena.b.from(s, s.world, nextAddress())
		b := there.browser(s)
		for i := range 10 {
			switch status := wrong(b); status {
			case 422:
			case 429:
				refused = true
			default:
				s.Fatalf("guess %d: %d", i+1, status)
			}
		}
		if refused {
			break
		}
	}
	if !refused {
		s.Error("600 guesses from 60 networks were all looked at")
	}
}

func approvalsNobodyGave(s *scene) {
	a := s.dev1()
	b := s.browser(s)
	control := a.device("openid")
	b.confirming(s.arena.alice, control.text("user_code")).decide("allow").at("/device/done")
	a.poll(control.text("device_code")).ok()

	d := a.device("openid")
	pending := func(name string) {
		s.Helper()
		if r := a.poll(d.text("device_code")); r.text("error") != "authorization_pending" && r.text("error") != "slow_down" {
			s.Errorf("%s: %s", name, r.raw)
		}
	}
	s.nothing(func() {
		p := b.get(d.text("verification_uri_complete")).at("/device")
		pending("a link with the code")
		b.get("/device/confirm?user_code=" + d.text("user_code") + "&decision=allow")
		pending("a link to the confirmation")
		for _, page := range []*page{p, b.confirming(s.arena.alice, d.text("user_code"))} {
			if !strings.Contains(page.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || page.header.Get("X-Frame-Options") != "DENY" {
				s.Errorf("%s can be framed: %v", page.url.Path, page.header)
			}
		}
		page := b.get("/device/confirm").at("/device/confirm")
		_, form := page.form()
		form.Set("decision", "allow")
		for _, from := range []http.Header{{"Origin": {"https://evil1.test"}}, {"Origin": {"null"}}, {"Sec-Fetch-Site": {"cross-site"}}} {
			req := b.request(s, "POST", "/device/confirm", form)
			req.Header.Del("Origin")
			for name, values := range from {
				req.Header[name] = values
			}
			if p := b.follow(req); p.status != 403 {
				s.Errorf("a post from %v: %d, want 403", from, p.status)
			}
			pending("a post of another site")
		}
		get := b.get("/device/confirm?" + form.Encode())
		if get.url.Path != "/device/confirm" {
			s.Errorf("a GET with all of the form: at %s", get.url)
		}
		pending("a GET with all of the form")

		// Nobody, and somebody else, with the form that alice was shown.
		stranger := s.browser(s)
		stranger.get("/device")
		if p := stranger.post("/device/confirm", form); p.url.Path == "/device/done" {
			s.Error("a browser in which no code was typed approved")
		}
		pending("a browser that is not signed in")
		mallory := s.browser(s)
		own := a.device("openid")
		mallory.confirming(s.arena.mallory, own.text("user_code"))
		if p := mallory.post("/device/confirm", form); p.url.Path == "/device/done" {
			s.Error("another person approved")
		}
		pending("another person")
		for name, value := range map[string]string{"person": s.arena.bob.ID, "asked": "other", "device": "other", "decision": "yes"} {
			changed := url.Values{}
			for k, v := range form {
				changed[k] = v
			}
			changed.Set(name, value)
			if p := b.post("/device/confirm", changed); p.url.Path != "/device/confirm" {
				s.Errorf("another %s: at %s", name, p.url)
			}
			pending("another " + name)
		}
		unknown := s.browser(s)
		unknown.get("/device").submit(map[string]string{"user_code": d.text("user_code")}).at("/login")
		unknown.post("/device/confirm", form).at("/login")
		pending("a code that was typed by nobody who is signed in")
	})
	// The code is the other browser's by now: this one cannot approve what it was shown.
	if p := b.get("/device/confirm"); p.status != 422 {
		s.Errorf("a browser that lost the code to another one: %d at %s", p.status, p.url)
	}
}
