package integration

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"idp/storage"
)

func TestAttacksOnCodesAndRefreshTokens(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-026 a code twice", codeTwice},
		{"A-027 a stranger's replay of a code", strangersReplay},
		{"A-028 a code in another client's hands", stolenCode},
		{"A-029 a wrong verifier, then none, then the right one", wrongThenRight},
		{"A-030 a verifier where none belongs, and the other way round", verifierMismatch},
		{"A-031 guessing the verifier", guessedVerifier},
		{"A-032 another return address at the token endpoint", otherRedirect},
		{"A-036 a refresh token in another client's hands", stolenRefresh},
		{"A-037 a forged half of a refresh token", forgedRefresh},
		{"A-038 refresh after the person, the client or the session went", refreshAfterTheEnd},
		{"A-039 refresh after the person took access away", refreshAfterWithdrawal},
		{"A-040 every other spelling of a token", spellings},
		{"A-043 a refresh that asks for more", wideRefresh},
	})
}

// everywhere wants both replicas, asked one after the other, to say whether a token counts.
func (s *scene) everywhere(a *app, token string, want bool) {
	s.Helper()
	for i := range s.replicas {
		there := *a
		there.w = s.at(s, i)
		if got := there.active(token); got != want {
			s.Errorf("replica %d says active %v, want %v", i+1, got, want)
		}
	}
}

func codeTwice(s *scene) {
	a := s.web1()
	f := a.begin()
	code := s.browser(s).get(f.url()).pass(s.arena.alice).Get("code")
	tokens := f.exchange(code).ok()
	s.everywhere(a, tokens.access(), true)
	s.nothing(func() { s.refused("again", f.exchange(code), 400, "invalid_grant") })
	s.everywhere(a, tokens.access(), false)
	s.everywhere(a, tokens.refresh(), false)
	s.refused("refresh", a.refresh(tokens.refresh()), 400, "invalid_grant")
}

func strangersReplay(s *scene) {
	a, evil, rs := s.spa1(), s.evil1(), s.client(storage.ClientMachine, "", func(c *storage.Client) { c.IntrospectAll = true })
	f := a.begin()
	code := s.browser(s).get(f.url()).pass(s.arena.alice).Get("code")
	tokens := f.exchange(code).ok()
	s.nothing(func() {
		s.refused("evil1", f.as(evil).exchange(code), 400, "invalid_grant")
		s.refused("evil1, its own address", f.as(evil).exchange(code, "code_verifier", "-", "redirect_uri", "https://evil1.test/cb"), 400, "invalid_grant")
		s.refused("no verifier", f.exchange(code, "code_verifier", "-"), 400, "invalid_grant")
		s.refused("another verifier", f.exchange(code, "code_verifier", randomText(48)), 400, "invalid_grant")
		s.refused("another address", f.exchange(code, "redirect_uri", "https://evil1.test/cb"), 400, "invalid_grant")
	})
	s.everywhere(rs, tokens.access(), true)
	a.refresh(tokens.refresh()).ok()
}

func stolenCode(s *scene) {
	a, evil, other := s.web1(), s.evil1(), s.web2()
	f := a.begin()
	code := s.browser(s).get(f.url()).pass(s.arena.alice).Get("code")
	s.nothing(func() {
		s.refused("evil1", f.as(evil).exchange(code), 400, "invalid_grant")
		s.refused("web2", f.as(other).exchange(code), 400, "invalid_grant")
		s.refused("web2, its own address", f.as(other).exchange(code, "redirect_uri", "https://rp2.test/cb"), 400, "invalid_grant")
		r := s.post(s, "/token", nil, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {"https://rp1.test/cb"}, "client_id": {a.ID}})
		s.refused("as web1 without its secret", r, 401, "invalid_client")
	})
	f.exchange(code).ok() // the control comes last: it is web1's after all that
}

