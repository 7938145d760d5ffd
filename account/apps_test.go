package account

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"idp/storage"
)

// app makes a client.
func (s *site) app(name string) storage.Client {
	s.t.Helper()
	c := storage.Client{ID: storage.NewID("cli_"), Source: "admin", CreatedAt: time.Now().UTC(), ClientMetadata: storage.ClientMetadata{
		Name: name, RedirectURIs: []string{"https://app.example/cb"},
	}}
	if err := s.db.CreateClient(s.t.Context(), c, storage.Event{}); err != nil {
		s.t.Fatal(err)
	}
	return c
}

var allowedAt = time.Now().UTC().Add(-50 * time.Hour)

// allow makes ada allow a client some scopes.
func (s *site) allow(c storage.Client, scopes ...string) {
	s.t.Helper()
	err := s.db.RememberConsent(s.t.Context(), storage.Consent{
		UserID: s.ada.ID, ClientID: c.ID, Scopes: scopes, Resources: []string{}, GrantedAt: allowedAt,
	}, storage.Event{})
	if err != nil {
		s.t.Fatal(err)
	}
}

// grant gives a client an active grant, for a person or for itself.
func (s *site) grant(c storage.Client, userID string, offline bool, expires time.Duration, scopes ...string) uuid.UUID {
	s.t.Helper()
	now := time.Now().UTC()
	g := &storage.Grant{
		ID: storage.NewRowID(), Kind: "code", ClientID: c.ID, UserID: userID, Subject: userID, Scopes: scopes, Offline: offline,
		State: storage.GrantActive, Seed: storage.RandomBytes(16), CreatedAt: now, ExpiresAt: now.Add(expires),
	}
	if err := s.db.InsertGrant(s.t.Context(), g, "", storage.Touch{}); err != nil {
		s.t.Fatal(err)
	}
	return g.ID
}

func (s *site) state(grant uuid.UUID) (state string) {
	s.t.Helper()
	if err := s.db.Pool().QueryRow(s.t.Context(), `select state from grants where id = $1`, grant).Scan(&state); err != nil {
		s.t.Fatal(err)
	}
	return state
}

func TestAppsShowsWhatEachAppMayDo(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	_, body := b.get("/account/apps")
	if want := "No app can use your account."; !strings.Contains(body, want) {
		t.Errorf("page lacks %q:\n%s", want, body)
	}
	wiki, ours, dead, foreign := s.app("Wiki <3"), s.app("Intranet"), s.app("Long gone"), s.app("Somebody else's")
	s.allow(wiki, "openid", "email", "offline_access", "invoices:read")
	s.grant(wiki, s.ada.ID, true, time.Hour, "openid", "email", "offline_access")
	s.grant(ours, s.ada.ID, false, time.Hour, "openid") // an app of the house, which asks for no consent
	s.grant(dead, s.ada.ID, true, -time.Hour, "openid")
	s.grant(foreign, "usr_somebody", true, time.Hour, "openid")
	_, body = b.get("/account/apps")
	for _, want := range []string{
		"<bdi>Wiki &lt;3</bdi>", "app.example", "See your email address", "Use “invoices:read” in your name", "Has access when you're away",
		"Allowed on " + allowedAt.Format("2 January 2006"), "Intranet", "Recognise you when you come back", `name="client" value="` + wiki.ID + `"`,
		`id="remove-0"`, `id="remove-1"`, `href="/account/apps" aria-current="page"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q:\n%s", want, body)
		}
	}
	for _, other := range []string{"Long gone", "Somebody else", "Keep access", "remove-2"} {
		if strings.Contains(body, other) {
			t.Errorf("page holds %q:\n%s", other, body)
		}
	}
	if n := strings.Count(body, "Has access when you're away"); n != 1 {
		t.Errorf("%d apps have access while ada is away, want 1", n)
	}
}

func TestRemovedAppsHaveNoAccess(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	wiki, kept := s.app("Wiki"), s.app("Kept")
	s.allow(wiki, "openid", "email")
	s.allow(kept, "openid")
	ended, other, foreign := s.grant(wiki, s.ada.ID, true, time.Hour, "openid"), s.grant(kept, s.ada.ID, true, time.Hour, "openid"), s.grant(wiki, "usr_somebody", true, time.Hour, "openid")
	remove := url.Values{"client": {wiki.ID}}
	for range 2 { // a form that is sent twice is no error
		if resp, _ := b.post("/account/apps", remove); resp.StatusCode != 303 || resp.Header.Get("Location") != "/account/apps?removed=1" {
			t.Fatalf("status %d to %q, want 303 to the notice", resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	_, body := b.get("/account/apps?removed=1")
	if !strings.Contains(body, "Access is removed.") || strings.Contains(body, "Wiki") || !strings.Contains(body, "Kept") {
		t.Errorf("want a notice, and of the apps the one that was kept:\n%s", body)
	}
	if a, o, f := s.state(ended), s.state(other), s.state(foreign); a != "revoked" || o != "active" || f != "active" {
		t.Errorf("grant of the app %s, of the other app %s, of somebody else %s; want revoked, active, active", a, o, f)
	}
	events, err := s.db.Events(t.Context(), s.ada.ID, 10)
	if err != nil {
		t.Fatal(err)
	}
	events = slices.DeleteFunc(events, func(e storage.Event) bool { return e.Kind != "consent.revoked" })
	if len(events) != 1 || events[0].ClientID != wiki.ID || events[0].Actor != s.ada.ID {
		t.Errorf("events %+v, want one of the removal", events)
	}
}

func TestOnlyTheListsOwnAppsAreRemoved(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	wiki := s.app("Wiki")
	s.allow(wiki, "openid")
	if resp, _ := b.post("/account/apps", url.Values{"client": {wiki.ID}}); resp.Header.Get("Location") != "/login?to=%2Faccount%2Fapps" {
		t.Errorf("signed out: sent to %q, want to sign in", resp.Header.Get("Location"))
	}
	if !b.signIn(oldPassword) {
		t.Fatal("could not sign in")
	}
	for _, id := range []string{"", "cli_nobody", s.app("Never allowed").ID} {
		b.post("/account/apps", url.Values{"client": {id}})
	}
	events, err := s.db.Events(t.Context(), "", 20)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(events, func(e storage.Event) bool { return e.Kind == "consent.revoked" }) {
		t.Errorf("events %+v, want none of a removal", events)
	}
	if _, body := b.get("/account/apps"); !strings.Contains(body, "Wiki") {
		t.Error("Wiki lost its access")
	}
}
