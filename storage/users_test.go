package storage_test

import (
	"errors"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestUserNamesAndAddressesShareOneNamespace(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addUser(t, db, "ada") // ada@example.com
	for name, u := range map[string]storage.User{
		"same name":                  {Username: "ada"},
		"upper case":                 {Username: "ADA"},
		"space around":               {Username: " ada\t"},
		"full width (NFKC)":          {Username: "ＡＤＡ"},
		"name is an address":         {Username: "Ada@Example.com"},
		"address is taken":           {Username: "bob", Email: "ADA@example.COM"},
		"address is somebody's name": {Username: "bob", Email: "ada"},
	} {
		u.ID, u.CreatedAt = storage.NewID("usr_"), noon()
		if err := db.CreateUser(t.Context(), u, "", storage.Event{Kind: "user.created"}); !errors.Is(err, storage.ErrConflict) || storage.Unavailable(err) {
			t.Errorf("%s: CreateUser = %v, want ErrConflict", name, err)
		}
	}
	if users, events := count(t, db, "users"), count(t, db, "events"); users != 1 || events != 0 {
		t.Errorf("refused accounts left %d users and %d events; want 1 and 0", users, events)
	}
	both := storage.User{ID: storage.NewID("usr_"), Username: "eve@example.com", Email: "Eve@example.com", CreatedAt: noon()}
	if err := db.CreateUser(t.Context(), both, "", storage.Event{}); err != nil {
		t.Errorf("a person whose user name is their address: %v", err)
	}
}

func TestPeopleAreFoundByEachOfTheirIdentifiers(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "Ada")
	for _, identifier := range []string{"Ada", "ada", " ADA ", "ａｄａ", "ada@EXAMPLE.com", ada.ID} {
		if u, err := db.UserByIdentifier(t.Context(), identifier); err != nil || u.ID != ada.ID || u.Username != "Ada" {
			t.Errorf("UserByIdentifier(%q) = %+v, %v; want Ada", identifier, u, err)
		}
	}
	for _, identifier := range []string{"", "ad", "ada@example.co", "%"} {
		_, err := db.UserByIdentifier(t.Context(), identifier)
		wantError(t, "UserByIdentifier("+identifier+")", err, storage.ErrNotFound)
	}
}

func TestDeletionFreesNamesButNeverTheID(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	if _, err := db.SetUserState(t.Context(), ada.ID, storage.UserDeleted, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	u, err := db.User(t.Context(), ada.ID)
	if err != nil || u.State != storage.UserDeleted || u.Username != "" || u.Email != "" {
		t.Errorf("the deleted account = %+v, %v; want an empty one", u, err)
	}
	for _, identifier := range []string{"ada", "ada@example.com", ada.ID} {
		_, err := db.UserByIdentifier(t.Context(), identifier)
		wantError(t, "UserByIdentifier of the deleted", err, storage.ErrNotFound)
		_, err = db.PasswordByIdentifier(t.Context(), identifier)
		wantError(t, "PasswordByIdentifier of the deleted", err, storage.ErrNotFound)
	}
	if n := count(t, db, "credentials"); n != 0 {
		t.Errorf("%d credentials left, want none", n)
	}
	for _, state := range []string{storage.UserActive, storage.UserDeleted} {
		_, err := db.SetUserState(t.Context(), ada.ID, state, noon(), storage.Event{})
		wantError(t, state+" after deletion", err, storage.ErrNotFound)
	}
	err = db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "new", Now: noon()})
	wantError(t, "a password for the deleted", err, storage.ErrNotFound)
	if n := count(t, db, "credentials"); n != 0 {
		t.Errorf("%d credentials after that, want none", n)
	}
	err = db.CreateUser(t.Context(), storage.User{ID: ada.ID, Username: "new", CreatedAt: noon()}, "", storage.Event{})
	wantError(t, "the id again", err, storage.ErrConflict)
	if again := addUser(t, db, "ada"); again.ID == ada.ID {
		t.Error("the second ada got the first one's id")
	}
}

