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

func TestATokenAnswerHasWhatWasGranted(t *testing.T) { // conformance 71, 72, 81
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	for scope, has := range map[string][2]bool{ // an ID token, a refresh token
		"openid offline_access": {true, true}, "openid email": {true, false}, "email": {false, true},
	} {
		_, r := a.signIn(b, ada, "scope", scope)
		if r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-store" || r.text("token_type") != "Bearer" || r.access() == "" || r.text("scope") != scope {
			t.Errorf("%s: %v %s", scope, r.header, r.raw)
		}
		if life, _ := r.body["expires_in"].(float64); life < 1 || life > 86400 {
			t.Errorf("%s: expires_in %v", scope, r.body["expires_in"])
		}
		if (r.text("id_token") != "") != has[0] || (r.refresh() != "") != has[1] {
			t.Errorf("%s: ID token %v, refresh token %v; want %v", scope, r.text("id_token") != "", r.refresh() != "", has)
		}
		if !has[1] {
			continue
		}
		if strings.ContainsFunc(r.refresh(), func(c rune) bool { return c <= ' ' || c > '~' }) || len(r.refresh()) < 7+22 {
			t.Errorf("%s: the refresh token is not printable, or too short", scope)
		}
		again := a.refresh(r.refresh()).ok()
		if again.header.Get("Cache-Control") != "no-store" || again.access() == r.access() {
			t.Errorf("%s: the refresh gave %v", scope, again.header)
		}
	}
}

func TestCodesAndTokensNeverRepeat(t *testing.T) { // conformance 40, 81: at least 128 bits of each cannot be guessed
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	seen := map[string]bool{}
	for range 20 {
		f := a.begin()
		code := b.get(f.url()).answer().Get("code")
		tokens := f.exchange(code).ok()
		for _, s := range []string{code, tokens.access(), tokens.refresh()} {
			tail := s[len(s)-32:] // 192 bits of the code that authenticates it
			if seen[tail] {
				t.Errorf("%s has come before", s)
			}
			seen[tail] = true
		}
	}
}

func TestBasicCredentialsAreDecodedOnce(t *testing.T) { // conformance 74; RFC 6749, 2.3.1; trap P11c
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientMachine)
	send := func(id, secret string) reply {
		header := "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
		return w.post(t, "/token", http.Header{"Authorization": {header}}, clientCredentials)
	}
	escape := func(s string) string { // every byte, as some clients do
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
		return b.String()
	}
	send(a.ID, a.secret).ok()
	send(escape(a.ID), escape(a.secret)).ok()
	send(strings.ToLower(escape(a.ID)), a.secret).ok()
	send(escape(escape(a.ID)), a.secret).fails(401, "invalid_client")
	send(a.ID, escape(escape(a.secret))).fails(401, "invalid_client")
	send(a.ID+"%zz", a.secret).fails(401, "invalid_client")
}

func TestAnIDTokenHasItsClaimsAndNoOthers(t *testing.T) { // conformance 43, 86, 87, 88
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	f, tokens := a.signIn(b, ada, "max_age", "600", "scope", "openid profile email")
	header, id := claims(t, tokens.text("id_token"))
	if header["alg"] != "RS256" || header["kid"] == nil {
		t.Errorf("header %v", header)
	}
	if got := strings.Join(names(id), " "); got != "acr amr at_hash aud auth_time exp iat iss nonce sid sub" {
		t.Errorf("claims %s", got)
	}
	sub, _ := id["sub"].(string)
	if id["iss"] != w.issuer || id["aud"] != a.ID || id["nonce"] != f.params.Get("nonce") || sub == "" || len(sub) > 255 || id["acr"] == "" || id["sid"] == "" {
		t.Errorf("claims %v", id)
	}
	for _, name := range []string{"exp", "iat", "auth_time"} {
		if n, ok := id[name].(float64); !ok || n != float64(int64(n)) {
			t.Errorf("%s = %v, want whole seconds", name, id[name])
		}
	}
	w.verifyIDToken(t, a, tokens) // and at_hash
	w.clock.advance(time.Minute)
	_, tokens = a.signIn(b, ada)
	if _, again := claims(t, tokens.text("id_token")); again["sub"] != sub || again["sid"] != id["sid"] || again["auth_time"] != id["auth_time"] {
		t.Errorf("a second ID token of the same session: %v, want the same sub, sid and auth_time as in %v", again, id)
	}
}

func TestUserInfoIsGivenWhateverIsAccepted(t *testing.T) { // conformance 90, 91, 95
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	_, id := claims(t, tokens.text("id_token"))
	for _, accept := range []string{"", "*/*", "application/json", "application/json;charset=utf-8", "text/html, */*;q=0.1", "application/jwt, application/json"} {
		for _, method := range []string{"GET", "POST"} {
			h := bearerHeader(tokens.access())
			if accept != "" {
				h.Set("Accept", accept)
			}
			r := w.send(t, method, "/userinfo", h, "").ok()
			if r.header.Get("Content-Type") != "application/json" || r.text("sub") != id["sub"] || r.header.Get("Date") == "" {
				t.Errorf("%s, Accept %q: %v %s", method, accept, r.header, r.raw)
			}
		}
	}
	for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
		w.send(t, "GET", "/userinfo", http.Header{"Authorization": {scheme + " " + tokens.access()}}, "").ok()
	}
	w.post(t, "/userinfo", nil, url.Values{"access_token": {tokens.access()}}).ok()
}

func TestClocksMayDifferBySeconds(t *testing.T) { // conformance 75, 120
	t.Parallel()
	w := start(t)
	a, key := w.assertionApp(t)
	signing, objects := w.signingApp(t)
	b := w.browser(t)
	now := w.now().Unix()
	for name, claims := range map[string]map[string]any{
		"ahead": {"iat": now + 10, "nbf": now + 10, "exp": now + 70}, "behind": {"iat": now - 65, "exp": now - 5},
	} {
		if r := w.post(t, "/token", nil, assertionForm(key.assertion(t, a.ID, w.issuer, claims))); r.status != 200 {
			t.Errorf("an assertion by a clock %s: %d %s", name, r.status, r.raw)
		}
		f := signing.begin()
		q := url.Values{"client_id": {signing.ID}, "request": {objects.object(t, f, claims)}}
		if p := b.get("/authorize?" + q.Encode()); p.url.Path != "/login" || p.left != nil {
			t.Errorf("a request object by a clock %s: %d, left to %v", name, p.status, p.left)
		}
	}
	zone := ""
	if err := w.db.Pool().QueryRow(t.Context(), `select created_at::text from clients where id = $1`, a.ID).Scan(&zone); err != nil || !strings.Contains(zone, "+") {
		t.Errorf("a stored time reads %q (%v), want one with its zone", zone, err)
	}
}