func wrongThenRight(s *scene) {
	a, b := s.web1(), s.browser(s)
	f := a.begin()
	code := b.get(f.url()).pass(s.arena.alice).Get("code")
	s.nothing(func() {
		s.refused("wrong", f.exchange(code, "code_verifier", randomText(48)), 400, "invalid_grant")
		s.refused("none", f.exchange(code, "code_verifier", "-"), 400, "invalid_grant")
		s.refused("empty", f.exchange(code, "code_verifier", ""), 400, "invalid_grant")
		s.refused("the challenge", f.exchange(code, "code_verifier", f.params.Get("code_challenge")), 400, "invalid_grant")
	})
	f.exchange(code).ok() // after four failures
}

func verifierMismatch(s *scene) {
	strict, loose := s.web1(), s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.PKCEOptional = true })
	b := s.browser(s)
	f := strict.begin()
	code := b.get(f.url()).pass(s.arena.alice).Get("code")
	s.nothing(func() {
		s.refused("a challenge and no verifier", f.exchange(code, "code_verifier", "-"), 400, "invalid_grant")
	})
	f.exchange(code).ok()
	f = loose.begin("code_challenge", "-", "code_challenge_method", "-")
	code = b.get(f.url()).pass(s.arena.alice).Get("code")
	s.nothing(func() { s.refused("a verifier and no challenge", f.exchange(code), 400, "invalid_grant") })
	f.exchange(code, "code_verifier", "-").ok()
}

func guessedVerifier(s *scene) {
	a, b := s.web1(), s.browser(s)
	s.works(a, b, s.arena.alice)
	f := a.begin()
	code := b.get(f.url()).answer().Get("code")
	s.nothing(func() {
		for _, verifier := range []string{"x", strings.Repeat("x", 42), strings.Repeat("x", 128), strings.Repeat("x", 43) + " ", strings.Repeat("x", 43) + "+"} {
			s.refused(verifier, f.exchange(code, "code_verifier", verifier), 400, "invalid_grant")
		}
		s.refused("129 characters", f.exchange(code, "code_verifier", strings.Repeat("x", 129)), 400, "invalid_request", "invalid_grant")
		s.refused("the right one, after five", f.exchange(code), 400, "invalid_grant")
	})
}

func otherRedirect(s *scene) {
	a, b := s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://rp1.test/other") }), s.browser(s)
	f := a.begin()
	code := b.get(f.url()).pass(s.arena.alice).Get("code")
	s.nothing(func() {
		s.refused("missing", f.exchange(code, "redirect_uri", "-"), 400, "invalid_grant", "invalid_request")
		s.refused("another registered one", f.exchange(code, "redirect_uri", "https://rp1.test/other"), 400, "invalid_grant")
		s.refused("another case", f.exchange(code, "redirect_uri", "https://RP1.test/cb"), 400, "invalid_grant")
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {"https://rp1.test/cb", "https://rp1.test/cb"}}
		s.refused("twice", a.token(form), 400, "invalid_request")
	})
	f.exchange(code).ok()
}

func stolenRefresh(s *scene) {
	a, evil, other := s.spa1(), s.evil1(), s.web2()
	_, tokens := s.works(a, s.browser(s), s.arena.alice)
	s.nothing(func() {
		s.refused("evil1", evil.refresh(tokens.refresh()), 400, "invalid_grant")
		s.refused("web2", other.refresh(tokens.refresh()), 400, "invalid_grant")
		r := s.post(s, "/token", other.basicHeader(), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.refresh()}, "client_id": {a.ID}})
		s.refused("web2, in spa1's name", r, 401, "invalid_client")
	})
	a.refresh(tokens.refresh()).ok()
}

func forgedRefresh(s *scene) {
	a, evil := s.spa1(), s.evil1()
	_, tokens := s.works(a, s.browser(s), s.arena.alice)
	old := tokens.refresh()
	next := a.refresh(old).ok()
	head, tail := old[:len("idp_rt_")+30], old[len("idp_rt_")+30:]
	s.nothing(func() {
		for _, forged := range []string{"idp_rt_" + strings.Repeat("A", 30) + tail, head + strings.Repeat("A", len(tail)), "AAAA." + tail, head} {
			s.refused("spa1", a.refresh(forged), 400, "invalid_grant")
			s.refused("evil1", evil.refresh(forged), 400, "invalid_grant")
		}
		s.refused("evil1, the genuine one", evil.refresh(old), 400, "invalid_grant")
	})
	a.refresh(next.refresh()).ok()
}

