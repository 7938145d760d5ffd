//go:build unix

package storage_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

// hasty is a handle with short timeouts.
func hasty(t *testing.T, url string, maxConns int32) *storage.DB {
	t.Helper()
	sealer, err := storage.NewSealer(storagetest.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	c := storage.Config{URL: url, MaxConns: maxConns, Acquire: time.Second, Statement: 300 * time.Millisecond, Sealer: sealer}
	db, err := storage.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// stopBackend stops the server process behind the one connection of db, as if the machine hung. It
// goes on after the test.
func stopBackend(t *testing.T, db *storage.DB) {
	t.Helper()
	stop(t, db, `select pg_backend_pid()`)
}

// stop stops the server process that the query names.
func stop(t *testing.T, db *storage.DB, query string) {
	t.Helper()
	if os.Getenv("IDP_TEST_DATABASE_URL") != "" {
		t.Skip("the server may be on another machine: no process of it can be stopped")
	}
	var pid int
	if err := db.Pool().QueryRow(t.Context(), query).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("stop the backend: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Errorf("let the backend go on: %v", err)
		}
	})
}

// within fails the test when f takes longer than anything here may.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("%s still waits after 10 s", what)
		return nil
	}
}

func TestADatabaseThatHangsIsUnavailableSoon(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	for name, call := range map[string]func(context.Context, *storage.DB) error{
		"one row":  func(ctx context.Context, db *storage.DB) error { _, err := db.Client(ctx, "cli_a"); return err },
		"a change": func(ctx context.Context, db *storage.DB) error { return db.SpendRequest(ctx, "r") },
		"an event": func(ctx context.Context, db *storage.DB) error {
			return db.AppendEvent(ctx, storage.Event{At: noon(), Kind: "k"})
		},
		"a list": func(ctx context.Context, db *storage.DB) error { _, err := db.Users(ctx, "", 10); return err },
		"keys":   func(ctx context.Context, db *storage.DB) error { _, err := db.Keys(ctx); return err },
		"transaction": func(ctx context.Context, db *storage.DB) error {
			return db.AddKey(ctx, storage.Key{KID: "k"}, storage.Event{})
		},
		"sweep": func(ctx context.Context, db *storage.DB) error {
			_, err := db.Sweep(ctx, noon(), time.Hour, 10)
			return err
		},
		"ping": func(ctx context.Context, db *storage.DB) error { return db.Ping(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := hasty(t, url, 2) // of which the call takes the one that is open
			stopBackend(t, db)
			err := within(t, name, func() error { return call(context.Background(), db) })
			if !storage.Unavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, Unavailable = %v; want a deadline that says so", err, storage.Unavailable(err))
			}
			if err := db.Ping(t.Context()); err != nil {
				t.Errorf("the next call, on another connection: %v", err)
			}
		})
	}
}

func TestADatabaseThatHangsInTheMiddleOfATransactionIsUnavailableSoon(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	db, admin := hasty(t, url, 1), open(t, url, 1)
	ada := addUser(t, admin, "ada")
	err := within(t, "UpdateUser", func() error {
		_, err := db.UpdateUser(context.Background(), ada.ID, func(u *storage.User) error {
			stop(t, admin, `
				select pid
				from pg_stat_activity
				where datname = current_database() and state = 'idle in transaction'`)
			u.Profile.Name = "Ada"
			return nil
		}, noon(), storage.Event{})
		return err
	})
	if !storage.Unavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, Unavailable = %v; want a deadline that says so", err, storage.Unavailable(err))
	}
}

func TestNobodyWaitsLongForAConnection(t *testing.T) {
	t.Parallel()
	db := hasty(t, storagetest.URL(t), 1)
	taken, err := db.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	for name, call := range map[string]func() error{
		"one row":     func() error { _, err := db.Client(context.Background(), "cli_a"); return err },
		"a list":      func() error { _, err := db.Users(context.Background(), "", 10); return err },
		"transaction": func() error { return db.AddKey(context.Background(), storage.Key{KID: "k"}, storage.Event{}) },
	} {
		err := within(t, name, call)
		if !storage.Unavailable(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v, Unavailable = %v; want a deadline that says so", name, err, storage.Unavailable(err))
		}
	}
}

func TestAPersonWhoLeavesAHangingDatabaseIsNoOutage(t *testing.T) {
	t.Parallel()
	db := hasty(t, storagetest.URL(t), 1)
	stopBackend(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	err := within(t, "Client", func() error { _, err := db.Client(ctx, "cli_a"); return err })
	if !errors.Is(err, context.Canceled) || storage.Unavailable(err) {
		t.Errorf("error %v, Unavailable = %v; want a cancellation that is no outage", err, storage.Unavailable(err))
	}
}

func TestAHealthyDatabaseKeepsItsConnection(t *testing.T) {
	t.Parallel()
	db := hasty(t, storagetest.URL(t), 1)
	pids := map[int]bool{}
	for range 5 {
		var pid int
		if err := db.Pool().QueryRow(t.Context(), `select pg_backend_pid()`).Scan(&pid); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Users(t.Context(), "", 10); err != nil {
			t.Fatal(err)
		}
		pids[pid] = true
	}
	if len(pids) != 1 {
		t.Errorf("%d backends served 5 rounds, want 1: the end of a deadline must not end the connection", len(pids))
	}
}
