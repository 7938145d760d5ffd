package oauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"idp/storage"
)

// A token is the prefix, which secret scanners find, and the base64url form of
//
//	key number (2) | grant id (16) | generation or token number (4) | [issued (4) | expiry (4) | scopes (8) | resources (4)] | HMAC-SHA-256 (32)
//
// The part in brackets is that of access tokens: scopes and resources are bitmaps over those of the
// grant, with a bit for the provider itself. The HMAC covers the kind, all that precedes it, and the
// random seed of the grant's row: a copy of the database gives no token, nor does the key without
// the row. Codes, device codes and refresh tokens carry no expiry, the row has it.

type tokenKind string

const (
	codeToken    tokenKind = "idp_ac_"
	refreshToken tokenKind = "idp_rt_"
	accessToken  tokenKind = "idp_at_"
	deviceCode   tokenKind = "idp_dc_"
)

const (
	tokenHead   = 2 + 16 + 4
	tokenAccess = tokenHead + 4 + 4 + 8 + 4
	tokenMAC    = sha256.Size
)

// token is one that was taken apart; whether it is genuine only the grant's seed tells.
type token struct {
	kind      tokenKind
	key       int16
	grant     uuid.UUID
	number    uint32 // generation of a refresh token, number of an access token, 0 for a code
	issued    uint32 // access tokens: Unix seconds
	expires   uint32
	scopes    uint64
	resources uint32
	mac       []byte
}

var errToken = errors.New("not a token of ours")

// parseToken takes a token apart. Exactly one spelling is accepted: strict base64url of the right
// length.
func parseToken(kind tokenKind, s string) (token, error) {
	rest, ok := strings.CutPrefix(s, string(kind))
	size := tokenHead
	if kind == accessToken {
		size = tokenAccess
	}
	if !ok || len(rest) != base64.RawURLEncoding.EncodedLen(size+tokenMAC) || strings.ContainsAny(rest, "\r\n") {
		return token{}, errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil {
		return token{}, errToken
	}
	t := token{kind: kind, key: int16(binary.BigEndian.Uint16(b)), number: binary.BigEndian.Uint32(b[18:]), mac: b[size:]}
	copy(t.grant[:], b[2:])
	if kind == accessToken {
		t.issued = binary.BigEndian.Uint32(b[22:])
		t.expires = binary.BigEndian.Uint32(b[26:])
		t.scopes = binary.BigEndian.Uint64(b[30:])
		t.resources = binary.BigEndian.Uint32(b[38:])
	}
	return t, nil
}

// body is what the HMAC covers and what is written out before it.
func (t token) body() []byte {
	b := make([]byte, tokenHead, tokenAccess+tokenMAC)
	binary.BigEndian.PutUint16(b, uint16(t.key))
	copy(b[2:], t.grant[:])
	binary.BigEndian.PutUint32(b[18:], t.number)
	if t.kind == accessToken {
		b = binary.BigEndian.AppendUint32(b, t.issued)
		b = binary.BigEndian.AppendUint32(b, t.expires)
		b = binary.BigEndian.AppendUint64(b, t.scopes)
		b = binary.BigEndian.AppendUint32(b, t.resources)
	}
	return b
}

func (t token) sum(body, key, seed []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(t.kind))
	m.Write(body)
	m.Write(seed)
	return m.Sum(nil)
}

// derive writes the token out. The same row, key and numbers give the same string again.
func (t token) derive(key, seed []byte) string {
	body := t.body()
	return string(t.kind) + base64.RawURLEncoding.EncodeToString(append(body, t.sum(body, key, seed)...))
}

// genuine says whether the token was derived from the grant with that seed. An error means that
// nobody can tell at the moment.
func (o *OAuth) genuine(ctx context.Context, t token, seed []byte) (bool, error) {
	key, err := o.tokenKey(ctx, t.key)
	if err != nil || key == nil {
		return false, err
	}
	return hmac.Equal(t.mac, t.sum(t.body(), key, seed)), nil
}

// readGrant reads the grant of a code or refresh token and makes sure that the token is genuine;
// nil when it is not.
func (o *OAuth) readGrant(ctx context.Context, t token, caller string) (*storage.GrantFacts, error) {
	g, err := o.DB.GrantFacts(ctx, t.grant, int64(t.tokenNumber()), caller, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	genuine, err := o.genuine(ctx, t, g.Seed)
	if err != nil || !genuine {
		return nil, err
	}
	return g, nil
}

// tokenNumber is what single revocation knows a token by: codes and refresh tokens have none.
func (t token) tokenNumber() uint32 {
	if t.kind == accessToken {
		return t.number
	}
	return 0
}

// newNumber draws the number of an access token; never 0.
func newNumber() uint32 {
	var b [4]byte
	for {
		rand.Read(b[:])
		if n := binary.BigEndian.Uint32(b[:]); n != 0 {
			return n
		}
	}
}

// Most scopes and resources a grant can have: they must fit the bitmaps.
const (
	maxScopes    = 64
	maxResources = 31
	ourselves    = 1 << 31 // in the bitmap of resources: the provider itself
)

// bitmap marks which members of all are in some.
func bitmap(all, some []string) uint64 {
	var m uint64
	for i, a := range all {
		for _, s := range some {
			if a == s {
				m |= 1 << i
			}
		}
	}
	return m
}

// members is the reverse of bitmap.
func members(all []string, m uint64) []string {
	var some []string
	for i, a := range all {
		if i < 64 && m&(1<<i) != 0 {
			some = append(some, a)
		}
	}
	return some
}

// presented is an access token that somebody showed us, with all that is known of it.
type presented struct {
	*storage.GrantFacts
	number    uint32
	issued    time.Time
	expires   time.Time
	scopes    []string
	resources []string
}

// readAccessToken finds out what an access token, opaque or JWT, is worth. A nil result without an
// error is a token that is not ours. The caller asks live.
// Caller is the client that asks, "" for none: its version comes along with the grant.
func (o *OAuth) readAccessToken(ctx context.Context, s, caller string) (*presented, error) {
	if strings.HasPrefix(s, string(accessToken)) {
		t, err := parseToken(accessToken, s)
		if err != nil {
			return nil, nil
		}
		g, err := o.readGrant(ctx, t, caller)
		if err != nil || g == nil {
			return nil, err
		}
		resources := members(g.Resources, uint64(t.resources&^ourselves))
		if t.resources&ourselves != 0 || len(resources) == 0 {
			resources = append(resources, o.Issuer)
		}
		return &presented{g, t.number, time.Unix(int64(t.issued), 0), time.Unix(int64(t.expires), 0), members(g.Scopes, t.scopes), resources}, nil
	}
	return o.readJWTAccessToken(ctx, s, caller)
}

// live says whether the token counts at this moment.
func (p *presented) live(now time.Time) bool {
	return p != nil && now.Before(p.expires) && p.Alive(now)
}
