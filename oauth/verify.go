package oauth

import (
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// What we signed ourselves, when it comes back.

// verifyOwn gives the payload of a JWT that we signed, with whatever key that is still published, if
// it is of that type.
func (o *OAuth) verifyOwn(s, typ string) ([]byte, error) {
	return verifyJWT(s, typ, func(kid string) (jose.JSONWebKey, bool) {
		key, ok := o.keys.Load().verify[kid]
		return key, ok
	})
}

// verifyHint is verifyOwn for ID tokens that come back as hints: they may be older than the published
// keys (OpenID Connect RP-Initiated Logout, 2). Keys that were revoked count no more.
func (o *OAuth) verifyHint(s string) ([]byte, error) {
	ring := o.keys.Load()
	return verifyJWT(s, typIDToken, func(kid string) (jose.JSONWebKey, bool) {
		if key, ok := ring.verify[kid]; ok {
			return key, true
		}
		key, ok := ring.old[kid]
		return key, ok
	})
}

func verifyJWT(s, typ string, find func(kid string) (jose.JSONWebKey, bool)) ([]byte, error) {
	if len(s) > maxJWT || !oneSpelling(s) {
		return nil, errToken
	}
	algs := make([]jose.SignatureAlgorithm, len(signingAlgs))
	for i, a := range signingAlgs {
		algs[i] = jose.SignatureAlgorithm(a)
	}
	jws, err := jose.ParseSignedCompact(s, algs)
	if err != nil {
		return nil, err
	}
	h := jws.Signatures[0].Protected
	key, ok := find(h.KeyID)
	if !ok || key.Algorithm != h.Algorithm || h.ExtraHeaders[jose.HeaderType] != typ {
		return nil, errToken
	}
	return jws.Verify(key)
}

// oneSpelling says that a JWT is written as we write it. The last character of a part may have bits
// that decoders overlook, as they do line ends; whoever keeps a list of tokens would take another
// spelling for another token.
func oneSpelling(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return false
		}
	}
	return true
}
