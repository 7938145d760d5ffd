package storage

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kinds of client, by where their code runs.
const (
	ClientWeb     = "web"     // a server: can keep a secret
	ClientSPA     = "spa"     // a page: public, reads tokens in the browser
	ClientNative  = "native"  // an app or a command line: public, loopback or private-use redirects
	ClientMachine = "machine" // no person: client_credentials only
)

// Client is somebody's application. The JSON names of its metadata are those of RFC 7591 where it
// has them.
type Client struct {
	ID         string         `json:"client_id"`
	Source     string         `json:"source"` // admin, file, registration, cimd or preset
	Version    int64          `json:"version"`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
	DisabledAt *time.Time     `json:"disabled_at,omitempty"`
	Secrets    []ClientSecret `json:"secrets,omitempty"`
	ClientMetadata
}

// ClientMetadata is what an operator, or a registration, says of a client.
type ClientMetadata struct {
	Name                    string          `json:"client_name"`
	Type                    string          `json:"application_type"`
	URI                     string          `json:"client_uri,omitempty"`
	LogoURI                 string          `json:"logo_uri,omitempty"`
	PolicyURI               string          `json:"policy_uri,omitempty"`
	TosURI                  string          `json:"tos_uri,omitempty"`
	RedirectURIs            []string        `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs  []string        `json:"post_logout_redirect_uris,omitempty"`
	GrantTypes              []string        `json:"grant_types"`
	Scopes                  []string        `json:"scopes"`
	AuthMethod              string          `json:"token_endpoint_auth_method"` // client_secret_basic, client_secret_post, private_key_jwt or none
	AuthSigningAlg          string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS                    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI                 string          `json:"jwks_uri,omitempty"` // where it publishes its keys, instead of JWKS
	IDTokenAlg              string          `json:"id_token_signed_response_alg"`
	AccessTokenFormat       string          `json:"access_token_format"`                 // opaque or jwt (RFC 9068)
	Resources               []string        `json:"resources,omitempty"`                 // resource indicators it may ask for (RFC 8707)
	Audience                []string        `json:"audience,omitempty"`                  // resources it is, when it introspects tokens as an API
	AllowedOrigins          []string        `json:"allowed_origins,omitempty"`           // CORS; the origins of its redirect URIs when empty
	DefaultMaxAge           *int            `json:"default_max_age,omitempty"`           // seconds
	RequireAuthTime         bool            `json:"require_auth_time,omitempty"`         //
	SkipConsent             bool            `json:"skip_consent,omitempty"`              // first-party: the person is not asked
	IDTokenClaims           bool            `json:"id_token_claims,omitempty"`           // scope claims stand in the ID token too
	PKCEOptional            bool            `json:"pkce_optional,omitempty"`             // relaxation for confidential clients that cannot do it
	LegacyAssertionAudience bool            `json:"legacy_assertion_audience,omitempty"` // relaxation of RFC 10070: the token endpoint URL as aud
	KeepRefreshToken        bool            `json:"keep_refresh_token,omitempty"`        // confidential clients: no rotation
	SessionRefresh          bool            `json:"session_refresh,omitempty"`           // a refresh token without offline_access, ending with the session
	IntrospectAll           bool            `json:"introspect_all,omitempty"`            // may introspect every client's access tokens
	Lifetimes               Lifetimes       `json:"lifetimes,omitzero"`

	SubjectType string `json:"subject_type,omitempty"`          // public (or "") or pairwise
	SectorURI   string `json:"sector_identifier_uri,omitempty"` // lists all redirect URIs of a pairwise sector
	Sector      string `json:"sector_identifier,omitempty"`     // host that pairwise subjects are made for; settled once

	RequirePushed        bool     `json:"require_pushed_authorization_requests,omitempty"`
	RequireSignedRequest bool     `json:"require_signed_request_object,omitempty"`
	RequestObjectAlg     string   `json:"request_object_signing_alg,omitempty"`        // only one accepted; "" accepts all that we know
	UserInfoAlg          string   `json:"userinfo_signed_response_alg,omitempty"`      // userinfo is a JWT then
	IntrospectionAlg     string   `json:"introspection_signed_response_alg,omitempty"` // of RFC 9701 answers; "" means RS256
	DefaultACR           []string `json:"default_acr_values,omitempty"`                // when a request names none
	InitiateLoginURI     string   `json:"initiate_login_uri,omitempty"`                // OpenID Connect Core, 4: where a sign-in can begin with us

	BackchannelLogoutURI      string `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession  bool   `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelLogoutURI     string `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSession bool   `json:"frontchannel_logout_session_required,omitempty"`

	AccessGroups []string    `json:"access_groups,omitempty"` // ids of the groups whose members may use it; everybody when empty
	ClaimRules   []ClaimRule `json:"claim_rules,omitempty"`   // further claims
}

