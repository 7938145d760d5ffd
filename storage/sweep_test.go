package storage_test

import (
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestSweepTakesTheDeadAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	const day = 24 * time.Hour
	now := noon().Add(100 * day)
	ago := func(d time.Duration) *time.Time { return ptr(now.Add(-d)) }
	want := map[string]bool{}
	for name, row := range map[string]struct {
		change func(*storage.Grant)
		revoke *time.Time
		stays  bool
	}{
		"live":                           {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = ago(-day), *ago(-9 * day) }, nil, true},
		"live, no refresh token":         {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = nil, *ago(-day) }, nil, true},
		"expired an hour ago":            {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = nil, *ago(time.Hour) }, nil, true},
		"expired long ago":               {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = nil, *ago(8 * day) }, nil, false},
		"idle an hour ago":               {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = ago(time.Hour), *ago(-day) }, nil, true},
		"idle long ago":                  {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = ago(8*day), *ago(-day) }, nil, false},
		"idle later than its end":        {func(g *storage.Grant) { g.IdleExpiresAt, g.ExpiresAt = ago(-day), *ago(8 * day) }, nil, false},
		"revoked an hour ago":            {func(g *storage.Grant) { g.ExpiresAt = *ago(-day) }, ago(time.Hour), true},
		"revoked long ago":               {func(g *storage.Grant) { g.ExpiresAt = *ago(-day) }, ago(8 * day), false},
		"code fresh":                     {func(g *storage.Grant) { issued(g); g.CodeExpiresAt, g.ExpiresAt = ago(-time.Minute), *ago(-day) }, nil, true},
		"code expired an hour ago":       {func(g *storage.Grant) { issued(g); g.CodeExpiresAt, g.ExpiresAt = ago(time.Hour), *ago(-day) }, nil, true},
		"code never redeemed, long dead": {func(g *storage.Grant) { issued(g); g.CodeExpiresAt, g.ExpiresAt = ago(8*day), *ago(-day) }, nil, false},
	} {
		g := addGrant(t, db, app, ada, nil, func(g *storage.Grant) { row.change(g); g.Nonce = name })
		if row.revoke != nil {
			if err := db.RevokeGrant(t.Context(), g, "r", false, *row.revoke, storage.Event{}); err != nil {
				t.Fatal(err)
			}
		}
		want[name] = row.stays
	}
	addSession(t, db, ada, "old")
	execute(t, db, `insert into requests (id, client_id, params, browser_hash, created_at, expires_at) values ('old', 'c', '{}', '', $1, $1), ('recent', 'c', '{}', '', $2, $2)`, *ago(2 * day), *ago(time.Hour))
	execute(t, db, `insert into attempts (key, tat) values ('old', $1), ('blocked', $2)`, *ago(time.Second), *ago(-time.Second))
	execute(t, db, `insert into assertions (client_id, jti_hash, expires_at) values ('c', 'old', $1), ('c', 'live', $2)`, *ago(time.Second), *ago(-time.Second))
	execute(t, db, `insert into revoked_tokens (grant_id, number, expires_at) values ($3, 1, $1), ($3, 2, $2)`, *ago(time.Second), *ago(-time.Second), storage.NewRowID())
	execute(t, db, `update sessions set expires_at = $1`, *ago(31 * day))
	addSession(t, db, ada, "recent")
	execute(t, db, `update sessions set expires_at = $1 where secret_hash = $2`, *ago(29 * day), storage.HashSecret("recent"))

	if n, err := db.Sweep(t.Context(), now, 7*day, 1000); err != nil || n != 10 {
		t.Errorf("Sweep = %d, %v; want 5 grants and 5 others", n, err)
	}
	for name, stays := range want {
		if there := count(t, db, `grants where nonce = $1`, name) == 1; there != stays {
			t.Errorf("grant %q is there = %v, want %v", name, there, stays)
		}
	}
	for _, rest := range []string{
		`requests where id = 'recent'`, `attempts where key = 'blocked'`, `assertions where jti_hash = 'live'`,
		`revoked_tokens where number = 2`, `sessions`, `requests`, `attempts`, `assertions`, `revoked_tokens`,
	} {
		if n := count(t, db, rest); n != 1 {
			t.Errorf("%d rows in %s, want 1", n, rest)
		}
	}
	if n, err := db.Sweep(t.Context(), now, 7*day, 1000); err != nil || n != 0 {
		t.Errorf("the second Sweep = %d, %v; want 0", n, err)
	}
}

func TestSweepWalksOverMoreGrantsThanOneLimit(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	dead := func(g *storage.Grant) { g.ExpiresAt = noon().Add(-48 * time.Hour) }
	add := func(n int, change func(*storage.Grant)) {
		for range n {
			addGrant(t, db, app, ada, nil, change)
		}
	}
	sweep := func() (total int64) {
		t.Helper()
		for range 6 { // 3 rows at a time over 12 rows, and once around
			n, err := db.Sweep(t.Context(), noon(), 24*time.Hour, 3)
			if err != nil || n > 3 {
				t.Fatalf("Sweep = %d, %v; want at most 3", n, err)
			}
			total += n
		}
		return total
	}
	add(5, nil) // live ones in front must not stop it
	add(6, dead)
	add(1, nil)
	if n := sweep(); n != 6 {
		t.Errorf("swept %d grants, want 6", n)
	}
	add(2, dead)
	if n := sweep(); n != 2 || count(t, db, "grants") != 6 {
		t.Errorf("swept %d later grants with %d left, want 2 and 6", n, count(t, db, "grants"))
	}
}
