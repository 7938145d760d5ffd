package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/outbound"
	"idp/storage"
	"idp/web"
)

// Keys that clients publish at an address of their own (jwks_uri; RFC 7591, 2), so that they can
// change them without telling us. Each process fetches them itself and remembers them: whoever can
// send us a JWT can make us look at that address, so how often is bounded.

const (
	keySetClients = 1000             // whose keys are remembered
	keySetSize    = 20               // keys in a set
	keySetLife    = 15 * time.Minute // how long one is fresh when its Cache-Control does not tell
	keySetLeast   = time.Minute      // the least and the most that Cache-Control can make of it
	keySetMost    = 24 * time.Hour
	keySetStale   = 24 * time.Hour // how long a set that cannot be fetched again counts yet
	keySetPause   = time.Minute    // between looking for unknown keys, and after a failure
)

// keySets remembers the keys of clients. It is safe for concurrent use.
type keySets struct {
	call *outbound.Client
	log  *slog.Logger
	now  func() time.Time

	mu   sync.Mutex
	sets map[keySetID]*keySet
}

// keySetID has the address in it, so that a new one starts anew.
type keySetID struct {
	clientID string
	uri      string // "" for an issuer whose discovery document tells it
	issuer   string // whose assertions are trusted (grant_assertion.go); "" for a client's own keys
}

// keySet is one client's. Its fields are under the lock of keySets.
type keySet struct {
	knownKeys
	fresh   time.Time     // until when
	rest    time.Time     // until when a failure, or an unknown key, is no reason to fetch
	used    time.Time     // last
	loading chan struct{} // closed when the fetch that runs has ended; nil when none runs
}

// knownKeys is what one fetch has left us with.
type knownKeys struct {
	keys    []jose.JSONWebKey
	number  int   // of the fetch that they are from
	problem error // of a later fetch that did not work
}

func newKeySets(call *outbound.Client, log *slog.Logger, now func() time.Time) *keySets {
	return &keySets{call: call, log: log, now: now, sets: map[keySetID]*keySet{}}
}

// verifyJWT gives the payload of a JWT that the client signed, be its keys registered or published.
// An error that is a *web.Error says that the keys are not to be had, and nothing of the JWT.
func (o *OAuth) verifyJWT(ctx context.Context, c *storage.Client, s, alg, typ string) ([]byte, error) {
	jws, err := readClientJWT(s, alg, typ)
	if err != nil {
		return nil, err
	}
	if c.JWKSURI != "" {
		return o.keySets.verify(ctx, keySetID{clientID: c.ID, uri: c.JWKSURI}, jws)
	}
	keys, err := clientKeys(c)
	if err != nil {
		return nil, fmt.Errorf("the client's keys: %w", err)
	}
	return verifyWith(jws, keys)
}

// verify checks a JWT with the keys that are known. Is it signed with one that is not among them, the
// client may have a new one: they are fetched again, if they were not just now.
func (s *keySets) verify(ctx context.Context, id keySetID, jws *jose.JSONWebSignature) ([]byte, error) {
	known, looked, err := s.get(ctx, id, 0)
	if err != nil {
		return nil, err
	}
	payload, err := verifyWith(jws, known.keys)
	kid := jws.Signatures[0].Protected.KeyID
	if err == nil || kid != "" && slices.ContainsFunc(known.keys, func(k jose.JSONWebKey) bool { return k.KeyID == kid }) {
		return payload, err
	}
	if looked && known.problem == nil {
		s.pause(id)
		return nil, err
	}
	newer, _, problem := s.get(ctx, id, known.number)
	if problem != nil {
		return nil, problem
	}
	if newer.problem != nil { // the key may be there, where we cannot look
		return nil, s.unavailable(id, newer.problem)
	}
	return verifyWith(jws, newer.keys)
}

