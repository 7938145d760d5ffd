package integration

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestARefusalHoldsThoughTheSameWasAllowedInAnotherTab(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	tab1, tab2 := b.get(a.begin().url()).at("/consent"), b.get(a.begin().url()).at("/consent")
	if tab1.submit(map[string]string{"decision": "allow"}).answer().Get("code") == "" {
		t.Fatal("no code after Allow")
	}
	if got := tab2.submit(map[string]string{"decision": "deny"}).answer(); got.Get("error") != "access_denied" {
		t.Errorf("after Cancel: %v, want access_denied", got)
	}
}

func TestAChangedClientIsKnownWithTheNextRequest(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	const more = "https://rp.test/second"
	w.updateClient(t, a, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, more) })
	f := a.begin("redirect_uri", more)
	f.exchange(b.get(f.url()).answer().Get("code")).ok()
	w.updateClient(t, a, func(c *storage.Client) { c.RedirectURIs = []string{callback} })
	if p := b.get(a.begin("redirect_uri", more).url()); p.left != nil {
		t.Errorf("a removed redirect URI was answered: %s", p.left)
	}
	w.updateClient(t, a, func(c *storage.Client) { c.Scopes = []string{"email"} })
	if got := b.get(a.begin("scope", "openid", "prompt", "none").url()).answer(); got.Get("error") != "invalid_scope" || got.Get("iss") != w.issuer {
		t.Errorf("after its scope was removed: %v, want invalid_scope", got)
	}
	w.updateClient(t, a, func(c *storage.Client) { c.Scopes = []string{"openid", "email"} })
	if got := b.get(a.begin("scope", "openid", "prompt", "none").url()).answer().Get("code"); got == "" {
		t.Error("after its scope came back: no code")
	}
	w.updateClient(t, a, func(c *storage.Client) { c.GrantTypes = []string{"authorization_code"} })
	a.refresh(tokens.refresh()).fails(400, "unauthorized_client")
	w.updateClient(t, a, func(c *storage.Client) { c.GrantTypes = []string{"authorization_code", "refresh_token"} })
	a.refresh(tokens.refresh()).ok()
	w.updateClient(t, a, func(c *storage.Client) { c.PostLogoutRedirectURIs = nil })
	if p := b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {"https://rp.test/bye"}}.Encode()); p.left != nil {
		t.Errorf("a removed post-logout URI was used: %s", p.left)
	}
}

func TestADisabledClientCannotAskAboutTokens(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, spy, ada := w.app(t, storage.ClientWeb), w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true }), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	if !spy.active(tokens.access()) {
		t.Fatal("not active")
	}
	w.updateClient(t, spy, func(c *storage.Client) { now := w.now(); c.DisabledAt = &now })
	spy.call("/introspect", url.Values{"token": {tokens.access()}}).fails(401, "invalid_client")
	w.updateClient(t, a, func(c *storage.Client) {
		c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret("idp_cs_other"), CreatedAt: w.now()}}
	})
	a.call("/revoke", url.Values{"token": {tokens.refresh()}}).fails(401, "invalid_client")
}

func TestConsentIsGivenToWhatThePageShowed(t *testing.T) {
	t.Parallel()
	w := start(t)
	const api = "https://api1.test"
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Scopes, c.Resources = []string{"openid", "email"}, []string{api} })
	ada, b := w.person(t, "ada"), w.browser(t)
	b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	p := b.get(a.begin("scope", "openid email profile", "resource", api).url()).at("/consent")
	if !strings.Contains(p.body, api) {
		t.Error("the page does not say for which API")
	}
	w.updateClient(t, a, func(c *storage.Client) { c.Scopes = []string{"openid", "email", "profile"} })
	p = p.submit(map[string]string{"decision": "allow"}).at("/consent")
	if !strings.Contains(p.body, "See your name and picture") {
		t.Error("the page does not show the scope that came in between")
	}
	if p.submit(map[string]string{"decision": "allow"}).answer().Get("code") == "" {
		t.Error("no code after the second Allow")
	}
}

func TestAKeptRequestHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	hint := tokens.text("id_token")
	f := a.begin("prompt", "login", "id_token_hint", hint, "client_secret", "SEKRET", "code", "SEKRET", "password", "SEKRET")
	p := b.get(f.url()).at("/login")
	kept, err := w.db.Request(context.Background(), p.url.Query().Get("request"))
	if err != nil {
		t.Fatal(err)
	}
	if text := kept.Params.Encode(); strings.Contains(text, "SEKRET") || strings.Contains(text, url.QueryEscape(hint)) {
		t.Errorf("kept parameters: %s", text)
	}
	bob := w.person(t, "bob") // the hint still counts
	if got := p.submit(map[string]string{"username": bob.Username, "password": bob.Password}).answer().Get("error"); got != "login_required" {
		t.Errorf("somebody else than hinted: %q, want login_required", got)
	}
	if p := b.get(w.issuer + "/authorize?" + f.params.Encode() + "&hint_subject=" + ada.ID); p.left != nil {
		t.Error("a stranger may say hint_subject")
	}
}

func TestAnIDTokenSignsOutOfItsOwnSessionOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, here, there := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t), w.browser(t)
	_, tokens := a.signIn(here, ada)
	_, elsewhere := a.signIn(there, ada)
	there.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}}.Encode()).at("/logout")
	_, c1 := claims(t, tokens.text("id_token"))
	_, c2 := claims(t, elsewhere.text("id_token"))
	_, c3 := claims(t, a.refresh(tokens.refresh()).ok().text("id_token"))
	if c1["sid"] == "" || c1["sid"] == c2["sid"] || c1["sid"] != c3["sid"] {
		t.Errorf("sid %v here, %v elsewhere, %v after a refresh", c1["sid"], c2["sid"], c3["sid"])
	}
	other := w.app(t, storage.ClientWeb)
	_, o := other.signIn(here, ada)
	if _, c := claims(t, o.text("id_token")); c["sid"] == c1["sid"] {
		t.Error("two clients see the same sid")
	}
	there.get("/logout?" + url.Values{"id_token_hint": {elsewhere.text("id_token")}}.Encode()).at("/logout/done")
}

