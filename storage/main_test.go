package storage_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// noon is the time at which the tests of this package play. Time is an argument everywhere.
func noon() time.Time { return time.Date(2031, 5, 6, 12, 0, 0, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

// open is a second handle on a database, such as another replica has.
func open(t testing.TB, url string, maxConns int32) *storage.DB {
	t.Helper()
	sealer, err := storage.NewSealer(storagetest.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(context.Background(), storage.Config{URL: url, MaxConns: maxConns, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// addUser stores a person whose password hash is "hash of " and their name.
func addUser(t testing.TB, db *storage.DB, name string) storage.User {
	t.Helper()
	u := storage.User{ID: storage.NewID("usr_"), Username: name, Email: name + "@example.com", CreatedAt: noon()}
	if err := db.CreateUser(t.Context(), u, "hash of "+name, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return u
}

func addClient(t testing.TB, db *storage.DB) storage.Client {
	t.Helper()
	c := storage.Client{ID: storage.NewID("cli_"), Source: "admin", CreatedAt: noon()}
	c.Name, c.Type, c.AuthMethod = "App", storage.ClientWeb, "client_secret_basic"
	if err := db.CreateClient(t.Context(), c, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return read(t, db, c.ID)
}

func read(t testing.TB, db *storage.DB, clientID string) storage.Client {
	t.Helper()
	c, err := db.Client(t.Context(), clientID)
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

// newSession is a session that idles out after an hour and ends after a day.
func newSession(u storage.User) *storage.Session {
	return &storage.Session{
		ID: storage.NewRowID(), UserID: u.ID, AuthTime: noon(), Methods: []string{"pwd"}, ACR: "1",
		CreatedAt: noon(), IdleExpiresAt: noon().Add(time.Hour), ExpiresAt: noon().Add(24 * time.Hour),
	}
}

// signIn stores a session with the cookie secret, in a browser that held the cookie old ("" for none).
func signIn(db *storage.DB, s *storage.Session, secret, old string) error {
	in := storage.SignIn{SecretHash: storage.HashSecret(secret), PasswordSetAt: noon()}
	if old != "" {
		in.OldHash = storage.HashSecret(old)
	}
	return db.CreateSession(context.Background(), s, in)
}

func addSession(t testing.TB, db *storage.DB, u storage.User, secret string) *storage.Session {
	t.Helper()
	s := newSession(u)
	if err := signIn(db, s, secret, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// newGrant is an active grant with a refresh token, made in the session s (may be nil).
func newGrant(c storage.Client, u storage.User, s *storage.Session) *storage.Grant {
	g := &storage.Grant{
		ID: storage.NewRowID(), Kind: "code", ClientID: c.ID, UserID: u.ID, Subject: u.ID, Scopes: []string{"openid"},
		Seed: storage.RandomBytes(16), State: storage.GrantActive, Generation: 1, TokenKey: 1,
		IdleExpiresAt: ptr(noon().Add(48 * time.Hour)), ExpiresAt: noon().Add(240 * time.Hour), CreatedAt: noon(),
	}
	if s != nil {
		g.SessionID = &s.ID
	}
	return g
}

// addGrant stores newGrant after change has been at it.
func addGrant(t testing.TB, db *storage.DB, c storage.Client, u storage.User, s *storage.Session, change func(*storage.Grant)) *storage.Grant {
	t.Helper()
	g := newGrant(c, u, s)
	if change != nil {
		change(g)
	}
	if err := db.InsertGrant(t.Context(), g, "", storage.Touch{}); err != nil {
		t.Fatal(err)
	}
	return g
}

func issued(g *storage.Grant) {
	g.State, g.Generation, g.IdleExpiresAt = storage.GrantIssued, 0, nil
	g.CodeExpiresAt = ptr(noon().Add(time.Minute))
}

func offline(g *storage.Grant) { g.Offline = true }

func facts(t testing.TB, db *storage.DB, g *storage.Grant, now time.Time) *storage.GrantFacts {
	t.Helper()
	f, err := db.GrantFacts(t.Context(), g.ID, 0, "", now)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantAlive(t testing.TB, db *storage.DB, what string, g *storage.Grant, want bool) {
	t.Helper()
	if f := facts(t, db, g, noon()); f.Alive(noon()) != want {
		t.Errorf("%s: the grant is alive = %v (state %s, reason %q); want %v", what, !want, f.State, f.RevokeReason, want)
	}
}

func wantError(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// count counts the rows of a query's answer.
func count(t testing.TB, db *storage.DB, from string, args ...any) int {
	t.Helper()
	var n int
	if err := db.Pool().QueryRow(t.Context(), `select count(*) from `+from, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func execute(t testing.TB, db *storage.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// race calls f n times at once.
func race(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// wantOneWinner checks that one call succeeded and the others were told of a conflict.
func wantOneWinner(t testing.TB, errs []error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, storage.ErrConflict):
			t.Errorf("a loser got %v, want ErrConflict", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won, want 1", won, len(errs))
	}
}
