package storage_test

import (
	"fmt"
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
	execute(t, db, `insert into requests (id, client_id, params, browser_hash, created_at, expires_at) values ('old', 'c', '{}', '', $1, $1), ('recent', 'c', '{}', '', $2, $2)`, *ago(61 * time.Minute), *ago(59 * time.Minute))
	for kind, at := range map[string]time.Time{"old": *ago(401 * day), "recent": *ago(399 * day)} {
		if err := db.AppendEvent(t.Context(), storage.Event{At: at, Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, db, `insert into attempts (key, tat) values ('old', $1), ('blocked', $2)`, *ago(time.Second), *ago(-time.Second))
	execute(t, db, `insert into assertions (client_id, jti_hash, expires_at) values ('c', 'old', $1), ('c', 'live', $2)`, *ago(time.Second), *ago(-time.Second))
	execute(t, db, `insert into revoked_tokens (grant_id, number, expires_at) values ($3, 1, $1), ($3, 2, $2)`, *ago(time.Second), *ago(-time.Second), storage.NewRowID())
	execute(t, db, `update sessions set expires_at = $1`, *ago(31 * day))
	addSession(t, db, ada, "recent")
	execute(t, db, `update sessions set expires_at = $1 where secret_hash = $2`, *ago(29 * day), storage.HashSecret("recent"))

	if n, err := db.Sweep(t.Context(), now, 7*day, 1000); err != nil || n != 11 {
		t.Errorf("Sweep = %d, %v; want 5 grants and 6 others", n, err)
	}
	for name, stays := range want {
		if there := count(t, db, `grants where nonce = $1`, name) == 1; there != stays {
			t.Errorf("grant %q is there = %v, want %v", name, there, stays)
		}
	}
	for _, rest := range []string{
		`requests where id = 'recent'`, `attempts where key = 'blocked'`, `assertions where jti_hash = 'live'`,
		`revoked_tokens where number = 2`, `events where kind = 'recent'`, `sessions`, `requests`, `events`, `attempts`, `assertions`, `revoked_tokens`,
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
	add(5, nil) // live ones in front must not stop it
	add(6, dead)
	add(1, nil)
	if n, err := db.Sweep(t.Context(), noon(), 24*time.Hour, 3); err != nil || n != 6 { // 3 rows at a time over 12
		t.Errorf("Sweep = %d, %v; want 6", n, err)
	}
	add(2, dead)
	for after, want := range []int64{0, 2} { // a walk that came to its end rests for an hour
		n, err := db.Sweep(t.Context(), noon().Add(time.Duration(after)*time.Hour), 24*time.Hour, 3)
		if err != nil || n != want {
			t.Errorf("Sweep %d h later = %d, %v; want %d", after, n, err, want)
		}
	}
	if n := count(t, db, "grants"); n != 6 {
		t.Errorf("%d grants left, want the 6 that live", n)
	}
}

func TestSweepCatchesUpInOneRound(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	fill(t, db, 25)
	if n, err := db.Sweep(t.Context(), noon(), time.Hour, 10); err != nil || n != 25+25 {
		t.Errorf("Sweep = %d, %v; want all 50, though it takes 10 of a kind at once", n, err)
	}
}

func TestNoSignInOutlastsItsSweptSession(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	for i := range 7 { // with one client or none: what is taken of these says nothing of the sessions that are left
		s := addSession(t, db, ada, fmt.Sprint("s", i))
		execute(t, db, `insert into session_clients (session_id, client_id, subject, first_at) select $1, 'c' || i, 'sub', $2 from generate_series(1, $3::int) i`, s.ID, noon(), i%2)
	}
	live := addSession(t, db, ada, "live")
	execute(t, db, `update sessions set expires_at = $1 where id <> $2`, noon().Add(-31*24*time.Hour), live.ID)
	execute(t, db, `insert into session_clients (session_id, client_id, subject, first_at) values ($1, 'c', 'sub', $2)`, live.ID, noon())
	if _, err := db.Sweep(t.Context(), noon(), time.Hour, 3); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "sessions"); n != 1 {
		t.Errorf("%d sessions are left, want the live one", n)
	}
	if n := count(t, db, "session_clients"); n != 1 {
		t.Errorf("%d sign-ins are left, want that of the live session", n)
	}
}

func TestSweepStopsWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	clock := noon()
	db, err := storage.Open(t.Context(), storage.Config{URL: storagetest.URL(t), MaxConns: 1, Now: func() time.Time {
		clock = clock.Add(9 * time.Second) // a round over all kinds takes 9 seconds
		return clock
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	fill(t, db, 100)
	// It looks at the clock before each round: after 9 s and 18 s there is time left, after 27 s none.
	for _, want := range []int64{2 * 20, 2 * 20, 2 * 20, 2 * 20, 2 * 20, 0} {
		if n, err := db.Sweep(t.Context(), noon(), time.Hour, 10); err != nil || n != want {
			t.Errorf("Sweep = %d, %v; want %d", n, err, want)
		}
	}
}

// fill stores n expired attempts and n expired assertions.
func fill(t *testing.T, db *storage.DB, n int) {
	t.Helper()
	execute(t, db, `insert into attempts (key, tat) select 'k' || i, $2 from generate_series(1, $1::int) i`, n, noon().Add(-time.Hour))
	execute(t, db, `insert into assertions (client_id, jti_hash, expires_at) select 'c', ('h' || i)::bytea, $2 from generate_series(1, $1::int) i`, n, noon().Add(-time.Hour))
}