func TestAKeptRefreshTokenInUseDoesNotDie(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.KeepRefreshToken, c.Lifetimes.RefreshIdle = true, 60 })
	ada := w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	for range 6 {
		w.clock.advance(25 * time.Second)
		a.refresh(tokens.refresh()).ok()
	}
	w.clock.advance(61 * time.Second)
	a.refresh(tokens.refresh()).fails(400, "invalid_grant")
}

func TestBytesThatAreNoTextAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser(t)
	for _, path := range []string{"/consent?request=%00", "/consent?request=%ff", "/login?request=%00", "/authorize?request=%00", "/logout?client_id=%00", "/account?x=%00"} {
		if p := b.get(path); p.status >= 500 {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, user := range map[string]string{"NUL": "%00:x", "raw NUL": "\x00:x", "broken UTF-8": "\xff:x"} {
		h := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user))}}
		if r := w.post(t, "/token", h, form); r.status != 401 {
			t.Errorf("Basic with %s: %d, want 401", name, r.status)
		}
	}
	assertion := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"\u0000"}`)) + ".AAAA"
	w.post(t, "/token", nil, assertionForm(assertion)).fails(401, "invalid_client")
}

func TestHEADDoesNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for _, address := range []string{a.begin().url(), w.issuer + "/logout"} {
		req := b.request(t, http.MethodHead, address, nil)
		if p := b.follow(req); p.status != 405 || p.left != nil {
			t.Errorf("HEAD %s: %d, left %v; want 405", req.URL.Path, p.status, p.left)
		}
	}
	b.get("/account").at("/account")
}

func TestAnOutageUnderPromptNoneIsToldToTheScript(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	w.outage(t)
	if got := b.get(a.begin("prompt", "none").url()).answer(); got.Get("error") != "temporarily_unavailable" || got.Get("iss") != w.issuer {
		t.Errorf("answer = %v, want temporarily_unavailable", got)
	}
}

func TestWhatAClientMayNoLongerHaveIsNotRefreshed(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.AccessTokenFormat, c.Resources = "jwt", []string{"https://api1.test", "https://api2.test"}
	})
	f := a.begin("scope", "email offline_access", "resource", "https://api1.test")
	tokens := f.exchange(w.browser(t).get(f.url()).pass(w.person(t, "ada")).Get("code")).ok()
	w.updateClient(t, a, func(c *storage.Client) { c.Resources = []string{"https://api2.test"} })
	a.refresh(tokens.refresh()).fails(400, "invalid_target")
}

func TestAPendingCodeEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	f := a.begin()
	code := b.get(f.url()).answer().Get("code")
	b.get("/logout").submit(nil).at("/logout/done")
	f.exchange(code).fails(400, "invalid_grant")
}

func TestABrokenBodyIsTheClientsMistake(t *testing.T) {
	t.Parallel()
	w := start(t)
	for _, path := range []string{"/token", "/login", "/authorize", "/consent", "/logout", "/introspect", "/revoke", "/userinfo"} {
		c, err := net.Dial("tcp", w.replicas[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\nConnection: close\r\n\r\ngrant", path, w.replicas[0])
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("%s with a body that is cut off: %d, want 4xx", path, resp.StatusCode)
		}
	}
}

func TestASecondSecretRefusesNobody(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	byKey, key := w.assertionApp(t)
	_, tokens := a.signIn(w.browser(t), ada)
	w.post(t, "/token", nil, assertionForm(key.assertion(t, byKey.ID, w.issuer, nil))).ok()
	second := storage.NewSecret("idp_cs_")
	w.updateClient(t, a, func(c *storage.Client) {
		c.Secrets = append(c.Secrets, storage.ClientSecret{Hash: storage.HashSecret(second), CreatedAt: w.now()})
	})
	w.updateClient(t, byKey, func(c *storage.Client) {
		c.JWKS = []byte(strings.Replace(string(c.JWKS), `"keys":[`, `"keys":[`+string(publicKey(t))+`,`, 1))
	})
	w.post(t, "/token", nil, assertionForm(key.assertion(t, byKey.ID, w.issuer, nil))).ok()
	tokens = a.refresh(tokens.refresh()).ok() // the cached client is older than the change
	a.secret = second
	tokens = a.refresh(tokens.refresh()).ok()
	until := w.now().Add(time.Hour)
	w.updateClient(t, a, func(c *storage.Client) { c.Secrets[1].ExpiresAt = &until })
	if !a.active(tokens.access()) {
		t.Error("not active for the client with its second secret")
	}
	w.clock.advance(2 * time.Hour)
	a.refresh(tokens.refresh()).fails(401, "invalid_client")
}

func TestAForgedConfirmationIsRefusedSignedInOrNot(t *testing.T) {
	t.Parallel()
	w := start(t)
	req := w.browser(t).request(t, "POST", "/logout", url.Values{"confirm": {"yes"}})
	req.Header.Set("Origin", "https://evil.test")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if p := w.browser(t).follow(req); p.status != 403 {
		t.Errorf("a cross-site confirmation without cookies: %d at %s, want 403", p.status, p.url.Path)
	}
}
