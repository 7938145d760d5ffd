package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/oauth"
	"idp/storage"
)

func (w *world) join(t testing.TB, g storage.Group, p *person) {
	t.Helper()
	if _, err := w.db.AddMember(t.Context(), g.ID, p.ID, storage.Event{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) leave(t testing.TB, g storage.Group, p *person) {
	t.Helper()
	if _, err := w.db.RemoveMember(t.Context(), g.ID, p.ID, storage.Event{}); err != nil {
		t.Fatal(err)
	}
}

func TestGroupsAreToldAsTheyAreAtTheMoment(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	staff, board := w.group(t, "staff", ada), w.group(t, "board")
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenClaims = true })
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid groups offline_access")
	_, without := a.signIn(w.browser(t), ada, "scope", "openid email")
	if got := w.userinfo(t, without); got["groups"] != nil {
		t.Errorf("without the scope, groups = %v", got["groups"])
	}
	says := func(want string) {
		t.Helper()
		_, id := claims(t, tokens.text("id_token"))
		if got := w.userinfo(t, tokens); fmt.Sprint(got["groups"]) != want || fmt.Sprint(id["groups"]) != want {
			t.Errorf("userinfo says %v, the ID token %v; want %s", got["groups"], id["groups"], want)
		}
	}
	says("[staff]")
	w.join(t, board, ada)
	tokens = a.refresh(tokens.refresh()).ok()
	says("[board staff]")
	w.leave(t, staff, ada)
	w.leave(t, board, ada)
	tokens = a.refresh(tokens.refresh()).ok()
	says("[]")
}

func TestClaimRulesPutClaimsWhereTheySay(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	for _, g := range []string{"app-admin", "app-editor", "staff", "app-"} {
		w.group(t, g, ada)
	}
	everywhere := []string{"id_token", "userinfo", "access_token"}
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.AccessTokenFormat = "jwt"
		c.ClaimRules = []storage.ClaimRule{
			{Claim: "roles", Groups: &storage.GroupsClaim{Prefix: "app-", Strip: true}, In: everywhere},
			{Claim: "https://acme.test/teams", Groups: &storage.GroupsClaim{Prefix: "app-"}, In: []string{"access_token"}},
			{Claim: "tenant", Value: json.RawMessage(`{"id":7,"name":"acme"}`), In: everywhere},
			{Claim: "mail", Field: "email", In: []string{"id_token"}, Scope: "email"},
			{Claim: "place", Field: "address", In: []string{"userinfo"}},
			{Claim: "none", Groups: &storage.GroupsClaim{Prefix: "nobody-"}, In: []string{"userinfo"}},
			{Claim: "groups", Groups: &storage.GroupsClaim{Prefix: "st"}, In: []string{"userinfo"}},
		}
	})
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid email groups")
	_, id := claims(t, tokens.text("id_token"))
	_, access := claims(t, tokens.access())
	intro := a.call("/introspect", url.Values{"token": {tokens.access()}}).ok().body
	tenant := "map[id:7 name:acme]"
	for place, tc := range map[string]struct {
		got  map[string]any
		want map[string]string
	}{
		"ID token": {id, map[string]string{"roles": "[admin editor]", "tenant": tenant, "mail": ada.Email}},
		"userinfo": {w.userinfo(t, tokens), map[string]string{"roles": "[admin editor]", "tenant": tenant, "place": "map[country:GB formatted:12 St James's Square\nLondon locality:London]",
			"none": "[]", "groups": "[staff]", "email": ada.Email, "email_verified": "true"}},
		"access token":  {access, map[string]string{"roles": "[admin editor]", "https://acme.test/teams": "[app- app-admin app-editor]", "tenant": tenant}},
		"introspection": {intro, map[string]string{"roles": "[admin editor]", "https://acme.test/teams": "[app- app-admin app-editor]", "tenant": tenant, "active": "true", "token_type": "Bearer"}},
	} {
		for name, want := range tc.want {
			if got := fmt.Sprint(tc.got[name]); got != want {
				t.Errorf("%s: %s = %s, want %s", place, name, got, want)
			}
		}
		if got := len(strings.Fields(told(tc.got))); got != len(tc.want) {
			t.Errorf("%s tells %s, want %d claims", place, told(tc.got), len(tc.want))
		}
	}
	_, narrow := a.signIn(w.browser(t), ada, "scope", "openid")
	if _, id := claims(t, narrow.text("id_token")); id["mail"] != nil || id["tenant"] == nil {
		t.Errorf("without the scope of a rule: %s", told(id))
	}
}

