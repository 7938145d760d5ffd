package oauth

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
	"idp/web"
)

// Keys live in PostgreSQL, sealed. Of each algorithm there is one current key, which signs, and one
// next key, which is published long before it signs; retired ones stay published until the last
// token they signed is dead. One key has one algorithm (RFC 8725, 3.1). RSA keys have 2048 bits:
// a signature with 3072 costs 3.4 times as much, on the most frequent operation.

// Algorithms we sign with, in the order of the JWKS: what every library knows comes first.
var signingAlgs = []string{"RS256", "ES256", "PS256", "EdDSA"}

const tokenAlg = "HS256" // of the key that tokens are derived with

// Defaults of Config.
const (
	DefaultKeyPublishAhead = 48 * time.Hour
	DefaultKeyKeep         = 30 * 24 * time.Hour
	tokenKeyKeep           = 400 * 24 * time.Hour // refresh tokens live up to a year
	hintKeyKeep            = 400 * 24 * time.Hour // public halves of keys that left the JWKS, for hints
)

// keyring is the keys as one process knows them.
type keyring struct {
	read    time.Time              // when the reading of the keys began
	sign    map[string]*signingKey // current, by algorithm
	verify  map[string]jose.JSONWebKey
	old     map[string]jose.JSONWebKey // no longer published: good to recognise ID tokens that come back as hints
	derive  map[int16][]byte
	current int16 // number of the current token key
	newest  int16 // largest number of a token key
	jwks    []byte
	etag    string
}

type signingKey struct {
	kid   string
	alg   jose.SignatureAlgorithm
	byTyp map[string]jose.Signer // by the typ header
}

// Types of the JWTs we sign (RFC 8725, 3.11).
const (
	typIDToken       = "JWT"
	typAccessToken   = "at+jwt"
	typUserInfo      = "" // none: some libraries take only JWT there, and an ID token it must not pass for
	typIntrospection = "token-introspection+jwt"
	typLogoutToken   = "logout+jwt"
)

// EnsureKeys makes what keys are missing and loads all. Replicas may do so at the same time.
func (o *OAuth) EnsureKeys(ctx context.Context) error {
	if err := ensureKeys(ctx, o.DB, o.now()); err != nil {
		return err
	}
	return o.ReloadKeys(ctx)
}

func ensureKeys(ctx context.Context, db *storage.DB, now time.Time) error {
	keys, err := db.Keys(ctx)
	if err != nil {
		return err
	}
	type made struct {
		key storage.Key
		err error
	}
	var wanted int
	results := make(chan made)
	for _, alg := range append([]string{tokenAlg}, signingAlgs...) {
		for _, state := range []string{storage.KeyCurrent, storage.KeyNext} {
			if state == storage.KeyNext && alg == tokenAlg {
				continue // nobody has to learn of a token key before it is used
			}
			if slices.ContainsFunc(keys, func(k storage.Key) bool { return k.Alg == alg && k.State == state }) {
				continue
			}
			wanted++
			go func() {
				k, err := newKey(alg, state, now)
				results <- made{k, err}
			}()
		}
	}
	for range wanted {
		m := <-results
		if m.err == nil {
			m.err = db.AddKey(ctx, m.key, storage.Event{At: now, Kind: "key.created", Actor: "system", Details: map[string]any{"kid": m.key.KID, "alg": m.key.Alg}})
		}
		if m.err != nil && !errors.Is(m.err, storage.ErrConflict) { // another replica was first
			err = errors.Join(err, m.err)
		}
	}
	return err
}

// newKey makes a key. Its kid is the RFC 7638 thumbprint.
func newKey(alg, state string, now time.Time) (storage.Key, error) {
	k := storage.Key{Use: "sign", Alg: alg, State: state, CreatedAt: now}
	if alg == tokenAlg {
		k.Use, k.Private = "token", storage.RandomBytes(32)
		sum := sha256.Sum256(k.Private)
		k.KID = "token-" + base64.RawURLEncoding.EncodeToString(sum[:9])
		return k, nil
	}
	var private crypto.Signer
	var err error
	switch alg {
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown algorithm %s", alg)
	}
	if err != nil {
		return k, fmt.Errorf("make %s key: %w", alg, err)
	}
	jwk := jose.JSONWebKey{Key: private.Public(), Algorithm: alg, Use: "sig"}
	thumb, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return k, fmt.Errorf("name %s key: %w", alg, err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	k.KID = jwk.KeyID
	if k.Public, err = jwk.MarshalJSON(); err != nil {
		return k, fmt.Errorf("encode %s key: %w", alg, err)
	}
	if k.Private, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return k, fmt.Errorf("encode %s key: %w", alg, err)
	}
	return k, nil
}

