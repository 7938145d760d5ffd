package storage_test

import (
	"slices"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestOneKeptRequestGivesOneGrant(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada, kept := addClient(t, db), addUser(t, db, "ada"), keepRequest(t, db)
	wantOneWinner(t, race(8, func(int) error { return db.InsertGrant(t.Context(), newGrant(app, ada, nil), kept.ID, storage.Touch{}) }))
	if n := count(t, db, "grants"); n != 1 {
		t.Errorf("%d grants, want 1", n)
	}
	wantError(t, "an unknown request", db.InsertGrant(t.Context(), newGrant(app, ada, nil), "nobody's", storage.Touch{}), storage.ErrConflict)
}

func TestOneOfManyRedeemsACode(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	g := addGrant(t, db, app, ada, nil, issued)
	wantOneWinner(t, race(8, func(int) error {
		return db.RedeemCode(t.Context(), g.ID, 2, noon().Add(time.Second), ptr(noon().Add(time.Hour)))
	}))
	f := facts(t, db, g, noon())
	if f.State != storage.GrantActive || f.Generation != 1 || f.TokenKey != 2 || !f.RotatedAt.Equal(noon().Add(time.Second)) || !f.IdleExpiresAt.Equal(noon().Add(time.Hour)) {
		t.Errorf("the redeemed grant = %+v", f.Grant)
	}
	late := addGrant(t, db, app, ada, nil, issued)
	wantError(t, "an expired code", db.RedeemCode(t.Context(), late.ID, 1, noon().Add(time.Minute), nil), storage.ErrConflict)
}

func TestOneOfManyRotatesARefreshToken(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	g := addGrant(t, db, addClient(t, db), addUser(t, db, "ada"), nil, nil)
	for generation := 1; generation <= 5; generation++ {
		wantOneWinner(t, race(8, func(int) error {
			return db.RotateRefresh(t.Context(), g.ID, generation, 1, noon(), noon().Add(time.Hour))
		}))
	}
	if f := facts(t, db, g, noon()); f.Generation != 6 {
		t.Errorf("generation = %d, want 6", f.Generation)
	}
	if err := db.RevokeGrant(t.Context(), g, "theft", false, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, "rotating a revoked grant", db.RotateRefresh(t.Context(), g.ID, 6, 1, noon(), noon()), storage.ErrConflict)
	wantError(t, "touching a revoked grant", db.TouchRefresh(t.Context(), g.ID, noon()), storage.ErrConflict)
}

func TestFiveWrongAttemptsEndACode(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	g := addGrant(t, db, addClient(t, db), addUser(t, db, "ada"), nil, issued)
	for i := range storage.MaxCodeFailures {
		if !facts(t, db, g, noon()).Redeemable(noon()) {
			t.Fatalf("dead after %d wrong attempts", i)
		}
		if err := db.CountCodeFailure(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
	}
	if facts(t, db, g, noon()).Redeemable(noon()) {
		t.Errorf("redeemable after %d wrong attempts", storage.MaxCodeFailures)
	}
}

func TestWhatDecidesWhetherAGrantCounts(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	type scene struct {
		user    storage.User
		client  storage.Client
		session *storage.Session
		grant   *storage.Grant
	}
	hour := func(n int) time.Time { return noon().Add(time.Duration(n) * time.Hour) }
	long := func(g *storage.Grant) { g.CodeExpiresAt = ptr(hour(1000)) } // so that only one thing decides
	state := func(state string) func(scene) {
		return func(s scene) {
			_, err := db.SetUserState(t.Context(), s.user.ID, state, noon(), storage.Event{})
			must(err)
			execute(t, db, `update grants set state = $2, revoked_at = null where id = $1`, s.grant.ID, s.grant.State)
		}
	}
	for name, row := range map[string]struct {
		grant func(*storage.Grant) // nil: as usual
		event func(scene)
		at    time.Time // zero: noon
		want  bool
	}{
		"as usual":                    {want: true},
		"just before its end":         {grant: offline, at: hour(240).Add(-time.Microsecond), want: true},
		"at its end":                  {grant: offline, at: hour(240)},
		"user suspended":              {event: state(storage.UserSuspended)},
		"user suspended, offline":     {grant: offline, event: state(storage.UserSuspended)},
		"user deleted":                {grant: offline, event: state(storage.UserDeleted)},
		"user row gone":               {event: func(s scene) { execute(t, db, `delete from users where id = $1`, s.user.ID) }},
		"session idled out":           {at: hour(1)},
		"session idled out, offline":  {grant: offline, at: hour(1), want: true},
		"session at its absolute end": {event: func(s scene) { must(db.TouchSession(t.Context(), s.session.ID, noon(), hour(99))) }, at: hour(24)},
		"session touched":             {event: func(s scene) { must(db.TouchSession(t.Context(), s.session.ID, noon(), hour(2))) }, at: hour(1), want: true},
		"session ended":               {event: func(s scene) { execute(t, db, `update sessions set ended_at = $2 where id = $1`, s.session.ID, noon()) }},
		"session ended, offline":      {grant: offline, event: func(s scene) { execute(t, db, `update sessions set ended_at = $2 where id = $1`, s.session.ID, noon()) }, want: true},
		"session row gone":            {event: func(s scene) { execute(t, db, `delete from sessions where id = $1`, s.session.ID) }},
		"made without a session":      {grant: func(g *storage.Grant) { g.SessionID = nil }, at: hour(30), want: true},
		"client for itself":           {grant: func(g *storage.Grant) { g.UserID, g.SessionID = "", nil }, want: true},
		"client gone":                 {event: func(s scene) { execute(t, db, `delete from clients where id = $1`, s.client.ID) }},
		"client disabled": {event: func(s scene) {
			execute(t, db, `update clients set disabled_at = $2 where id = $1`, s.client.ID, noon())
		}},
		"token revoked":                  {event: func(s scene) { must(db.RevokeToken(t.Context(), s.grant.ID, 7, hour(1))) }},
		"another token revoked":          {event: func(s scene) { must(db.RevokeToken(t.Context(), s.grant.ID, 8, hour(1))) }, want: true},
		"grant revoked":                  {event: func(s scene) { must(db.RevokeGrant(t.Context(), s.grant, "r", false, noon(), storage.Event{})) }},
		"grant of the session revoked":   {event: func(s scene) { must(db.RevokeGrant(t.Context(), s.grant, "r", true, noon(), storage.Event{})) }},
		"another grant's client deleted": {event: func(scene) { must(db.DeleteClient(t.Context(), addClient(t, db).ID, noon(), storage.Event{})) }, want: true},
	} {
		for _, code := range []bool{false, true} {
			s := scene{user: addUser(t, db, storage.NewID("")), client: addClient(t, db)}
			s.session = addSession(t, db, s.user, s.user.ID)
			s.grant = addGrant(t, db, s.client, s.user, s.session, func(g *storage.Grant) {
				if code {
					issued(g)
					long(g)
				}
				if row.grant != nil {
					row.grant(g)
				}
			})
			if row.event != nil {
				row.event(s)
			}
			at := row.at
			if at.IsZero() {
				at = noon()
			}
			f, err := db.GrantFacts(t.Context(), s.grant.ID, 7, "", at)
			must(err)
			if alive, redeemable := f.Alive(at), f.Redeemable(at); alive != (row.want && !code) || redeemable != (row.want && code) {
				t.Errorf("%s (code: %v): alive %v, redeemable %v; want it to count: %v", name, code, alive, redeemable, row.want)
			}
		}
	}
}

func TestACodeIsRedeemableUntilItExpires(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	g := addGrant(t, db, addClient(t, db), addUser(t, db, "ada"), nil, issued)
	f := facts(t, db, g, noon())
	if !f.Redeemable(g.CodeExpiresAt.Add(-time.Microsecond)) || f.Redeemable(*g.CodeExpiresAt) {
		t.Errorf("the code is not redeemable exactly until %v", g.CodeExpiresAt)
	}
}

func TestTheftEndsTheSessionAndItsOtherGrants(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	s, other := addSession(t, db, ada, "s"), addSession(t, db, ada, "other")
	stolen, beside, elsewhere := addGrant(t, db, app, ada, s, offline), addGrant(t, db, app, ada, s, nil), addGrant(t, db, app, ada, other, nil)
	for range 2 { // again is no error, and no second event
		if err := db.RevokeGrant(t.Context(), stolen, "theft", true, noon(), storage.Event{Kind: "grant.stolen"}); err != nil {
			t.Fatal(err)
		}
	}
	wantAlive(t, db, "the stolen grant", stolen, false)
	wantAlive(t, db, "a grant of the same session", beside, false)
	wantAlive(t, db, "a grant of another session", elsewhere, true)
	if live(t, db, "s", noon()) != nil || live(t, db, "other", noon()) == nil {
		t.Error("theft must end its own session, and only that")
	}
	if f := facts(t, db, stolen, noon()); f.RevokeReason != "theft" || !f.RevokedAt.Equal(noon()) || count(t, db, "events") != 1 {
		t.Errorf("reason %q at %v, %d events; want theft, once", f.RevokeReason, f.RevokedAt, count(t, db, "events"))
	}
}

func TestAuthorizeFactsTellClientSessionAndConsent(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	s := addSession(t, db, ada, "s")
	f, err := db.AuthorizeFacts(t.Context(), app.ID, nil, noon())
	if err != nil || f.ClientVersion != 1 || f.Session != nil || f.User != nil || f.Consented {
		t.Errorf("a stranger's facts = %+v, %v", f, err)
	}
	f, err = db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), noon())
	if err != nil || f.Session == nil || f.Session.ID != s.ID || f.User == nil || f.User.ID != ada.ID || f.Consented {
		t.Errorf("ada's facts = %+v, %v", f, err)
	}
	if err := db.RememberConsent(t.Context(), storage.Consent{UserID: ada.ID, ClientID: app.ID, Scopes: []string{"openid"}, Resources: []string{}, GrantedAt: noon()}, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	f, err = db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), noon())
	if err != nil || !f.Consented || !slices.Equal(f.ConsentScopes, []string{"openid"}) {
		t.Errorf("facts after consent = %+v, %v", f, err)
	}
	f, err = db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), s.IdleExpiresAt)
	if err != nil || f.Session != nil || f.User != nil || f.Consented {
		t.Errorf("facts after the session = %+v, %v; want nobody", f, err)
	}
	_, err = db.AuthorizeFacts(t.Context(), "cli_nobody", nil, noon())
	wantError(t, "an unknown client", err, storage.ErrNotFound)
}

func TestRotationIsAHotUpdate(t *testing.T) { // issue 7: at least 90 %
	t.Parallel()
	db := open(t, storagetest.URL(t), 1) // one connection, so that its statistics are all there are
	g := addGrant(t, db, addClient(t, db), addUser(t, db, "ada"), nil, issued)
	if err := db.RedeemCode(t.Context(), g.ID, 1, noon(), ptr(noon().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	for generation := 1; generation <= 50; generation++ {
		if err := db.RotateRefresh(t.Context(), g.ID, generation, 1, noon(), noon().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	var updates, hot int
	for deadline := time.Now().Add(10 * time.Second); updates < 51; {
		_, _ = db.Pool().Exec(t.Context(), `select pg_stat_force_next_flush()`) // PostgreSQL 15 on; before, it takes a second
		if err := db.Pool().QueryRow(t.Context(), `select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'grants'`).Scan(&updates, &hot); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("statistics tell of %d updates, want 51", updates)
		}
	}
	if hot*10 < updates*9 {
		t.Errorf("%d of %d updates were HOT, want at least 90 %%", hot, updates)
	}
}
