package login

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

func TestTriesOnOneAccountAreBoundedWhetherItExistsOrNot(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	for i, name := range []string{"ada", "nobody"} {
		b := s.browser()
		b.from = fmt.Sprintf("203.0.113.%d", i+1)
		for n := range 10 {
			if a := b.try(name, "wrong"); a.StatusCode != 422 {
				t.Fatalf("%s, try %d: status %d, want 422", name, n+1, a.StatusCode)
			}
		}
		before := s.login.hashes.runs.Load()
		a := b.try(name, rightPassword)
		expectPage(t, a, 429, "Too many attempts. Try again in 1 minute.")
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
			t.Errorf("%s: Retry-After %q, want seconds of a minute", name, a.Header.Get("Retry-After"))
		}
		if n := s.login.hashes.runs.Load() - before; n != 0 {
			t.Errorf("%s: %d hashes ran, want none", name, n)
		}
		s.wait(time.Minute)
		if a := b.try(name, "wrong"); a.StatusCode != 422 {
			t.Errorf("%s, after a minute: status %d, want 422", name, a.StatusCode)
		}
	}
}

func TestRefusedStrangersDoNotLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	stranger, owner := s.browser(), s.browser()
	stranger.from, owner.from = "203.0.113.1", "198.51.100.1"
	for range 10 {
		stranger.try("ada", "wrong")
	}
	for n := range 150 {
		if a := stranger.try("ada", "wrong"); a.StatusCode != 429 {
			t.Fatalf("try %d: status %d, want 429", n+11, a.StatusCode)
		}
	}
	owner.signIn("ada")
}

func TestSuccessCostsNoTry(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	for range 12 {
		b.signIn("ada")
	}
}

func TestOneNetworkCannotTryManyAccounts(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	ip := "2001:db8::1"
	budget := budgets("", network(ip))[1]
	for range budget.Burst {
		if _, err := s.db.Spend(t.Context(), s.now(), budget); err != nil {
			t.Fatal(err)
		}
	}
	b.from = "2001:db8::ffff:1" // same /64
	expectPage(t, b.try("anybody", "wrong"), 429, "Too many attempts.")
	b.from = "2001:db8:0:1::1"
	expectPage(t, b.try("anybody", "wrong"), 422, "don't match")
}

func TestNetworkOfAnAddress(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"203.0.113.9":          "203.0.113.9",
		"::ffff:203.0.113.9":   "203.0.113.9",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
		"":                     "",
	} {
		if got := network(ip); got != want {
			t.Errorf("network(%q) = %q, want %q", ip, got, want)
		}
	}
}

func TestWaitIsSaidInMinutes(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		time.Second:      "429 Too many attempts. Try again in 1 minute.: password tries: budget spent",
		61 * time.Second: "429 Too many attempts. Try again in 2 minutes.: password tries: budget spent",
	} {
		if got := tooMany(wait).Error(); got != want {
			t.Errorf("tooMany(%v) = %q, want %q", wait, got, want)
		}
	}
}
