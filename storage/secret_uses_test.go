package storage_test

import (
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestTheLastUseOfASecretIsKeptToTheHour(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := addClient(t, db)
	old, fresh := storage.HashSecret("old"), storage.HashSecret("fresh")
	setSecrets := func(hashes ...[]byte) {
		t.Helper()
		c.Secrets = nil
		for _, h := range hashes {
			c.Secrets = append(c.Secrets, storage.ClientSecret{Hash: h, CreatedAt: noon()})
		}
		if err := db.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
			t.Fatal(err)
		}
		c = read(t, db, c.ID)
	}
	note := func(uses ...storage.SecretUse) {
		t.Helper()
		if err := db.NoteSecretUses(t.Context(), uses); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, hash []byte, at *time.Time) {
		t.Helper()
		cached := read(t, db, c.ID)
		found := []storage.Client{cached}
		if err := db.FindSecretUses(t.Context(), found); err != nil {
			t.Fatal(err)
		}
		for i, s := range found[0].Secrets {
			if string(s.Hash) == string(hash) && (s.LastUsedAt == nil) != (at == nil) || string(s.Hash) == string(hash) && at != nil && !s.LastUsedAt.Equal(*at) {
				t.Errorf("%s: last used %v, want %v", what, s.LastUsedAt, at)
			}
			if cached.Secrets[i].LastUsedAt != nil {
				t.Errorf("%s: the client that a cache may hold was changed", what)
			}
		}
	}
	setSecrets(old, fresh)
	want("before any use", old, nil)
	note(storage.SecretUse{ClientID: c.ID, Hash: old, At: noon()}, storage.SecretUse{ClientID: c.ID, Hash: old, At: noon().Add(-time.Minute)},
		storage.SecretUse{ClientID: "nobody", Hash: old, At: noon()}, storage.SecretUse{ClientID: c.ID, Hash: storage.HashSecret("gone"), At: noon()})
	want("the one that was used", old, ptr(noon()))
	want("the other one", fresh, nil)
	if n := count(t, db, "secret_uses"); n != 1 {
		t.Errorf("%d uses are kept, want 1: those of secrets that there are", n)
	}
	note(storage.SecretUse{ClientID: c.ID, Hash: old, At: noon().Add(59 * time.Minute)})
	want("used again within the hour", old, ptr(noon()))
	note(storage.SecretUse{ClientID: c.ID, Hash: old, At: noon().Add(time.Hour)})
	want("used again after it", old, ptr(noon().Add(time.Hour)))
	note(storage.SecretUse{ClientID: c.ID, Hash: old, At: noon()})
	want("an older use that comes late", old, ptr(noon().Add(time.Hour)))
	note()

	before := read(t, db, c.ID).Version
	note(storage.SecretUse{ClientID: c.ID, Hash: fresh, At: noon()})
	if after := read(t, db, c.ID).Version; after != before {
		t.Errorf("a use makes version %d of %d", after, before)
	}
	setSecrets(fresh)
	if n := count(t, db, "secret_uses"); n != 1 {
		t.Errorf("%d uses are kept of one secret", n)
	}
	if err := db.DeleteClient(t.Context(), c.ID, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "secret_uses"); n != 0 {
		t.Errorf("%d uses are kept of a client that is gone", n)
	}
}
