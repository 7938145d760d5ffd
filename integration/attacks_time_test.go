package integration

import (
	"testing"
	"time"

	"idp/storage"
)

// Cases in which time passes run in this process, where the clock can be moved; two replicas take
// turns here too.
func TestAttacksThatTakeTime(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, w *world, ada *person)
	}{
		{"A-019 an old session where a new sign-in is wanted", oldSession},
		{"A-022 a pushed request after its time", latePush},
		{"A-033 a code after its time", lateCode},
		{"A-035 a refresh token that was rotated away", rotatedToken},
		{"A-043 refresh tokens after their time", lateRefresh},
		{"A-064 userinfo with an expired access token", lateAccessToken},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			w := startReplicas(t, 2)
			attack.run(t, w, w.person(t, "ada"))
		})
	}
}

func oldSession(t *testing.T, w *world, ada *person) {
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	authTime := func(f *flow, code string) float64 {
		t.Helper()
		_, id := claims(t, f.exchange(code).ok().text("id_token"))
		n, _ := id["auth_time"].(float64)
		return n
	}
	f := a.begin("max_age", "3600")
	last := authTime(f, b.get(f.url()).pass(ada).Get("code"))
	for _, params := range [][]string{{"max_age", "0"}, {"max_age", "1"}, {"prompt", "login"}, {"prompt", "login", "max_age", "86400"}} {
		w.clock.advance(10 * time.Minute)
		f := a.begin(params...)
		p := b.get(f.url()).at("/login")
		if skipped := b.get("/authorize?" + p.url.RawQuery); skipped.left != nil {
			t.Errorf("%v: the sign-in could be skipped: %v", params, skipped.left)
		}
		got := authTime(f, p.pass(ada).Get("code"))
		if got < last+600 {
			t.Errorf("%v: auth_time %v, want a new one after %v", params, got, last)
		}
		last = got
	}
	for _, bad := range []string{"-1", "abc", "1.5", "0x10", "99999999999999999999"} {
		f := a.begin("max_age", bad)
		answer := b.get(f.url())
		if answer.left == nil && answer.status != 400 || answer.left != nil && answer.answer().Get("error") != "invalid_request" {
			t.Errorf("max_age=%s: %d, left to %v; want invalid_request", bad, answer.status, answer.left)
		}
	}
}

func latePush(t *testing.T, w *world, ada *person) {
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	f := a.begin()
	f.exchange(b.get(f.push()).pass(ada).Get("code")).ok()
	address := a.begin().push()
	w.clock.advance(91 * time.Second)
	for range w.replicas {
		if p := b.get(address); p.status != 400 || p.left != nil {
			t.Errorf("after 91 s: %d, left to %v; want our error page", p.status, p.left)
		}
	}
}

func lateCode(t *testing.T, w *world, ada *person) {
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	w.clock.advance(59 * time.Second)
	f.exchange(code).ok() // at the other replica, in time
	f = a.begin()
	code = b.get(f.url()).answer().Get("code")
	w.clock.advance(61 * time.Second)
	for range w.replicas {
		f.exchange(code).fails(400, "invalid_grant")
	}
}

func rotatedToken(t *testing.T, w *world, ada *person) {
	a, rs := w.app(t, storage.ClientSPA), w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true })
	_, first := a.signIn(w.browser(t), ada)
	second := a.refresh(first.refresh()).ok()
	w.clock.advance(5 * time.Second)
	if again := a.refresh(first.refresh()).ok(); again.refresh() != second.refresh() { // a lost answer is given again
		t.Error("within the grace window another successor came")
	}
	w.clock.advance(10 * time.Second)
	a.refresh(first.refresh()).fails(400, "invalid_grant")
	a.refresh(second.refresh()).fails(400, "invalid_grant")
	for _, token := range []string{first.access(), second.access()} {
		for range w.replicas {
			if rs.active(token) {
				t.Error("an access token of a stolen grant is active")
			}
		}
	}
	if n := w.events(t, ada.ID, "token.reuse_detected"); n != 1 {
		t.Errorf("%d events of the theft, want 1", n)
	}
}

func lateRefresh(t *testing.T, w *world, ada *person) {
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Lifetimes.RefreshIdle, c.Lifetimes.RefreshMax = 3600, 7200 })
	_, idle := a.signIn(w.browser(t), ada)
	_, used := a.signIn(w.browser(t), ada)
	for range 2 {
		w.clock.advance(50 * time.Minute)
		used = a.refresh(used.refresh()).ok()
	}
	a.refresh(idle.refresh()).fails(400, "invalid_grant")
	w.clock.advance(25 * time.Minute)
	a.refresh(used.refresh()).fails(400, "invalid_grant")
}

func lateAccessToken(t *testing.T, w *world, ada *person) {
	for _, format := range []string{"opaque", "jwt"} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AccessTokenFormat = format })
		_, tokens := a.signIn(w.browser(t), ada)
		w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
		w.clock.advance(10*time.Minute + time.Second)
		for range w.replicas {
			if r := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), ""); r.status != 401 {
				t.Errorf("%s: %d after its time, want 401", format, r.status)
			}
		}
		if a.active(tokens.access()) {
			t.Errorf("%s: active after its time", format)
		}
	}
}

// TestAttacksWithClocksThatDiffer: half a minute between replicas takes nothing from anybody who comes in
// time. Every replica decides by its own clock.
func TestAttacksWithClocksThatDiffer(t *testing.T) {
	t.Parallel()
	t.Run("A-033 a code at a replica whose clock is ahead", func(t *testing.T) {
		w := startWorld(t, 2, &world{clock: &clock{}, skew: []time.Duration{0, 30 * time.Second}})
		a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
		turn := func(replica int64) { // whatever comes next goes there
			w.only.Store(replica)
			w.transport.CloseIdleConnections()
		}
		for _, order := range [][2]int64{{1, 2}, {2, 1}} {
			b := w.browser(t)
			turn(order[0])
			f := a.begin()
			code := b.get(f.url()).pass(ada).Get("code")
			turn(order[1])
			tokens := f.exchange(code).ok()
			for _, at := range order {
				turn(at)
				w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
				tokens = a.refresh(tokens.refresh()).ok()
				b.get("/account").at("/account")
			}
			// A new sign-in for this request is one, wherever each half of it happened.
			for _, params := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
				turn(order[0])
				f := a.begin(params...)
				p := b.get(f.url())
				turn(order[1])
				if code := p.pass(ada).Get("code"); code == "" {
					t.Errorf("%v begun at replica %d and answered at %d: no code", params, order[0], order[1])
				}
			}
		}
	})
}