// get gives the keys of a client, fetched when they are not fresh, or not newer than those of the
// fetch with that number. Looked says that it waited for a fetch. A failure is an error only when
// no keys are known.
func (s *keySets) get(ctx context.Context, id keySetID, than int) (known knownKeys, looked bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.entry(id, now)
	old := !now.Before(e.fresh) || e.number == than
	if old && (e.loading != nil || !now.Before(e.rest)) {
		if e.loading == nil {
			if than != 0 {
				e.rest = now.Add(keySetPause)
			}
			e.loading = make(chan struct{})
			go s.load(context.WithoutCancel(ctx), id, e) // others wait for it too
		}
		loaded := e.loading
		s.mu.Unlock()
		select {
		case <-loaded:
			looked = true
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
	}
	if err == nil && (len(e.keys) == 0 || s.now().After(e.fresh.Add(keySetStale))) {
		err = s.unavailableAt(id, e.rest, cmp.Or(e.problem, errors.New("they were never fetched")))
	}
	return e.knownKeys, looked, err
}

// entry finds what is remembered of a client, or begins to. The one that was used longest ago makes
// room.
func (s *keySets) entry(id keySetID, now time.Time) *keySet {
	e := s.sets[id]
	if e == nil {
		if len(s.sets) >= keySetClients {
			oldest, at := keySetID{}, now.Add(time.Hour)
			for id, e := range s.sets {
				if e.used.Before(at) {
					oldest, at = id, e.used
				}
			}
			delete(s.sets, oldest)
		}
		e = &keySet{}
		s.sets[id] = e
	}
	e.used = now
	return e
}

// pause makes unknown keys no reason to fetch for a while.
func (s *keySets) pause(id keySetID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.entry(id, now).rest = now.Add(keySetPause)
}

// load fetches the keys of a client, and lets go whoever waits for them. The keys that are known
// stay when it does not work.
func (s *keySets) load(ctx context.Context, id keySetID, e *keySet) {
	keys, life, err := s.fetch(ctx, id)
	if err != nil {
		s.log.Warn("keys cannot be fetched", "client_id", id.clientID, "jwks_uri", id.uri, "issuer", id.issuer, "error", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(e.loading)
	e.loading, e.problem = nil, err
	if err != nil {
		e.rest = s.now().Add(keySetPause)
		return
	}
	e.keys, e.number, e.fresh = keys, e.number+1, s.now().Add(life)
}

// fetch gets a JWK set, and tells how long it is fresh.
func (s *keySets) fetch(ctx context.Context, id keySetID) (keys []jose.JSONWebKey, life time.Duration, err error) {
	defer func() { // what is read is a stranger's, and nobody waits for the end of this goroutine
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	uri := id.uri
	if uri == "" {
		if uri, err = s.discover(ctx, id.issuer); err != nil {
			return nil, 0, err
		}
	}
	a, err := s.call.Document(ctx, uri, "application/jwk-set+json, application/json")
	if err != nil {
		return nil, 0, err
	}
	keys, err = readKeySet(a.Body)
	return keys, freshFor(a.CacheControl), err
}

// readKeySet reads a set that a client publishes. Keys that we have no use for are left out (RFC 7517,
// 5), and so are secret ones: everybody has read them.
func readKeySet(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := decodeStrict(body, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > keySetSize {
		return nil, fmt.Errorf("the set has %d keys, more than %d", len(set.Keys), keySetSize)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && k.IsPublic() && k.Valid() && k.Use != "enc" {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the set has no public key that can verify a signature")
	}
	return keys, nil
}

// CheckKeySet says what is wrong with a JWK set that a client publishes.
func CheckKeySet(body []byte) error {
	_, err := readKeySet(body)
	return err
}

// freshFor reads the lifetime that a Cache-Control header gives (RFC 9111, 5.2.2), within bounds.
func freshFor(header string) time.Duration {
	for part := range strings.SplitSeq(strings.ToLower(header), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "no-store", "no-cache":
			return keySetLeast
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return keySetLeast
			}
			return min(max(time.Duration(seconds)*time.Second, keySetLeast), keySetMost)
		}
	}
	return keySetLife
}

// unavailable is what a client hears whose keys are not to be had. It is no refusal: a client that
// hears invalid_client may throw away credentials that are good.
func (s *keySets) unavailable(id keySetID, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unavailableAt(id, s.entry(id, s.now()).rest, cause)
}

func (s *keySets) unavailableAt(id keySetID, again time.Time, cause error) error {
	message := "The keys of the assertion's issuer cannot be fetched, so its signature cannot be checked. Try again later, or have an operator look at the log of the provider."
	if id.issuer == "" {
		message = "The keys of this client cannot be fetched from its jwks_uri, so its signature cannot be checked. Whoever runs the client must see to it that the address answers with its JWK set; then try again."
	}
	return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: max(time.Second, again.Sub(s.now())),
		Message: message,
		Err:     fmt.Errorf("fetch keys of %s: %s", cmp.Or(id.issuer, id.clientID), cause)} // as text: a call that failed looks like a database that did
}

// keysUnavailable says that an error is of that kind.
func keysUnavailable(err error) (*web.Error, bool) {
	e, ok := errors.AsType[*web.Error](err)
	return e, ok && e.Code == "temporarily_unavailable"
}

// checkKeys checks where the keys of a client are.
func checkKeys(c *storage.Client, say func(format string, args ...any)) {
	if c.JWKSURI != "" {
		if problem := checkAddress(c.JWKSURI); problem != "" {
			say("The jwks_uri %q %s.", c.JWKSURI, problem)
		}
		if len(c.JWKS) > 0 {
			say("Keys come from jwks or from jwks_uri, not from both: clear one of them.")
		}
		return
	}
	_, err := clientKeys(c)
	if err != nil && c.AuthMethod == "private_key_jwt" {
		say("private_key_jwt needs the client's public keys as a JWK set, or the address of one: %v.", err)
	}
	if err != nil && (c.RequireSignedRequest || c.RequestObjectAlg != "") {
		say("Signed request objects need the client's public keys as a JWK set, or the address of one: %v.", err)
	}
}