// ClaimRule puts one claim of the client's choice into tokens. Exactly one of Value, Field and
// Groups says what it holds.
type ClaimRule struct {
	Claim  string          `json:"claim"`
	Value  json.RawMessage `json:"value,omitempty"`  // fixed
	Field  string          `json:"field,omitempty"`  // name of a standard claim of the person, such as email
	Groups *GroupsClaim    `json:"groups,omitempty"` // the person's groups
	In     []string        `json:"in"`               // id_token, userinfo, access_token
	Scope  string          `json:"scope,omitempty"`  // only when this scope was granted; "" means always
}

// GroupsClaim chooses among a person's groups by the beginning of their claim value.
type GroupsClaim struct {
	Prefix string `json:"prefix,omitempty"`
	Strip  bool   `json:"strip,omitempty"` // the prefix is taken off
}

// Lifetimes are a client's own, in seconds; 0 means the provider's default.
type Lifetimes struct {
	Code        int `json:"code,omitempty"`
	AccessToken int `json:"access_token,omitempty"`
	IDToken     int `json:"id_token,omitempty"`
	RefreshIdle int `json:"refresh_idle,omitempty"`
	RefreshMax  int `json:"refresh_max,omitempty"`
}

// ClientSecret is one of a client's secrets. The secret is random (256 bits), so its SHA-256 is
// all that is kept and all that is needed.
type ClientSecret struct {
	Hash      []byte     `json:"hash,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`

	LastUsedAt *time.Time `json:"-"` // to the hour; set by FindSecretUses only, nil when no use was noted
}

// Public says that the client cannot authenticate itself.
func (c *Client) Public() bool { return c.AuthMethod == "none" }

// SecretIs says whether it is a live secret of the client.
func (c *Client) SecretIs(secret string, now time.Time) bool { return c.LiveSecret(secret, now) != nil }

// LiveSecret finds which live secret of the client it is, compared in constant time with each; nil
// when it is none.
func (c *Client) LiveSecret(secret string, now time.Time) *ClientSecret {
	hash, found := HashSecret(secret), -1
	for i, s := range c.Secrets {
		if s.ExpiresAt == nil || s.ExpiresAt.After(now) {
			found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash, s.Hash), i, found)
		}
	}
	if found < 0 {
		return nil
	}
	return &c.Secrets[found]
}

const clientColumns = `c.id, c.metadata, c.secrets, c.source, c.version, c.created_at, c.updated_at, c.disabled_at`

func (c *Client) fields() []any {
	return []any{&c.ID, &c.ClientMetadata, &c.Secrets, &c.Source, &c.Version, &c.CreatedAt, &c.UpdatedAt, &c.DisabledAt}
}