func refreshAfterTheEnd(s *scene) {
	bound := func(c *storage.Client) { c.SessionRefresh = true }
	for _, tc := range []struct {
		name   string
		status int
		code   string
		end    func(a *app, b *browser, who *person)
	}{
		{"suspended", 400, "invalid_grant", func(a *app, b *browser, who *person) { s.setState(who, storage.UserSuspended) }},
		{"deleted", 400, "invalid_grant", func(a *app, b *browser, who *person) { s.setState(who, storage.UserDeleted) }},
		{"client disabled", 401, "invalid_client", func(a *app, b *browser, who *person) {
			s.updateClient(s, a, func(c *storage.Client) { now := s.now(); c.DisabledAt = &now })
		}},
		{"not in the client's group any more", 400, "invalid_grant", func(a *app, b *browser, who *person) {
			s.updateClient(s, a, func(c *storage.Client) { c.AccessGroups = []string{s.group(s, "g"+strings.ToLower(randomText(9))).ID} })
		}},
		{"signed out", 400, "invalid_grant", func(a *app, b *browser, who *person) {
			b.get("/logout").at("/logout").submit(nil).at("/logout/done")
		}},
	} {
		a, b, who := s.client(storage.ClientWeb, "https://rp1.test/cb", bound), s.browser(s), s.person(s, "p"+strings.ToLower(randomText(9)))
		_, tokens := s.works(a, b, who, "scope", "openid email")
		tokens = a.refresh(tokens.refresh()).ok()
		tc.end(a, b, who)
		s.nothing(func() {
			for range s.replicas { // each has seen the client and the grant as they were
				r := a.refresh(tokens.refresh())
				s.refused(tc.name, r, tc.status, tc.code)
			}
		})
	}
}

func (s *scene) setState(who *person, state string) {
	s.Helper()
	if _, err := s.db.SetUserState(context.Background(), who.ID, state, s.now(), storage.Event{}); err != nil {
		s.Fatal(err)
	}
}

func refreshAfterWithdrawal(s *scene) {
	a, session := s.web1(), s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.SessionRefresh = true })
	who := s.person(s, "w"+strings.ToLower(randomText(9)))
	here, there := s.browser(s), s.browser(s)
	_, tokens := s.works(a, here, who)
	here.post("/account/apps", url.Values{"client": {a.ID}}).at("/account/apps")
	s.nothing(func() {
		s.refused("taken away", a.refresh(tokens.refresh()), 400, "invalid_grant")
		s.everywhere(a, tokens.access(), false)
	})
	_, offline := s.works(a, there, who)
	_, bound := s.works(session, there, who, "scope", "openid email")
	here.get("/account/security").submit(map[string]string{"password": who.Password, "new_password": "seven quiet herons at dusk"}).at("/account/security")
	s.refused("another session's, after a new password", session.refresh(bound.refresh()), 400, "invalid_grant")
	a.refresh(offline.refresh()).ok() // offline access is the person's to take away in /account/apps
	if _, err := s.db.RevokeUser(context.Background(), who.ID, s.now(), storage.Event{}); err != nil {
		s.Fatal(err)
	}
	s.refused("after an operator took everything away", a.refresh(offline.refresh()), 400, "invalid_grant")
	here.get("/account").at("/login")
}

