package oauth

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
)

// JWTs that clients sign with the keys they have registered: assertions by which they authenticate
// (clientauth.go), and request objects (request_object.go).

// clientJWTClaims are those by which a JWT of a client counts: an assertion's (RFC 7523, 3), and those
// of a request object beside its parameters (RFC 9101, 4).
type clientJWTClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expires   *float64        `json:"exp"`
	IssuedAt  *float64        `json:"iat"`
	NotBefore *float64        `json:"nbf"`
	ID        string          `json:"jti"`
}

const (
	clientClockSkew = 60 * time.Second // what a client's clock may be ahead of ours
	clientJWTLate   = 10 * time.Second // how long an expired one still counts, for the time on the way
)

// checkTimes checks that the JWT counts at this moment, and ends within a time that is not long: for
// as long as it counts, whoever has it can pass for the client.
func (c clientJWTClaims) checkTimes(longest time.Duration, at time.Time) error {
	now := float64(at.Unix())
	ahead := now + clientClockSkew.Seconds()
	switch {
	case c.Expires == nil || *c.Expires <= now-clientJWTLate.Seconds():
		return errors.New("the client's JWT has no exp, or it has expired")
	case *c.Expires > ahead+longest.Seconds():
		return fmt.Errorf("the client's JWT is valid for longer than %v", longest)
	case c.IssuedAt != nil && *c.IssuedAt > ahead, c.NotBefore != nil && *c.NotBefore > ahead:
		return errors.New("the client's JWT is from the future")
	}
	return nil
}

// readClientJWT reads a JWT that a client signed, unverified. Alg is the only algorithm accepted, ""
// for all that we know; typ is what its header may call it beside JWT.
func readClientJWT(s, alg, typ string) (*jose.JSONWebSignature, error) {
	algs := clientAlgs
	if alg != "" {
		algs = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}
		if alg == string(jose.EdDSA) {
			algs = append(algs, ed25519Alg)
		}
	}
	jws, err := jose.ParseSignedCompact(s, algs)
	if err != nil {
		return nil, fmt.Errorf("read the client's JWT: %w", err)
	}
	h := jws.Signatures[0].Protected
	if got, _ := h.ExtraHeaders[jose.HeaderType].(string); got != "" && !slices.Contains([]string{"jwt", typ}, strings.TrimPrefix(strings.ToLower(got), "application/")) {
		return nil, fmt.Errorf("the client's JWT has the type %q", got)
	}
	return jws, nil
}

// ed25519Alg is the fully specified name of EdDSA with Ed25519 (RFC 9864), which newer clients sign
// with; go-jose knows the older name only.
const ed25519Alg jose.SignatureAlgorithm = "Ed25519"

// clientAlgs are the algorithms that clients may sign with.
var clientAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA, ed25519Alg}

// verifyWith gives the payload of a JWT that one of the keys verifies. Nothing that its header says of
// keys counts but the name (RFC 8725, 3.10).
func verifyWith(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	h := jws.Signatures[0].Protected
	for _, k := range keys {
		if h.KeyID != "" && k.KeyID != "" && k.KeyID != h.KeyID || !sameAlg(k.Algorithm, h.Algorithm) || k.Use != "" && k.Use != "sig" {
			continue
		}
		var key any = k
		if public, ok := k.Key.(ed25519.PublicKey); ok && h.Algorithm == string(ed25519Alg) {
			key = ed25519Verifier{public}
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the client verifies the client's JWT")
}

// sameAlg says whether a key that is registered for an algorithm, or for none, may be used with alg.
func sameAlg(registered, alg string) bool {
	plain := func(a string) string {
		if a == string(ed25519Alg) {
			return string(jose.EdDSA)
		}
		return a
	}
	return registered == "" || plain(registered) == plain(alg)
}

// ed25519Verifier verifies what go-jose has no name for.
type ed25519Verifier struct{ key ed25519.PublicKey }

func (v ed25519Verifier) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	if alg != ed25519Alg || !ed25519.Verify(v.key, payload, signature) {
		return jose.ErrCryptoFailure
	}
	return nil
}

func clientAlgNames() []string {
	var names []string
	for _, a := range clientAlgs {
		names = append(names, string(a))
	}
	return names
}

// clientKeys reads the registered public keys of a client.
func clientKeys(c *storage.Client) ([]jose.JSONWebKey, error) {
	if len(c.JWKS) == 0 {
		return nil, fmt.Errorf("none is registered")
	}
	var set jose.JSONWebKeySet
	if err := decodeStrict(c.JWKS, &set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() {
			return nil, fmt.Errorf("key %q is not a valid public key", k.KeyID)
		}
	}
	if len(set.Keys) == 0 || len(set.Keys) > 20 {
		return nil, fmt.Errorf("the set must have 1 to 20 keys")
	}
	return set.Keys, nil
}

// audienceList reads aud in both of its forms; nil when it is neither.
func audienceList(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(raw, &one) != nil {
		return nil
	}
	return []string{one}
}
