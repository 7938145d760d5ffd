package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"idp/storage"
)

// group makes a group with members, as an operator would.
func (w *world) group(t testing.TB, name string, members ...*person) storage.Group {
	t.Helper()
	g := storage.Group{ID: storage.NewID("grp_"), Name: name, ClaimValue: name, CreatedAt: w.now()}
	if err := w.db.CreateGroup(t.Context(), g, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range members {
		if _, err := w.db.AddMember(t.Context(), g.ID, p.ID, storage.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (w *world) userinfo(t testing.TB, tokens reply) map[string]any {
	t.Helper()
	return w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().body
}

// told are the claims of an ID token or userinfo that speak of the person.
func told(claims map[string]any) string {
	own := []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "sid", "client_id", "scope"}
	return strings.Join(slices.DeleteFunc(names(claims), func(n string) bool { return slices.Contains(own, n) }), " ")
}

func TestAPersonWithEveryStandardClaimHasAllOfThemWithTheRightTypes(t *testing.T) { // conformance 92, 93; OpenID Connect Core, 5.1
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	w.group(t, "staff", ada)
	want := map[string]any{
		"name": "ada Lovelace", "given_name": "ada", "family_name": "Lovelace", "middle_name": "King", "nickname": "ada", "preferred_username": "ada",
		"profile": "https://people.test/ada", "picture": "https://people.test/ada.png", "website": "https://ada.test", "gender": "female",
		"birthdate": "1815-12-10", "zoneinfo": "Europe/London", "locale": "en-GB",
		"email": "ada@example.test", "email_verified": true, "phone_number": "+44 20 7946 0000", "phone_number_verified": true,
		"address": map[string]any{"formatted": "12 St James's Square\nLondon", "locality": "London", "country": "GB"},
		"groups":  []any{"staff"},
	}
	for _, inIDToken := range []bool{false, true} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenClaims = inIDToken })
		_, tokens := a.signIn(w.browser(t), ada, "scope", "openid profile email address phone groups")
		_, id := claims(t, tokens.text("id_token"))
		places := map[string]map[string]any{"userinfo": w.userinfo(t, tokens)}
		if inIDToken {
			places["ID token"] = id
		} else if got := told(id); got != "" {
			t.Errorf("the ID token tells %s, want nothing of the person", got)
		}
		for place, got := range places {
			for name, value := range want {
				if fmt.Sprintf("%#v", got[name]) != fmt.Sprintf("%#v", value) {
					t.Errorf("%s: %s = %#v, want %#v", place, name, got[name], value)
				}
			}
			if at, ok := got["updated_at"].(float64); !ok || at != float64(int64(at)) || at < 1e9 {
				t.Errorf("%s: updated_at = %#v, want seconds", place, got["updated_at"])
			}
			if got["sub"] != ada.ID {
				t.Errorf("%s: sub = %v, want %s", place, got["sub"], ada.ID)
			}
		}
		for _, name := range []string{"exp", "iat", "auth_time"} {
			if _, ok := id[name].(float64); !ok || strings.Contains(fmt.Sprint(id[name]), ".5") {
				t.Errorf("%s = %v, want a whole number", name, id[name])
			}
		}
	}
}

func TestWhatAPersonHasNotIsAbsent(t *testing.T) { // conformance 92
	t.Parallel()
	w := start(t)
	bare := w.person(t, "bare")
	if _, err := w.db.UpdateUser(t.Context(), bare.ID, func(u *storage.User) error {
		u.Email, u.EmailVerifiedAt, u.Profile = "", nil, storage.Profile{Address: &storage.Address{}, PhoneNumberVerified: true}
		return nil
	}, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenClaims = true })
	_, tokens := a.signIn(w.browser(t), bare, "scope", "openid profile email address phone groups",
		"claims", `{"userinfo":{"email":{"essential":true},"name":null},"id_token":{"phone_number":null}}`)
	_, id := claims(t, tokens.text("id_token"))
	for place, got := range map[string]map[string]any{"userinfo": w.userinfo(t, tokens), "ID token": id} {
		if told(got) != "groups preferred_username updated_at" {
			t.Errorf("%s tells %s; want the user name, the time of the last change and the empty list of groups only", place, told(got))
		}
		if groups, ok := got["groups"].([]any); !ok || len(groups) != 0 {
			t.Errorf("%s: groups = %#v, want an empty list", place, got["groups"])
		}
	}
}