// ReloadKeys reads the keys again and uses them from then on.
func (o *OAuth) ReloadKeys(ctx context.Context) error {
	o.loading.Lock()
	defer o.loading.Unlock()
	return o.loadKeys(ctx)
}

// loadKeys reads the keys; the caller holds the lock, so that an older reading never replaces a
// newer one.
func (o *OAuth) loadKeys(ctx context.Context) error {
	began := o.now()
	keys, err := o.DB.Keys(ctx)
	if err != nil {
		return err
	}
	erased, err := o.DB.ErasedKeys(ctx, began.Add(-hintKeyKeep))
	if err != nil {
		return err
	}
	ring, err := newKeyring(append(keys, erased...), began)
	if err != nil {
		return err
	}
	o.keys.Store(ring)
	return nil
}

func newKeyring(keys []storage.Key, now time.Time) (*keyring, error) {
	ring := &keyring{read: now, sign: map[string]*signingKey{}, verify: map[string]jose.JSONWebKey{}, old: map[string]jose.JSONWebKey{}, derive: map[int16][]byte{}}
	slices.SortStableFunc(keys, func(a, b storage.Key) int {
		return cmp.Compare(slices.Index(signingAlgs, a.Alg), slices.Index(signingAlgs, b.Alg))
	})
	public := []json.RawMessage{}
	for _, k := range keys {
		expired := k.ExpiresAt != nil && !k.ExpiresAt.After(now)
		if expired && (k.Use != "sign" || k.Public == nil || k.ExpiresAt.Add(hintKeyKeep).Before(now)) {
			continue
		}
		if k.Use == "token" {
			ring.derive[k.Number] = k.Private
			ring.newest = max(ring.newest, k.Number)
			if k.State == storage.KeyCurrent {
				ring.current = k.Number
			}
			continue
		}
		var jwk jose.JSONWebKey
		if err := jwk.UnmarshalJSON(k.Public); err != nil {
			return nil, fmt.Errorf("read public key %s: %w", k.KID, err)
		}
		if expired {
			ring.old[k.KID] = jwk
			continue
		}
		ring.verify[k.KID] = jwk
		public = append(public, k.Public)
		if k.State == storage.KeyCurrent {
			s, err := newSigningKey(k)
			if err != nil {
				return nil, err
			}
			ring.sign[k.Alg] = s
		}
	}
	ring.jwks = mustJSON(map[string]any{"keys": public})
	ring.etag = etagOf(ring.jwks)
	return ring, nil
}

func newSigningKey(k storage.Key) (*signingKey, error) {
	private, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, fmt.Errorf("read private key %s: %w", k.KID, err)
	}
	s := &signingKey{kid: k.KID, alg: jose.SignatureAlgorithm(k.Alg), byTyp: map[string]jose.Signer{}}
	for _, typ := range []string{typIDToken, typAccessToken, typUserInfo, typIntrospection, typLogoutToken} {
		options := &jose.SignerOptions{}
		if typ != "" {
			options = options.WithType(jose.ContentType(typ))
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: private, KeyID: k.KID}},
			options)
		if err != nil {
			return nil, fmt.Errorf("use private key %s: %w", k.KID, err)
		}
		s.byTyp[typ] = signer
	}
	return s, nil
}

// sign makes a JWT of that type with the current key of the algorithm.
func (o *OAuth) sign(ring *keyring, alg, typ string, claims any) (string, error) {
	key := ring.sign[alg]
	if key == nil {
		return "", errNoKey
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	jws, err := key.byTyp[typ].Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign with key %s: %w", key.kid, err)
	}
	return jws.CompactSerialize()
}

// errNoKey means that the keys were not loaded yet, because the database was not there at start.
var errNoKey = errors.New("no signing key is loaded")

const maxJWT = 16 << 10 // longest JWT that is looked at

