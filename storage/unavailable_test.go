package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"idp/storage"
	"idp/storage/storagetest"
)

// refusedURL names a port of this machine on which nobody listens.
func refusedURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprintf("postgres://nobody@%s/none", l.Addr())
}

// with adds a setting to a connection string, or changes it.
func with(t *testing.T, base, key, value string) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestTroubleWithTheDatabaseIsToldFromAnAnswer(t *testing.T) {
	t.Parallel()
	base := storagetest.URL(t)
	db := open(t, base, 2)
	c := storage.Client{ID: "cli_a", Source: "admin", CreatedAt: noon()}
	if err := db.CreateClient(t.Context(), c, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	run := func(db *storage.DB, ctx context.Context, sql string) error {
		_, err := db.Pool().Exec(ctx, sql)
		return err
	}
	event := storage.Event{At: noon(), Kind: "test"}
	for name, row := range map[string]struct {
		err  func() error
		want bool
	}{
		"nobody listens":      {func() error { return open(t, refusedURL(t), 1).Ping(t.Context()) }, true},
		"unknown role":        {func() error { return open(t, with(t, base, "user", "nobody_here"), 1).Ping(t.Context()) }, true},
		"unknown database":    {func() error { return open(t, with(t, base, "database", "none_here"), 1).Ping(t.Context()) }, true},
		"closed pool":         {func() error { db := open(t, base, 1); db.Close(); return db.Ping(t.Context()) }, true},
		"terminated backend":  {func() error { return run(db, t.Context(), `select pg_terminate_backend(pg_backend_pid())`) }, true},
		"cancelled statement": {func() error { return run(db, t.Context(), `select pg_cancel_backend(pg_backend_pid()), pg_sleep(5)`) }, true},
		"read-only standby": {func() error {
			return open(t, with(t, base, "default_transaction_read_only", "on"), 1).AppendEvent(t.Context(), event)
		}, true},
		"statement timeout": {func() error { return timeout(t, base) }, true},
		"deadline of ours":  {func() error { return deadline(db) }, true},
		"person went away":  {func() error { ctx, cancel := context.WithCancel(t.Context()); cancel(); return db.Ping(ctx) }, false},
		"unique violation":  {func() error { return db.CreateClient(t.Context(), c, storage.Event{}) }, false},
		"nothing found":     {func() error { _, err := db.Client(t.Context(), "cli_none"); return err }, false},
		"check violation": {func() error {
			return db.CreateClient(t.Context(), storage.Client{ID: "cli_b", Source: "nowhere"}, storage.Event{})
		}, false},
		"wrong SQL":             {func() error { return run(db, t.Context(), `select nothing from clients`) }, false},
		"no tables yet":         {func() error { _, err := open(t, storagetest.EmptyURL(t), 1).Client(t.Context(), "cli_a"); return err }, true},
		"text with NUL":         {func() error { _, err := db.Client(t.Context(), "\x00"); return err }, false},
		"some other error":      {func() error { return errors.New("boom") }, false},
		"too many connections":  {func() error { return fmt.Errorf("x: %w", &pgconn.PgError{Code: "53300"}) }, true},
		"starting up":           {func() error { return fmt.Errorf("x: %w", &pgconn.PgError{Code: "57P03"}) }, true},
		"serialization":         {func() error { return fmt.Errorf("x: %w", &pgconn.PgError{Code: "40001"}) }, true},
		"lost in an answer":     {func() error { return fmt.Errorf("x: %w", io.ErrUnexpectedEOF) }, true},
		"lost in a transaction": {func() error { return fmt.Errorf("x: %w", pgx.ErrTxClosed) }, true},
	} {
		err := row.err()
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if got := storage.Unavailable(err); got != row.want {
			t.Errorf("%s: Unavailable(%v) = %v, want %v", name, err, got, row.want)
		}
	}
	if storage.Unavailable(nil) {
		t.Error("no error is Unavailable")
	}
}

func TestWhatPostgreSQLCannotStoreIsNotFound(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for _, id := range []string{"\x00", "a\x00b", "\xff", "\xed\xa0\x80"} { // NUL, no UTF-8, half a pair of UTF-16
		_, client := db.Client(t.Context(), id)
		_, request := db.Request(t.Context(), id)
		_, user := db.UserByIdentifier(t.Context(), id)
		_, password := db.PasswordByIdentifier(t.Context(), id)
		for what, err := range map[string]error{
			"Client": client, "Request": request, "SpendRequest": db.SpendRequest(t.Context(), id), "UserByIdentifier": user, "PasswordByIdentifier": password,
		} {
			if !errors.Is(err, storage.ErrNotFound) || storage.Unavailable(err) {
				t.Errorf("%s(%q) = %v, want ErrNotFound", what, id, err)
			}
		}
	}
}

func timeout(t *testing.T, base string) error {
	db, err := storage.Open(t.Context(), storage.Config{URL: base, MaxConns: 1, Statement: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Pool().Exec(t.Context(), `select pg_sleep(5)`)
	return err
}

func deadline(db *storage.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := db.Pool().Exec(ctx, `select pg_sleep(5)`)
	return err
}

func TestAPersonWhoGoesAwayInTheMiddleIsNoOutage(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := db.Pool().Exec(ctx, `select pg_sleep(5)`); !errors.Is(err, context.Canceled) || storage.Unavailable(err) {
		t.Errorf("error %v, Unavailable = %v; want a cancellation that is no outage", err, storage.Unavailable(err))
	}
}

func TestATakenValueIsAConflict(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := storage.Client{ID: "cli_a", Source: "admin", CreatedAt: noon()}
	for _, want := range []error{nil, storage.ErrConflict} {
		wantError(t, "CreateClient", db.CreateClient(t.Context(), c, storage.Event{}), want)
	}
}

func TestADatabaseThatRestartedIsUsedAgain(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	db, admin := open(t, url, 4), open(t, url, 1)
	for range 4 {
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, admin, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	for range 8 {
		if err := db.Ping(t.Context()); err == nil {
			return
		} else if !storage.Unavailable(err) {
			t.Errorf("Ping = %v, want it Unavailable", err)
		}
	}
	t.Error("the pool never came back")
}
