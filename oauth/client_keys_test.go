package oauth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"idp/storage"
	"idp/web"
)

const (
	ecKey  = `{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	encKey = `{"kty":"EC","crv":"P-256","kid":"2","use":"enc","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	octKey = `{"kty":"oct","kid":"3","k":"c2VjcmV0"}`
	newKty = `{"kty":"AKP","kid":"4","alg":"ML-DSA-44","pub":"AAAA"}`
)

func TestKeysThatCannotBeUsedAreLeftOutOfASet(t *testing.T) { // RFC 7517, 5
	t.Parallel()
	for _, tc := range []struct {
		set  string
		want []string // names; nil when there is none to use
	}{
		{`{"keys":[` + ecKey + `]}`, []string{"1"}},
		{`{"keys":[` + newKty + `,` + octKey + `,` + encKey + `,` + ecKey + `]}`, []string{"1"}},
		{`{"keys":[` + octKey + `]}`, nil},
		{`{"keys":[` + encKey + `]}`, nil},
		{`{"keys":[1,null,{},"x"]}`, nil},
		{`{"keys":{}}`, nil},
		{`{}`, nil},
		{`[]`, nil},
		{`null`, nil},
		{``, nil},
		{`{"keys":[` + ecKey + `]} {}`, nil},
		{`{"keys":[` + strings.Repeat(ecKey+",", 20) + ecKey + `]}`, nil},
	} {
		keys, err := readKeySet([]byte(tc.set))
		var got []string
		for _, k := range keys {
			got = append(got, k.KeyID)
		}
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.want != nil) {
			t.Errorf("%.100s: %v, %v; want %v", tc.set, got, err, tc.want)
		}
	}
}

func FuzzKeySets(f *testing.F) {
	f.Add(`{"keys":[` + newKty + `,` + ecKey + `]}`)
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := readKeySet([]byte(s))
		if err == nil && (len(keys) == 0 || len(keys) > keySetSize) {
			t.Errorf("%d keys", len(keys))
		}
	})
}

func TestKeysAreRegisteredOrPublished(t *testing.T) { // conformance 22
	t.Parallel()
	set := []byte(`{"keys":[` + ecKey + `]}`)
	for _, tc := range []struct {
		name string
		c    storage.ClientMetadata
		want string // in the refusal; "" when it is good
	}{
		{"registered", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKS: set}, ""},
		{"published", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKSURI: "https://app.test/jwks"}, ""},
		{"published, for request objects", storage.ClientMetadata{AuthMethod: "none", RequireSignedRequest: true, JWKSURI: "https://app.test/jwks"}, ""},
		{"published on loopback", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKSURI: "http://localhost:8080/jwks"}, ""},
		{"both", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKS: set, JWKSURI: "https://app.test/jwks"}, "clear one"},
		{"neither", storage.ClientMetadata{AuthMethod: "private_key_jwt"}, "or the address of one"},
		{"neither, for request objects", storage.ClientMetadata{AuthMethod: "none", RequestObjectAlg: "ES256"}, "or the address of one"},
		{"http", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKSURI: "http://app.test/jwks"}, "use https"},
		{"with a password", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKSURI: "https://a:b@app.test/jwks"}, "user name"},
		{"a file", storage.ClientMetadata{AuthMethod: "private_key_jwt", JWKSURI: "file:///etc/passwd"}, "jwks_uri"},
	} {
		c := &storage.Client{Source: "admin", ClientMetadata: tc.c}
		c.Name, c.Type, c.IDTokenAlg, c.AccessTokenFormat = "App", storage.ClientWeb, "RS256", "opaque"
		c.GrantTypes, c.RedirectURIs, c.Scopes = []string{"authorization_code"}, []string{"https://app.test/cb"}, []string{"openid"}
		err := CheckClient(c)
		var e *web.Error
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &e) || e.Code != "invalid_client_metadata" || !strings.Contains(e.Message, tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