// tokenKey finds a key that tokens are derived with; nil when there is none of that number. The
// number after the newest makes this process read the keys: another replica may have made one just
// now. That happens at most once a second. In between nobody can tell, which is an error and no verdict:
// a wrong one would make the client throw its token away.
func (o *OAuth) tokenKey(ctx context.Context, number int16) ([]byte, error) {
	if key, ok := o.keys.Load().derive[number]; ok {
		return key, nil
	}
	if number != o.keys.Load().newest+1 {
		return nil, nil // numbers are given in order: this one was never, or is long erased
	}
	asked := o.now()
	o.loading.Lock()
	defer o.loading.Unlock()
	ring := o.keys.Load()
	if key, ok := ring.derive[number]; ok || ring.read.After(asked) {
		return key, nil
	}
	if !o.loadAgain.Before(asked) {
		return nil, errUnknownKey
	}
	o.loadAgain = asked.Add(time.Second)
	if err := o.loadKeys(ctx); err != nil {
		return nil, err
	}
	return o.keys.Load().derive[number], nil
}

// errUnknownKey means that a token names a key that this process has not read yet.
var errUnknownKey = &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: time.Second,
	Message: "The keys are changing at this moment. Try again in a second."}

// Ready says why no token can be made; nil when they can.
func (o *OAuth) Ready() error {
	ring := o.keys.Load()
	if ring.derive[ring.current] == nil {
		return errNoKey
	}
	for _, alg := range signingAlgs {
		if ring.sign[alg] == nil {
			return errNoKey
		}
	}
	return nil
}

// MaintainKeys is the background job of keys: it promotes next keys that are due, makes the ones
// after them, and erases those whose last token is dead.
func (o *OAuth) MaintainKeys(ctx context.Context) error {
	now := o.now()
	keys, err := o.DB.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.State != storage.KeyNext || k.Use != "sign" {
			continue
		}
		due := k.ActivatesAt != nil && !k.ActivatesAt.After(now)
		if !due {
			i := slices.IndexFunc(keys, func(c storage.Key) bool { return c.Alg == k.Alg && c.State == storage.KeyCurrent })
			due = i >= 0 && now.Sub(activeSince(keys[i])) > o.KeyLife && now.Sub(k.CreatedAt) >= o.KeyPublishAhead
		}
		if due {
			if err := promote(ctx, o.DB, k, now, o.KeyKeep); err != nil {
				return err
			}
		}
	}
	if err := ensureKeys(ctx, o.DB, now); err != nil {
		return err
	}
	if _, err := o.DB.EraseKeys(ctx, now); err != nil {
		return err
	}
	return o.ReloadKeys(ctx)
}

func activeSince(k storage.Key) time.Time {
	if k.ActivatesAt != nil {
		return *k.ActivatesAt
	}
	return k.CreatedAt
}

func promote(ctx context.Context, db *storage.DB, k storage.Key, now time.Time, keep time.Duration) error {
	err := db.PromoteKey(ctx, k.KID, now, now.Add(keep), storage.Event{At: now, Kind: "key.promoted", Actor: "system", Details: map[string]any{"kid": k.KID, "alg": k.Alg}})
	if errors.Is(err, storage.ErrConflict) {
		return nil // another replica was first
	}
	return err
}

// Keys lists the keys, for operators.
func Keys(ctx context.Context, db *storage.DB) ([]storage.Key, error) { return db.Keys(ctx) }

// RotateOptions says which keys to rotate and how patiently.
type RotateOptions struct {
	Alg          string // "" means all signing algorithms; "token" means the key that tokens are derived with
	Emergency    bool   // sign with the next key at once: clients that cached the JWKS fail until they fetch it again
	PublishAhead time.Duration
	Keep         time.Duration
	Now          time.Time
}

// Rotation tells what became of one algorithm.
type Rotation struct {
	Alg  string    `json:"alg"`
	Old  string    `json:"old"`
	New  string    `json:"new"`
	At   time.Time `json:"at"`   // when the new key signs
	Done bool      `json:"done"` // whether it does already
}

// RotateKeys replaces current keys by their next ones. A next key that has not been published for
// PublishAhead yet is scheduled for the time when it will have been.
func RotateKeys(ctx context.Context, db *storage.DB, opt RotateOptions) ([]Rotation, error) {
	opt.PublishAhead = or(opt.PublishAhead, DefaultKeyPublishAhead)
	opt.Keep = or(opt.Keep, DefaultKeyKeep)
	if opt.Now.IsZero() {
		opt.Now = time.Now().UTC()
	}
	if opt.Alg != "" && opt.Alg != "token" && !slices.Contains(signingAlgs, opt.Alg) {
		return nil, &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_request",
			Message: fmt.Sprintf("There is no algorithm %q: use one of %s, or token.", opt.Alg, strings.Join(signingAlgs, ", "))}
	}
	if err := ensureKeys(ctx, db, opt.Now); err != nil {
		return nil, err
	}
	if opt.Alg == "token" {
		return rotateTokenKey(ctx, db, opt.Now)
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var done []Rotation
	for _, alg := range signingAlgs {
		if opt.Alg != "" && opt.Alg != alg {
			continue
		}
		r := Rotation{Alg: alg}
		var next storage.Key
		for _, k := range keys {
			switch {
			case k.Alg == alg && k.State == storage.KeyCurrent:
				r.Old = k.KID
			case k.Alg == alg && k.State == storage.KeyNext:
				next = k
			}
		}
		r.New, r.At = next.KID, next.CreatedAt.Add(opt.PublishAhead)
		if opt.Emergency || !r.At.After(opt.Now) {
			r.At, r.Done = opt.Now, true
			err = promote(ctx, db, next, opt.Now, opt.Keep)
		} else {
			err = db.ScheduleKey(ctx, next.KID, r.At)
		}
		if err != nil {
			return done, err
		}
		done = append(done, r)
	}
	return done, ensureKeys(ctx, db, opt.Now)
}

