package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

func TestTheTokenEndpointTakesOnlyAForm(t *testing.T) { // A-050; traps P11f, P22, P23, F12
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f := a.begin()
	code := b.get(f.url()).pass(ada).Get("code")
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {callback}}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(a.ID+":"+a.secret))
	for _, tc := range []struct {
		name, method, path, kind, body string
		status                         int
	}{
		{"GET", "GET", "/token?" + form.Encode(), "", "", 405},
		{"parameters in the URL", "POST", "/token?" + form.Encode(), "application/x-www-form-urlencoded", "grant_type=authorization_code", 400},
		{"JSON", "POST", "/token", "application/json", `{"grant_type":"authorization_code"}`, 400},
		{"multipart", "POST", "/token", "multipart/form-data; boundary=x", "--x--", 400},
		{"no type", "POST", "/token", "", form.Encode(), 400},
		{"utf-16", "POST", "/token", "application/x-www-form-urlencoded; charset=utf-16", form.Encode(), 400},
		{"code twice", "POST", "/token", "application/x-www-form-urlencoded", form.Encode() + "&code=x", 400},
		{"grant_type twice", "POST", "/token", "application/x-www-form-urlencoded", form.Encode() + "&grant_type=x", 400},
		{"empty", "POST", "/token", "application/x-www-form-urlencoded", "", 400},
		{"too large", "POST", "/token", "application/x-www-form-urlencoded", "x=" + strings.Repeat("y", 100<<10), 413},
		{"broken encoding", "POST", "/token", "application/x-www-form-urlencoded", "a=%zz", 400},
	} {
		h := http.Header{"Authorization": {basic}}
		if tc.kind != "" {
			h.Set("Content-Type", tc.kind)
		}
		r := w.send(t, tc.method, tc.path, h, tc.body)
		if r.status != tc.status || r.text("error") != "invalid_request" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s (Cache-Control %q); want %d invalid_request", tc.name, r.status, r.raw, r.header.Get("Cache-Control"), tc.status)
		}
		if tc.status == 405 && r.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", tc.name)
		}
	}
	f.exchange(code).ok() // none of that consumed it
	a.token(url.Values{"grant_type": {"password"}, "username": {"ada"}, "password": {ada.Password}}).fails(400, "unsupported_grant_type")
	a.token(url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}}).fails(400, "unsupported_grant_type")
	for _, grant := range []string{"jwt-bearer", "token-exchange", "device_code"} { // offered, and off unless a client lists it
		a.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:" + grant}}).fails(400, "unauthorized_client")
	}
	a.token(url.Values{"grant_type": {"authorization_code refresh_token"}}).fails(400, "unsupported_grant_type")
	a.token(url.Values{"grant_type": {"client_credentials"}}).fails(400, "unauthorized_client")
	a.token(url.Values{"grant_type": {"authorization_code"}}).fails(400, "invalid_request")
	a.token(url.Values{"grant_type": {"refresh_token"}}).fails(400, "invalid_request")
}

func TestAClientUsesItsOneMethodOrNone(t *testing.T) { // A-044; conformance 73, 74, 77; traps P11c, P23
	t.Parallel()
	w := start(t)
	basicApp := w.app(t, storage.ClientMachine)
	post := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.AuthMethod = "client_secret_post" })
	public := w.app(t, storage.ClientSPA)
	cc := func(more ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	header := func(id, secret string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
	}
	basicApp.token(cc()).ok()
	post.token(cc()).ok()
	w.post(t, "/token", http.Header{"Authorization": {"bAsIc " + base64.StdEncoding.EncodeToString([]byte(basicApp.ID+":"+basicApp.secret))}}, cc("client_id", basicApp.ID)).ok()
	for _, tc := range []struct {
		name   string
		header http.Header
		form   url.Values
		status int
		code   string
	}{
		{"wrong secret", header(basicApp.ID, "x"), cc(), 401, "invalid_client"},
		{"empty secret", header(basicApp.ID, ""), cc(), 401, "invalid_client"},
		{"unknown client", header("nobody", "x"), cc(), 401, "invalid_client"},
		{"no credentials", nil, cc(), 401, "invalid_client"},
		{"confidential without secret", nil, cc("client_id", basicApp.ID), 401, "invalid_client"},
		{"post instead of basic", nil, cc("client_id", basicApp.ID, "client_secret", basicApp.secret), 401, "invalid_client"},
		{"basic instead of post", header(post.ID, post.secret), cc(), 401, "invalid_client"},
		{"both", header(basicApp.ID, basicApp.secret), cc("client_id", basicApp.ID, "client_secret", basicApp.secret), 400, "invalid_request"},
		{"another client_id in the body", header(basicApp.ID, basicApp.secret), cc("client_id", public.ID), 401, "invalid_client"},
		{"public with a secret", nil, cc("client_id", public.ID, "client_secret", "x"), 401, "invalid_client"},
		{"public, client_credentials", nil, cc("client_id", public.ID), 400, "unauthorized_client"},
		{"Bearer", http.Header{"Authorization": {"Bearer x"}}, cc(), 401, "invalid_client"},
		{"broken Basic", http.Header{"Authorization": {"Basic %%%"}}, cc(), 401, "invalid_client"},
		{"unknown assertion type", nil, cc("client_id", basicApp.ID, "client_assertion", "x.y.z", "client_assertion_type", "urn:x"), 400, "invalid_request"},
	} {
		r := w.post(t, "/token", tc.header, tc.form)
		if r.status != tc.status || r.text("error") != tc.code {
			t.Errorf("%s: %d %s; want %d %s", tc.name, r.status, r.raw, tc.status, tc.code)
		}
		if tc.header != nil && tc.status == 401 && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: no Basic challenge", tc.name)
		}
	}
}

