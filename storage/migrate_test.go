package storage_test

import (
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func wantReady(t *testing.T, db *storage.DB, want bool) {
	t.Helper()
	if ready, err := db.SchemaReady(t.Context()); err != nil || ready != want {
		t.Errorf("SchemaReady = %v, %v; want %v", ready, err, want)
	}
}

func wantApplied(t *testing.T, url string, want bool) {
	t.Helper()
	all, err := storage.MigrationStatus(t.Context(), url)
	if err != nil || len(all) == 0 {
		t.Fatalf("MigrationStatus = %v, %v; want some", all, err)
	}
	for _, m := range all {
		if m.Applied != want || m.Version == 0 || m.Name == "" {
			t.Errorf("migration %+v; want applied = %v", m, want)
		}
	}
}

func TestMigrationsAreAppliedOnce(t *testing.T) {
	t.Parallel()
	url := storagetest.EmptyURL(t)
	db := open(t, url, 2)
	wantReady(t, db, false)
	wantApplied(t, url, false)
	done, err := storage.Migrate(t.Context(), url)
	if err != nil || len(done) == 0 {
		t.Fatalf("Migrate = %v, %v; want all migrations", done, err)
	}
	wantReady(t, db, true)
	wantApplied(t, url, true)
	if again, err := storage.Migrate(t.Context(), url); err != nil || len(again) != 0 {
		t.Errorf("the second Migrate = %v, %v; want nothing to do", again, err)
	}
}

func TestReplicasThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	url := storagetest.EmptyURL(t)
	applied := make([]int, 4)
	for i, err := range race(len(applied), func(i int) error {
		done, err := storage.Migrate(t.Context(), url)
		applied[i] = len(done)
		return err
	}) {
		if err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	workers := 0
	for _, n := range applied {
		if n > 0 {
			workers++
		}
	}
	if workers != 1 {
		t.Errorf("migrations applied by each replica = %v, want all by one", applied)
	}
	wantReady(t, open(t, url, 1), true)
}

func TestANewerSchemaIsReadyAndAnOlderIsNot(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	execute(t, db, `insert into goose_db_version (version_id, is_applied) values (9999, true)`)
	wantReady(t, db, true)
	execute(t, db, `delete from goose_db_version where version_id > 0`)
	wantReady(t, db, false)
}

func TestMigratingAnUnreachableDatabaseSaysWhatWasAttempted(t *testing.T) {
	t.Parallel()
	url := refusedURL(t)
	if _, err := storage.Migrate(t.Context(), url); !storage.Unavailable(err) {
		t.Errorf("Migrate = %v, want an error that is Unavailable", err)
	}
	if _, err := storage.MigrationStatus(t.Context(), url); !storage.Unavailable(err) {
		t.Errorf("MigrationStatus = %v, want an error that is Unavailable", err)
	}
}