// rotateTokenKey makes a new key to derive tokens with. What the old one derived stays valid.
func rotateTokenKey(ctx context.Context, db *storage.DB, now time.Time) ([]Rotation, error) {
	next, err := nextTokenKey(ctx, db, now)
	if err != nil {
		return nil, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return nil, err
	}
	r := Rotation{Alg: "token", New: next, At: now, Done: true}
	for _, k := range keys {
		if k.Use == "token" && k.State == storage.KeyCurrent && k.KID != next {
			r.Old = k.KID
		}
	}
	if err := promote(ctx, db, storage.Key{KID: next, Alg: tokenAlg}, now, tokenKeyKeep); err != nil {
		return nil, err
	}
	return []Rotation{r}, nil
}

// nextTokenKey gives the id of the next token key. There is one already where a rotation ended
// between making it and using it, or where another runs at this moment.
func nextTokenKey(ctx context.Context, db *storage.DB, now time.Time) (string, error) {
	made, err := newKey(tokenAlg, storage.KeyNext, now)
	if err != nil {
		return "", err
	}
	err = db.AddKey(ctx, made, storage.Event{At: now, Kind: "key.created", Actor: "operator", Details: map[string]any{"kid": made.KID, "alg": made.Alg}})
	if !errors.Is(err, storage.ErrConflict) {
		return made.KID, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return "", err
	}
	for _, k := range keys {
		if k.Use == "token" && k.State == storage.KeyNext {
			return k.KID, nil
		}
	}
	return "", &web.Error{Status: http.StatusConflict, Code: "conflict", Message: "Somebody else rotates this key at this moment. See what came of it with: idp keys list", Err: storage.ErrConflict}
}

// Revocation tells what became of a revoked key.
type Revocation struct {
	KID       string `json:"kid"`
	Use       string `json:"use"`
	Alg       string `json:"alg"`
	State     string `json:"state"`               // before it was revoked
	Successor string `json:"successor,omitempty"` // the key that took the place of a current one
}

// RevokeKey takes a key that somebody else knows out of use at once: it leaves the JWKS, its private
// half is erased, and what it signed or derived fails from then on. If it was current, the next one
// takes over, however short it has been published.
func RevokeKey(ctx context.Context, db *storage.DB, kid string, now time.Time) (Revocation, error) {
	if err := ensureKeys(ctx, db, now); err != nil { // a current key needs a successor
		return Revocation{}, err
	}
	keys, err := db.Keys(ctx)
	if err != nil {
		return Revocation{}, err
	}
	i := slices.IndexFunc(keys, func(k storage.Key) bool { return k.KID == kid })
	if i < 0 {
		return Revocation{}, &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: fmt.Sprintf("There is no key %s, or it is erased already.", kid), Err: storage.ErrNotFound}
	}
	r := Revocation{KID: kid, Use: keys[i].Use, Alg: keys[i].Alg, State: keys[i].State}
	if r.Use == "token" && r.State == storage.KeyCurrent {
		if _, err := nextTokenKey(ctx, db, now); err != nil {
			return r, err
		}
	}
	r.Successor, err = db.RevokeKey(ctx, kid, now, storage.Event{At: now, Kind: "key.revoked", Actor: "operator", Details: map[string]any{"kid": kid, "alg": r.Alg}})
	if errors.Is(err, storage.ErrConflict) {
		return r, &web.Error{Status: http.StatusConflict, Code: "conflict", Message: "Somebody else changes the keys at this moment. Try again.", Err: err}
	}
	if err != nil {
		return r, err
	}
	return r, ensureKeys(ctx, db, now)
}