func TestGuessingAClientSecretIsSlowedForThatAddressOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientMachine)
	wrong := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(a.ID+":x"))}}
	form := url.Values{"grant_type": {"client_credentials"}}
	for range 20 {
		w.post(t, "/token", wrong, form).fails(401, "invalid_client")
	}
	if r := w.post(t, "/token", wrong, form); r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("the 21st guess: %d, Retry-After %q; want 429", r.status, r.header.Get("Retry-After"))
	}
	other := w.app(t, storage.ClientMachine)
	other.token(form).ok()
}

func TestClientCredentialsGiveNoMoreThanTheClientMayHave(t *testing.T) { // A-053; conformance 84; trap P29
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientMachine)
	form := func(scope string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}
	}
	r := a.token(form("api:read")).ok()
	if r.text("scope") != "api:read" || r.refresh() != "" || r.text("id_token") != "" {
		t.Errorf("answer %s, want api:read and an access token only", r.raw)
	}
	if got := a.token(url.Values{"grant_type": {"client_credentials"}}).ok().text("scope"); got != "api:read api:write" {
		t.Errorf("default scope = %q", got)
	}
	for _, scope := range []string{"admin", "api:read admin", "openid"} {
		a.token(form(scope)).fails(400, "invalid_scope")
	}
	intro := a.call("/introspect", url.Values{"token": {r.access()}}).ok()
	if intro.body["active"] != true || intro.text("sub") != a.ID || intro.text("client_id") != a.ID || intro.text("scope") != "api:read" || intro.text("token_type") != "Bearer" {
		t.Errorf("introspection = %s", intro.raw)
	}
	if got := w.send(t, "GET", "/userinfo", bearerHeader(r.access()), "").status; got != 401 && got != 403 {
		t.Errorf("userinfo with a client's token: %d", got)
	}
}

