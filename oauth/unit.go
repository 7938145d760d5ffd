package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"idp/storage"
)

// unit is the unit of work of one authorization or token request: the grant, read once; what is to
// be issued; and the one change that is written after everything else has succeeded.
type unit struct {
	client      *storage.Client
	form        url.Values
	arrived     time.Time // when the request began: what was settled after that was a race, not a replay
	redirectURI string    // authorization: as matched
	requestID   string    // authorization: the kept request this spends

	grant     *storage.Grant
	facts     *storage.GrantFacts // of a grant that was read; nil for a new one
	scopes    []string            // granted now, after narrowing
	resources []string
	successor bool // a grace replay: the successor of the presented refresh token is given again
	firstID   bool // the ID token is that of the code exchange

	change      change
	idleExpires *time.Time
	accessToken string
	expiresIn   time.Duration
}

type change int

const (
	changeNone change = iota
	changeInsert
	changeRedeem
	changeRotate
	changeTouch
)

type unitKey struct{}

func withUnit(ctx context.Context, u *unit) context.Context {
	return context.WithValue(ctx, unitKey{}, u)
}

func unitOf(ctx context.Context) *unit { return ctx.Value(unitKey{}).(*unit) }

func (u *unit) clientView() *clientView {
	v := &clientView{client: u.client, redirectURI: u.redirectURI, grantTypes: u.client.GrantTypes}
	if u.grant != nil && u.grant.IdleExpiresAt == nil {
		v.grantTypes = slices.DeleteFunc(slices.Clone(v.grantTypes), func(g string) bool { return g == "refresh_token" })
	}
	return v
}

// requester shows the grant to fosite.
func (u *unit) requester(s fosite.Session) fosite.Requester {
	own := s.(*session)
	own.claims.Subject = u.grant.Subject
	return &fosite.Request{
		ID: u.grant.ID.String(), RequestedAt: u.grant.CreatedAt, Client: u.clientView(),
		RequestedScope: u.scopes, GrantedScope: u.scopes,
		Form: url.Values{"redirect_uri": u.form["redirect_uri"]}, Session: own,
	}
}

// flush writes the unit's change. storage.ErrConflict means that another request was first.
func (u *unit) flush(ctx context.Context, o *OAuth) error {
	g, now := u.grant, o.now()
	switch u.change {
	case changeInsert:
		return o.DB.InsertGrant(ctx, g, u.requestID)
	case changeRedeem:
		return o.DB.RedeemCode(ctx, g.ID, g.TokenKey, now, u.idleExpires)
	case changeRotate:
		return o.DB.RotateRefresh(ctx, g.ID, g.Generation, o.keys.Load().current, now, *u.idleExpires)
	case changeTouch:
		if u.idleExpires.Sub(*g.IdleExpiresAt) < time.Hour {
			return nil // a write an hour keeps the idle expiry near enough
		}
		return o.DB.TouchRefresh(ctx, g.ID, *u.idleExpires)
	}
	return nil
}

// newGrant starts a grant; the row is written by flush.
func (o *OAuth) newGrant(kind string, c *storage.Client, now time.Time) (*storage.Grant, error) {
	ring := o.keys.Load()
	if ring.derive[ring.current] == nil {
		return nil, errNoKey
	}
	return &storage.Grant{
		ID: storage.NewRowID(), Kind: kind, ClientID: c.ID, Seed: storage.RandomBytes(16),
		TokenKey: ring.current, CreatedAt: now,
	}, nil
}

func (u *unit) deriveCode(o *OAuth) (string, error) {
	g := u.grant
	key := o.keys.Load().derive[g.TokenKey]
	if key == nil {
		return "", errNoKey
	}
	return token{kind: codeToken, key: g.TokenKey, grant: g.ID}.derive(key, g.Seed), nil
}

// deriveRefreshToken gives the refresh token that is valid after this request: the next generation,
// or the present one again (after a code exchange the row's key is kept, so that both replicas and
// repetitions derive the same string).
func (u *unit) deriveRefreshToken(o *OAuth) (string, error) {
	g, ring := u.grant, o.keys.Load()
	generation, number := g.Generation, g.TokenKey
	switch {
	case g.State == storage.GrantIssued:
		generation = 1
	case !u.successor && rotates(u.client):
		generation, number = g.Generation+1, ring.current
	}
	key := ring.derive[number]
	if key == nil {
		return "", errNoKey
	}
	return token{kind: refreshToken, key: number, grant: g.ID, number: uint32(generation)}.derive(key, g.Seed), nil
}

// makeAccessToken derives an opaque access token, or signs one (RFC 9068), as the client has it.
func (u *unit) makeAccessToken(o *OAuth, scopes []string) (string, error) {
	g, now := u.grant, o.now()
	expires := now.Add(life(u.client.Lifetimes.AccessToken, accessTokenLife))
	if expires.After(g.ExpiresAt) {
		expires = g.ExpiresAt
	}
	expires = expires.Truncate(time.Second)
	u.scopes, u.expiresIn = scopes, expires.Sub(now.Truncate(time.Second))
	number := newNumber()
	var err error
	if u.client.AccessTokenFormat == "jwt" {
		u.accessToken, err = o.signAccessToken(u, number, now, expires)
		return u.accessToken, err
	}
	key := o.keys.Load().derive[o.keys.Load().current]
	if key == nil {
		return "", errNoKey
	}
	t := token{
		kind: accessToken, key: o.keys.Load().current, grant: g.ID, number: number, expires: uint32(expires.Unix()),
		scopes: bitmap(g.Scopes, scopes), resources: uint32(bitmap(g.Resources, u.resources)),
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
	g := u.grant
	c := accessClaims{
		Issuer: o.Issuer, Subject: g.Subject, Audience: slices.Clone(u.resources), ClientID: g.ClientID,
		Expires: expires.Unix(), IssuedAt: now.Unix(), ID: tokenID(g.ID, number), Scope: joinScopes(u.scopes), ACR: g.ACR, AMR: g.AMR,
	}
	if len(c.Audience) == 0 || slices.Contains(u.scopes, "openid") {
		c.Audience = append(c.Audience, o.Issuer) // ourselves: userinfo
	}
	if g.AuthTime != nil {
		c.AuthTime = g.AuthTime.Unix()
	}
	return o.sign(u.client.IDTokenAlg, typAccessToken, c)
}

// tokenID is the jti of a JWT access token: its grant and number, so that it can be revoked.
func tokenID(grant uuid.UUID, number uint32) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(grant[:]), number))
}

func (o *OAuth) readJWTAccessToken(ctx context.Context, s string) (*presented, error) {
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
	g, err := o.DB.GrantFacts(ctx, uuid.UUID(id[:16]), int64(number), o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &presented{g, number, time.Unix(c.Expires, 0), words(c.Scope), c.Audience, true}, nil
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
}

func (u *unit) makeIDToken(o *OAuth, scopes []string) (string, error) {
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
	if !u.client.IDTokenClaims || u.facts == nil || u.facts.User == nil {
		return o.sign(u.client.IDTokenAlg, typIDToken, c)
	}
	all := scopeClaims(u.facts.User, scopes)
	var own map[string]any
	if err := json.Unmarshal(mustJSON(c), &own); err != nil {
		return "", fmt.Errorf("merge claims: %w", err)
	}
	maps.Copy(all, own) // the token's own claims win
	for _, name := range []string{"exp", "iat", "auth_time"} {
		if f, ok := all[name].(float64); ok {
			all[name] = int64(f)
		}
	}
	return o.sign(u.client.IDTokenAlg, typIDToken, all)
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
