package integration

import (
	"context"
	"net/url"
	"testing"

	"idp/storage"
)

// Suspension, deletion and switching off count at once, for everything that is in somebody's hands.
func TestSuspendingAPersonEndsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	pending := a.begin()
	code := b.get(pending.url()).answer().Get("code")
	suspend := func(state string) storage.Ended {
		t.Helper()
		ended, err := w.db.SetUserState(context.Background(), ada.ID, state, w.now(), storage.Event{At: w.now(), Kind: "user." + state, UserID: ada.ID})
		if err != nil {
			t.Fatal(err)
		}
		return ended
	}
	if ended := suspend(storage.UserSuspended); ended.Sessions != 1 || ended.Grants != 2 {
		t.Errorf("ended %+v, want 1 session and 2 grants", ended)
	}
	dead := func() {
		t.Helper()
		pending.exchange(code).fails(400, "invalid_grant")
		a.refresh(tokens.refresh()).fails(400, "invalid_grant")
		if a.active(tokens.access()) || a.active(tokens.refresh()) {
			t.Error("a token of a suspended person is active")
		}
		if got := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").status; got != 401 {
			t.Errorf("userinfo: %d, want 401", got)
		}
		if got := b.get(a.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" {
			t.Errorf("prompt=none: %q, want login_required", got)
		}
	}
	dead()
	p := b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	if p.status != 422 || p.url.Path != "/login" {
		t.Errorf("a suspended person signed in: %d at %s", p.status, p.url)
	}
	suspend(storage.UserActive) // nothing comes back to life
	dead()
	a.signIn(b, ada)
	suspend(storage.UserDeleted)
	p = b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	if p.status != 422 {
		t.Errorf("a deleted person signed in: %d", p.status)
	}
}

func TestADisabledClientGetsNothingAtOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, machine, ada, b := w.app(t, storage.ClientWeb), w.app(t, storage.ClientMachine), w.person(t, "ada"), w.browser(t)
	rs := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true })
	_, tokens := a.signIn(b, ada)
	own := machine.token(url.Values{"grant_type": {"client_credentials"}}).ok()
	pending := a.begin()
	code := b.get(pending.url()).answer().Get("code")
	for _, c := range []*app{a, machine} {
		w.updateClient(t, c, func(c *storage.Client) { now := w.now(); c.DisabledAt = &now })
	}
	pending.exchange(code).fails(401, "invalid_client")
	a.refresh(tokens.refresh()).fails(401, "invalid_client")
	machine.token(url.Values{"grant_type": {"client_credentials"}}).fails(401, "invalid_client")
	if rs.active(tokens.access()) || rs.active(own.access()) {
		t.Error("a token of a disabled client is active")
	}
	if p := b.get(a.begin().url()); p.status != 400 || p.left != nil {
		t.Errorf("authorize of a disabled client: %d, left %v", p.status, p.left)
	}
}

func TestANewSecretWorksAtOnceAndTheOldOneNot(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientMachine)
	form := url.Values{"grant_type": {"client_credentials"}}
	a.token(form).ok()
	fresh := storage.NewSecret("idp_cs_")
	w.updateClient(t, a, func(c *storage.Client) {
		c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret(fresh), CreatedAt: w.now()}}
	})
	a.token(form).fails(401, "invalid_client")
	a.secret = fresh
	a.token(form).ok()
}

func TestANewPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientSPA, func(c *storage.Client) { c.SessionRefresh = true })
	ada, here, there := w.person(t, "ada"), w.browser(t), w.browser(t)
	_, bound := a.signIn(there, ada, "scope", "openid")
	here.get("/login").at("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/account")
	here.get("/account/security").submit(map[string]string{"password": ada.Password, "new_password": "seven quiet herons at dusk"}).at("/account/security")
	there.get("/account").at("/login")
	here.get("/account").at("/account")
	a.refresh(bound.refresh()).fails(400, "invalid_grant")
}
