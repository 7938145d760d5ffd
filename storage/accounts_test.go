package storage_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"idp/storage"
	"idp/storage/storagetest"
)

func hashesOf(secrets ...string) [][]byte {
	var list [][]byte
	for _, s := range secrets {
		list = append(list, storage.HashSecret(s))
	}
	return list
}

func TestASignInLeavesTheOthersOfTheBrowserAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, bob, cleo := addUser(t, db, "ada"), addUser(t, db, "bob"), addUser(t, db, "cleo")
	live := func(secrets ...string) int {
		t.Helper()
		n := 0
		for _, s := range secrets {
			if _, _, err := db.LiveSession(t.Context(), storage.HashSecret(s), noon()); err == nil {
				n++
			}
		}
		return n
	}
	addSession(t, db, ada, "a1")
	kept := addSession(t, db, bob, "b1")
	addSession(t, db, cleo, "c1")

	// Bob again, who stands aside while ada is present and kept: his row goes on.
	s := newSession(bob)
	in := storage.SignIn{SecretHash: storage.HashSecret("b2"), OldHash: storage.HashSecret("a1"), Aside: hashesOf("b1", "c1"), KeepOld: true, PasswordSetAt: noon()}
	if err := db.CreateSession(t.Context(), s, in); err != nil {
		t.Fatal(err)
	}
	if s.ID != kept.ID || live("a1", "b2", "c1") != 3 || live("b1") != 0 {
		t.Errorf("bob's session is %v, want his own to go on as %v, and the others to live", s.ID, kept.ID)
	}
	// The same without keeping ada: hers ends, cleo's has no room, and bob's goes on.
	s = newSession(bob)
	in = storage.SignIn{SecretHash: storage.HashSecret("b3"), OldHash: storage.HashSecret("a1"), Aside: hashesOf("b2", "c1"), End: hashesOf("c1"), PasswordSetAt: noon()}
	if err := db.CreateSession(t.Context(), s, in); err != nil {
		t.Fatal(err)
	}
	if live("b3") != 1 || live("a1", "b2", "c1") != 0 {
		t.Error("somebody is signed in who should not be, or bob is not")
	}
}

func TestOneCallerRenewsASecret(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	addSession(t, db, ada, "old")
	var won atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if db.RenewSecret(t.Context(), storage.HashSecret("old"), storage.HashSecret("new"+string(rune('a'+i))), noon()) == nil {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d callers renewed one secret, want 1", won.Load())
	}
	addSession(t, db, ada, "late")
	wantError(t, "an expired session", db.RenewSecret(t.Context(), storage.HashSecret("late"), storage.HashSecret("x"), noon().Add(2*time.Hour)), storage.ErrNotFound)
	if _, err := db.SetUserState(t.Context(), ada.ID, storage.UserSuspended, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a suspended person's", db.RenewSecret(t.Context(), storage.HashSecret("late"), storage.HashSecret("x"), noon()), storage.ErrNotFound)
	found, err := db.LiveSessionsByHash(t.Context(), hashesOf("late", "old", "nothing"), noon())
	if err != nil || len(found) != 0 {
		t.Errorf("live sessions of a suspended person: %v, %v", found, err)
	}
}

func TestABrowserForgetsWhoItKnew(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, bob := addUser(t, db, "ada"), addUser(t, db, "bob")
	device := storage.HashSecret("d1")
	for i, u := range []storage.User{ada, bob} {
		var old []byte
		if i > 0 {
			old = device
		}
		err := db.RememberDevice(t.Context(), storage.DeviceUse{OldHash: old, NewHash: device, UserID: u.ID, SessionID: uuid.New(), Now: noon().Add(time.Duration(i) * time.Second), ExpiresAt: noon().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
	}
	names := func(hash []byte, now time.Time, limit int) (got string) {
		t.Helper()
		known, err := db.KnownPeople(t.Context(), hash, now, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range known {
			got += u.Username + " "
		}
		return got
	}
	if got := names(device, noon(), 5); got != "bob ada " {
		t.Errorf("known are %q, want the last one first", got)
	}
	if got := names(device, noon(), 1) + names(storage.HashSecret("other"), noon(), 5) + names(device, noon().Add(2*time.Hour), 5); got != "bob " {
		t.Errorf("known are %q, want one, nobody elsewhere, and nobody later", got)
	}
	for range 2 {
		if err := db.ForgetPerson(t.Context(), storage.HashSecret("other"), ada.ID); err != nil {
			t.Fatal(err)
		}
		if err := db.ForgetPerson(t.Context(), device, bob.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(device, noon(), 5); got != "ada " {
		t.Errorf("known are %q, want ada alone", got)
	}
}

func TestOnlyItsBrowserNotesSomethingInARequest(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	mine, other := storage.HashSecret("mine"), storage.HashSecret("other")
	r := storage.Request{ID: "r1", ClientID: "c", Params: map[string][]string{"state": {"s"}, "who": {"x", "y"}}, BrowserHash: mine, CreatedAt: noon(), ExpiresAt: noon().Add(time.Hour)}
	if err := db.KeepRequest(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another browser":   db.SetRequestParam(t.Context(), "r1", other, "who", "z", noon()),
		"no browser":        db.SetRequestParam(t.Context(), "r1", nil, "who", "z", noon()),
		"later":             db.SetRequestParam(t.Context(), "r1", mine, "who", "z", noon().Add(time.Hour)),
		"another request":   db.SetRequestParam(t.Context(), "r2", mine, "who", "z", noon()),
		"what no id can be": db.SetRequestParam(t.Context(), "r\x00", mine, "who", "z", noon()),
	} {
		wantError(t, name, err, storage.ErrNotFound)
	}
	if err := db.SetRequestParam(t.Context(), "r1", mine, "who", "z", noon()); err != nil {
		t.Fatal(err)
	}
	got, err := db.Request(t.Context(), "r1")
	if err != nil || len(got.Params["who"]) != 1 || got.Params.Get("who") != "z" || got.Params.Get("state") != "s" {
		t.Errorf("params = %v, %v; want the note in its place and the rest as it was", got.Params, err)
	}
}