func TestUserInfoTellsWhatTheScopesAllow(t *testing.T) { // conformance 90-95; A-064
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, all := a.signIn(w.browser(t), ada, "scope", "openid profile email address phone")
	r := w.send(t, "GET", "/userinfo", bearerHeader(all.access()), "").ok()
	want := "address birthdate email email_verified family_name gender given_name locale middle_name name nickname phone_number phone_number_verified picture preferred_username profile sub updated_at website zoneinfo"
	if got := strings.Join(names(r.body), " "); got != want {
		t.Errorf("claims = %s\nwant   = %s", got, want)
	}
	if _, ok := r.body["address"].(map[string]any); !ok {
		t.Errorf("address = %v, want an object", r.body["address"])
	}
	if _, ok := r.body["updated_at"].(float64); !ok || r.body["phone_number_verified"] != true {
		t.Errorf("types: %s", r.raw)
	}
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	w.send(t, "POST", "/userinfo", bearerHeader(all.access()), "").ok()
	w.send(t, "POST", "/userinfo", form, "access_token="+url.QueryEscape(all.access())).ok()
	w.send(t, "GET", "/userinfo", http.Header{"Authorization": {"bearer " + all.access()}}, "").ok()

	_, mail := a.signIn(w.browser(t), ada, "scope", "openid email")
	r = w.send(t, "GET", "/userinfo", bearerHeader(mail.access()), "").ok()
	if got := strings.Join(names(r.body), " "); got != "email email_verified sub" {
		t.Errorf("claims of openid email = %s", got)
	}
	_, plain := a.signIn(w.browser(t), ada, "scope", "email")
	for _, tc := range []struct {
		name, token string
		status      int
		challenge   string
	}{
		{"none", "", 401, `Bearer realm="userinfo"`},
		{"garbage", "x", 401, `error="invalid_token"`},
		{"ID token", mail.text("id_token"), 401, `error="invalid_token"`},
		{"refresh token", a.begin().verifier, 401, `error="invalid_token"`},
		{"without openid", plain.access(), 403, `error="insufficient_scope"`},
	} {
		h := http.Header{}
		if tc.token != "" {
			h = bearerHeader(tc.token)
		}
		r := w.send(t, "GET", "/userinfo", h, "")
		challenge := r.header.Get("WWW-Authenticate")
		if r.status != tc.status || !strings.Contains(challenge, tc.challenge) || tc.name == "none" && strings.Contains(challenge, "error") {
			t.Errorf("%s: %d, %q; want %d, %s", tc.name, r.status, challenge, tc.status, tc.challenge)
		}
	}
	if r := w.send(t, "GET", "/userinfo?access_token="+url.QueryEscape(mail.access()), nil, ""); r.status != 400 {
		t.Errorf("a token in the URL: %d, want 400", r.status)
	}
	w.clock.advance(11 * time.Minute)
	if r := w.send(t, "GET", "/userinfo", bearerHeader(mail.access()), ""); r.status != 401 {
		t.Errorf("an expired token: %d, want 401", r.status)
	}
}

func TestIntrospectionTellsOnlyThoseWhoMayKnow(t *testing.T) { // traps P10, P27, F13
	t.Parallel()
	w := start(t)
	const api = "https://api1.test"
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Resources = []string{api, "https://api2.test"} })
	public, other := w.app(t, storage.ClientSPA), w.app(t, storage.ClientWeb)
	rs := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.Audience = []string{api} })
	all := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true })
	ada := w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	_, forAPI := a.signIn(w.browser(t), ada, "resource", api)
	_, forOther := a.signIn(w.browser(t), ada, "resource", "https://api2.test/")
	for _, tc := range []struct {
		name  string
		who   *app
		token string
		want  bool
	}{
		{"own access token", a, tokens.access(), true},
		{"own refresh token", a, tokens.refresh(), true},
		{"another client's access token", other, tokens.access(), false},
		{"another client's refresh token", other, tokens.refresh(), false},
		{"an API, token without audience", rs, tokens.access(), false},
		{"an API, token for it", rs, forAPI.access(), true},
		{"an API, token for another", rs, forOther.access(), false},
		{"an API, refresh token", rs, forAPI.refresh(), false},
		{"one with the right to all", all, tokens.access(), true},
		{"ID token", a, tokens.text("id_token"), false},
		{"garbage", a, "x", false},
	} {
		r := tc.who.call("/introspect", url.Values{"token": {tc.token}}).ok()
		if r.body["active"] != tc.want || !tc.want && strings.TrimSpace(r.raw) != `{"active":false}` {
			t.Errorf("%s: %s, want active %v and nothing else when not", tc.name, r.raw, tc.want)
		}
	}
	r := rs.call("/introspect", url.Values{"token": {forAPI.access()}, "token_type_hint": {"refresh_token"}}).ok()
	if aud := fmt.Sprint(r.body["aud"]); aud != fmt.Sprint([]string{api, w.issuer}) || r.text("sub") != ada.ID || r.text("iss") != w.issuer || r.text("username") != ada.Username || r.body["exp"] == nil || r.body["iat"] == nil {
		t.Errorf("introspection = %s", r.raw)
	}
	public.call("/introspect", url.Values{"token": {tokens.access()}}).fails(401, "invalid_client")
	w.post(t, "/introspect", nil, url.Values{"token": {tokens.access()}}).fails(401, "invalid_client")
	w.post(t, "/introspect", bearerHeader(tokens.access()), url.Values{"token": {tokens.refresh()}}).fails(401, "invalid_client")
	a.call("/introspect", url.Values{}).fails(400, "invalid_request")
}

