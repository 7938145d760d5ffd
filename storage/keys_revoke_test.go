package storage_test

import (
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestARevokedKeyIsErasedAndTheNextOneSigns(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "current", "sign", storage.KeyCurrent)
	addKey(t, db, "next", "sign", storage.KeyNext)
	addKey(t, db, "token", "token", storage.KeyCurrent)
	successor, err := db.RevokeKey(t.Context(), "current", noon(), storage.Event{Kind: "key.revoked"})
	if err != nil || successor != "next" {
		t.Fatalf("RevokeKey() = %q, %v; want next", successor, err)
	}
	keys := keysByID(t, db)
	if _, there := keys["current"]; there || keys["next"].State != storage.KeyCurrent || keys["token"].State != storage.KeyCurrent {
		t.Errorf("keys = %v", keys)
	}
	if n := count(t, db, `keys where kid = 'current' and private is null and state = 'retired' and expires_at = $1`, noon()); n != 1 {
		t.Error("the revoked key is not erased")
	}
	_, again := db.RevokeKey(t.Context(), "current", noon().Add(time.Hour), storage.Event{Kind: "key.revoked"})
	wantError(t, "revoking again", again, storage.ErrNotFound)
	if n := count(t, db, `events where kind = 'key.revoked'`); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestACurrentKeyWithoutASuccessorIsNotRevoked(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "current", "sign", storage.KeyCurrent)
	_, err := db.RevokeKey(t.Context(), "current", noon(), storage.Event{})
	wantError(t, "revoking the only key", err, storage.ErrConflict)
	if keysByID(t, db)["current"].State != storage.KeyCurrent {
		t.Error("the only key does not sign any more")
	}
}

func TestARevocationAndAPromotionAtTheSameTimeLeaveTheRevokedKeyOut(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "old", "sign", storage.KeyCurrent)
	addKey(t, db, "new", "sign", storage.KeyNext)
	for _, err := range race(2, func(i int) error {
		if i == 0 {
			_, err := db.RevokeKey(t.Context(), "old", noon(), storage.Event{})
			return err
		}
		err := db.PromoteKey(t.Context(), "new", noon(), noon().Add(time.Hour), storage.Event{})
		if err != nil {
			wantError(t, "the promotion", err, storage.ErrConflict)
		}
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if keys := keysByID(t, db); len(keys) != 1 || keys["new"].State != storage.KeyCurrent {
		t.Errorf("keys = %v, want the new one alone, current", keys)
	}
}
