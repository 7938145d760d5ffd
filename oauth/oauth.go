// Package oauth speaks OAuth 2 and OpenID Connect to clients: it decides whether they get a code or
// a token, makes them, and tells whether they still count. One file for each endpoint, one for each
// grant.
//
// A grant is one row; everything a client holds is derived from it (token.go). fosite parses and
// dispatches behind a seam of a few files (fosite.go, unit.go); no type of it leaves this package.
package oauth

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ory/fosite"

	"idp/login"
	"idp/outbound"
	"idp/storage"
	"idp/web"
)

// Config is what the package needs.
type Config struct {
	DB       *storage.DB
	Site     *web.Site
	Login    *login.Login
	Log      *slog.Logger
	Now      func() time.Time
	Issuer   string           // without trailing slash
	Brand    string           // name of the service, for people
	Metadata []byte           // .well-known/openid-configuration, endpoints relative to the issuer
	Outbound *outbound.Client // calls addresses that clients name; nil calls public ones only
	// Registration says who may register clients: RegistrationOff (or ""), RegistrationToken or RegistrationOpen.
	Registration string
	Grace        time.Duration // how long a rotated refresh token gives its successor again; 0 means 10 s

	// Keys: how long the next one is published before it signs, how long one signs, how long a
	// retired one stays published. 0 means 48 h, 90 days, 30 days.
	KeyPublishAhead, KeyLife, KeyKeep time.Duration
}

// OAuth answers clients. Its methods are web.Handlers.
type OAuth struct {
	Config
	provider     fosite.OAuth2Provider
	keys         atomic.Pointer[keyring]
	loading      sync.Mutex // held while keys are read
	loadAgain    time.Time  // when an unknown token key may make us read them again; under loading
	discovery    []byte
	etag         string
	resource     []byte // metadata of our own API
	resourceETag string
	failures     *limit // failed client authentications
	kept         *limit // kept requests
	pushed       *limit // requests pushed by clients that authenticate
	devices      *limit // requests of devices
	origins      *origins
	keySets      *keySets // of clients that publish their keys, and of issuers that operators trust
	secretUses   *secretUses
}

// New puts the package together. Keys are loaded by EnsureKeys or ReloadKeys.
func New(c Config) (*OAuth, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Outbound == nil {
		c.Outbound = outbound.New(outbound.Allow{})
	}
	c.Grace = or(c.Grace, 10*time.Second)
	c.KeyPublishAhead = or(c.KeyPublishAhead, DefaultKeyPublishAhead)
	c.KeyLife = or(c.KeyLife, 90*24*time.Hour)
	c.KeyKeep = or(c.KeyKeep, DefaultKeyKeep)
	o := &OAuth{
		Config: c, failures: newLimit(maxClientFailures), kept: newLimit(maxKeptRequests), pushed: newLimit(maxPushedRequests), devices: newLimit(maxDeviceRequests),
		origins: newOrigins(c.DB.OriginRegistered, c.Now), keySets: newKeySets(c.Outbound, c.Log, c.Now), secretUses: newSecretUses(),
	}
	o.keys.Store(&keyring{})
	o.provider = o.newProvider()
	var err error
	if o.discovery, err = discoveryDocument(c.Metadata, c.Issuer, c.Login.SignUpOpen, o.registrationOffered() == nil); err != nil {
		return nil, fmt.Errorf("read discovery document: %w", err)
	}
	o.etag = etagOf(o.discovery)
	if o.resource, err = protectedResourceDocument(o.discovery, c.Issuer, c.Brand); err != nil {
		return nil, fmt.Errorf("describe our own API: %w", err)
	}
	o.resourceETag = etagOf(o.resource)
	return o, nil
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// now is the time of a decision, in the precision that PostgreSQL keeps.
func (o *OAuth) now() time.Time { return o.Now().UTC().Truncate(time.Microsecond) }

// Default lifetimes (RFC 9700; OpenID Connect Core leaves them open). A client may have its own.
const (
	codeLife        = time.Minute
	accessTokenLife = 10 * time.Minute
	idTokenLife     = 10 * time.Minute
	requestLife     = 30 * time.Minute // of a kept request
)

func life(seconds int, otherwise time.Duration) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return otherwise
}

// refreshLife gives the idle and the absolute lifetime of a client's refresh tokens.
func refreshLife(c *storage.Client) (idle, absolute time.Duration) {
	idle, absolute = 30*24*time.Hour, 365*24*time.Hour
	if c.Type == storage.ClientSPA {
		idle, absolute = 8*time.Hour, 24*time.Hour // RFC 10017: short in browsers
	}
	return life(c.Lifetimes.RefreshIdle, idle), life(c.Lifetimes.RefreshMax, absolute)
}

// refuse is a protocol error: code is of RFC 6749 or its extensions, message is for the developer
// of the client.
func refuse(status int, code, message string, cause error) *web.Error {
	return &web.Error{Status: status, Code: code, Message: message, Err: cause}
}

func invalidRequest(message string) *web.Error {
	return refuse(http.StatusBadRequest, "invalid_request", message, nil)
}

// invalidGrant is what a client hears of every code and refresh token that does not count, whatever
// the reason: the reason is in the log.
func invalidGrant(reason string) *web.Error {
	return refuse(http.StatusBadRequest, "invalid_grant",
		"The code or refresh token is not valid: it is wrong, expired, used, revoked, or belongs to another client. Ask the person to sign in again.",
		fmt.Errorf("%s", reason))
}

// event starts an audit event of a client's doing.
func (o *OAuth) event(ctx context.Context, kind string, g *storage.Grant) storage.Event {
	return storage.Event{At: o.now(), Kind: kind, UserID: g.UserID, ClientID: g.ClientID, Actor: g.ClientID, IP: web.ClientIP(ctx)}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only for values of our own types
	}
	return b
}
