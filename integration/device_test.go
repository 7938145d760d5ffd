package integration

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

const deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"

// deviceApp registers a public app that may use the device grant, and has nowhere to be redirected.
func (w *world) deviceApp(t testing.TB, change ...func(*storage.Client)) *app {
	t.Helper()
	return w.app(t, storage.ClientNative, append([]func(*storage.Client){func(c *storage.Client) {
		c.Name, c.RedirectURIs, c.PostLogoutRedirectURIs = "Acme TV", nil, nil
		c.GrantTypes = []string{deviceGrantType, "refresh_token"}
	}}, change...)...)
}

// device asks for codes as a device does.
func (a *app) device(scope string) reply {
	a.t.Helper()
	return a.call("/device_authorization", url.Values{"scope": {scope}}).ok()
}

func (a *app) poll(deviceCode string) reply {
	a.t.Helper()
	return a.token(url.Values{"grant_type": {deviceGrantType}, "device_code": {deviceCode}})
}

// confirming types the code of a device and signs in, up to the page that asks.
func (b *browser) confirming(who *person, userCode string) *page {
	b.t.Helper()
	p := b.get("/device").at("/device").submit(map[string]string{"user_code": userCode})
	if p.url.Path == "/login" {
		p = p.submit(map[string]string{"username": who.Username, "password": who.Password})
	}
	return p.at("/device/confirm")
}

func (p *page) decide(decision string) *page {
	p.b.t.Helper()
	return p.submit(map[string]string{"decision": decision})
}

func TestADeviceGetsItsTokens(t *testing.T) { // conformance 111; RFC 8628
	t.Parallel()
	w := start(t)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	d := a.device("openid profile email offline_access")
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.text("user_code")) || !strings.HasPrefix(d.text("device_code"), "idp_dc_") {
		t.Errorf("codes: %s", d.raw)
	}
	if d.text("verification_uri") != w.issuer+"/device" || d.text("verification_uri_complete") != w.issuer+"/device?user_code="+d.text("user_code") ||
		d.body["expires_in"] != 600.0 || d.body["interval"] != 5.0 || !strings.Contains(d.header.Get("Cache-Control"), "no-store") {
		t.Errorf("answer: %s, %v", d.raw, d.header)
	}
	code := d.text("device_code")
	a.poll(code).fails(400, "authorization_pending")
	p := b.get(d.text("verification_uri_complete")).at("/device")
	if !strings.Contains(p.body, `value="`+d.text("user_code")+`"`) {
		t.Error("the code is not filled in")
	}
	typed := strings.ToLower(strings.ReplaceAll(d.text("user_code"), "-", " "))
	p = b.confirming(ada, typed)
	for _, want := range []string{d.text("user_code"), "Acme TV", "Only continue if you started this yourself", "127.0.0.1", "UTC"} {
		if !strings.Contains(p.body, want) {
			t.Errorf("the confirm page does not say %q", want)
		}
	}
	w.clock.advance(6 * time.Second)
	a.poll(code).fails(400, "authorization_pending")
	p.decide("allow").at("/device/done")
	tokens := a.poll(code).ok()
	if tokens.text("scope") != "openid profile email offline_access" || tokens.refresh() == "" {
		t.Errorf("tokens: %s", tokens.raw)
	}
	id := w.verifyIDToken(t, a, tokens)
	if id.Subject != ada.ID {
		t.Errorf("sub %q, want ada's", id.Subject)
	}
	if info := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok(); info.text("email") != ada.Email {
		t.Errorf("userinfo: %s", info.raw)
	}
	a.refresh(tokens.refresh()).ok()
	a.poll(code).fails(400, "invalid_grant")
	if w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").status != 200 {
		t.Error("a repeated poll ended the grant")
	}
	if apps := b.get("/account/apps"); !strings.Contains(apps.body, "Acme TV") {
		t.Error("the app is not among those that ada allowed")
	}
}

func TestPollingTellsWhatBecameOfTheRequest(t *testing.T) { // RFC 8628, 3.5
	t.Parallel()
	w := start(t)
	a, other, ada, b := w.deviceApp(t), w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	d := a.device("openid")
	code := d.text("device_code")
	a.poll(code).fails(400, "authorization_pending")
	a.poll(code).fails(400, "slow_down") // from now on, ten seconds
	w.clock.advance(6 * time.Second)
	a.poll(code).fails(400, "slow_down") // fifteen
	w.clock.advance(15 * time.Second)
	a.poll(code).fails(400, "authorization_pending")
	other.poll(code).fails(400, "invalid_grant")
	a.poll(code+"x").fails(400, "invalid_grant")
	a.token(url.Values{"grant_type": {deviceGrantType}}).fails(400, "invalid_request")
	b.confirming(ada, d.text("user_code")).decide("deny").at("/device/done")
	for range 2 {
		a.poll(code).fails(400, "access_denied")
	}
	if p := b.get("/device").submit(map[string]string{"user_code": d.text("user_code")}); p.status != 422 {
		t.Errorf("a refused code is taken: %d at %s", p.status, p.url)
	}

	late := a.device("openid")
	page := b.confirming(ada, late.text("user_code"))
	w.clock.advance(10 * time.Minute)
	a.poll(late.text("device_code")).fails(400, "expired_token")
	if p := page.decide("allow"); p.status != 422 || p.url.Path != "/device/confirm" {
		t.Errorf("an expired code was allowed: %d at %s", p.status, p.url)
	}
	a.poll(late.text("device_code")).fails(400, "expired_token")

	slow := a.device("openid")
	b.confirming(ada, slow.text("user_code")).decide("allow").at("/device/done")
	w.clock.advance(10 * time.Minute)
	a.poll(slow.text("device_code")).fails(400, "expired_token")
}