func spellings(s *scene) {
	a := s.web1()
	b := s.browser(s)
	_, tokens := s.works(a, b, s.arena.alice)
	f := a.begin()
	code := b.get(f.url()).answer().Get("code")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	others := func(token string) map[string]string {
		prefix, rest, last := token[:7], token[7:], strings.IndexByte(alphabet, token[len(token)-1])
		m := map[string]string{
			"last character, spare bits": token[:len(token)-1] + string(alphabet[last^1]),
			"CR LF within":               token[:20] + "\r\n" + token[20:], "LF at the end": token + "\n", "a space": token + " ",
			"padding": token + "=", "cut at the end": token[:len(token)-1], "cut at the front": token[1:], "no prefix": rest, "prefix twice": prefix + token,
			"upper case": strings.ToUpper(token), "plus and slash": prefix + strings.NewReplacer("-", "+", "_", "/").Replace(rest) + "A",
		}
		for _, p := range []string{"idp_ac_", "idp_rt_", "idp_at_", "ory_rt_"} {
			if p != prefix {
				m["prefix "+p] = p + rest
			}
		}
		return m
	}
	s.nothing(func() {
		for name, token := range others(tokens.refresh()) {
			s.refused("refresh: "+name, a.refresh(token), 400, "invalid_grant", "invalid_request")
			if r := a.call("/introspect", url.Values{"token": {token}}); r.body["active"] == true {
				s.Errorf("introspection takes a refresh token: %s", name)
			}
			a.call("/revoke", url.Values{"token": {token}})
		}
		for name, token := range others(tokens.access()) {
			if r := a.call("/introspect", url.Values{"token": {token}}); r.body["active"] == true {
				s.Errorf("introspection takes an access token: %s", name)
			}
			a.call("/revoke", url.Values{"token": {token}})
			if strings.ContainsAny(token, "\r\n ") {
				continue // no header can carry it as it is
			}
			if r := s.send(s, "GET", "/userinfo", bearerHeader(token), ""); r.status != 401 {
				s.Errorf("userinfo: %s: %d, want 401", name, r.status)
			}
		}
		for name, token := range others(code) {
			s.refused("code: "+name, f.exchange(token), 400, "invalid_grant", "invalid_request")
		}
	})
	f.exchange(code).ok()
	s.everywhere(a, tokens.access(), true)
	a.refresh(tokens.refresh()).ok()

	// What is signed has one spelling too.
	jwt := s.client(storage.ClientWeb, "https://rp1.test/cb", func(c *storage.Client) { c.AccessTokenFormat = "jwt" })
	_, tokens = s.works(jwt, b, s.arena.alice)
	s.everywhere(jwt, tokens.access(), true)
	for name, token := range others(tokens.access()) {
		if jwt.call("/introspect", url.Values{"token": {token}}).body["active"] == true {
			s.Errorf("introspection takes a JWT: %s", name)
		}
		if !strings.ContainsAny(token, "\r\n ") && s.send(s, "GET", "/userinfo", bearerHeader(token), "").status == 200 {
			s.Errorf("userinfo takes a JWT: %s", name)
		}
	}
}

func wideRefresh(s *scene) {
	a := s.web1()
	_, tokens := s.works(a, s.browser(s), s.arena.alice, "scope", "openid email offline_access")
	s.nothing(func() {
		for _, scope := range []string{"openid email profile", "openid email offline_access phone", "nope", "openid nope", `open"id`} {
			s.refused(scope, a.refresh(tokens.refresh(), "scope", scope), 400, "invalid_scope")
		}
	})
	if got := a.refresh(tokens.refresh(), "scope", "openid").ok().text("scope"); got != "openid" {
		s.Errorf("narrowed to %q, want openid", got)
	}
}

func TestAttacksOnTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	newArena(t).play(t, []attack{
		{"A-044 credentials twice, of two clients, or in the wrong place", mixedCredentials},
		{"A-046 assertions for somebody else", assertions(func(issuer string, now float64) map[string]map[string]any {
			return map[string]map[string]any{
				"another issuer": {"aud": "https://evil1.test"}, "an array with another": {"aud": []string{issuer, "https://evil1.test"}}, "the token endpoint": {"aud": issuer + "/token"},
				"missing": {"aud": nil}, "a trailing slash": {"aud": issuer + "/"}, "empty": {"aud": ""}, "an empty array": {"aud": []string{}}, "a number": {"aud": 1}, "an object": {"aud": map[string]string{"iss": issuer}},
			}
		})},
		{"A-047 assertions out of time or without a name", assertions(func(issuer string, now float64) map[string]map[string]any {
			return map[string]map[string]any{
				"exp in a day": {"exp": now + 86400}, "no exp": {"exp": nil}, "past": {"exp": now - 30}, "exp a word": {"exp": "soon"}, "iat ahead": {"iat": now + 70}, "nbf ahead": {"nbf": now + 70},
				"no jti": {"jti": nil}, "empty jti": {"jti": ""}, "jti of 1 kB": {"jti": strings.Repeat("x", 1024)}, "jti a number": {"jti": 1},
			}
		})},
		{"A-048 assertions that bring their own key", forgedAssertions},
		{"A-049 guessing a client's secret", guessedSecret},
		{"A-050 token requests that are no form", notAForm},
		{"A-053 scopes that a client has not", foreignScopes},
		{"A-054 grants that are not offered", otherGrants},
		{"A-055 grants that this client may not use", notThisClients},
	})
}

