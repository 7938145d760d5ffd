package storage_test

import (
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestClientsSurviveTheirWayThroughTheDatabase(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := storage.Client{ID: storage.NewID("cli_"), Source: "admin", CreatedAt: noon()}
	c.Name, c.Type, c.RedirectURIs, c.DefaultMaxAge = "Büro", storage.ClientWeb, []string{"https://app.example/cb"}, ptr(0)
	c.Lifetimes.AccessToken = 60
	c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret("s"), CreatedAt: noon()}}
	if err := db.CreateClient(t.Context(), c, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	got := read(t, db, c.ID)
	if got.Name != c.Name || got.RedirectURIs[0] != c.RedirectURIs[0] || got.DefaultMaxAge == nil || *got.DefaultMaxAge != 0 ||
		got.Lifetimes != c.Lifetimes || got.Version != 1 || !got.CreatedAt.Equal(noon()) || !got.SecretIs("s", noon()) {
		t.Errorf("read %+v, want %+v", got, c)
	}
	wantError(t, "the id again", db.CreateClient(t.Context(), c, storage.Event{}), storage.ErrConflict)
	_, err := db.Client(t.Context(), "cli_nobody")
	wantError(t, "an unknown client", err, storage.ErrNotFound)
}

func TestOfTwoChangesToOneVersionOneIsRefused(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := addClient(t, db)
	wantOneWinner(t, race(6, func(int) error { return db.UpdateClient(t.Context(), c, noon(), storage.Event{Kind: "client.updated"}) }))
	if got := read(t, db, c.ID); got.Version != 2 || count(t, db, "events") != 1 {
		t.Errorf("version %d and %d events; want 2 and 1", got.Version, count(t, db, "events"))
	}
}

func TestDisablingOrDeletingAClientEndsItsGrants(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, disabled, deleted, other := addUser(t, db, "ada"), addClient(t, db), addClient(t, db), addClient(t, db)
	disabledGrant, deletedGrant, otherGrant := addGrant(t, db, disabled, ada, nil, nil), addGrant(t, db, deleted, ada, nil, nil), addGrant(t, db, other, ada, nil, nil)
	disabled.DisabledAt = ptr(noon())
	if err := db.UpdateClient(t.Context(), disabled, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if err := db.RememberConsent(t.Context(), storage.Consent{UserID: ada.ID, ClientID: deleted.ID, Scopes: []string{"openid"}, Resources: []string{}, GrantedAt: noon()}, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if err := db.DeleteClient(t.Context(), deleted.ID, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*storage.Grant{disabledGrant, deletedGrant} {
		if f := facts(t, db, g, noon()); f.State != storage.GrantRevoked {
			t.Errorf("grant state = %s (%s), want revoked", f.State, f.RevokeReason)
		}
	}
	wantAlive(t, db, "another client", otherGrant, true)
	if n := count(t, db, "consents"); n != 0 {
		t.Errorf("%d consents for the deleted client, want none", n)
	}
	wantError(t, "deleting again", db.DeleteClient(t.Context(), deleted.ID, noon(), storage.Event{}), storage.ErrNotFound)
	wantError(t, "updating the deleted", db.UpdateClient(t.Context(), deleted, noon(), storage.Event{}), storage.ErrConflict)
	_, err := db.CachedClient(t.Context(), deleted.ID)
	wantError(t, "the deleted client in the cache", err, storage.ErrNotFound)

	disabled = read(t, db, disabled.ID)
	disabled.DisabledAt = nil
	if err := db.UpdateClient(t.Context(), disabled, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	wantAlive(t, db, "enabled again", disabledGrant, false)
}

func TestTheCacheGivesTheNewestAfterAChangeInThisProcess(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	here, there := open(t, url, 2), open(t, url, 2)
	c := addClient(t, here)
	for _, db := range []*storage.DB{here, there} {
		if got, err := db.CachedClient(t.Context(), c.ID); err != nil || got.Version != 1 {
			t.Fatalf("CachedClient = %+v, %v; want version 1", got, err)
		}
	}
	c.Name = "Renamed"
	if err := here.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if got, err := here.CachedClient(t.Context(), c.ID); err != nil || got.Version != 2 || got.Name != "Renamed" {
		t.Errorf("CachedClient here = %+v, %v; want version 2", got, err)
	}
	there.ForgetClient(c.ID) // as whoever reads another version in Facts or GrantFacts does
	if got, err := there.CachedClient(t.Context(), c.ID); err != nil || got.Version != 2 {
		t.Errorf("CachedClient there = %+v, %v; want version 2", got, err)
	}
}

func TestEveryLiveSecretOfAClientIsAccepted(t *testing.T) {
	t.Parallel()
	c := storage.Client{Secrets: []storage.ClientSecret{
		{Hash: storage.HashSecret("old"), ExpiresAt: ptr(noon())},
		{Hash: storage.HashSecret("leaving"), ExpiresAt: ptr(noon().Add(time.Second))},
		{Hash: storage.HashSecret("new")},
		{Hash: nil},
	}}
	for secret, want := range map[string]bool{"old": false, "leaving": true, "new": true, "other": false, "": false} {
		if got := c.SecretIs(secret, noon()); got != want {
			t.Errorf("SecretIs(%q) = %v, want %v", secret, got, want)
		}
	}
	if (&storage.Client{}).SecretIs("", noon()) {
		t.Error("a client without secrets accepts the empty one")
	}
}

func TestClientsAreListedByIDInPages(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for range 3 {
		addClient(t, db)
	}
	first, err := db.Clients(t.Context(), "", 2)
	if err != nil || len(first) != 2 || first[0].ID >= first[1].ID {
		t.Fatalf("first page = %v, %v; want two in order", first, err)
	}
	if rest, err := db.Clients(t.Context(), first[1].ID, 2); err != nil || len(rest) != 1 || rest[0].ID <= first[1].ID {
		t.Errorf("second page = %v, %v; want the third", rest, err)
	}
}

func TestTheCacheForgetsAfterAMinute(t *testing.T) {
	t.Parallel()
	url, clock := storagetest.URL(t), noon()
	here, err := storage.Open(t.Context(), storage.Config{URL: url, MaxConns: 1, Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there := open(t, url, 1)
	c := addClient(t, there)
	version := func() int64 {
		t.Helper()
		got, err := here.CachedClient(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got.Version
	}
	version()
	if err := there.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  int64
	}{{time.Minute, 1}, {time.Minute + 1, 2}} {
		clock = noon().Add(step.after)
		if got := version(); got != step.want {
			t.Errorf("version %d after %v, want %d", got, step.after, step.want)
		}
	}
}
