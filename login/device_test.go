package login

import (
	"fmt"
	"testing"
	"time"

	"idp/storage"
	"idp/web"
)

// besiege spends all tries that strangers have on an account, from 60 places.
func (s *site) besiege(name string) {
	s.t.Helper()
	const places = 60
	s.drain(strangersBudgets(name, "", "")[3], places/2)
	refused := 0
	for n := range places {
		stranger := s.browser()
		stranger.from = fmt.Sprintf("203.0.%d.1", n)
		if stranger.try(name, "wrong").StatusCode == 429 {
			refused++
		}
	}
	if refused != places/2 {
		s.t.Fatalf("%d of %d strangers were refused, want half", refused, places)
	}
}

func TestStrangersCannotLockTheOwnerOutOfABrowserTheyKnow(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	owner := s.browser()
	owner.from = "198.51.100.1"
	owner.signIn("ada")
	owner.get("/logout")
	s.besiege("ada")
	for range 2 { // the cookie is new each time
		expectPage(t, owner.try("ada", "wrong"), 422, "don't match")
		owner.signIn("ada")
	}
	elsewhere := s.browser()
	elsewhere.from = "198.51.100.2"
	expectPage(t, elsewhere.try("ada", rightPassword), 429, "Too many attempts.")
	s.drain(strangersBudgets("", "", owner.from)[1], 0)
	s.drain(strangersBudgets("", "", owner.from)[2], 0)
	owner.signIn("ada") // whatever the neighbours did
}

func TestABrowserHasTriesOnlyForThoseWhoSignedInThere(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	s.person("mallory")
	owner, mallory := s.browser(), s.browser()
	owner.from, mallory.from = "198.51.100.1", "198.51.100.2"
	owner.signIn("ada")
	dead := owner.value(web.DeviceCookie)
	owner.signIn("ada")
	mallory.signIn("mallory")
	s.besiege("ada")
	for name, cookie := range map[string]string{
		"another account's": mallory.value(web.DeviceCookie),
		"one from before":   dead,
		"forged":            newCookie(deviceBytes),
		"too short":         "x",
	} {
		b := s.browser()
		b.from = "198.51.100.3"
		b.plant(web.DeviceCookie, cookie)
		if a := b.try("ada", rightPassword); a.StatusCode != 429 {
			t.Errorf("with a device cookie that is %s: status %d, want 429", name, a.StatusCode)
		}
	}
	owner.signIn("ada")
}

func TestAKnownBrowserHasFewTries(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	for n := range 10 {
		if a := b.try("ada", "wrong"); a.StatusCode != 422 {
			t.Fatalf("try %d: status %d, want 422", n+1, a.StatusCode)
		}
	}
	expectPage(t, b.try("ada@example.test", rightPassword), 429, "Too many attempts.")
	s.wait(90 * time.Second)
	b.signIn("ada")
}

func TestABrowserKnowsSeveralPeople(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	s.person("bob")
	b := s.browser()
	for _, name := range []string{"ada", "bob", "ada"} {
		b.signIn(name)
	}
	s.drain(strangersBudgets("ada", "", "")[3], 0)
	s.drain(strangersBudgets("bob", "", "")[3], 0)
	b.signIn("bob")
	b.signIn("ada")
	if n := s.count(`select count(distinct id) from devices`); n != 1 {
		t.Errorf("%d devices of one browser, want 1", n)
	}
	if n := s.count(`select count(*) from sessions s join devices d on d.id = s.device_id and d.user_id = s.user_id`); n == 0 || n != s.count(`select count(*) from sessions`) {
		t.Errorf("%d sessions name their device, want all", n)
	}
}

func TestDeviceCookieIsNewAtEverySignInAndLastsHalfAYear(t *testing.T) {
	t.Parallel()
	s := startHTTPS(t)
	id := s.person("ada")
	b := s.browser()
	first := sessionCookie(t, b.signIn("ada"), "__Host-"+web.DeviceCookie)
	if !first.HttpOnly || !first.Secure || first.Path != "/" || first.MaxAge != 180*24*3600 || len(first.Value) != 22 {
		t.Errorf("device cookie %v, want 22 characters, HttpOnly and Secure, for 180 days", first)
	}
	second := sessionCookie(t, b.signIn("ada"), "__Host-"+web.DeviceCookie)
	if second.Value == first.Value {
		t.Error("the device cookie is the same after signing in again")
	}
	for _, tc := range []struct {
		name  string
		value string
		after time.Duration
		want  bool
	}{{"old", first.Value, 0, false}, {"new", second.Value, 0, true}, {"expired", second.Value, deviceLife, false}} {
		_, err := s.db.KnownDevice(t.Context(), storage.HashSecret(tc.value), id, s.now().Add(tc.after))
		if got := err == nil; got != tc.want {
			t.Errorf("%s cookie: known %v (%v), want %v", tc.name, got, err, tc.want)
		}
	}
	if b.try("ada", "wrong").Header.Get("Set-Cookie") == "" || b.value(web.DeviceCookie) != second.Value {
		t.Error("a failed sign-in changed the device cookie")
	}
}
