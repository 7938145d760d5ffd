package storage_test

import (
	"errors"
	"net/url"
	"reflect"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func keepRequest(t *testing.T, db *storage.DB) storage.Request {
	t.Helper()
	r := storage.Request{
		ID: storage.NewID(""), ClientID: "cli_x", Params: url.Values{"scope": {"openid profile"}, "state": {"ü\"<"}},
		BrowserHash: storage.HashSecret("browser"), CreatedAt: noon(), ExpiresAt: noon().Add(time.Hour),
	}
	if err := db.KeepRequest(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeptRequestsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	kept := keepRequest(t, db)
	got, err := db.Request(t.Context(), kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	got.CreatedAt, got.ExpiresAt = got.CreatedAt.UTC(), got.ExpiresAt.UTC()
	if !reflect.DeepEqual(got, kept) {
		t.Errorf("Request = %+v, want %+v", got, kept)
	}
	_, err = db.Request(t.Context(), "nobody's")
	wantError(t, "an unknown request", err, storage.ErrNotFound)
}

func TestARequestIsSpentOnce(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	kept, won := keepRequest(t, db), 0
	for _, err := range race(8, func(int) error { return db.SpendRequest(t.Context(), kept.ID) }) {
		if err == nil {
			won++
		} else if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("a loser got %v, want ErrNotFound", err)
		}
	}
	if won != 1 {
		t.Errorf("%d callers spent the request, want 1", won)
	}
}
