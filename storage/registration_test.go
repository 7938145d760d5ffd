package storage_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestUnusedClientsAreBoundedHoweverManyRegisterAtOnce(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	results := make([]error, 12)
	var done sync.WaitGroup
	for i := range results {
		done.Go(func() {
			c := storage.Client{ID: storage.NewID("cli_"), CreatedAt: now, ClientMetadata: storage.ClientMetadata{Name: "App", Type: storage.ClientWeb}}
			results[i] = db.RegisterClient(t.Context(), c, storage.Registration{AccessHash: storage.HashSecret(c.ID), UnusedUntil: now.Add(time.Hour), MostUnused: 3}, storage.Event{})
		})
	}
	done.Wait()
	made := 0
	for _, err := range results {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, storage.ErrRegistrationFull):
			t.Error(err)
		}
	}
	if made != 3 {
		t.Errorf("%d registered, want 3", made)
	}
}