func TestARuleOfAnOpaqueTokensClientIsToldByIntrospection(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	ada := w.person(t, "ada")
	const api = "https://api1.test"
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Resources = []string{api} })
	w.resource(t, api)
	rs := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.Audience = []string{api} })
	_, tokens := a.signIn(w.browser(t), ada, "resource", api)
	ask := func() map[string]any { return rs.call("/introspect", url.Values{"token": {tokens.access()}}).ok().body }
	for range 2 {
		if got := ask(); got["tenant"] != nil || got["active"] != true {
			t.Fatalf("before the rule: %v", got)
		}
	}
	w.updateClient(t, a, func(c *storage.Client) {
		c.ClaimRules = []storage.ClaimRule{{Claim: "tenant", Value: json.RawMessage(`"acme"`), In: []string{"access_token"}}}
	})
	for range 4 { // on every replica at once, whatever it has in its cache
		if got := ask(); got["tenant"] != "acme" {
			t.Errorf("after the rule: %v", got)
		}
	}
}

func TestNoRuleCanSayWhatTheProviderSays(t *testing.T) {
	t.Parallel()
	in := []string{"userinfo"}
	value := json.RawMessage(`"x"`)
	good := storage.Client{ClientMetadata: storage.ClientMetadata{
		Name: "App", Type: storage.ClientMachine, AuthMethod: "client_secret_basic", IDTokenAlg: "RS256", AccessTokenFormat: "opaque", GrantTypes: []string{"client_credentials"},
	}}
	if err := oauth.CheckClient(&good); err != nil {
		t.Fatal(err)
	}
	bad := map[string][]storage.ClaimRule{
		"nothing": {{Claim: "a", In: in}}, "two sources": {{Claim: "a", Value: value, Field: "email", In: in}}, "nowhere": {{Claim: "a", Value: value}},
		"wrong place": {{Claim: "a", Value: value, In: []string{"cookie"}}}, "no claim": {{Value: value, In: in}}, "space": {{Claim: "a b", Value: value, In: in}},
		"unknown field": {{Claim: "a", Field: "password", In: in}}, "strip nothing": {{Claim: "a", Groups: &storage.GroupsClaim{Strip: true}, In: in}},
		"null": {{Claim: "a", Value: json.RawMessage(`null`), In: in}}, "no JSON": {{Claim: "a", Value: json.RawMessage(`{`), In: in}},
		"NUL": {{Claim: "a", Value: json.RawMessage(`"\u0000"`), In: in}}, "huge number": {{Claim: "a", Value: json.RawMessage(`1e999`), In: in}},
		"large": {{Claim: "a", Value: json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`), In: in}}, "twice": {{Claim: "a", Value: value, In: in}, {Claim: "a", Field: "email", In: in}},
		"bad scope": {{Claim: "a", Value: value, In: in, Scope: "a b"}},
	}
	for _, name := range strings.Fields(`iss sub aud exp iat nbf jti auth_time nonce acr amr azp at_hash c_hash s_hash sid client_id scope cnf act may_act
		events token_introspection typ active token_type username email_verified phone_number_verified authorization_details
		Sub SID Aud Scope Email_Verified`) {
		bad[name] = []storage.ClaimRule{{Claim: name, Value: value, In: []string{"access_token"}}}
	}
	var many []storage.ClaimRule
	for i := range 33 {
		many = append(many, storage.ClaimRule{Claim: fmt.Sprint("c", i), Value: value, In: in})
	}
	bad["too many"] = many
	for i := range 9 {
		bad["too many lists"] = append(bad["too many lists"], storage.ClaimRule{Claim: fmt.Sprint("c", i), Groups: &storage.GroupsClaim{}, In: in})
	}
	for name, rules := range bad {
		c := good
		c.ClaimRules = rules
		if err := oauth.CheckClient(&c); err == nil {
			t.Errorf("%s: the rules are accepted", name)
		}
	}
	for _, change := range []func(*storage.Client){
		func(c *storage.Client) { c.UserInfoAlg = "none" },
		func(c *storage.Client) { c.UserInfoAlg = "HS256" },
		func(c *storage.Client) { c.IntrospectionAlg = "none" },
	} {
		c := good
		change(&c)
		if err := oauth.CheckClient(&c); err == nil {
			t.Errorf("accepted: userinfo %q, introspection %q", c.UserInfoAlg, c.IntrospectionAlg)
		}
	}
}

func TestAnAddressByARuleIsNotCalledVerified(t *testing.T) { // we have checked the person's own, and no other
	t.Parallel()
	w := start(t)
	ada, in := w.person(t, "ada"), []string{"id_token", "userinfo"}
	for _, tc := range []struct {
		rules []storage.ClaimRule
		want  string // what is verified
	}{
		{nil, "email phone"},
		{[]storage.ClaimRule{{Claim: "email", Value: json.RawMessage(`"root@example.test"`), In: in}}, "phone"},
		{[]storage.ClaimRule{{Claim: "email", Field: "name", In: in}, {Claim: "phone_number", Field: "nickname", In: in}}, ""},
		{[]storage.ClaimRule{{Claim: "email", Field: "email", In: in}, {Claim: "mail", Field: "name", In: in}}, "email phone"},
	} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenClaims, c.ClaimRules = true, tc.rules })
		_, tokens := a.signIn(w.browser(t), ada, "scope", "openid email phone")
		_, id := claims(t, tokens.text("id_token"))
		for place, got := range map[string]map[string]any{"id_token": id, "userinfo": w.userinfo(t, tokens)} {
			var verified []string
			for name, claim := range map[string]string{"email": "email_verified", "phone": "phone_number_verified"} {
				if got[claim] == true {
					verified = append(verified, name)
				}
			}
			slices.Sort(verified)
			if strings.Join(verified, " ") != tc.want || got["email"] == nil {
				t.Errorf("%v: %s tells %v, want verified: %q", tc.rules, place, got, tc.want)
			}
		}
	}
}

func TestOnlyMembersOfItsGroupsMayUseAClient(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	ada, bob := w.person(t, "ada"), w.person(t, "bob")
	staff, board := w.group(t, "staff", ada), w.group(t, "board")
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AccessGroups = []string{staff.ID, board.ID} })
	open := w.app(t, storage.ClientWeb)

	b := w.browser(t)
	f := a.begin()
	p := b.get(f.url()).at("/login").submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/authorize")
	if p.status != 403 || !strings.Contains(p.body, bob.Email) || !strings.Contains(p.body, a.Name) || !strings.Contains(p.body, `id="switch"`) || !strings.Contains(p.body, `id="cancel"`) {
		t.Fatalf("bob sees %d\n%s", p.status, p.body)
	}
	if again := b.get(p.url.String()); again.status != 403 {
		t.Errorf("the page, loaded again: %d", again.status)
	}
	if answer := b.get(a.begin("prompt", "none").url()).answer(); answer.Get("error") != "access_denied" || answer.Get("state") == "" {
		t.Errorf("prompt=none: %v, want access_denied", answer)
	}
	if direct := b.get(a.begin().url()).at("/authorize"); direct.status != 403 || direct.url.Query().Get("request") == "" {
		t.Errorf("signed in already: %d at %s, want the page under an address of its own", direct.status, direct.url)
	}
	request := p.url.Query().Get("request")
	if consent := b.post("/consent", url.Values{"request": {request}, "person": {bob.ID}, "decision": {"allow"}}); consent.left != nil || consent.status != 403 {
		t.Errorf("a forged consent: %d, left %v", consent.status, consent.left)
	}
	if got := b.get("/login/accounts?request=" + request).at("/login/accounts").pass(ada).Get("code"); got == "" {
		t.Error("another account gets no code")
	}
	if !strings.Contains(b.get("/login/accounts").body, bob.Email) {
		t.Error("using another account signed bob out")
	}
	b = w.browser(t)
	p = b.get(a.begin().url()).at("/login").submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/authorize")
	back := b.get("/authorize?request=" + p.url.Query().Get("request") + "&cancel=1").answer()
	if back.Get("error") != "access_denied" || back.Get("state") == "" || back.Has("code") {
		t.Errorf("back to the app: %v, want access_denied", back)
	}
	open.signIn(b, bob)

	_, tokens := a.signIn(w.browser(t), ada)
	late := a.begin()
	lateCode := w.browser(t).get(late.url()).pass(ada).Get("code")
	api := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true })
	if !api.active(tokens.access()) {
		t.Fatal("a member's token is not active")
	}
	w.leave(t, staff, ada)
	for range 2 { // each replica
		if api.active(tokens.access()) || a.active(tokens.refresh()) {
			t.Error("tokens are active after their person left the group")
		}
		if r := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), ""); r.status != 401 {
			t.Errorf("userinfo: %d, want 401", r.status)
		}
		a.refresh(tokens.refresh()).fails(400, "invalid_grant")
		late.exchange(lateCode).fails(400, "invalid_grant")
	}
	w.join(t, board, ada) // any of the groups will do
	if !api.active(tokens.access()) {
		t.Error("the token is not active although its person may use the client again")
	}
	a.refresh(tokens.refresh()).ok()
	w.updateClient(t, a, func(c *storage.Client) { c.AccessGroups = []string{"grp_gone"} })
	if answer := b.get(a.begin("prompt", "none").url()).answer(); answer.Get("error") != "access_denied" {
		t.Errorf("a client for a group that is not there: %v, want access_denied", answer)
	}
}

func TestAClientOfSomeGroupsStillActsForItself(t *testing.T) {
	t.Parallel()
	w := start(t)
	staff := w.group(t, "staff")
	m := w.app(t, storage.ClientMachine, func(c *storage.Client) {
		c.AccessGroups, c.AccessTokenFormat = []string{staff.ID}, "jwt"
		c.ClaimRules = []storage.ClaimRule{
			{Claim: "tenant", Value: json.RawMessage(`"acme"`), In: []string{"access_token"}},
			{Claim: "roles", Groups: &storage.GroupsClaim{}, In: []string{"access_token"}},
			{Claim: "mail", Field: "email", In: []string{"access_token"}},
		}
	})
	token := m.token(url.Values{"grant_type": {"client_credentials"}}).ok().access()
	if !m.active(token) {
		t.Error("its token is not active")
	}
	if _, c := claims(t, token); c["tenant"] != "acme" || told(c) != "tenant" {
		t.Errorf("its token tells %s, want the fixed value alone", told(c))
	}
	m.token(url.Values{"grant_type": {"client_credentials"}, "scope": {"groups"}}).fails(400, "invalid_scope")
}

func TestTokenAnswersTellWhenTheRefreshTokenEnds(t *testing.T) { // refresh_token_timeout, authorization_expires_in
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	near := func(r reply, name string, want time.Duration) {
		t.Helper()
		got, ok := r.body[name].(float64)
		if d := time.Duration(got)*time.Second - want; !ok || d > time.Second || d < -5*time.Second {
			t.Errorf("%s = %v, want about %v", name, r.body[name], want.Seconds())
		}
	}
	lives := storage.Lifetimes{RefreshIdle: 3600, RefreshMax: 5400, AccessToken: 1200}
	for _, keep := range []bool{false, true} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Lifetimes, c.KeepRefreshToken = lives, keep })
		_, tokens := a.signIn(w.browser(t), ada, "scope", "openid offline_access")
		near(tokens, "refresh_token_timeout", time.Hour)
		near(tokens, "authorization_expires_in", 90*time.Minute)
		w.clock.advance(50 * time.Minute)
		next := a.refresh(tokens.refresh()).ok()
		near(next, "refresh_token_timeout", 40*time.Minute) // not past the end of the authorization
		near(next, "authorization_expires_in", 40*time.Minute)
		w.clock.advance(30 * time.Minute)
		last := a.refresh(next.refresh()).ok()
		near(last, "authorization_expires_in", 10*time.Minute)
		near(last, "expires_in", 10*time.Minute) // an access token does not outlive the authorization
		w.clock.advance(10*time.Minute + time.Second)
		a.refresh(last.refresh()).fails(400, "invalid_grant")
	}
	spa := w.app(t, storage.ClientSPA, func(c *storage.Client) {
		c.SessionRefresh, c.Lifetimes = true, storage.Lifetimes{RefreshIdle: 10 * 86400, RefreshMax: 20 * 86400}
	})
	_, tokens := spa.signIn(w.browser(t), ada, "scope", "openid")
	near(tokens, "authorization_expires_in", 24*time.Hour) // it ends with the session
	near(tokens, "refresh_token_timeout", 8*time.Hour)     // or earlier, when nobody uses that
	w.clock.advance(time.Hour)
	near(spa.refresh(tokens.refresh()).ok(), "refresh_token_timeout", 7*time.Hour)
	_, plain := w.app(t, storage.ClientWeb).signIn(w.browser(t), ada, "scope", "openid")
	if plain.body["refresh_token_timeout"] != nil || plain.body["authorization_expires_in"] != nil {
		t.Errorf("without a refresh token: %s", plain.raw)
	}
}

func TestIntrospectionTellsTheSameEndOfARefreshToken(t *testing.T) {
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { // longer than the session that it hangs on
		c.SessionRefresh, c.Lifetimes = true, storage.Lifetimes{RefreshIdle: 10 * 86400, RefreshMax: 20 * 86400}
	})
	_, tokens := a.signIn(w.browser(t), w.person(t, "ada"), "scope", "openid")
	exp, _ := a.call("/introspect", url.Values{"token": {tokens.refresh()}}).ok().body["exp"].(float64)
	told, _ := tokens.body["refresh_token_timeout"].(float64)
	if left := exp - float64(w.clock.now().Unix()); told == 0 || left > told+1 || left < told-5 {
		t.Errorf("introspection: %v s, token answer: %v s", left, told)
	}
}
