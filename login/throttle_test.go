package login

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"idp/storage"
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

// drain spends all but left tries of a budget.
func (s *site) drain(budget storage.Budget, left int) {
	s.t.Helper()
	for range budget.Burst - left {
		if _, err := s.db.Spend(s.t.Context(), s.now(), budget); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestOneNetworkCannotTryManyAccounts(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	budgets := strangersBudgets("", "", "2001:db8::1")
	s.drain(budgets[1], 0)
	b.from = "2001:db8::ffff:1" // same /64
	expectPage(t, b.try("anybody", "wrong"), 429, "Too many attempts.")
	b.from = "2001:db8:0:1::1"
	expectPage(t, b.try("anybody", "wrong"), 422, "don't match")
	s.drain(budgets[2], 0)
	b.from = "2001:db8:0:2::1" // same /48
	expectPage(t, b.try("anybody", "wrong"), 429, "Too many attempts.")
	b.from = "2001:db8:1::1"
	expectPage(t, b.try("anybody", "wrong"), 422, "don't match")
}

func TestNetworksOfAnAddress(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string][2]string{
		"203.0.113.9":          {"203.0.113.9", "203.0.113.0/24"},
		"::ffff:203.0.113.9":   {"203.0.113.9", "203.0.113.0/24"},
		"2001:db8:1:2:3:4:5:6": {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":         {"fe80::/64", "fe80::/48"},
		"":                     {},
	} {
		if address, around := networks(ip); [2]string{address, around} != want {
			t.Errorf("networks(%q) = %q, %q; want %q", ip, address, around, want)
		}
	}
}

func TestSpendingTheTriesOfANameDoesNotTellWhichAddressBelongsToIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	for n, spent := range []func(b *browser){
		func(b *browser) { // the tries from one address
			for range 10 {
				b.try("ada", "wrong")
			}
		},
		func(b *browser) { s.drain(strangersBudgets("ada", "", b.from)[3], 0) }, // those from everywhere
	} {
		b := s.browser()
		b.from = fmt.Sprintf("203.0.113.%d", n+1)
		spent(b)
		expectPage(t, b.try("ADA", "wrong"), 429, "Too many attempts.")
		known, unknown := b.try("ada@example.test", "wrong"), b.try("eve@example.test", "wrong")
		if known.StatusCode != 422 || unknown.StatusCode != 422 {
			t.Errorf("after the tries of ada: her address gives %d, a stranger's %d; want 422 both", known.StatusCode, unknown.StatusCode)
		}
	}
}

func TestTheNamesOfOneAccountShareALastBudget(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.person("ada")
	mine := strangersBudgets("ada", id, "203.0.113.1")
	typed, account := mine[3], mine[4]
	if names := 2 * typed.Burst; account.Burst <= names || account.Every*2 >= typed.Every {
		t.Errorf("account %+v is spent before two names of %+v are: that would show whose they are", account, typed)
	}
	s.drain(account, 0)
	b := s.browser()
	expectPage(t, b.try("ada", rightPassword), 429, "Too many attempts.")
	expectPage(t, b.try("ada@example.test", rightPassword), 429, "Too many attempts.")
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
