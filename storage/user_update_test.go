package storage_test

import (
	"errors"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestNamesFollowAnUpdateInOneTransaction(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, eve := addUser(t, db, "ada"), addUser(t, db, "eve")
	update := func(name, email string) error {
		_, err := db.UpdateUser(t.Context(), ada.ID, func(u *storage.User) error {
			u.Username, u.Email = name, email
			return nil
		}, noon().Add(time.Hour), storage.Event{Kind: "user.updated", UserID: ada.ID})
		return err
	}
	wantError(t, "the name of another", update("Eve", ada.Email), storage.ErrConflict)
	wantError(t, "the address of another as a name", update(eve.Email, ada.Email), storage.ErrConflict)
	if u, err := db.UserByIdentifier(t.Context(), "ada"); err != nil || u.Username != ada.Username || !u.UpdatedAt.Equal(noon()) {
		t.Errorf("after refusals: %+v, %v", u, err)
	}
	if n := count(t, db, `events where kind = 'user.updated'`); n != 0 {
		t.Errorf("%d events tell of updates that were refused", n)
	}
	execute(t, db, `insert into identifiers (key, user_id, kind) values ('second@example.test', $1, 'email')`, ada.ID)
	if err := update("Countess", "countess@example.test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"countess", "countess@example.test", "second@example.test"} {
		if u, err := db.UserByIdentifier(t.Context(), name); err != nil || u.ID != ada.ID || !u.UpdatedAt.Equal(noon().Add(time.Hour)) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	if n := count(t, db, `identifiers where user_id = $1`, ada.ID); n != 3 {
		t.Errorf("%d identifiers, want 3", n)
	}
}

func TestARefusedUpdateAndAMissingAccountChangeNothing(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	refusal := errors.New("no")
	_, err := db.UpdateUser(t.Context(), ada.ID, func(u *storage.User) error { u.Username = "x"; return refusal }, noon(), storage.Event{})
	wantError(t, "a refused update", err, refusal)
	if _, err := db.UserByIdentifier(t.Context(), "ada"); err != nil {
		t.Error(err)
	}
	if _, err := db.SetUserState(t.Context(), ada.ID, storage.UserDeleted, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	_, err = db.UpdateUser(t.Context(), ada.ID, func(*storage.User) error { return nil }, noon(), storage.Event{})
	wantError(t, "a deleted account", err, storage.ErrNotFound)
	_, err = db.RevokeUser(t.Context(), ada.ID, noon(), storage.Event{})
	wantError(t, "revoking a deleted account", err, storage.ErrNotFound)
}

func TestARevokedPersonHoldsNothingButTheirAccount(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada, eve := addClient(t, db), addUser(t, db, "ada"), addUser(t, db, "eve")
	session, other := addSession(t, db, ada, "a"), addSession(t, db, eve, "e")
	held := addGrant(t, db, app, ada, session, nil)
	away := addGrant(t, db, app, ada, session, offline)
	others := addGrant(t, db, app, eve, other, nil)
	ended, err := db.RevokeUser(t.Context(), ada.ID, noon(), storage.Event{Kind: "user.revoked", UserID: ada.ID})
	if err != nil || ended != (storage.Ended{Sessions: 1, Grants: 2}) {
		t.Errorf("RevokeUser() = %+v, %v; want 1 session and 2 grants", ended, err)
	}
	wantAlive(t, db, "a grant of the session", held, false)
	wantAlive(t, db, "a grant with offline access", away, false)
	wantAlive(t, db, "a grant of somebody else", others, true)
	if sessions, err := db.LiveSessions(t.Context(), ada.ID, noon()); err != nil || len(sessions) != 0 {
		t.Errorf("sessions = %v, %v; want none", sessions, err)
	}
	if u, err := db.User(t.Context(), ada.ID); err != nil || u.State != storage.UserActive {
		t.Errorf("account = %+v, %v; want it active", u, err)
	}
}

func TestOnlyWhatCountsIsListed(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	live, ended := addSession(t, db, ada, "live"), addSession(t, db, ada, "ended")
	addGrant(t, db, app, ada, live, nil)
	addGrant(t, db, app, ada, live, issued)
	addGrant(t, db, app, ada, ended, nil)
	addGrant(t, db, app, ada, ended, offline)
	if _, err := db.EndSession(t.Context(), ended.ID, "signed_out", noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	sessions, err := db.LiveSessions(t.Context(), ada.ID, noon())
	if err != nil || len(sessions) != 1 || sessions[0].ID != live.ID {
		t.Errorf("sessions = %v, %v; want the live one", sessions, err)
	}
	grants, err := db.HeldGrants(t.Context(), ada.ID, noon())
	if err != nil || len(grants) != 2 || grants[0].ClientID != app.ID || grants[0].Offline == grants[1].Offline {
		t.Errorf("grants = %+v, %v; want that of the live session and the offline one", grants, err)
	}
	if later, err := db.HeldGrants(t.Context(), ada.ID, noon().Add(10*365*24*time.Hour)); err != nil || len(later) != 0 {
		t.Errorf("grants after their end = %+v, %v", later, err)
	}
}