var clientCredentials = url.Values{"grant_type": {"client_credentials"}}

func mixedCredentials(s *scene) {
	machine, web, public, evil := s.m2m1(), s.web1(), s.spa1(), s.evil1()
	machine.token(clientCredentials).ok()
	s.works(web, s.browser(s), s.arena.alice)
	form := func(more ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	s.nothing(func() {
		for _, tc := range []struct {
			name   string
			header http.Header
			form   url.Values
			path   string
			status int
			code   string
		}{
			{"header and body", machine.basicHeader(), form("client_id", machine.ID, "client_secret", machine.secret), "/token", 400, "invalid_request"},
			{"the header of one, the id of another", web.basicHeader(), form("client_id", evil.ID), "/token", 401, "invalid_client"},
			{"the secret in the URL", nil, form(), "/token?client_id=" + machine.ID + "&client_secret=" + machine.secret, 400, "invalid_request"},
			{"no secret", nil, form("client_id", machine.ID), "/token", 401, "invalid_client"},
			{"a public client with a secret", nil, form("client_id", public.ID, "client_secret", "x"), "/token", 401, "invalid_client"},
			{"a public client with an empty password", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(public.ID+":"))}}, form(), "/token", 401, "invalid_client"},
			{"another client's secret", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(machine.ID+":"+web.secret))}}, form(), "/token", 401, "invalid_client"},
			{"a secret and an assertion", machine.basicHeader(), form("client_assertion", "x.y.z", "client_assertion_type", assertionForm("").Get("client_assertion_type")), "/token", 400, "invalid_request"},
			{"two headers", http.Header{"Authorization": {machine.basicHeader().Get("Authorization"), web.basicHeader().Get("Authorization")}}, form(), "/token", 401, "invalid_client"},
		} {
			r := s.post(s, tc.path, tc.header, tc.form)
			s.refused(tc.name, r, tc.status, tc.code)
			if asked := strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic "); asked != (tc.header != nil && tc.status == 401) {
				s.Errorf("%s: WWW-Authenticate %q", tc.name, r.header.Get("WWW-Authenticate"))
			}
		}
	})
}

func guessedSecret(s *scene) {
	a := s.m2m1()
	a.token(clientCredentials).ok()
	wrong := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(a.ID+":x"))}}
	attacker := s.arena.b.from(s, s.world, nextAddress())
	s.nothing(func() {
		slowed := 0
		for try := 0; try < 100 && slowed < len(s.replicas); try++ { // each replica counts for itself
			r := attacker.post(s, "/token", wrong, clientCredentials)
			if r.status == 429 && r.header.Get("Retry-After") != "" {
				slowed++
			} else if r.status != 401 {
				s.Fatalf("guess %d: %d %s", try, r.status, r.raw)
			}
		}
		if slowed < len(s.replicas) {
			s.Errorf("100 guesses from one address were refused as too many %d times, want every replica to", slowed)
		}
	})
	for range s.replicas { // the client itself, from its own address, notices nothing
		a.token(clientCredentials).ok()
	}
}