func TestOnlyRegisteredClientsUseTheDeviceGrant(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientNative)
	a.call("/device_authorization", url.Values{"scope": {"openid"}}).fails(400, "unauthorized_client")
	a.poll("idp_dc_x").fails(400, "unauthorized_client")
	w.updateClient(t, a, func(c *storage.Client) { c.GrantTypes = append(c.GrantTypes, deviceGrantType) })
	d := a.device("openid")
	a.poll(d.text("device_code")).fails(400, "authorization_pending")
	a.call("/device_authorization", url.Values{"scope": {"nothing"}}).fails(400, "invalid_scope")
	a.call("/device_authorization", url.Values{"scope": {"openid"}, "resource": {"https://no.test"}}).fails(400, "invalid_target")
	secret := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.GrantTypes = append(c.GrantTypes, deviceGrantType) })
	secret.device("openid")
	w.post(t, "/device_authorization", nil, url.Values{"client_id": {secret.ID}, "scope": {"openid"}}).fails(401, "invalid_client")
	w.updateClient(t, a, func(c *storage.Client) { c.GrantTypes = []string{"authorization_code"} })
	p := w.browser(t).get("/device").submit(map[string]string{"user_code": d.text("user_code")})
	if p.status != 400 || p.url.Path != "/device/confirm" {
		t.Errorf("a client that may not any more: %d at %s", p.status, p.url)
	}
}

func TestADeviceGrantHangsOnTheSessionThatApprovedIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	grant := func(scope string) (string, string) {
		d := a.device(scope)
		b.confirming(ada, d.text("user_code")).decide("allow").at("/device/done")
		return d.text("device_code"), d.text("user_code")
	}
	bound, _ := grant("openid")
	offline, _ := grant("openid offline_access")
	waiting, _ := grant("openid offline_access")
	tokens, kept := a.poll(bound).ok(), a.poll(offline).ok()
	if tokens.refresh() != "" || kept.refresh() == "" {
		t.Error("a refresh token needs offline_access, and comes with it")
	}
	b.get("/logout").submit(nil).at("/logout/done")
	userinfo := func(token string) int { return w.send(t, "GET", "/userinfo", bearerHeader(token), "").status }
	if userinfo(tokens.access()) != 401 || userinfo(kept.access()) != 200 {
		t.Error("at sign-out, what is not offline ends, and nothing else")
	}
	a.poll(waiting).fails(400, "invalid_grant")
}

func TestWhoMayNotUseTheAppCannotConnectItsDevice(t *testing.T) { // CVE-2024-38371
	t.Parallel()
	w := start(t)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	d := a.device("openid")
	p := b.confirming(ada, d.text("user_code"))
	w.updateClient(t, a, func(c *storage.Client) { c.AccessGroups = []string{storage.NewID("grp_")} })
	if p = p.decide("allow"); p.status != 403 || !strings.Contains(p.body, "can't use") {
		t.Errorf("%d at %s, want to be barred", p.status, p.url)
	}
	w.updateClient(t, a, func(c *storage.Client) { c.AccessGroups = nil })
	b.get("/device/confirm").decide("allow").at("/device/done")
	w.updateClient(t, a, func(c *storage.Client) { c.AccessGroups = []string{storage.NewID("grp_")} })
	a.poll(d.text("device_code")).fails(400, "invalid_grant")
}

