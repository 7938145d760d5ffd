package storage_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"idp/storage"
	"idp/storage/storagetest"
)

// addListener is a client that wants to be told of sign-outs.
func addListener(t testing.TB, db *storage.DB) storage.Client {
	t.Helper()
	c := addClient(t, db)
	c.BackchannelLogoutURI = "https://rp.test/logout"
	if err := db.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	c.Version++
	return c
}

func take(t testing.TB, db *storage.DB, now time.Time, busy ...string) []storage.Message {
	t.Helper()
	list, err := db.TakeMessages(t.Context(), 100, busy, now, now.Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhateverEndsASessionTellsItsClients(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(db *storage.DB, u storage.User, s *storage.Session, g *storage.Grant) error{
		"sign-out": func(db *storage.DB, _ storage.User, s *storage.Session, _ *storage.Grant) error {
			_, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{})
			return err
		},
		"somebody else signs in": func(db *storage.DB, _ storage.User, _ *storage.Session, _ *storage.Grant) error {
			return signIn(db, newSession(addUser(t, db, "bob")), "new", "old")
		},
		"suspension": func(db *storage.DB, u storage.User, _ *storage.Session, _ *storage.Grant) error {
			_, err := db.SetUserState(t.Context(), u.ID, storage.UserSuspended, noon(), storage.Event{})
			return err
		},
		"deletion": func(db *storage.DB, u storage.User, _ *storage.Session, _ *storage.Grant) error {
			_, err := db.SetUserState(t.Context(), u.ID, storage.UserDeleted, noon(), storage.Event{})
			return err
		},
		"a new password by an operator": func(db *storage.DB, u storage.User, _ *storage.Session, _ *storage.Grant) error {
			return db.SetPassword(t.Context(), storage.NewPassword{UserID: u.ID, Hash: "new", Now: noon()})
		},
		"a new password chosen elsewhere": func(db *storage.DB, u storage.User, _ *storage.Session, _ *storage.Grant) error {
			other := addSession(t, db, u, "other")
			return db.ChangePassword(t.Context(), storage.PasswordChange{
				UserID: u.ID, Hash: "new", ProvedSetAt: noon(), Session: other.ID,
				OldSecret: storage.HashSecret("other"), NewSecret: storage.HashSecret("newer"), Now: noon(),
			})
		},
		"revocation by an operator": func(db *storage.DB, u storage.User, _ *storage.Session, _ *storage.Grant) error {
			_, err := db.RevokeUser(t.Context(), u.ID, noon(), storage.Event{})
			return err
		},
		"theft of a token": func(db *storage.DB, _ storage.User, _ *storage.Session, g *storage.Grant) error {
			return db.RevokeGrant(t.Context(), g, "replay", true, noon(), storage.Event{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storagetest.New(t)
			ada := addUser(t, db, "ada")
			s := addSession(t, db, ada, "old")
			wants, silent, disabled, gone := addListener(t, db), addClient(t, db), addListener(t, db), addListener(t, db)
			g := addGrant(t, db, wants, ada, s, func(g *storage.Grant) { g.Subject = "pairwise" })
			addGrant(t, db, wants, ada, s, func(g *storage.Grant) { offline(g); g.Subject = "pairwise" }) // one client is told once
			for _, c := range []storage.Client{silent, disabled, gone} {
				addGrant(t, db, c, ada, s, nil)
			}
			disabled.DisabledAt = ptr(noon())
			if err := errors.Join(db.UpdateClient(t.Context(), disabled, noon(), storage.Event{}), db.DeleteClient(t.Context(), gone.ID, noon(), storage.Event{})); err != nil {
				t.Fatal(err)
			}
			elsewhere := addSession(t, db, addUser(t, db, "eve"), "elsewhere")
			addGrant(t, db, wants, storage.User{ID: "usr_eve"}, elsewhere, nil)
			if err := end(db, ada, s, g); err != nil {
				t.Fatal(err)
			}
			select {
			case <-db.OutboxWritten():
			default:
				t.Error("nobody in this process was told that there is something to send")
			}
			list := take(t, db, noon())
			if len(list) != 1 || list[0].ClientID != wants.ID || list[0].SessionID != s.ID || list[0].Subject != "pairwise" || list[0].UserID != ada.ID || list[0].Attempts != 1 || list[0].Moot {
				t.Fatalf("messages = %+v, want one to %s", list, wants.ID)
			}
		})
	}
}

func TestEndingASessionTwiceTellsOnce(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, c := addUser(t, db, "ada"), addListener(t, db)
	s := addSession(t, db, ada, "a")
	g := addGrant(t, db, c, ada, s, nil)
	race(6, func(i int) error {
		if i%2 == 0 {
			_, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{})
			return err
		}
		return db.RevokeGrant(t.Context(), g, "replay", true, noon(), storage.Event{})
	})
	if n := count(t, db, "outbox"); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

func TestAClientIsToldOfThePersonAsItKnewThemLast(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addListener(t, db), addUser(t, db, "ada")
	s := addSession(t, db, ada, "ada")
	for _, subject := range []string{ada.ID, "sub_pairwise", "sub_pairwise"} { // it became pairwise in between
		addGrant(t, db, app, ada, s, func(g *storage.Grant) { g.Subject = subject })
	}
	if _, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if got := take(t, db, noon()); len(got) != 1 || got[0].Subject != "sub_pairwise" {
		t.Errorf("messages %+v, want one of sub_pairwise", got)
	}
}

func TestAWithdrawnConsentTellsThatClientAlone(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, c, other := addUser(t, db, "ada"), addListener(t, db), addListener(t, db)
	here, there, over := addSession(t, db, ada, "here"), addSession(t, db, ada, "there"), addSession(t, db, ada, "over")
	for _, s := range []*storage.Session{here, there, over} {
		addGrant(t, db, c, ada, s, nil)
	}
	addGrant(t, db, other, ada, here, nil)
	if _, err := db.EndSession(t.Context(), over.ID, "signed_out", noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	take(t, db, noon())
	if _, err := db.WithdrawConsent(t.Context(), ada.ID, c.ID, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	var told []uuid.UUID
	for _, m := range take(t, db, noon()) {
		if m.ClientID != c.ID {
			t.Errorf("%s was told", m.ClientID)
		}
		told = append(told, m.SessionID)
	}
	if len(told) != 2 || !slices.Contains(told, here.ID) || !slices.Contains(told, there.ID) {
		t.Errorf("told of the sessions %v, want those that go on: %v", told, []uuid.UUID{here.ID, there.ID})
	}
	// Signed in again in the same session, the client must not be told of what was before.
	addGrant(t, db, c, ada, here, func(g *storage.Grant) { g.CreatedAt = noon().Add(time.Minute) })
	for _, m := range take(t, db, noon().Add(time.Hour)) {
		if want := m.SessionID == here.ID; m.ClientID == c.ID && m.Moot != want {
			t.Errorf("moot = %v, want %v", m.Moot, want)
		}
	}
}

func TestACodeIssuedWhileTheSessionEndsDiesWithIt(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, c := addUser(t, db, "ada"), addListener(t, db)
	for i := range 20 {
		s := addSession(t, db, ada, fmt.Sprint(i))
		g := newGrant(c, ada, s)
		issued(g)
		g.Offline = true // it would outlive the session
		var inserted error
		race(2, func(i int) error {
			if i == 0 {
				inserted = db.InsertGrant(t.Context(), g, "", storage.Touch{Before: noon().Add(time.Hour), IdleExpiresAt: noon().Add(time.Hour)})
				return nil
			}
			_, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{})
			return err
		})
		if inserted == nil && facts(t, db, g, noon()).Redeemable(noon()) {
			t.Fatal("the code can be redeemed")
		}
		if inserted == nil && count(t, db, "outbox where session_id = $1", s.ID) != 1 {
			t.Fatal("the client is not told")
		}
	}
}

func TestAMessageIsTakenByOneUntilItsTimeIsOver(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	s := addSession(t, db, ada, "a")
	for range 10 {
		addGrant(t, db, addListener(t, db), ada, s, nil)
	}
	if _, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[uuid.UUID]int{}
	race(5, func(int) error {
		for range 5 {
			list, err := db.TakeMessages(t.Context(), 3, nil, noon(), noon().Add(10*time.Second))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			for _, m := range list {
				seen[m.ID]++
			}
			mu.Unlock()
		}
		return nil
	})
	if len(seen) != 10 {
		t.Errorf("%d messages were taken, want 10", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("message %s was taken %d times", id, n)
		}
	}
	if list := take(t, db, noon().Add(9*time.Second)); len(list) != 0 {
		t.Errorf("%d messages were taken from whoever has them", len(list))
	}
	again := take(t, db, noon().Add(10*time.Second))
	if len(again) != 10 {
		t.Fatalf("after their time, %d messages are due, want 10", len(again))
	}
	late := again[0]
	late.NextAt = ptr(noon().Add(10 * time.Second)) // as whoever had it first knows it
	err := db.SettleMessage(t.Context(), late, storage.Outcome{Delivered: true}, noon().Add(11*time.Second))
	wantError(t, "a late answer", err, storage.ErrConflict)
}

func TestASlowClientLeavesRoomForTheOthers(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, slow, quick := addUser(t, db, "ada"), addListener(t, db), addListener(t, db)
	for i := range 600 {
		execute(t, db, `insert into outbox (id, kind, client_id, created_at, next_at) values (gen_random_uuid(), 'backchannel_logout', $1, $2, $2)`, slow.ID, noon().Add(time.Duration(i)*time.Microsecond))
	}
	s := addSession(t, db, ada, "a")
	addGrant(t, db, quick, ada, s, nil)
	now := noon().Add(time.Second)
	if _, err := db.EndSession(t.Context(), s.ID, "signed_out", now, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	first := take(t, db, now)
	if len(first) != 2 {
		t.Fatalf("%d messages were taken, want 2 of the slow client", len(first))
	}
	if busy := take(t, db, now, slow.ID); len(busy) != 1 || busy[0].ClientID != quick.ID {
		t.Errorf("with the slow client busy: %+v, want that of the other", busy)
	}
	next := now.Add(time.Hour)
	if err := db.SettleMessage(t.Context(), first[0], storage.Outcome{Next: &next, Error: "no answer"}, now); err != nil {
		t.Fatal(err)
	}
	if list := take(t, db, now.Add(time.Second)); len(list) != 0 {
		t.Errorf("%d more were taken at once after one failed", len(list))
	}
	if list := take(t, db, now.Add(time.Minute)); len(list) == 0 {
		t.Error("the others of the client wait longer than a minute")
	}
}

func TestOperatorsSeeWhatBecameOfMessagesAndSendThemAgain(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, a, b := addUser(t, db, "ada"), addListener(t, db), addListener(t, db)
	s := addSession(t, db, ada, "a")
	addGrant(t, db, a, ada, s, nil)
	addGrant(t, db, b, ada, s, offline)
	if _, err := db.EndSession(t.Context(), s.ID, "signed_out", noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	look := func() storage.SignedOut {
		t.Helper()
		out, err := db.SignedOut(t.Context(), []uuid.UUID{s.ID}, noon())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got, want := look(), (storage.SignedOut{Telling: 2, Kept: true}); got != want {
		t.Errorf("at once: %+v, want %+v", got, want)
	}
	for _, m := range take(t, db, noon()) {
		o := storage.Outcome{Delivered: m.ClientID == a.ID, Event: storage.Event{At: noon(), Kind: "backchannel.delivered", UserID: m.UserID}}
		if !o.Delivered {
			o.Error, o.Event.Kind = "status 400", "backchannel.failed"
		}
		if err := db.SettleMessage(t.Context(), m, o, noon()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := look(), (storage.SignedOut{Told: 1, Untold: 1, Kept: true}); got != want {
		t.Errorf("afterwards: %+v, want %+v", got, want)
	}
	if n := count(t, db, "events where kind in ('backchannel.delivered', 'backchannel.failed')"); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	states, err := db.DeliveryStates(t.Context())
	if err != nil || len(states) != 2 {
		t.Fatalf("%+v, %v", states, err)
	}
	for _, d := range states {
		if ok := d.ClientID == a.ID && d.Delivered == 1 && d.LastDeliveredAt != nil || d.ClientID == b.ID && d.Failed == 1 && d.LastError == "status 400"; !ok {
			t.Errorf("state = %+v", d)
		}
	}
	failed, err := db.Messages(t.Context(), b.ID, storage.MessageFailed, 10)
	if err != nil || len(failed) != 1 || failed[0].FailedAt == nil {
		t.Fatalf("%+v, %v", failed, err)
	}
	if n, err := db.RetryMessages(t.Context(), storage.NewRowID(), noon(), storage.Event{}); n != 0 || err != nil {
		t.Errorf("another message: %d, %v", n, err)
	}
	if n, err := db.RetryMessages(t.Context(), failed[0].ID, noon(), storage.Event{}); n != 1 || err != nil {
		t.Errorf("retry: %d, %v", n, err)
	}
	if list := take(t, db, noon()); len(list) != 1 || list[0].ClientID != b.ID || list[0].Attempts != 1 {
		t.Errorf("after the retry: %+v", list)
	}
}

func TestSettledMessagesAreSweptAfterAMonth(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for _, next := range []any{nil, noon()} {
		execute(t, db, `insert into outbox (id, kind, created_at, next_at) values (gen_random_uuid(), 'backchannel_logout', $1, $2)`, noon(), next)
	}
	for _, tc := range []struct {
		days, want int
	}{{29, 2}, {31, 1}} {
		if _, err := db.Sweep(t.Context(), noon().Add(time.Duration(tc.days)*24*time.Hour), time.Hour, 100); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, "outbox"); n != tc.want {
			t.Errorf("after %d days %d messages, want %d", tc.days, n, tc.want)
		}
	}
}
