package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"idp/storage"
)

// What a unit of work issues: codes and tokens, derived from its grant or signed.

// deriveCode gives the code of a new grant.
func (u *unit) deriveCode() (string, error) {
	g := u.grant
	key := u.ring.derive[g.TokenKey]
	if key == nil {
		return "", errNoKey
	}
	return token{kind: codeToken, key: g.TokenKey, grant: g.ID}.derive(key, g.Seed), nil
}

// deriveRefreshToken gives the refresh token that is valid after this request: the next generation,
// or the present one again (after a code exchange the row's key is kept, so that both replicas and
// repetitions derive the same string).
func (u *unit) deriveRefreshToken(ctx context.Context, o *OAuth) (string, error) {
	g := u.grant
	generation, number := g.Generation, g.TokenKey
	switch {
	case g.State == storage.GrantIssued:
		generation = 1
	case !u.successor && rotates(u.client):
		generation, number = g.Generation+1, u.ring.current
	}
	key, err := o.tokenKey(ctx, number) // the row may name a key that is newer than this request
	if err != nil {
		return "", err
	}
	if key == nil {
		return "", errNoKey
	}
	return token{kind: refreshToken, key: number, grant: g.ID, number: uint32(generation)}.derive(key, g.Seed), nil
}

// makeAccessToken derives an opaque access token, or signs one (RFC 9068).
func (u *unit) makeAccessToken(o *OAuth, scopes []string) (string, error) {
	g, now := u.grant, o.now()
	expires := now.Add(u.life)
	if ends := u.ends(); expires.After(ends) { // no token outlives what it is derived from
		expires = ends
	}
	expires = expires.Truncate(time.Second)
	u.scopes, u.expiresIn = scopes, expires.Sub(now.Truncate(time.Second))
	number := newNumber()
	var err error
	if u.format == "jwt" {
		u.accessToken, err = o.signAccessToken(u, number, now, expires)
		return u.accessToken, err
	}
	key := u.ring.derive[u.ring.current]
	if key == nil {
		return "", errNoKey
	}
	t := token{
		kind: accessToken, key: u.ring.current, grant: g.ID, number: number, issued: uint32(now.Unix()), expires: uint32(expires.Unix()),
		scopes: bitmap(g.Scopes, scopes), resources: uint32(bitmap(g.Resources, u.resources)),
	}
	if slices.Contains(u.resources, o.Issuer) {
		t.resources |= ourselves
	}
	u.accessToken = t.derive(key, g.Seed)
	return u.accessToken, nil
}

// accessClaims are those of a JWT access token (RFC 9068, 2.2).
type accessClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	ClientID string   `json:"client_id"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`

	Actor json.RawMessage `json:"act,omitempty"` // who acts for the subject (RFC 8693, 4.1)
}

// audience is written as a string when it has one member.
type audience []string

func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	*a = make(audience, 1)
	return json.Unmarshal(b, &(*a)[0])
}

func (o *OAuth) signAccessToken(u *unit, number uint32, now, expires time.Time) (string, error) {
	c := o.accessTokenClaims(u, number, now, expires)
	return o.sign(u.ring, u.client.IDTokenAlg, typAccessToken, merged(u.account(u.scopes).accessToken(), c))
}

// accessTokenClaims are the access token's own claims.
func (o *OAuth) accessTokenClaims(u *unit, number uint32, now, expires time.Time) accessClaims {
	g := u.grant
	c := accessClaims{
		Issuer: o.Issuer, Subject: g.Subject, Audience: slices.Clone(u.resources), ClientID: g.ClientID,
		Expires: expires.Unix(), IssuedAt: now.Unix(), ID: tokenID(g.ID, number), Scope: joinScopes(u.scopes), ACR: g.ACR, AMR: g.AMR, Actor: g.Actor,
	}
	if g.AuthTime != nil {
		c.AuthTime = g.AuthTime.Unix()
	}
	return c
}

// tokenID is the jti of a JWT access token: its grant and number, so that it can be revoked.
func tokenID(grant uuid.UUID, number uint32) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(grant[:]), number))
}

func (o *OAuth) readJWTAccessToken(ctx context.Context, s, caller string) (*presented, error) {
	payload, err := o.verifyOwn(s, typAccessToken)
	if err != nil {
		return nil, nil // not ours, or not an access token
	}
	var c accessClaims
	if err := json.Unmarshal(payload, &c); err != nil || c.Issuer != o.Issuer {
		return nil, nil
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(c.ID)
	if err != nil || len(id) != 20 {
		return nil, nil
	}
	number := binary.BigEndian.Uint32(id[16:])
	g, err := o.DB.GrantFacts(ctx, uuid.UUID(id[:16]), int64(number), caller, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &presented{g, number, time.Unix(c.IssuedAt, 0), time.Unix(c.Expires, 0), words(c.Scope), c.Audience}, nil
}

// idClaims are those of an ID token (OpenID Connect Core, 2).
type idClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	AuthTime int64    `json:"auth_time,omitempty"`
	Nonce    string   `json:"nonce,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	AtHash   string   `json:"at_hash,omitempty"`
	SID      string   `json:"sid,omitempty"`
}

// sessionID is the sid claim (OpenID Connect Back-Channel Logout, 2.1): the same for a session and
// a client, and not to be matched between clients.
func sessionID(session uuid.UUID, clientID string) string {
	sum := sha256.Sum256(append(append([]byte("sid\x00"), session[:]...), clientID...))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func (u *unit) makeIDToken(o *OAuth, scopes []string) (string, error) {
	c := o.idTokenClaims(u)
	return o.sign(u.ring, u.client.IDTokenAlg, typIDToken, merged(u.account(scopes).idToken(), c))
}

// idTokenClaims are the ID token's own claims.
func (o *OAuth) idTokenClaims(u *unit) idClaims {
	g, now := u.grant, o.now()
	c := idClaims{
		Issuer: o.Issuer, Subject: g.Subject, Audience: g.ClientID, IssuedAt: now.Unix(),
		Expires: now.Add(life(u.client.Lifetimes.IDToken, idTokenLife)).Unix(),
		ACR:     g.ACR, AMR: g.AMR, AtHash: halfHash(u.client.IDTokenAlg, u.accessToken),
	}
	if g.AuthTime != nil {
		c.AuthTime = g.AuthTime.Unix()
	}
	if u.firstID {
		c.Nonce = g.Nonce
	}
	if g.SessionID != nil {
		c.SID = sessionID(*g.SessionID, g.ClientID)
	}
	return c
}

// halfHash is at_hash: the left half of the hash that the signature algorithm uses (OpenID Connect
// Core, 3.1.3.6).
func halfHash(alg, token string) string {
	if alg == "EdDSA" { // Ed25519 hashes with SHA-512
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:32])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