// CreateClient stores a new client.
func (db *DB) CreateClient(ctx context.Context, c Client, e Event) error {
	return db.inTx(ctx, "create client "+c.ID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into clients (id, metadata, secrets, source, version, created_at, updated_at, origins)
			values ($1, $2, $3, $4, 1, $5, $5, $6)`, c.ID, c.ClientMetadata, noneForNil(c.Secrets), c.Source, c.CreatedAt, c.Origins())
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// UpdateClient stores a client's metadata, secrets and disabled state, if nobody changed it since
// it was read (ErrConflict otherwise). Disabling ends all its grants. A client that registered itself
// does not expire any more once an operator has taken it up.
func (db *DB) UpdateClient(ctx context.Context, c Client, now time.Time, e Event) error {
	err := db.inTx(ctx, "update client "+c.ID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update clients
			set metadata = $3, secrets = $4, disabled_at = $5, updated_at = $6, version = version + 1, origins = $7, unused_until = null
			where id = $1 and version = $2`, c.ID, c.Version, c.ClientMetadata, noneForNil(c.Secrets), c.DisabledAt, now, c.Origins())
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		var hashes [][]byte
		for _, s := range c.Secrets {
			hashes = append(hashes, s.Hash)
		}
		if _, err := tx.Exec(ctx, `delete from secret_uses where client_id = $1 and hash <> all($2)`, c.ID, noneForNil(hashes)); err != nil {
			return err
		}
		if c.DisabledAt != nil {
			if _, err := revokeClientGrants(ctx, tx, c.ID, "client_disabled", now); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
	db.clients.drop(c.ID)
	return err
}

// DeleteClient removes a client and ends its grants.
func (db *DB) DeleteClient(ctx context.Context, id string, now time.Time, e Event) error {
	err := db.inTx(ctx, "delete client "+id, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from clients where id = $1`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		return endClient(ctx, tx, id, now, e)
	})
	db.clients.drop(id)
	return err
}

// endClient ends what a client that was just deleted holds.
func endClient(ctx context.Context, tx pgx.Tx, id string, now time.Time, e Event) error {
	if _, err := revokeClientGrants(ctx, tx, id, "client_deleted", now); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from consents where client_id = $1`, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from trusts where client_id = $1`, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from exchanges where client_id = $1 or subject_client = $1`, id); err != nil {
		return err
	}
	return appendEvent(ctx, tx, e)
}

// Clients lists clients by id.
func (db *DB) Clients(ctx context.Context, after string, limit int) ([]Client, error) {
	return list(ctx, db, "list clients", `
		select `+clientColumns+`
		from clients c
		where c.id > $1
		order by c.id
		limit $2`, []any{after, limit}, func(row pgx.CollectableRow) (Client, error) {
		var c Client
		err := row.Scan(c.fields()...)
		return c, err
	})
}

// Client reads a client from the database.
func (db *DB) Client(ctx context.Context, id string) (*Client, error) {
	c := &Client{}
	if err := db.scanOne(ctx, "read client", `select `+clientColumns+` from clients c where c.id = $1`, []any{id}, c.fields()...); err != nil {
		return nil, err
	}
	db.clients.put(c)
	return c, nil
}

// ClientAndCatalog reads a client, with the version of the catalog of resources, in one statement.
func (db *DB) ClientAndCatalog(ctx context.Context, id string) (*Client, int64, error) {
	c, version := &Client{}, int64(0)
	err := db.scanOne(ctx, "read client", `
		select `+clientColumns+`, (select version from catalog where id = 1)
		from clients c
		where c.id = $1`, []any{id}, append(c.fields(), &version)...)
	if err != nil {
		return nil, 0, err
	}
	db.clients.put(c)
	return c, version, nil
}

// CachedClient gives a client from the small cache of this process when it is there. It may be out
// of date: whoever acts on it compares its version with the one that the same operation reads from
// the database (Facts, GrantFacts). A cached client must not be changed.
func (db *DB) CachedClient(ctx context.Context, id string) (*Client, error) {
	if c := db.clients.get(id); c != nil {
		return c, nil
	}
	return db.Client(ctx, id)
}

// ForgetClient drops a client from the cache, after a version that did not match.
func (db *DB) ForgetClient(id string) { db.clients.drop(id) }

// clientCache keeps the metadata of clients that were used in the last minute, at most 10 000.
type clientCache struct {
	now func() time.Time
	mu  sync.RWMutex
	m   map[string]cachedClient
}

type cachedClient struct {
	client *Client
	until  time.Time
}

const (
	clientCacheSize = 10_000
	clientCacheLife = time.Minute
)

func newClientCache(now func() time.Time) clientCache {
	return clientCache{now: now, m: map[string]cachedClient{}}
}

func (c *clientCache) get(id string) *Client {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[id]
	if !ok || c.now().After(e.until) {
		return nil
	}
	return e.client
}

func (c *clientCache) put(client *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= clientCacheSize {
		clear(c.m) // simple and rare; the next minute fills it with what is used
	}
	c.m[client.ID] = cachedClient{client, c.now().Add(clientCacheLife)}
}

func (c *clientCache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, id)
}