func TestRevocation(t *testing.T) { // RFC 7009; A-063; trap P25; conformance 109
	t.Parallel()
	w := start(t)
	a, other, ada := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	other.call("/revoke", url.Values{"token": {tokens.refresh()}}).ok()
	other.call("/revoke", url.Values{"token": {tokens.access()}}).ok()
	if !a.active(tokens.access()) || !a.active(tokens.refresh()) {
		t.Error("another client revoked the tokens")
	}
	w.post(t, "/revoke", nil, url.Values{"token": {tokens.access()}}).fails(401, "invalid_client")
	a.call("/revoke", url.Values{"token": {"unknown"}}).ok()

	second := a.refresh(tokens.refresh()).ok()
	a.call("/revoke", url.Values{"token": {tokens.access()}, "token_type_hint": {"refresh_token"}}).ok()
	if a.active(tokens.access()) || !a.active(second.access()) {
		t.Error("revoking one access token did not end that one only")
	}
	a.call("/revoke", url.Values{"token": {tokens.refresh()}}).ok() // rotated away: means the whole
	for range 2 {
		a.call("/revoke", url.Values{"token": {second.refresh()}}).ok()
	}
	if a.active(second.access()) {
		t.Error("the access token is active after its refresh token was revoked")
	}
	a.refresh(second.refresh()).fails(400, "invalid_grant")
}

func TestJWTAccessTokens(t *testing.T) { // RFC 9068; traps P11, P28
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.AccessTokenFormat, c.Resources, c.IDTokenAlg = "jwt", []string{"https://api1.test"}, "ES256"
	})
	ada := w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	header, c := claims(t, tokens.access())
	if header["typ"] != "at+jwt" || header["alg"] != "ES256" || c["aud"] != w.issuer || c["client_id"] != a.ID || c["sub"] != ada.ID || c["scope"] != "openid profile email offline_access" || c["jti"] == "" {
		t.Errorf("access token %v %v", header, c)
	}
	w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	if !a.active(tokens.access()) {
		t.Error("a JWT access token is not active")
	}
	a.call("/revoke", url.Values{"token": {tokens.access()}}).ok()
	if a.active(tokens.access()) || w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").status != 401 {
		t.Error("a revoked JWT access token is active")
	}
	f := a.begin("resource", "https://api1.test", "scope", "email")
	forAPI := f.exchange(w.browser(t).get(f.url()).pass(ada).Get("code")).ok()
	if _, c := claims(t, forAPI.access()); c["aud"] != "https://api1.test" {
		t.Errorf("aud = %v, want the API alone", c["aud"])
	}
	if r := w.send(t, "GET", "/userinfo", bearerHeader(forAPI.access()), ""); r.status != 401 {
		t.Errorf("userinfo with a token for another API: %d, want 401", r.status)
	}
}

func TestIDTokensAreSignedAsTheClientWants(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	for _, alg := range []string{"RS256", "ES256", "PS256", "EdDSA"} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenAlg = alg })
		_, tokens := a.signIn(w.browser(t), ada)
		w.verifyIDToken(t, a, tokens)
		if header, _ := claims(t, tokens.text("id_token")); header["alg"] != alg {
			t.Errorf("alg = %v, want %s", header["alg"], alg)
		}
	}
}

func TestIntrospectionOfARefreshTokenTellsItsOwnExpiry(t *testing.T) { // trap P27
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	exp := func(token string) time.Time {
		return time.Unix(int64(a.call("/introspect", url.Values{"token": {token}}).ok().body["exp"].(float64)), 0)
	}
	if got := exp(tokens.access()).Sub(w.now()); got > 10*time.Minute || got < 9*time.Minute {
		t.Errorf("the access token expires in %v, want 10 minutes", got)
	}
	if got := exp(tokens.refresh()).Sub(w.now()); got < 29*24*time.Hour || got > 31*24*time.Hour {
		t.Errorf("the refresh token expires in %v, want 30 days", got)
	}
}

func TestAnUnmetACRIsAnsweredWithTheRealOne(t *testing.T) { // trap P17; conformance 89
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada, "acr_values", "urn:idp:acr:phrh 1")
	if _, id := claims(t, tokens.text("id_token")); id["acr"] != "urn:idp:acr:1fa" {
		t.Errorf("acr = %v, want the real one", id["acr"])
	}
}
