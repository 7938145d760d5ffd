package storage_test

import (
	"bytes"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func addKey(t *testing.T, db *storage.DB, kid, use, state string) {
	t.Helper()
	if err := db.AddKey(t.Context(), newKey(kid, use, state), storage.Event{}); err != nil {
		t.Fatal(err)
	}
}

func newKey(kid, use, state string) storage.Key {
	return storage.Key{KID: kid, Use: use, Alg: "ES256", State: state, Private: []byte("private half of " + kid), Public: []byte(`{"kty":"EC"}`), CreatedAt: noon()}
}

func keysByID(t *testing.T, db *storage.DB) map[string]storage.Key {
	t.Helper()
	keys, err := db.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]storage.Key{}
	for _, k := range keys {
		byID[k.KID] = k
	}
	return byID
}

func TestThereIsOneNextAndOneCurrentKeyOfAKind(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for _, state := range []string{storage.KeyCurrent, storage.KeyNext} {
		wantOneWinner(t, race(6, func(i int) error {
			return db.AddKey(t.Context(), newKey(state+string(rune('a'+i)), "sign", state), storage.Event{Kind: "key.added"})
		}))
	}
	if keys, events := count(t, db, "keys"), count(t, db, "events"); keys != 2 || events != 2 {
		t.Errorf("%d keys and %d events, want 2 and 2", keys, events)
	}
}

func TestTokenKeysAreNumbered(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "one", "token", storage.KeyCurrent)
	addKey(t, db, "two", "token", storage.KeyNext)
	addKey(t, db, "sign", "sign", storage.KeyCurrent)
	if keys := keysByID(t, db); keys["one"].Number != 1 || keys["two"].Number != 2 || keys["sign"].Number != 0 {
		t.Errorf("numbers = %d, %d, %d; want 1, 2, 0", keys["one"].Number, keys["two"].Number, keys["sign"].Number)
	}
}

func TestPrivateHalvesAreSealedUnderTheirOwnKeyID(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "one", "sign", storage.KeyCurrent)
	addKey(t, db, "two", "sign", storage.KeyNext)
	if k := keysByID(t, db)["one"]; !bytes.Equal(k.Private, []byte("private half of one")) {
		t.Errorf("private half = %q", k.Private)
	}
	if n := count(t, db, `keys where position('private half'::bytea in private) > 0`); n != 0 {
		t.Errorf("%d private halves stand in the database unsealed", n)
	}
	execute(t, db, `update keys k set private = (select o.private from keys o where o.kid <> k.kid)`)
	if keys, err := db.Keys(t.Context()); err == nil {
		t.Errorf("swapped private halves open: %v", keys)
	}
}

func TestAPromotionHappensOnceAndRetiresTheOldKey(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "old", "sign", storage.KeyCurrent)
	addKey(t, db, "token", "token", storage.KeyCurrent)
	addKey(t, db, "new", "sign", storage.KeyNext)
	end := noon().Add(time.Hour)
	wantOneWinner(t, race(6, func(int) error {
		return db.PromoteKey(t.Context(), "new", noon(), end, storage.Event{Kind: "key.promoted"})
	}))
	keys := keysByID(t, db)
	if k := keys["new"]; k.State != storage.KeyCurrent || k.ActivatesAt == nil || !k.ActivatesAt.Equal(noon()) {
		t.Errorf("the new key = %+v, want it current", k)
	}
	if k := keys["old"]; k.State != storage.KeyRetired || k.ExpiresAt == nil || !k.ExpiresAt.Equal(end) || !k.RetiredAt.Equal(noon()) {
		t.Errorf("the old key = %+v, want it retired until %v", k, end)
	}
	if k := keys["token"]; k.State != storage.KeyCurrent {
		t.Errorf("a key of another use is %s, want current", k.State)
	}
	if n := count(t, db, "events"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	wantError(t, "an unknown key", db.PromoteKey(t.Context(), "nobody", noon(), end, storage.Event{}), storage.ErrConflict)
}

func TestOnlyTheNextKeyIsScheduled(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "current", "sign", storage.KeyCurrent)
	addKey(t, db, "next", "sign", storage.KeyNext)
	at := noon().Add(time.Hour)
	if err := db.ScheduleKey(t.Context(), "next", at); err != nil {
		t.Fatal(err)
	}
	if k := keysByID(t, db)["next"]; k.ActivatesAt == nil || !k.ActivatesAt.Equal(at) {
		t.Errorf("activates at %v, want %v", k.ActivatesAt, at)
	}
	wantError(t, "the current key", db.ScheduleKey(t.Context(), "current", at), storage.ErrConflict)
}

func TestRetiredKeysAreErasedWhenTheirLastTokenIsDead(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addKey(t, db, "old", "sign", storage.KeyCurrent)
	addKey(t, db, "new", "sign", storage.KeyNext)
	end := noon().Add(time.Hour)
	if err := db.PromoteKey(t.Context(), "new", noon(), end, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at   time.Time
		want int64
		left int
	}{{end.Add(-time.Microsecond), 0, 2}, {end, 1, 1}, {end, 0, 1}} {
		if n, err := db.EraseKeys(t.Context(), step.at); err != nil || n != step.want || len(keysByID(t, db)) != step.left {
			t.Errorf("EraseKeys at %v = %d, %v with %d keys left; want %d and %d", step.at, n, err, len(keysByID(t, db)), step.want, step.left)
		}
	}
	if n := count(t, db, `keys where kid = 'old' and private is null`); n != 1 {
		t.Error("the erased key must stay by its id, without its private half")
	}
}

func TestOneReplicaHoldsALease(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	reserve := func(holder string, now time.Time) bool {
		t.Helper()
		got, err := db.ReserveLease(t.Context(), "sweep", holder, now, now.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	holders := 0
	for i, err := range race(6, func(i int) error {
		got, err := db.ReserveLease(t.Context(), "rotate", string(rune('a'+i)), noon(), noon().Add(time.Minute))
		if err == nil && !got {
			return storage.ErrConflict
		}
		return err
	}) {
		if err == nil {
			holders++
		} else if err != storage.ErrConflict {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	if holders != 1 {
		t.Errorf("%d replicas hold one lease", holders)
	}
	for i, step := range []struct {
		holder string
		after  time.Duration
		want   bool
	}{{"a", 0, true}, {"b", 0, false}, {"a", 30 * time.Second, true}, {"b", time.Minute, false}, {"b", 90 * time.Second, true}, {"a", 90 * time.Second, false}} {
		if got := reserve(step.holder, noon().Add(step.after)); got != step.want {
			t.Errorf("step %d: %s gets the lease = %v, want %v", i, step.holder, got, step.want)
		}
	}
}
