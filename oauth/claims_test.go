package oauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"idp/storage"
)

func TestClaimsComeOfTheirScopesAlone(t *testing.T) {
	t.Parallel()
	u := &storage.User{ID: "usr_a", Username: "ada", Email: "ada@example.test", Profile: storage.Profile{
		Name: "Ada", Birthdate: "1815", PhoneNumber: "+41", Address: &storage.Address{Country: "GB"},
	}}
	registered := []string{"openid", "profile", "email", "address", "phone", "groups"}
	for _, tc := range []struct {
		scopes                string
		rules                 []storage.ClaimRule
		single                singleClaims
		inIDToken             bool
		idToken, userInfo, at string
	}{
		{scopes: "openid"},
		{scopes: "openid profile", userInfo: "birthdate name preferred_username updated_at"},
		{scopes: "openid email phone", userInfo: "email email_verified phone_number phone_number_verified"},
		{scopes: "openid address groups", userInfo: "address groups"},
		{scopes: "openid email", inIDToken: true, userInfo: "email email_verified", idToken: "email email_verified"},
		{scopes: "openid", single: singleClaims{IDToken: map[string][]any{"name": nil, "gender": nil}}, idToken: "name"},
		{scopes: "openid", single: singleClaims{UserInfo: map[string][]any{"address": {map[string]any{"country": "GB"}}}}, userInfo: "address"},
		{scopes: "openid", single: singleClaims{UserInfo: map[string][]any{"address": {map[string]any{"country": "DE"}}}}},
		{scopes: "openid", rules: []storage.ClaimRule{{Claim: "a", Field: "email", In: []string{inAccessToken}}}, at: "a"},
		{scopes: "openid", rules: []storage.ClaimRule{{Claim: "a", Field: "gender", In: []string{inAccessToken}}}},
		{scopes: "openid", rules: []storage.ClaimRule{{Claim: "a", Field: "email", In: []string{inIDToken, inUserInfo}, Scope: "email"}}},
	} {
		a := account{client: &storage.Client{}, user: u, groups: []string{"staff"}, scopes: words(tc.scopes), single: tc.single}
		a.client.Scopes, a.client.ClaimRules, a.client.IDTokenClaims = registered, tc.rules, tc.inIDToken
		for place, c := range map[string]struct {
			got  map[string]any
			want string
		}{"ID token": {a.idToken(), tc.idToken}, "userinfo": {a.userInfo(), tc.userInfo}, "access token": {a.accessToken(), tc.at}} {
			if got := strings.Join(slices.Sorted(maps.Keys(c.got)), " "); got != c.want {
				t.Errorf("%+v: %s tells %q, want %q", tc, place, got, c.want)
			}
		}
	}
}

func TestATokensOwnClaimsWin(t *testing.T) {
	t.Parallel()
	all := with(map[string]any{"sub": "eve", "iss": "https://evil.test", "exp": 1, "name": "Ada"}, idClaims{Issuer: "https://id.test", Subject: "usr_a", Expires: 1790000000})
	got, err := json.Marshal(all)
	if err != nil || string(got) != `{"aud":"","exp":1790000000,"iat":0,"iss":"https://id.test","name":"Ada","sub":"usr_a"}` {
		t.Errorf("claims = %s, %v", got, err)
	}
}

func FuzzClaimsParameter(f *testing.F) {
	for _, text := range []string{`{}`, `{"userinfo":{"name":{"essential":true}},"id_token":{"sub":{"values":["a"]},"acr":{"value":"x"}}}`, `{"userinfo":[[[[[[]]]]]]}`, `{"id_token":{"name":{"value":"\ud800\u0000"}}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problem := parseClaims(text)
		if problem != "" {
			return
		}
		c = c.allowed([]string{"openid", "profile", "email"})
		stored := c.single.stored()
		if again := readSingleClaims(stored); string(again.stored()) != string(stored) {
			t.Errorf("%q is kept as %s and read as %s", text, stored, again.stored())
		}
		for _, s := range c.scopes {
			if s != "profile" && s != "email" {
				t.Errorf("%q asks for the scope %s, which the client may not have", text, s)
			}
		}
	})
}
