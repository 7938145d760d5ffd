package integration

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
)

// assertions wants each of the changed assertions to be refused, and none of them to be remembered.
func assertions(bad func(issuer string, now float64) map[string]map[string]any) func(*scene) {
	return func(s *scene) {
		a, key := s.jwt1()
		send := func(claims map[string]any) reply {
			return s.post(s, "/token", nil, assertionForm(key.assertion(s, a.ID, s.issuer, claims)))
		}
		send(nil).ok()
		send(map[string]any{"aud": []string{s.issuer}}).ok() // sole, if in an array
		remembered := s.assertionsOf(a)
		s.nothing(func() {
			for name, claims := range bad(s.issuer, float64(s.now().Unix())) {
				s.refused(name, send(claims), 401, "invalid_client")
			}
		})
		if n := s.assertionsOf(a); n != remembered {
			s.Errorf("%d assertions are remembered, want %d: those accepted", n, remembered)
		}
	}
}

func (s *scene) assertionsOf(a *app) (n int) {
	s.Helper()
	if err := s.db.Pool().QueryRow(context.Background(), `select count(*) from assertions where client_id = $1`, a.ID).Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

func forgedAssertions(s *scene) {
	a, key := s.jwt1()
	other, otherKey := s.jwt1()
	send := func(assertion string) reply { return s.post(s, "/token", nil, assertionForm(assertion)) }
	honest := key.assertion(s, a.ID, s.issuer, nil)
	send(honest).ok()
	send(otherKey.assertion(s, other.ID, s.issuer, nil)).ok()

	var asked atomic.Int32 // nobody may ask this address for a key
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer canary.Close()

	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	fresh := func() string {
		return strings.Split(key.assertion(s, a.ID, s.issuer, nil), ".")[1]
	}
	hs256 := func(secret []byte) string {
		body := encode(`{"alg":"HS256"}`) + "." + fresh()
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(body))
		return body + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	own, err := (jose.JSONWebKey{Key: otherKey.private.Public(), KeyID: "k1"}).MarshalJSON()
	if err != nil {
		s.Fatal(err)
	}
	signature := strings.Split(honest, ".")[2]
	s.nothing(func() {
		for name, assertion := range map[string]string{
			"alg none":                        encode(`{"alg":"none"}`) + "." + fresh() + ".",
			"alg none with a signature":       encode(`{"alg":"none"}`) + "." + fresh() + "." + signature,
			"alg in another case":             encode(`{"alg":"nOnE"}`) + "." + fresh() + ".",
			"HS256 with the public key set":   hs256(a.JWKS),
			"HS256 with nothing":              hs256(nil),
			"another assertion's signature":   encode(`{"alg":"ES256","kid":"k1"}`) + "." + fresh() + "." + signature,
			"jku":                             otherKey.assertion(s, a.ID, s.issuer, map[string]any{"header:jku": canary.URL}),
			"x5u":                             otherKey.assertion(s, a.ID, s.issuer, map[string]any{"header:x5u": canary.URL}),
			"jwk":                             otherKey.assertion(s, a.ID, s.issuer, map[string]any{"header:jwk": map[string]any{"kty": "EC", "crv": "P-256", "own": string(own)}}),
			"an unknown critical header":      key.assertion(s, a.ID, s.issuer, map[string]any{"header:crit": []string{"exp"}}),
			"the type of an access token":     key.assertion(s, a.ID, s.issuer, map[string]any{"header:typ": "at+jwt"}),
			"another client's key":            otherKey.assertion(s, a.ID, s.issuer, nil),
			"in another client's name":        key.assertion(s, other.ID, s.issuer, nil),
			"issued by another":               key.assertion(s, a.ID, s.issuer, map[string]any{"iss": other.ID}),
			"for an unknown client":           key.assertion(s, "nobody", s.issuer, map[string]any{"iss": "nobody", "sub": "nobody"}),
			"a signature of zeros":            encode(`{"alg":"ES256"}`) + "." + fresh() + "." + strings.Repeat("A", 86),
			"two signatures in the JSON form": mustJSON(s, map[string]any{"payload": fresh(), "signatures": []any{}}),
		} {
			s.refused(name, send(assertion), 401, "invalid_client")
		}
	})
	if n := asked.Load(); n != 0 {
		s.Errorf("the provider asked an address in a header %d times, want never", n)
	}
	send(key.assertion(s, a.ID, s.issuer, nil)).ok()
}
