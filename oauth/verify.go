package oauth

import "github.com/go-jose/go-jose/v4"

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
	if len(s) > maxJWT {
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