func notAForm(s *scene) {
	a := s.web1()
	b := s.browser(s)
	s.works(a, b, s.arena.alice)
	f := a.begin()
	code := b.get(f.url()).answer().Get("code")
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {"https://rp1.test/cb"}}
	const kind = "application/x-www-form-urlencoded"
	s.nothing(func() {
		for _, tc := range []struct {
			name, method, path, kind, body string
			status                         int
		}{
			{"GET", "GET", "/token?" + form.Encode(), "", "", 405},
			{"PUT", "PUT", "/token", kind, form.Encode(), 405},
			{"in the URL", "POST", "/token?" + form.Encode(), kind, "", 400},
			{"half in the URL", "POST", "/token?code=" + code, kind, form.Encode(), 400},
			{"JSON", "POST", "/token", "application/json", mustJSON(s, form), 400},
			{"multipart", "POST", "/token", "multipart/form-data; boundary=x", "--x--", 400},
			{"grant_type twice", "POST", "/token", kind, form.Encode() + "&grant_type=refresh_token", 400},
			{"code twice", "POST", "/token", kind, form.Encode() + "&code=x", 400},
			{"empty", "POST", "/token", kind, "", 400},
			{"no type", "POST", "/token", "", form.Encode(), 400},
			{"utf-16", "POST", "/token", kind + "; charset=utf-16", form.Encode(), 400},
			{"broken escapes", "POST", "/token", kind, form.Encode() + "&x=%zz", 400},
			{"semicolons", "POST", "/token", kind, strings.ReplaceAll(form.Encode(), "&", ";"), 400},
		} {
			h := a.basicHeader()
			if tc.kind != "" {
				h.Set("Content-Type", tc.kind)
			}
			r := s.send(s, tc.method, tc.path, h, tc.body)
			s.refused(tc.name, r, tc.status, "invalid_request")
			if r.status != tc.status || (r.header.Get("Allow") != "") != (r.status == 405) {
				s.Errorf("%s: %d, Allow %q; want %d", tc.name, r.status, r.header.Get("Allow"), tc.status)
			}
		}
	})
	f.exchange(code).ok() // none of them consumed it
}

func foreignScopes(s *scene) {
	a := s.m2m1()
	if got := a.token(clientCredentials).ok().text("scope"); got != "api:read api:write" {
		s.Errorf("without scope: %q, want the client's own", got)
	}
	s.nothing(func() {
		for _, scope := range []string{"admin", "api:delete", "api:read admin", "openid", "offline_access", "api:READ", "api", "*"} {
			s.refused(scope, a.token(url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}), 400, "invalid_scope")
		}
	})
}

func otherGrants(s *scene) {
	a := s.m2m1()
	a.token(clientCredentials).ok()
	s.nothing(func() {
		for _, grant := range []string{"password", "implicit", "urn:ietf:params:oauth:grant-type:saml2-bearer", "authorization_code refresh_token", "CLIENT_CREDENTIALS"} {
			r := a.token(url.Values{"grant_type": {grant}, "username": {"alice"}, "password": {s.arena.alice.Password}, "assertion": {"x"}})
			s.refused(grant, r, 400, "unsupported_grant_type") // so a password is never looked at
		}
		s.refused("empty", a.token(url.Values{"grant_type": {""}}), 400, "invalid_request")
	})
}

func notThisClients(s *scene) {
	public, machine := s.spa1(), s.m2m1()
	b := s.browser(s)
	machine.token(clientCredentials).ok()
	s.works(public, b, s.arena.alice)
	f := public.begin()
	code := b.get(f.url()).answer().Get("code")
	s.nothing(func() {
		s.refused("a public client", public.token(clientCredentials), 400, "unauthorized_client")
		s.refused("a machine with a code", f.as(machine).exchange(code), 400, "unauthorized_client", "invalid_grant")
		s.refused("a machine's exchange", machine.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"idp_at_x"}}), 400, "unauthorized_client")
		s.refused("a machine's assertion", machine.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"x.y.z"}}), 400, "unauthorized_client")
		s.refused("a machine's refresh", machine.refresh("idp_rt_x"), 400, "unauthorized_client", "invalid_grant")
	})
	f.exchange(code).ok()
}
