package integration

import (
	"testing"
	"time"

	"idp/storage"
)

func TestALostRefreshResponseCostsNobodyTheirSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	first := a.refresh(tokens.refresh()).ok()
	w.clock.advance(5 * time.Second)
	again := a.refresh(tokens.refresh()).ok()
	if again.refresh() != first.refresh() {
		t.Error("the grace window gave another successor, want the same")
	}
	if again.access() == first.access() {
		t.Error("the grace window gave the same access token")
	}
	a.refresh(first.refresh()).ok()
}

func TestAStolenRefreshTokenEndsItsGrant(t *testing.T) { // RFC 9700, 4.14.2; A-035
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	second := a.refresh(tokens.refresh()).ok()
	w.clock.advance(11 * time.Second)
	a.refresh(tokens.refresh()).fails(400, "invalid_grant")
	a.refresh(second.refresh()).fails(400, "invalid_grant")
	if got := w.events(t, ada.ID, "token.reuse_detected"); got != 1 {
		t.Errorf("%d events of reuse, want 1", got)
	}
}

func TestTheGraceWindowIsForTheDirectPredecessorOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	second := a.refresh(tokens.refresh()).ok()
	third := a.refresh(second.refresh()).ok()
	a.refresh(tokens.refresh()).fails(400, "invalid_grant")
	a.refresh(third.refresh()).fails(400, "invalid_grant")
}

func TestAForeignOrForgedRefreshTokenEndsNothing(t *testing.T) { // traps P5, F4, F5
	t.Parallel()
	w := start(t)
	a, evil, other, ada := w.app(t, storage.ClientSPA), w.app(t, storage.ClientSPA), w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	second := a.refresh(tokens.refresh()).ok()
	w.clock.advance(time.Minute)
	old := tokens.refresh()
	evil.refresh(old).fails(400, "invalid_grant")
	other.refresh(old).fails(400, "invalid_grant")
	forged := old[:len(old)-4] + "AAAA"
	a.refresh(forged).fails(400, "invalid_grant")
	a.refresh("x").fails(400, "invalid_grant")
	a.refresh(second.refresh()).ok()
}

func TestARefreshMayNarrowTheScopeNotWidenIt(t *testing.T) { // traps P26, F6; A-043
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid email offline_access")
	a.refresh(tokens.refresh(), "scope", "openid email profile").fails(400, "invalid_scope")
	a.refresh(tokens.refresh(), "scope", "nope").fails(400, "invalid_scope")
	narrow := a.refresh(tokens.refresh(), "scope", "openid").ok()
	if got := narrow.text("scope"); got != "openid" {
		t.Errorf("scope = %q, want openid", got)
	}
	info := w.send(t, "GET", "/userinfo", bearerHeader(narrow.access()), "").ok()
	if info.body["email"] != nil {
		t.Errorf("a narrowed access token gives %s", info.raw)
	}
	if got := a.refresh(narrow.refresh()).ok().text("scope"); got != "openid email offline_access" {
		t.Errorf("scope of the next refresh = %q, want the original", got)
	}
}

func TestAShrunkClientRefreshesWithWhatItMayStillHave(t *testing.T) { // trap P26
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	w.updateClient(t, a, func(c *storage.Client) { c.Scopes = []string{"openid", "offline_access"} })
	if got := a.refresh(tokens.refresh()).ok().text("scope"); got != "openid offline_access" {
		t.Errorf("scope = %q, want what remains", got)
	}
}

func TestTheRefreshedIDTokenKeepsItsSubjectAndTime(t *testing.T) { // OpenID Connect Core, 12.2; trap P28
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AccessTokenFormat = "jwt" }), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	_, first := claims(t, tokens.text("id_token"))
	w.clock.advance(3 * time.Second)
	refreshed := a.refresh(tokens.refresh()).ok()
	_, second := claims(t, refreshed.text("id_token"))
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "azp"} {
		if first[name] != second[name] {
			t.Errorf("%s was %v, is %v", name, first[name], second[name])
		}
	}
	if second["iat"].(float64) <= first["iat"].(float64) {
		t.Errorf("iat was %v, is %v; want a later one", first["iat"], second["iat"])
	}
	_, at1 := claims(t, tokens.access())
	_, at2 := claims(t, refreshed.access())
	if at2["iat"].(float64) <= at1["iat"].(float64) || at1["jti"] == at2["jti"] {
		t.Errorf("the JWT access token's iat was %v, is %v; jti %v, %v", at1["iat"], at2["iat"], at1["jti"], at2["jti"])
	}
}

func TestAConfidentialClientMayKeepItsRefreshToken(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.KeepRefreshToken = true }), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	for range 3 {
		if got := a.refresh(tokens.refresh()).ok().refresh(); got != tokens.refresh() {
			t.Fatalf("refresh token %q, want the same again", got)
		}
		w.clock.advance(2 * time.Hour)
	}
}

func TestRefreshTokensExpireIdleAndAbsolutely(t *testing.T) {
	t.Parallel()
	w := start(t)
	life := func(c *storage.Client) { c.Lifetimes.RefreshIdle, c.Lifetimes.RefreshMax = 3600, 7200 }
	a, ada := w.app(t, storage.ClientWeb, life), w.person(t, "ada")
	_, idle := a.signIn(w.browser(t), ada)
	_, used := a.signIn(w.browser(t), ada)
	w.clock.advance(50 * time.Minute)
	used = a.refresh(used.refresh()).ok()
	w.clock.advance(50 * time.Minute)
	a.refresh(idle.refresh()).fails(400, "invalid_grant")
	used = a.refresh(used.refresh()).ok()
	w.clock.advance(25 * time.Minute) // past two hours in all
	a.refresh(used.refresh()).fails(400, "invalid_grant")
}

func TestOfflineAccessOutlivesTheSessionAndTheRestDoesNot(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientSPA, func(c *storage.Client) { c.SessionRefresh = true })
	ada, b := w.person(t, "ada"), w.browser(t)
	_, offline := a.signIn(b, ada)
	_, bound := a.signIn(b, ada, "scope", "openid email")
	if bound.refresh() == "" {
		t.Fatal("a client with session refresh got no refresh token")
	}
	b.get("/logout").at("/logout").submit(nil).at("/logout/done")
	a.refresh(bound.refresh()).fails(400, "invalid_grant")
	if got := w.send(t, "GET", "/userinfo", bearerHeader(bound.access()), "").status; got != 401 {
		t.Errorf("userinfo after sign-out: %d, want 401", got)
	}
	a.refresh(offline.refresh()).ok()
}

func TestWithoutOfflineAccessThereIsNoRefreshToken(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid email")
	if tokens.refresh() != "" {
		t.Error("a refresh token came without offline_access")
	}
}