func TestLeavingTheActiveStateEndsSessionsAndGrantsAndCountsThem(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, bob := addClient(t, db), addUser(t, db, "bob")
	bobs := addGrant(t, db, app, bob, addSession(t, db, bob, "bob"), nil)
	for _, state := range []string{storage.UserSuspended, storage.UserDeleted} {
		ada := addUser(t, db, "ada")
		s1 := addSession(t, db, ada, state+"1")
		addSession(t, db, ada, state+"2")
		hanging, outliving := addGrant(t, db, app, ada, s1, nil), addGrant(t, db, app, ada, s1, offline)
		ended, err := db.SetUserState(t.Context(), ada.ID, state, noon(), storage.Event{Kind: "user." + state, UserID: ada.ID})
		if want := (storage.Ended{Sessions: 2, Grants: 2}); err != nil || ended != want {
			t.Errorf("%s ended %+v, %v; want %+v", state, ended, err, want)
		}
		wantAlive(t, db, state, hanging, false)
		wantAlive(t, db, state, outliving, false)
		if state == storage.UserSuspended {
			if ended, err = db.SetUserState(t.Context(), ada.ID, storage.UserActive, noon(), storage.Event{}); err != nil || ended != (storage.Ended{}) {
				t.Errorf("activation ended %+v, %v; want nothing", ended, err)
			}
			wantAlive(t, db, "activated again", outliving, false)
			if _, _, err := db.LiveSession(t.Context(), storage.HashSecret(state+"1"), noon()); err == nil {
				t.Error("a session came back with the activation")
			}
			if _, err = db.SetUserState(t.Context(), ada.ID, storage.UserDeleted, noon(), storage.Event{}); err != nil {
				t.Fatal(err) // makes room for the next round
			}
		}
	}
	wantAlive(t, db, "somebody else", bobs, true)
}

func wantHash(t *testing.T, db *storage.DB, identifier, want string) storage.Password {
	t.Helper()
	p, err := db.PasswordByIdentifier(t.Context(), identifier)
	if err != nil || p.Hash != want {
		t.Errorf("password of %s = %q, %v; want %q", identifier, p.Hash, err, want)
	}
	return p
}

func TestPasswordsAreReadByIdentifierAndStoredSealed(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	if p := wantHash(t, db, "ADA@example.com", "hash of ada"); p.User.ID != ada.ID || !p.SetAt.Equal(noon()) {
		t.Errorf("password of %s set at %v, want %s at %v", p.User.ID, p.SetAt, ada.ID, noon())
	}
	if n := count(t, db, `credentials where position('hash of'::bytea in data) > 0`); n != 0 {
		t.Error("the password hash stands in the database unsealed")
	}
	none := storage.User{ID: storage.NewID("usr_"), Username: "none", CreatedAt: noon()}
	if err := db.CreateUser(t.Context(), none, "", storage.Event{}); err != nil {
		t.Fatal(err)
	}
	wantHash(t, db, "none", "")
	_, err := db.PasswordByIdentifier(t.Context(), "nobody")
	wantError(t, "a stranger", err, storage.ErrNotFound)
	if _, err := db.SetUserState(t.Context(), ada.ID, storage.UserSuspended, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if p := wantHash(t, db, "ada", "hash of ada"); p.User.State != storage.UserSuspended {
		t.Errorf("state = %q, want suspended", p.User.State)
	}
}

func TestANewPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	kept, other := addSession(t, db, ada, "kept"), addSession(t, db, ada, "other")
	keptGrant, otherGrant, offlineGrant := addGrant(t, db, app, ada, kept, nil), addGrant(t, db, app, ada, other, nil), addGrant(t, db, app, ada, other, offline)
	later := noon().Add(time.Minute)
	if err := db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "second", Keep: kept.ID, Now: later, Event: storage.Event{Kind: "password.changed"}}); err != nil {
		t.Fatal(err)
	}
	if p := wantHash(t, db, "ada", "second"); !p.SetAt.Equal(later) {
		t.Errorf("set at %v, want %v", p.SetAt, later)
	}
	wantAlive(t, db, "kept session", keptGrant, true)
	wantAlive(t, db, "other session", otherGrant, false)
	wantAlive(t, db, "offline access", offlineGrant, true)
	if err := db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "third", Now: later}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `sessions where ended_at is null`); n != 0 {
		t.Errorf("%d sessions live after a password change that keeps none", n)
	}
}

