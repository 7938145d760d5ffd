package storage_test

import (
	"slices"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestConsentsAddUpUntilTheyAreWithdrawn(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, other, ada, bob := addClient(t, db), addClient(t, db), addUser(t, db, "ada"), addUser(t, db, "bob")
	addSession(t, db, ada, "s")
	for _, scopes := range [][]string{{"openid", "email"}, {"profile", "openid"}} {
		if err := db.RememberConsent(t.Context(), storage.Consent{UserID: ada.ID, ClientID: app.ID, Scopes: scopes, Resources: []string{"https://api.example"}, GrantedAt: noon()}, storage.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), noon())
	if err != nil || !slices.Equal(f.ConsentScopes, []string{"email", "openid", "profile"}) || !slices.Equal(f.ConsentRes, []string{"https://api.example"}) {
		t.Errorf("consented to %v at %v, %v; want the union", f.ConsentScopes, f.ConsentRes, err)
	}

	mine, code := addGrant(t, db, app, ada, nil, offline), addGrant(t, db, app, ada, nil, issued)
	bobs, elsewhere := addGrant(t, db, app, bob, nil, nil), addGrant(t, db, other, ada, nil, nil)
	if n, err := db.WithdrawConsent(t.Context(), ada.ID, app.ID, noon(), storage.Event{Kind: "consent.withdrawn"}); err != nil || n != 2 {
		t.Errorf("WithdrawConsent = %d, %v; want 2 grants", n, err)
	}
	wantAlive(t, db, "this person and client", mine, false)
	wantAlive(t, db, "another person", bobs, true)
	wantAlive(t, db, "another client", elsewhere, true)
	if facts(t, db, code, noon()).Redeemable(noon()) {
		t.Error("a code outlives the consent")
	}
	if f, err = db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), noon()); err != nil || f.Consented {
		t.Errorf("consented = %v, %v after the withdrawal", f.Consented, err)
	}
}

func TestAConsentIsForgottenAfterAYear(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	app, ada := addClient(t, db), addUser(t, db, "ada")
	const year = 365 * 24 * time.Hour
	addSession(t, db, ada, "s")
	execute(t, db, `update sessions set idle_expires_at = $1, expires_at = $1`, noon().Add(5*year))
	allow := func(at time.Time, scopes ...string) {
		t.Helper()
		c := storage.Consent{UserID: ada.ID, ClientID: app.ID, Scopes: scopes, GrantedAt: at}
		if err := db.RememberConsent(t.Context(), c, storage.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(at time.Time, scopes ...string) {
		t.Helper()
		f, err := db.AuthorizeFacts(t.Context(), app.ID, storage.HashSecret("s"), at)
		if err != nil || f.Consented != (scopes != nil) || !slices.Equal(f.ConsentScopes, scopes) {
			t.Errorf("%v later: consented = %v to %v, %v; want %v", at.Sub(noon()), f.Consented, f.ConsentScopes, err, scopes)
		}
	}
	allow(noon(), "email")
	want(noon().Add(year-time.Second), "email")
	want(noon().Add(year))

	allow(noon().Add(year-time.Second), "openid") // asked for more in time: the year begins again
	want(noon().Add(year), "email", "openid")
	want(noon().Add(2*year-2*time.Second), "email", "openid")

	allow(noon().Add(2*year), "openid") // too late: what had expired does not come back
	want(noon().Add(2*year), "openid")
}
