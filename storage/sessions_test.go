package storage_test

import (
	"errors"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func live(t *testing.T, db *storage.DB, secret string, now time.Time) *storage.Session {
	t.Helper()
	s, _, err := db.LiveSession(t.Context(), storage.HashSecret(secret), now)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestOnlyActivePeopleWithTheirPresentPasswordGetASession(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	suspended, changed := addUser(t, db, "suspended"), addUser(t, db, "changed")
	if _, err := db.SetUserState(t.Context(), suspended.ID, storage.UserSuspended, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if err := db.SetPassword(t.Context(), storage.NewPassword{UserID: changed.ID, Hash: "new", Now: noon().Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	for _, u := range []storage.User{suspended, changed, {ID: "usr_nobody"}} {
		wantError(t, u.Username, signIn(db, newSession(u), u.ID, ""), storage.ErrNotFound)
	}
	if n := count(t, db, "sessions"); n != 0 {
		t.Errorf("%d sessions were stored, want none", n)
	}
}

func TestTheSamePersonRenewsTheirSessionUnderANewCookie(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	first := addSession(t, db, ada, "old")
	g := addGrant(t, db, app, ada, first, nil)
	again := newSession(ada)
	again.CreatedAt, again.AuthTime = noon().Add(time.Minute), noon().Add(time.Minute)
	if err := signIn(db, again, "new", "old"); err != nil {
		t.Fatal(err)
	}
	if again.ID != first.ID {
		t.Errorf("the session is %s, want %s as before", again.ID, first.ID)
	}
	if live(t, db, "old", noon()) != nil {
		t.Error("the old cookie still works")
	}
	if s := live(t, db, "new", noon()); s == nil || s.ID != first.ID || !s.AuthTime.Equal(again.AuthTime) || !s.CreatedAt.Equal(noon()) {
		t.Errorf("the renewed session = %+v", s)
	}
	wantAlive(t, db, "after the renewal", g, true)
}

func TestAnotherPersonEndsTheSessionBeforeTheirs(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada, bob := addClient(t, db), addUser(t, db, "ada"), addUser(t, db, "bob")
	first := addSession(t, db, ada, "old")
	hanging, outliving := addGrant(t, db, app, ada, first, nil), addGrant(t, db, app, ada, first, offline)
	second := newSession(bob)
	if err := signIn(db, second, "new", "old"); err != nil {
		t.Fatal(err)
	}
	if second.ID == first.ID || live(t, db, "old", noon()) != nil {
		t.Error("bob's sign-in went on with ada's session")
	}
	if s := live(t, db, "new", noon()); s == nil || s.UserID != bob.ID {
		t.Errorf("the new session = %+v, want bob's", s)
	}
	wantAlive(t, db, "hanging on ada's session", hanging, false)
	wantAlive(t, db, "offline access of ada", outliving, true)
}

func TestExpiredAndEndedSessionsAreNotRenewed(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	first := addSession(t, db, ada, "old")
	late := newSession(ada)
	late.CreatedAt, late.IdleExpiresAt = noon().Add(2*time.Hour), noon().Add(3*time.Hour)
	if err := signIn(db, late, "new", "old"); err != nil {
		t.Fatal(err)
	}
	if late.ID == first.ID {
		t.Error("a session that had idled out was renewed")
	}
	third := newSession(ada)
	if err := signIn(db, third, "newer", "never seen"); err != nil || live(t, db, "newer", noon()) == nil {
		t.Errorf("a cookie that nobody knows is in the way: %v", err)
	}
}

func TestParallelSignInsInOneBrowserEachGetTheirCookie(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	addSession(t, db, ada, "old")
	for i, err := range race(6, func(i int) error { return signIn(db, newSession(ada), string(rune('a'+i)), "old") }) {
		if err != nil || live(t, db, string(rune('a'+i)), noon()) == nil {
			t.Errorf("sign-in %d: %v; want a live session", i, err)
		}
	}
	if live(t, db, "old", noon()) != nil {
		t.Error("the old cookie still works")
	}
}

func TestSessionsEndWhenIdleAndAtTheirAbsoluteEnd(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	s := addSession(t, db, addUser(t, db, "ada"), "s")
	idle, end := s.IdleExpiresAt, s.ExpiresAt
	if live(t, db, "s", idle.Add(-time.Microsecond)) == nil || live(t, db, "s", idle) != nil {
		t.Error("the session does not end exactly at its idle expiry")
	}
	if err := db.TouchSession(t.Context(), s.ID, noon().Add(time.Minute), end.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got := live(t, db, "s", end.Add(-time.Microsecond))
	if got == nil || !got.IdleExpiresAt.Equal(end) || !got.SeenAt.Equal(noon().Add(time.Minute)) {
		t.Errorf("the touched session = %+v; want it to idle until its absolute end %v", got, end)
	}
	if live(t, db, "s", end) != nil {
		t.Error("the session outlives its absolute end")
	}
}

func TestASessionEndsOnceWithItsGrants(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	s := addSession(t, db, ada, "s")
	hanging, code, outliving := addGrant(t, db, app, ada, s, nil), addGrant(t, db, app, ada, s, issued), addGrant(t, db, app, ada, s, offline)
	if n, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{Kind: "session.ended"}); err != nil || n != 2 {
		t.Errorf("EndSession = %d, %v; want 2 grants", n, err)
	}
	_, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{Kind: "session.ended"})
	wantError(t, "EndSession again", err, storage.ErrNotFound)
	if n := count(t, db, "events"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	if live(t, db, "s", noon()) != nil {
		t.Error("the session lives on")
	}
	if err := db.TouchSession(t.Context(), s.ID, noon(), noon().Add(time.Hour)); err != nil || live(t, db, "s", noon()) != nil {
		t.Errorf("a touch brought the ended session back (%v)", err)
	}
	wantAlive(t, db, "hanging", hanging, false)
	wantAlive(t, db, "offline", outliving, true)
	if facts(t, db, code, noon()).Redeemable(noon()) {
		t.Error("a code of the ended session is redeemable")
	}
}

func TestASignInNeverSlipsPastASuspensionOrANewPassword(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for name, change := range map[string]func(storage.User) error{
		"suspension": func(u storage.User) error {
			_, err := db.SetUserState(t.Context(), u.ID, storage.UserSuspended, noon(), storage.Event{})
			return err
		},
		"new password": func(u storage.User) error {
			return db.SetPassword(t.Context(), storage.NewPassword{UserID: u.ID, Hash: "new", Now: noon().Add(time.Second)})
		},
	} {
		for range 10 {
			u := addUser(t, db, storage.NewID(""))
			for i, err := range race(4, func(i int) error {
				if i == 2 {
					return change(u)
				}
				return signIn(db, newSession(u), u.ID+string(rune('a'+i)), "")
			}) {
				if err != nil && (i == 2 || !errors.Is(err, storage.ErrNotFound)) {
					t.Errorf("%s, caller %d: %v", name, i, err)
				}
			}
			if n := count(t, db, `sessions where user_id = $1 and ended_at is null`, u.ID); n != 0 {
				t.Errorf("%s: %d sessions are left", name, n)
			}
		}
	}
}
