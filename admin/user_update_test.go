package admin

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"idp/storage"
)

func ptr[T any](v T) *T { return &v }

func TestAnUpdatedPersonIsFoundByTheirNewNamesOnly(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	a.Now = func() time.Time { return now }
	ada, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Email: "ada@example.test", EmailVerified: true})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	u, err := a.UpdateUser(t.Context(), "ada", UserChange{Username: ptr("countess"), Email: ptr("ada@lovelace.test"), Profile: func(p *storage.Profile) { p.Name = "Ada King" }})
	if err != nil || u.ID != ada.ID || u.Username != "countess" || u.Email != "ada@lovelace.test" || u.Profile.Name != "Ada King" {
		t.Fatalf("UpdateUser() = %+v, %v", u, err)
	}
	if u.EmailVerifiedAt != nil {
		t.Error("a new address is verified though nobody said so")
	}
	if !u.UpdatedAt.Equal(now) || !u.CreatedAt.Equal(ada.CreatedAt) {
		t.Errorf("updated at %v, created at %v; want %v, %v", u.UpdatedAt, u.CreatedAt, now, ada.CreatedAt)
	}
	for _, name := range []string{"countess", "ADA@lovelace.test", ada.ID} {
		if found, err := a.User(t.Context(), name); err != nil || found.ID != ada.ID || found.Username != "countess" {
			t.Errorf("User(%q) = %+v, %v", name, found, err)
		}
	}
	for _, name := range []string{"ada", "ada@example.test"} {
		if _, err := a.User(t.Context(), name); status(err) != 404 {
			t.Errorf("User(%q) = %v, want 404", name, err)
		}
	}
	if _, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Email: "ada@example.test"}); err != nil {
		t.Errorf("the old names stay taken: %v", err)
	}
	events, err := a.DB.Events(t.Context(), ada.ID, 1)
	if err != nil || events[0].Kind != "user.updated" || events[0].Actor != "operator" {
		t.Errorf("events = %+v, %v", events, err)
	}
}

func TestWhatIsNotToldStaysAndAnAddressIsVerifiedOnlyIfSaid(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	ada, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Email: "ada@example.test", EmailVerified: true, Profile: storage.Profile{Locale: "en"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what     string
		change   UserChange
		email    string
		verified bool
	}{
		{"nothing", UserChange{}, "ada@example.test", true},
		{"the same address in other letters", UserChange{Email: ptr("Ada@example.test")}, "Ada@example.test", true},
		{"another address", UserChange{Email: ptr("ada@two.test")}, "ada@two.test", false},
		{"verified", UserChange{EmailVerified: ptr(true)}, "ada@two.test", true},
		{"not verified", UserChange{EmailVerified: ptr(false)}, "ada@two.test", false},
		{"another address, verified", UserChange{Email: ptr("ada@three.test"), EmailVerified: ptr(true)}, "ada@three.test", true},
		{"an address that is the user name", UserChange{Username: ptr("ada@three.test")}, "ada@three.test", true},
		{"the user name back", UserChange{Username: ptr("ada")}, "ada@three.test", true},
		{"no address", UserChange{Email: ptr("")}, "", false},
	} {
		u, err := a.UpdateUser(t.Context(), ada.ID, tc.change)
		if err != nil || u.Email != tc.email || (u.EmailVerifiedAt != nil) != tc.verified || u.Profile.Locale != "en" {
			t.Errorf("%s: %+v, %v; want %s, verified %v", tc.what, u, err, tc.email, tc.verified)
		}
		if stored, err := a.DB.User(t.Context(), u.ID); err != nil || stored.Email != tc.email || stored.Profile.Locale != "en" {
			t.Errorf("%s is stored as %+v, %v", tc.what, stored, err)
		}
	}
}

func TestNamesOfOthersAreRefusedAndNothingChanges(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	for _, in := range []UserInput{{Username: "ada", Email: "ada@example.test"}, {Username: "eve", Email: "eve@example.test"}} {
		if _, err := a.CreateUser(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		change UserChange
		status int
	}{
		{UserChange{Username: ptr("ADA")}, 409},
		{UserChange{Username: ptr("ada@example.test")}, 409},
		{UserChange{Email: ptr("Ada@example.test")}, 409},
		{UserChange{Username: ptr(" ")}, 422},
		{UserChange{Username: ptr("usr_eve")}, 422},
		{UserChange{Email: ptr("nonsense")}, 422},
		{UserChange{Email: ptr(""), EmailVerified: ptr(true)}, 422},
		{UserChange{Profile: func(p *storage.Profile) { p.Name = "E\x00ve" }}, 422},
	} {
		if _, err := a.UpdateUser(t.Context(), "eve", tc.change); status(err) != tc.status {
			t.Errorf("UpdateUser(%+v) = %v, want %d", tc.change, err, tc.status)
		}
	}
	if eve, err := a.User(t.Context(), "eve@example.test"); err != nil || eve.Username != "eve" || eve.Profile.Name != "" {
		t.Errorf("after refusals: %+v, %v", eve, err)
	}
	if _, err := a.UpdateUser(t.Context(), "nobody", UserChange{}); status(err) != 404 {
		t.Errorf("nobody: %v, want 404", err)
	}
}

func TestUpdatesOfOnePersonAtTheSameTimeAllCount(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	ada, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Email: "ada@example.test"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, change := range []UserChange{
		{Email: ptr("ada@two.test")}, {Username: ptr("countess")},
		{Profile: func(p *storage.Profile) { p.Name = "Ada King" }}, {Profile: func(p *storage.Profile) { p.Locale = "en" }},
	} {
		all.Go(func() {
			if _, err := a.UpdateUser(t.Context(), ada.ID, change); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	u, err := a.User(t.Context(), "countess")
	if err != nil || u.Email != "ada@two.test" || u.Profile.Name != "Ada King" || u.Profile.Locale != "en" {
		t.Errorf("after four changes: %+v, %v", u, err)
	}
}

func TestABirthdateIsOne(t *testing.T) { // OpenID Connect Core, 5.1; conformance 92
	t.Parallel()
	a := testAdmin(t)
	for i, tc := range []struct {
		birthdate string
		ok        bool
	}{{"", true}, {"1815-12-10", true}, {"0000-12-10", true}, {"1815", true}, {"10.12.1815", false}, {"1815-13-10", false}, {"1815-12", false}, {"15", false}, {"1815-12-10T00:00:00Z", false}} {
		_, err := a.CreateUser(t.Context(), UserInput{Username: fmt.Sprint("user", i), Profile: storage.Profile{Birthdate: tc.birthdate}})
		if (err == nil) != tc.ok || err != nil && status(err) != 422 {
			t.Errorf("%q: %v, want it accepted: %v", tc.birthdate, err, tc.ok)
		}
	}
}