func TestOneOfManyPollsGetsTheTokens(t *testing.T) { // A-059; trap P2
	w := startProcesses(t, 2)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	for round := range 5 {
		d := a.device("openid offline_access")
		form := url.Values{"grant_type": {deviceGrantType}, "device_code": {d.text("device_code")}, "client_id": {a.ID}}
		b.confirming(ada, d.text("user_code")).decide("allow").at("/device/done")
		replies := make([]reply, 50)
		w.atOnce(t, replies, form)
		won := 0
		for _, r := range replies {
			switch {
			case r.status == 200:
				won++
				a.refresh(r.refresh()).ok()
			case r.status != 400 || r.text("error") != "invalid_grant":
				t.Errorf("round %d: a loser got %d %s, want invalid_grant", round, r.status, r.raw)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d polls got tokens, want 1", round, won)
		}
	}
}

func TestOneOfTwoAnswersToADeviceCounts(t *testing.T) {
	w := startProcesses(t, 2)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	for round := range 10 {
		d := a.device("openid")
		p := b.confirming(ada, d.text("user_code"))
		done := make([]int, 4)
		together(len(done), func(i int) {
			decision := []string{"allow", "deny"}[i%2]
			if q := p.decide(decision); q.url.Path == "/device/done" {
				done[i] = 1
			}
		})
		if n := done[0] + done[1] + done[2] + done[3]; n != 1 {
			t.Fatalf("round %d: %d answers counted, want 1", round, n)
		}
		if r := a.poll(d.text("device_code")); (r.status == 200) != (done[0]+done[2] == 1) {
			t.Errorf("round %d: %s after allow %d, deny %d", round, r.raw, done[0]+done[2], done[1]+done[3])
		}
	}
}

func TestDeviceRequestsAreSwept(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.deviceApp(t).device("openid")
	if n, err := w.db.Sweep(context.Background(), w.now().Add(2*time.Hour), time.Hour, 100); n == 0 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	var left int
	if err := w.db.Pool().QueryRow(context.Background(), `select count(*) from device_requests`).Scan(&left); left != 0 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
}

func TestADeviceIsAllowedByAFreshSignInWhereTheAppWantsOne(t *testing.T) {
	t.Parallel()
	w := start(t)
	minute := 60
	a, ada, bob, b := w.deviceApp(t, func(c *storage.Client) { c.DefaultMaxAge = &minute }), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.confirming(ada, a.device("openid").text("user_code")).decide("allow").at("/device/done")
	w.clock.advance(2 * time.Minute)
	d := a.device("openid")
	p := b.get("/device").submit(map[string]string{"user_code": d.text("user_code")}).at("/login")
	if again := b.get("/device/confirm"); again.url.Path != "/login" {
		t.Errorf("at %s without a fresh sign-in", again.url)
	}
	p = p.submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/device/confirm")
	if !strings.Contains(p.body, bob.Email) {
		t.Error("the page is not about who has just signed in")
	}
	p.decide("allow").at("/device/done")
	if _, id := claims(t, a.poll(d.text("device_code")).ok().text("id_token")); id["sub"] != bob.ID {
		t.Errorf("sub %v, want bob's", id["sub"])
	}
}

func TestADeviceIsNotAllowedInASessionThatEnded(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.deviceApp(t), w.person(t, "ada"), w.browser(t)
	d := a.device("openid")
	p := b.confirming(ada, d.text("user_code"))
	b.get("/logout").submit(nil).at("/logout/done")
	p.decide("allow").at("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/device/confirm")
	a.poll(d.text("device_code")).fails(400, "authorization_pending")
}

func TestTestDeviceActsAsADevice(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	answer := func(decision string) func(string) {
		return func(address string) {
			if !strings.Contains(address, "user_code=") {
				return
			}
			w.browser(t).get(address).at("/device").submit(nil).at("/login").
				submit(map[string]string{"username": ada.Username, "password": ada.Password}).at("/device/confirm").decide(decision).at("/device/done")
		}
	}
	r, code, printed := w.idpTest(t, w.issuer, "", answer("allow"), "device")
	if code != 0 || r.failed() != nil || len(r.Findings) < 12 || r.IDToken.Claims["sub"] != ada.ID || r.UserInfo["email"] != ada.Email {
		t.Errorf("exit code %d\n%s", code, printed)
	}
	if left := w.clientIDs(t); len(left) > 0 {
		t.Errorf("clients are left over: %v", left)
	}
	own := w.deviceApp(t)
	r, code, printed = w.idpTest(t, w.issuer, "", answer("deny"), "device", "--client", own.ID)
	if code == 0 || r.Error != "access_denied" {
		t.Errorf("a refusal: exit code %d\n%s", code, printed)
	}
	if strings.Contains(printed, "idp_dc_") {
		t.Error("the device code is printed")
	}
}

func TestAnotherAccountCanAnswerADevice(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.deviceApp(t), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	d := a.device("openid")
	p := b.get("/device").submit(map[string]string{"user_code": d.text("user_code")}).at("/device/confirm")
	if !strings.Contains(p.body, ada.Email) || !strings.Contains(p.body, "switch=1") {
		t.Error("the page does not say who is signed in, or offers nobody else")
	}
	p = b.get("/login?to=%2Fdevice%2Fconfirm&switch=1").at("/login").submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/device/confirm")
	p.decide("allow").at("/device/done")
	if _, id := claims(t, a.poll(d.text("device_code")).ok().text("id_token")); id["sub"] != bob.ID {
		t.Errorf("sub %v, want bob's", id["sub"])
	}
}
