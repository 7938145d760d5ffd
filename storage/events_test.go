package storage_test

import (
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestEventsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for i, kind := range []string{"login.failed", "login.succeeded", "session.ended"} {
		e := storage.Event{At: noon().Add(time.Duration(i) * time.Minute), Kind: kind, UserID: "usr_a", IP: "192.0.2.1", Details: map[string]any{"n": float64(i)}}
		if err := db.AppendEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []storage.Event{{At: noon(), Kind: "client.created", Actor: "operator"}, {At: noon()}} { // without a kind it is none
		if err := db.AppendEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Events(t.Context(), "usr_a", 2)
	if err != nil || len(got) != 2 || got[0].Kind != "session.ended" || got[1].Kind != "login.succeeded" {
		t.Fatalf("ada's events = %+v, %v; want the two newest", got, err)
	}
	if e := got[0]; e.IP != "192.0.2.1" || e.Details["n"] != 2.0 || !e.At.Equal(noon().Add(2*time.Minute)) {
		t.Errorf("event = %+v", e)
	}
	if all, err := db.Events(t.Context(), "", 10); err != nil || len(all) != 4 {
		t.Errorf("all events = %+v, %v; want 4", all, err)
	}
}

func TestAnEventStandsOnlyWithItsChange(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := storage.Client{ID: "cli_a", Source: "admin", CreatedAt: noon()}
	for range 2 {
		_ = db.CreateClient(t.Context(), c, storage.Event{At: noon(), Kind: "client.created"}) // the second is refused
	}
	if n := count(t, db, "events"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	c.ID = "cli_b"
	if err := db.CreateClient(t.Context(), c, storage.Event{At: noon(), Kind: "bad \x00 text"}); err == nil || count(t, db, "clients") != 1 {
		t.Errorf("error %v and %d clients; want a change without its event to be undone", err, count(t, db, "clients"))
	}
}
