package storage_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestTheBrowserUnusedForLongestIsForgotten(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, bob := addUser(t, db, "ada"), addUser(t, db, "bob")
	use := func(u storage.User, secret string, at time.Time) {
		t.Helper()
		d := storage.DeviceUse{NewHash: storage.HashSecret(secret), UserID: u.ID, SessionID: uuid.New(), Now: at, ExpiresAt: at.Add(time.Hour)}
		if err := db.RememberDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	use(bob, "bob's", noon())
	for n := range 21 {
		use(ada, string(rune('a'+n)), noon().Add(time.Duration(n)*time.Second))
	}
	known := func(u storage.User, secret string) error {
		_, err := db.KnownDevice(t.Context(), storage.HashSecret(secret), u.ID, noon())
		return err
	}
	wantError(t, "the oldest of 21", known(ada, "a"), storage.ErrNotFound)
	for name, err := range map[string]error{"the second": known(ada, "b"), "the newest": known(ada, "u"), "somebody else's": known(bob, "bob's")} {
		if err != nil {
			t.Errorf("%s: %v, want it known", name, err)
		}
	}
}

func TestOneOfTwoSignInsWithTheSameCookieKeepsTheBrowser(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	secrets := []string{"first", "second", "third"}
	remember := func(old []byte, secret string) error {
		return db.RememberDevice(t.Context(), storage.DeviceUse{OldHash: old, NewHash: storage.HashSecret(secret), UserID: ada.ID, SessionID: uuid.New(), Now: noon(), ExpiresAt: noon().Add(time.Hour)})
	}
	if err := remember(nil, secrets[0]); err != nil {
		t.Fatal(err)
	}
	for i, err := range race(2, func(i int) error { return remember(storage.HashSecret(secrets[0]), secrets[i+1]) }) {
		if err != nil {
			t.Errorf("sign-in %d: %v", i, err)
		}
	}
	ids := map[string]bool{}
	for _, s := range secrets[1:] {
		id, err := db.KnownDevice(t.Context(), storage.HashSecret(s), ada.ID, noon())
		if err != nil {
			t.Errorf("cookie of the %s sign-in: %v, want it known", s, err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("two cookies name %d browsers, want 2", len(ids))
	}
	_, err := db.KnownDevice(t.Context(), storage.HashSecret(secrets[0]), ada.ID, noon())
	wantError(t, "the cookie before", err, storage.ErrNotFound)
}

func TestDevicesGoWithTheirTimeAndWithTheirPerson(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, bob := addUser(t, db, "ada"), addUser(t, db, "bob")
	for name, u := range map[string]storage.User{"ada's": ada, "bob's": bob} {
		for life, secret := range map[time.Duration]string{time.Hour: name, time.Second: name + " old"} {
			d := storage.DeviceUse{NewHash: storage.HashSecret(secret), UserID: u.ID, SessionID: uuid.New(), Now: noon(), ExpiresAt: noon().Add(life)}
			if err := db.RememberDevice(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := db.Sweep(t.Context(), noon().Add(time.Minute), time.Hour, 1000); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "devices"); n != 2 {
		t.Errorf("%d devices after the sweep, want the 2 that have not expired", n)
	}
	if _, err := db.SetUserState(t.Context(), ada.ID, storage.UserDeleted, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if n, left := count(t, db, "devices"), count(t, db, "devices where user_id = $1", bob.ID); n != 1 || left != 1 {
		t.Errorf("%d devices after a person was deleted, %d of the other's; want 1 that is the other's", n, left)
	}
}