func TestClaimsAskedForOneByOneGoWhereTheyWereAskedFor(t *testing.T) { // conformance 58, 88; OpenID Connect Core, 5.5
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	w.group(t, "staff", ada)
	w.group(t, "app-admin", ada)
	a := w.app(t, storage.ClientWeb)
	small := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Scopes = []string{"openid", "email", "offline_access"} })
	for _, tc := range []struct {
		name, scope, claims, userinfo, idToken string
		a                                      *app
	}{
		{"essential name in userinfo", "openid", `{"userinfo":{"name":{"essential":true}}}`, "name", "", a},
		{"a name for the ID token", "openid", `{"id_token":{"name":null,"email":{"essential":false}}}`, "", "email name", a},
		{"both", "openid", `{"userinfo":{"email":null},"id_token":{"given_name":null}}`, "email", "given_name", a},
		{"beside a scope", "openid email", `{"id_token":{"email":null}}`, "email email_verified", "email", a},
		{"groups", "openid", `{"id_token":{"groups":null}}`, "", "groups", a},
		{"unknown claims and members", "openid", `{"userinfo":{"shoe_size":{"essential":true},"http://x.test/y":null},"other":{"a":1},"id_token":null}`, "", "", a},
		{"the person's value", "openid", `{"userinfo":{"email":{"value":"ada@example.test"},"email_verified":{"value":true}}}`, "email email_verified", "", a},
		{"another value", "openid", `{"userinfo":{"email":{"value":"eve@example.test","essential":true},"email_verified":{"value":"true"}}}`, "", "", a},
		{"one of several values", "openid", `{"userinfo":{"locale":{"values":["fr","en-GB"]},"zoneinfo":{"values":["Europe/Paris"]}}}`, "locale", "", a},
		{"no value at all", "openid", `{"userinfo":{"locale":{"values":[]}}}`, "", "", a},
		{"a group that the person is in", "openid", `{"userinfo":{"groups":{"values":["staff","board"]}}}`, "groups", "", a},
		{"a scope that the client is not registered for", "openid", `{"userinfo":{"name":{"essential":true},"email":null}}`, "email", "", small},
		{"without openid", "email", `{"userinfo":{"name":null}}`, "", "", small},
		{"the token's own", "openid", `{"userinfo":{"iss":null,"acr":null},"id_token":{"auth_time":{"essential":true},"nonce":{"value":"x"},"acr":{"values":["urn:none"]}}}`, "", "", a},
		{"with line breaks", "openid", "{\r\n\t\"userinfo\": {\"name\": null}\n}", "name", "", a},
	} {
		f := tc.a.begin("scope", tc.scope, "claims", tc.claims)
		answer := w.browser(t).get(f.url()).pass(ada)
		if answer.Get("code") == "" {
			t.Errorf("%s: %v, want a code", tc.name, answer)
			continue
		}
		tokens := f.exchange(answer.Get("code")).ok()
		if !strings.Contains(tc.scope, "openid") {
			continue
		}
		_, id := claims(t, tokens.text("id_token"))
		info := w.userinfo(t, tokens)
		if told(info) != tc.userinfo || told(id) != tc.idToken {
			t.Errorf("%s: userinfo tells %q, the ID token %q; want %q and %q", tc.name, told(info), told(id), tc.userinfo, tc.idToken)
		}
		if tokens.text("scope") != tc.scope {
			t.Errorf("%s: scope = %q, want %q: single claims are no scope", tc.name, tokens.text("scope"), tc.scope)
		}
		if tc.name == "a group that the person is in" && fmt.Sprint(info["groups"]) != "[staff]" {
			t.Errorf("groups = %v, want those asked for", info["groups"])
		}
	}
}