func TestAStaleRehashBringsNoOldPasswordBack(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	proved := wantHash(t, db, "ada", "hash of ada")
	if err := db.RehashPassword(t.Context(), ada.ID, "stronger hash", proved.SetAt); err != nil {
		t.Fatal(err)
	}
	if p := wantHash(t, db, "ada", "stronger hash"); !p.SetAt.Equal(proved.SetAt) {
		t.Errorf("a rehash moved SetAt from %v to %v", proved.SetAt, p.SetAt)
	}
	if err := db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "new", Now: noon().Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if err := db.RehashPassword(t.Context(), ada.ID, "old again", proved.SetAt); err != nil {
		t.Fatal(err)
	}
	wantHash(t, db, "ada", "new")
}

func TestUsersAreListedByNameInPages(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for _, name := range []string{"carl", "ada", "bob"} {
		addUser(t, db, name)
	}
	first, err := db.Users(t.Context(), "", 2)
	if err != nil || len(first) != 2 || first[0].Username != "ada" || first[1].Username != "bob" {
		t.Fatalf("first page = %v, %v; want ada, bob", first, err)
	}
	if rest, err := db.Users(t.Context(), "bob", 2); err != nil || len(rest) != 1 || rest[0].Username != "carl" {
		t.Errorf("second page = %v, %v; want carl", rest, err)
	}
}

func TestANewPasswordRestsOnTheOneThatWasProved(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	proved, err := db.PasswordByUser(t.Context(), ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	// Many who all confirmed the same password: one replaces it.
	wantOneWinner(t, race(8, func(i int) error {
		return db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "theirs", ProvedSetAt: &proved.SetAt, Now: noon().Add(time.Duration(i+1) * time.Second)})
	}))
	addSession := func() { // under the new password
		t.Helper()
		p, err := db.PasswordByUser(t.Context(), ada.ID)
		if err != nil || p.Hash != "theirs" {
			t.Fatalf("password = %+v, %v; want the winner's", p, err)
		}
		in := storage.SignIn{SecretHash: storage.HashSecret("s"), PasswordSetAt: p.SetAt}
		if err := db.CreateSession(t.Context(), newSession(ada), in); err != nil {
			t.Fatal(err)
		}
	}
	addSession()
	err = db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "late", ProvedSetAt: &proved.SetAt, Now: noon().Add(time.Minute), Event: storage.Event{Kind: "password.changed"}})
	wantError(t, "a change that rests on a password replaced before", err, storage.ErrConflict)
	if n := count(t, db, "sessions where ended_at is null"); n != 1 {
		t.Errorf("%d live sessions after the refusal, want 1", n)
	}
	if n := count(t, db, "events"); n != 0 {
		t.Errorf("%d events tell of the refusal, want none", n)
	}
}

func TestSuspendedPeopleCanBeGivenAPasswordAndDeletedOnesCannot(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	for _, step := range []struct {
		state string
		want  error
	}{{storage.UserSuspended, nil}, {storage.UserDeleted, storage.ErrNotFound}} {
		if _, err := db.SetUserState(t.Context(), ada.ID, step.state, noon(), storage.Event{}); err != nil {
			t.Fatal(err)
		}
		wantError(t, step.state, db.SetPassword(t.Context(), storage.NewPassword{UserID: ada.ID, Hash: "new", Now: noon()}), step.want)
	}
	if n := count(t, db, "credentials"); n != 0 {
		t.Errorf("%d credentials of a deleted account, want none", n)
	}
	wantError(t, "nobody", db.SetPassword(t.Context(), storage.NewPassword{UserID: "usr_none", Hash: "new", Now: noon()}), storage.ErrNotFound)
}
