package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
)

// assertionKey signs client assertions (RFC 7523).
type assertionKey struct {
	private *ecdsa.PrivateKey
	now     func() time.Time
}

func (w *world) assertionApp(t testing.TB, change ...func(*storage.Client)) (*app, assertionKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	change = append([]func(*storage.Client){func(c *storage.Client) { c.AuthMethod, c.JWKS = "private_key_jwt", set }}, change...)
	return w.app(t, storage.ClientMachine, change...), assertionKey{private, w.now}
}

// assertion signs one; changes replace claims, nil removes one, "header:" names go to the header.
func (k assertionKey) assertion(t testing.TB, clientID, audience string, changes map[string]any) string {
	t.Helper()
	now := k.now().Unix()
	claims := map[string]any{"iss": clientID, "sub": clientID, "aud": audience, "jti": randomText(16), "iat": now, "exp": now + 60}
	opts := &jose.SignerOptions{}
	for name, value := range changes {
		switch {
		case strings.HasPrefix(name, "header:"):
			opts = opts.WithHeader(jose.HeaderKey(strings.TrimPrefix(name, "header:")), value)
		case value == nil:
			delete(claims, name)
		default:
			claims[name] = value
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return k.sign(t, payload, opts)
}

// sign makes a JWT of a payload as it is.
func (k assertionKey) sign(t testing.TB, payload []byte, opts *jose.SignerOptions) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: "k1"}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func assertionForm(assertion string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
}

func TestClientAssertions(t *testing.T) { // RFC 7523, RFC 10070; conformance 75, 76
	t.Parallel()
	w := start(t)
	a, key := w.assertionApp(t)
	legacy, legacyKey := w.assertionApp(t, func(c *storage.Client) { c.LegacyAssertionAudience = true })
	other, _ := w.assertionApp(t)
	now := float64(w.now().Unix())
	post := func(s string) reply { return w.post(t, "/token", nil, assertionForm(s)) }
	for name, changes := range map[string]map[string]any{
		"plain":                 nil,
		"typed":                 {"header:typ": "client-authentication+jwt"},
		"typ JWT":               {"header:typ": "JWT"},
		"audience as one-array": {"aud": []string{w.issuer}},
		"iat 10 s ahead":        {"iat": now + 10, "nbf": now + 10},
	} {
		if r := post(key.assertion(t, a.ID, w.issuer, changes)); r.status != 200 {
			t.Errorf("%s: %d %s, want 200", name, r.status, r.raw)
		}
	}
	twice := key.assertion(t, a.ID, w.issuer, nil)
	post(twice).ok()
	post(twice).fails(401, "invalid_client")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(twice, ".")[1] + "."
	for name, s := range map[string]string{
		"token endpoint as audience": key.assertion(t, a.ID, w.issuer+"/token", nil),
		"another audience beside":    key.assertion(t, a.ID, "", map[string]any{"aud": []string{w.issuer, "https://evil.test"}}),
		"issuer with a slash":        key.assertion(t, a.ID, w.issuer+"/", nil),
		"another issuer":             key.assertion(t, a.ID, "https://evil.test", nil),
		"no audience":                key.assertion(t, a.ID, w.issuer, map[string]any{"aud": nil}),
		"no exp":                     key.assertion(t, a.ID, w.issuer, map[string]any{"exp": nil}),
		"expired":                    key.assertion(t, a.ID, w.issuer, map[string]any{"exp": now - 60}),
		"a day long":                 key.assertion(t, a.ID, w.issuer, map[string]any{"exp": now + 86400}),
		"iat far ahead":              key.assertion(t, a.ID, w.issuer, map[string]any{"iat": now + 120}),
		"nbf far ahead":              key.assertion(t, a.ID, w.issuer, map[string]any{"nbf": now + 120}),
		"no jti":                     key.assertion(t, a.ID, w.issuer, map[string]any{"jti": nil}),
		"huge jti":                   key.assertion(t, a.ID, w.issuer, map[string]any{"jti": strings.Repeat("x", 600)}),
		"another iss":                key.assertion(t, a.ID, w.issuer, map[string]any{"iss": other.ID}),
		"another client's key":       key.assertion(t, other.ID, w.issuer, nil),
		"access token type":          key.assertion(t, a.ID, w.issuer, map[string]any{"header:typ": "at+jwt"}),
		"unknown critical header":    key.assertion(t, a.ID, w.issuer, map[string]any{"header:crit": []string{"x"}}),
		"alg none":                   unsigned,
		"garbage":                    "x.y.z",
	} {
		if r := post(s); r.status != 401 || r.text("error") != "invalid_client" {
			t.Errorf("%s: %d %s, want 401 invalid_client", name, r.status, r.raw)
		}
	}
	if r := post(strings.Repeat("x", 17<<10)); r.status != 400 && r.status != 401 {
		t.Errorf("an assertion of 17 KiB: %d", r.status)
	}
	for _, aud := range []any{w.issuer, w.issuer + "/token", []string{w.issuer, w.issuer + "/token"}} {
		post(legacyKey.assertion(t, legacy.ID, "", map[string]any{"aud": aud})).ok()
	}
	post(legacyKey.assertion(t, legacy.ID, "", map[string]any{"aud": []string{w.issuer, "https://evil.test"}})).fails(401, "invalid_client")
}

// publicKey is one more key in a client's set.
func publicKey(t testing.TB) []byte {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := (jose.JSONWebKey{Key: private.Public(), KeyID: "k2", Algorithm: "ES256", Use: "sig"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