func TestSingleClaimsLastThroughRefreshAsLongAsTheClientMayHaveThem(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a := w.app(t, storage.ClientWeb)
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid offline_access", "claims", `{"id_token":{"email":null},"userinfo":{"phone_number":null}}`)
	tokens = a.refresh(tokens.refresh()).ok()
	if _, id := claims(t, tokens.text("id_token")); id["email"] != "ada@example.test" {
		t.Errorf("the refreshed ID token has email %v", id["email"])
	}
	w.updateClient(t, a, func(c *storage.Client) { c.Scopes = []string{"openid", "offline_access"} })
	if got := told(w.userinfo(t, tokens)); got != "" {
		t.Errorf("userinfo tells %s after the client lost the scope", got)
	}
	tokens = a.refresh(tokens.refresh()).ok()
	if _, id := claims(t, tokens.text("id_token")); told(id) != "" {
		t.Errorf("the ID token tells %s after the client lost the scope", told(id))
	}
}

func TestAMalformedClaimsParameterIsAnInvalidRequest(t *testing.T) { // OpenID Connect Core, 5.5
	t.Parallel()
	w := start(t)
	a := w.app(t, storage.ClientWeb)
	for name, text := range map[string]string{
		"no JSON":           `name`,
		"not closed":        `{"userinfo":{}`,
		"something behind":  `{} {}`,
		"a list":            `["name"]`,
		"null":              `null`,
		"a string":          `"userinfo"`,
		"member no object":  `{"userinfo":["name"]}`,
		"claim no object":   `{"id_token":{"name":true}}`,
		"essential no bool": `{"id_token":{"name":{"essential":"yes"}}}`,
		"values no list":    `{"id_token":{"name":{"values":"a"}}}`,
		"sub no string":     `{"id_token":{"sub":{"value":1}}}`,
		"acr no string":     `{"id_token":{"acr":{"essential":true,"values":[1]}}}`,
		"too deep":          `{"userinfo":{"address":{"value":{"country":{"a":{"b":1}}}}}}`,
		"very deep":         `{"userinfo":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"NUL":               `{"userinfo":{"name":{"value":"\u0000"}}}`,
		"a huge number":     `{"userinfo":{"name":{"value":1e999999}}}`,
	} {
		answer := w.browser(t).get(a.begin("claims", text).url()).answer()
		if answer.Get("error") != "invalid_request" || answer.Get("state") == "" {
			t.Errorf("%s: %v, want invalid_request", name, answer)
		}
	}
	if p := w.browser(t).get(a.begin("claims", `{"x":"`+strings.Repeat("y", 9000)+`"}`).url()); p.status != 400 {
		t.Errorf("more than 8 KiB: %d, want 400", p.status)
	}
}

func TestOnlyThePersonWhoseSubIsAskedForMayAnswer(t *testing.T) { // OpenID Connect Core, 5.5.1
	t.Parallel()
	w := start(t)
	a, ada, bob := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	b := w.browser(t)
	a.signIn(b, ada)
	a.signIn(w.browser(t), bob)
	for _, member := range []string{"id_token", "userinfo"} {
		only := func(how string, ids ...string) string {
			list, _ := json.Marshal(append([]string{}, ids...))
			if how == "value" {
				list, _ = json.Marshal(ids[0])
			}
			return fmt.Sprintf(`{"%s":{"sub":{"%s":%s}}}`, member, how, list)
		}
		for _, tc := range []struct{ claims, want string }{
			{only("value", ada.ID), ""},
			{only("values", bob.ID, ada.ID), ""},
			{only("value", bob.ID), "login_required"},
			{only("values", bob.ID), "login_required"},
			{only("values"), "login_required"},
		} {
			answer := b.get(a.begin("prompt", "none", "claims", tc.claims).url()).answer()
			if answer.Get("error") != tc.want || (tc.want == "") != (answer.Get("code") != "") {
				t.Errorf("%s: %v, want %q", tc.claims, answer, tc.want)
			}
		}
		f := a.begin("claims", only("value", bob.ID))
		p := b.get(f.url()).at("/login")
		if answer := p.submit(map[string]string{"username": ada.Username, "password": ada.Password}).answer(); answer.Get("error") != "login_required" || answer.Has("code") {
			t.Errorf("ada signed in for a request that is bob's: %v, want login_required", answer)
		}
		f = a.begin("claims", only("value", bob.ID))
		tokens := f.exchange(b.get(f.url()).pass(bob).Get("code")).ok()
		if _, id := claims(t, tokens.text("id_token")); id["sub"] != bob.ID {
			t.Errorf("sub = %v, want bob", id["sub"])
		}
		a.signIn(b, ada, "prompt", "login")
	}
	both := fmt.Sprintf(`{"id_token":{"sub":{"value":%q}},"userinfo":{"sub":{"value":%q}}}`, ada.ID, bob.ID)
	if answer := b.get(a.begin("prompt", "none", "claims", both).url()).answer(); answer.Get("error") != "login_required" {
		t.Errorf("two different persons: %v, want login_required", answer)
	}
}

func TestSingleClaimsNeedConsentLikeTheirScope(t *testing.T) { // conformance 51
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada, "scope", "openid")
	asks := `{"userinfo":{"email":null},"id_token":{"phone_number":null}}`
	if answer := b.get(a.begin("scope", "openid", "prompt", "none", "claims", asks).url()).answer(); answer.Get("error") != "consent_required" {
		t.Errorf("claims nobody consented to: %v, want consent_required", answer)
	}
	p := b.get(a.begin("scope", "openid", "claims", asks).url()).at("/consent")
	for _, line := range []string{"See your email address", ada.Email, "See your phone number"} {
		if !strings.Contains(p.body, line) {
			t.Errorf("the consent page does not say %q", line)
		}
	}
	if strings.Contains(p.body, "See your name") {
		t.Error("the consent page names a scope that nobody asked for")
	}
	if p.submit(map[string]string{"decision": "allow"}).answer().Get("code") == "" {
		t.Error("no code after consent")
	}
	if answer := b.get(a.begin("scope", "openid", "prompt", "none", "claims", asks).url()).answer(); answer.Get("code") == "" {
		t.Errorf("the consent is not remembered: %v", answer)
	}
	wider := `{"userinfo":{"email":null,"address":null}}`
	if answer := b.get(a.begin("scope", "openid", "prompt", "none", "claims", wider).url()).answer(); answer.Get("error") != "consent_required" {
		t.Errorf("a wider wish: %v, want consent_required", answer)
	}
}

func TestUserInfoIsSignedForClientsThatAskForIt(t *testing.T) { // conformance 28, 90; OpenID Connect Core, 5.3.2
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	for _, alg := range doc.body["userinfo_signing_alg_values_supported"].([]any) {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.UserInfoAlg = alg.(string) })
		_, tokens := a.signIn(w.browser(t), ada, "scope", "openid email")
		r := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
		if got := r.header.Get("Content-Type"); got != "application/jwt" {
			t.Errorf("%s: Content-Type %q, want application/jwt", alg, got)
		}
		header, c := claims(t, r.raw)
		if header["alg"] != alg || header["kid"] == nil || c["iss"] != w.issuer || c["aud"] != a.ID || c["sub"] != ada.ID || told(c) != "email email_verified" {
			t.Errorf("%s: %v %v", alg, header, c)
		}
		w.verifies(t, r.raw)
		ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: w.transport})
		provider, err := oidc.NewProvider(ctx, w.issuer)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: tokens.access()})); err != nil || info.Subject != ada.ID || info.Email != ada.Email {
			t.Errorf("%s: an independent library reads %+v, %v", alg, info, err)
		}
		if header["typ"] == "JWT" {
			t.Error("signed userinfo could pass for an ID token")
		}
		bad := w.send(t, "GET", "/userinfo", bearerHeader("x"), "")
		bad.fails(401, "invalid_token")
		hint := w.browser(t).get(a.begin("prompt", "none", "id_token_hint", r.raw).url()).answer()
		if hint.Get("error") != "login_required" {
			t.Errorf("userinfo as id_token_hint: %v", hint)
		}
	}
}

func TestAnIntrospectionAnswerCanBeSigned(t *testing.T) { // RFC 9701; conformance 110
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	const api = "https://api1.test"
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Resources = []string{api} })
	_, tokens := a.signIn(w.browser(t), ada, "resource", api, "scope", "openid email")
	for _, alg := range []string{"", "RS256", "ES256", "PS256", "EdDSA"} {
		rs := w.app(t, storage.ClientMachine, func(c *storage.Client) { c.Audience, c.IntrospectionAlg = []string{api}, alg })
		for token, active := range map[string]bool{tokens.access(): true, "x": false, tokens.text("id_token"): false} {
			header := rs.basicHeader()
			header.Set("Accept", "application/token-introspection+jwt")
			r := w.post(t, "/introspect", header, url.Values{"token": {token}}).ok()
			if got := r.header.Get("Content-Type"); got != "application/token-introspection+jwt" {
				t.Fatalf("Content-Type %q", got)
			}
			w.verifies(t, r.raw)
			h, c := claims(t, r.raw)
			want := alg
			if want == "" {
				want = "RS256"
			}
			if h["alg"] != want || h["typ"] != "token-introspection+jwt" || strings.Join(names(c), " ") != "aud iat iss token_introspection" || c["aud"] != rs.ID || c["iss"] != w.issuer {
				t.Errorf("%s: %v %v", alg, h, c)
			}
			plain := rs.call("/introspect", url.Values{"token": {token}}).ok()
			inner := c["token_introspection"].(map[string]any)
			if fmt.Sprint(inner) != fmt.Sprint(plain.body) || inner["active"] != active {
				t.Errorf("signed: %v, plain: %v; want the same, active %v", inner, plain.body, active)
			}
			if !active && len(inner) != 1 {
				t.Errorf("an inactive token has further members: %v", inner)
			}
		}
	}
	for accept, signed := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "application/token-introspection+jwt;q=0": false,
		"application/json;q=0.5, Application/Token-Introspection+JWT": true,
	} {
		header := a.basicHeader()
		if accept != "" {
			header.Set("Accept", accept)
		}
		r := w.post(t, "/introspect", header, url.Values{"token": {tokens.access()}}).ok()
		if got := r.header.Get("Content-Type") != "application/json"; got != signed {
			t.Errorf("Accept %q: %s", accept, r.header.Get("Content-Type"))
		}
	}
}

func TestAnEssentialACRIsReachedOrTheRequestFails(t *testing.T) { // conformance 89; OpenID Connect Core, 5.5.1.1
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for claims, want := range map[string]string{
		`{"id_token":{"acr":{"essential":true,"values":["urn:none","urn:idp:acr:1fa"]}}}`: "",
		`{"id_token":{"acr":{"essential":true,"value":"urn:idp:acr:1fa"}}}`:               "",
		`{"id_token":{"acr":{"essential":true,"values":["urn:none"]}}}`:                   "unmet_authentication_requirements",
		`{"id_token":{"acr":{"values":["urn:none"]}}}`:                                    "",
		`{"id_token":{"acr":{"essential":true}}}`:                                         "",
	} {
		answer := b.get(a.begin("prompt", "none", "claims", claims).url()).answer()
		if answer.Get("error") != want || (want == "") != answer.Has("code") {
			t.Errorf("%s: %v, want %q", claims, answer, want)
		}
	}
}

func TestTheClaimsParameterCanBePushedAndSigned(t *testing.T) { // RFC 9101, 9126
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a := w.app(t, storage.ClientWeb)
	asks := `{"id_token":{"email":null}}`
	f := a.begin("scope", "openid", "claims", asks)
	uri := a.call("/par", f.params).text("request_uri")
	answer := w.browser(t).get("/authorize?" + url.Values{"client_id": {a.ID}, "request_uri": {uri}, "claims": {`{"id_token":{"phone_number":null}}`}}.Encode()).pass(ada)
	_, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token"))
	if told(id) != "email" {
		t.Errorf("pushed: the ID token tells %q, want what was pushed", told(id))
	}
	a.call("/par", a.begin("claims", "{").params).fails(400, "invalid_request")

	signing, key := w.signingApp(t)
	f = signing.begin("scope", "openid")
	object := key.object(t, f, map[string]any{"claims": map[string]any{"id_token": map[string]any{"name": map[string]any{"essential": true}}}})
	answer = w.browser(t).get("/authorize?" + url.Values{"client_id": {signing.ID}, "request": {object}, "claims": {asks}}.Encode()).pass(ada)
	if _, id := claims(t, f.exchange(answer.Get("code")).ok().text("id_token")); told(id) != "name" {
		t.Errorf("signed: the ID token tells %q, want what was signed", told(id))
	}
}
