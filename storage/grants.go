package storage

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// States of a grant.
const (
	GrantIssued  = "issued"  // its code was not redeemed yet
	GrantActive  = "active"  // tokens may be derived from it
	GrantRevoked = "revoked" // everything derived from it is dead
)

// Grant is what a person (or a client for itself) allowed a client, as one row. The code, the
// refresh token of the current generation and every access token are derived from it and die with it.
type Grant struct {
	ID            uuid.UUID
	Kind          string // code, client, device, …
	ClientID      string
	UserID        string     // "" for a client acting for itself
	SessionID     *uuid.UUID // the session it was made in
	Subject       string
	Scopes        []string
	Resources     []string
	Claims        json.RawMessage // single claims that were asked for and allowed (OpenID Connect Core, 5.5); nil for none
	AuthTime      *time.Time
	ACR           string
	AMR           []string
	Nonce         string
	RedirectURI   string
	CodeChallenge string
	Seed          []byte // random; part of the key of everything derived
	Offline       bool   // outlives the session (offline_access)
	State         string
	Generation    int   // of the refresh token that is valid now; 0 before redemption
	TokenKey      int16 // number of the key that derives the current code or refresh token
	RotatedAt     *time.Time
	CodeFailures  int16
	CodeExpiresAt *time.Time
	IdleExpiresAt *time.Time // of the refresh token; nil when the grant has none
	ExpiresAt     time.Time
	CreatedAt     time.Time
	RevokedAt     *time.Time
	RevokeReason  string
	RuleID        string // the trust or exchange rule it was made by; written, not read

	// Of a grant of an exchanged token (RFC 8693).
	Parents      []uuid.UUID     // the grants it hangs on, the first of all first
	ParentTokens []int64         // numbers of their tokens that were exchanged
	Actor        json.RawMessage // the act claim; nil for none
}

// Facts is all that decides an authorization request, read in one statement.
type Facts struct {
	ClientVersion  int64
	ClientDisabled bool
	CatalogVersion int64
	Subject        string   // as the client's sector knows the person; "" when that was not drawn yet
	Session        *Session // nil when nobody is signed in
	User           *User
	ConsentScopes  []string
	ConsentRes     []string
	Consented      bool
	MayUse         bool // whether the person may use the client at all
}

// AuthorizeFacts reads what an authorization request by a client, in the browser that holds the
// session with that hash (may be nil), is decided on.
func (db *DB) AuthorizeFacts(ctx context.Context, clientID string, sessionHash []byte, now time.Time) (Facts, error) {
	var f Facts
	var s nullSession
	var u nullUser
	var granted *time.Time
	err := db.scanOne(ctx, "read authorization facts", `
		select c.version, c.disabled_at is not null, (select version from catalog where id = 1), coalesce(p.subject, ''),
		  `+sessionColumns+`, `+userColumns+`,
		  k.scopes, k.resources, k.granted_at, `+mayUse+`
		from clients c
		left join (sessions s join users u on u.id = s.user_id and u.state = 'active')
		  on s.secret_hash = $2 and s.ended_at is null and s.idle_expires_at > $3 and s.expires_at > $3
		left join consents k on k.user_id = s.user_id and k.client_id = c.id and (k.expires_at is null or k.expires_at > $3)
		left join subjects p on p.sector = c.metadata ->> 'sector_identifier' and p.user_id = s.user_id
		where c.id = $1`,
		[]any{clientID, sessionHash, now},
		append(append(append([]any{&f.ClientVersion, &f.ClientDisabled, &f.CatalogVersion, &f.Subject}, s.fields()...), u.fields()...), &f.ConsentScopes, &f.ConsentRes, &granted, &f.MayUse)...)
	if err != nil {
		return f, err
	}
	f.Consented = granted != nil
	f.Session, f.User = s.value(), u.value()
	return f, nil
}

// Touch moves the idle expiry of the session that a grant is made in, if it was not seen lately.
type Touch struct {
	Before        time.Time // only when last seen before that
	IdleExpiresAt time.Time
}

// InsertGrant stores a new grant. With a request id, the kept request is spent in the same
// statement, so that one request gives one grant; the session is touched in it too. ErrConflict
// when the request was spent before, or the session or its person is not live any more.
func (db *DB) InsertGrant(ctx context.Context, g *Grant, requestID string, touch Touch) error {
	return db.insertGrant(ctx, g, touch, `
		delete from requests
		where id = $24 and ($5::uuid is null or exists (select 1 from live))`, requestID)
}

// insertGrant stores a grant; spend is the statement that uses up what it answers, of which
// the id is $24 ("" for nothing), and more are its further parameters, from $28 on.
func (db *DB) insertGrant(ctx context.Context, g *Grant, touch Touch, spend, spent string, more ...any) error {
	n, err := db.exec(ctx, "insert grant", `
		with live as (
		  select s.id from sessions s join users u on u.id = s.user_id and u.state = 'active'
		  where s.id = $5 and s.ended_at is null
		  for no key update of s -- an end of the session waits, and sees the grant; or is seen here
		), spent as (`+spend+`
		  returning id
		), touched as (
		  update sessions
		  set seen_at = $23, idle_expires_at = least($26, expires_at)
		  where id = $5 and ended_at is null and seen_at < $25
		), known as (
		  insert into session_clients (session_id, client_id, subject, first_at)
		  select $5::uuid, $3, $6, $23 from live
		  where not exists (select 1 from session_clients where session_id = $5 and client_id = $3 and subject = $6)
		  on conflict (session_id, client_id) do update set subject = excluded.subject -- of a client that has become pairwise since
		)
		insert into grants (id, kind, client_id, user_id, session_id, subject, scopes, resources, auth_time, acr, amr, nonce,
		  redirect_uri, code_challenge, seed, offline, state, generation, token_key, code_expires_at, idle_expires_at, expires_at, created_at, claims)
		select $1, $2, $3, nullif($4, ''), $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $27
		where ($24 = '' or exists (select 1 from spent)) and ($5::uuid is null or exists (select 1 from live))`,
		append([]any{
			g.ID, g.Kind, g.ClientID, g.UserID, g.SessionID, g.Subject, g.Scopes, noneForNil(g.Resources), g.AuthTime, g.ACR, noneForNil(g.AMR), g.Nonce,
			g.RedirectURI, g.CodeChallenge, g.Seed, g.Offline, g.State, g.Generation, g.TokenKey, g.CodeExpiresAt, g.IdleExpiresAt, g.ExpiresAt, g.CreatedAt,
			spent, touch.Before, touch.IdleExpiresAt, g.Claims,
		}, more...)...)
	if err == nil && n == 0 {
		return wrap("insert grant", ErrConflict)
	}
	return err
}

func noneForNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// GrantFacts is a grant with all that decides whether something derived from it still counts.
type GrantFacts struct {
	Grant
	User           *User // nil for a client acting for itself
	ClientVersion  int64 // 0 when the client is gone
	ClientDisabled bool
	CallerVersion  int64      // of the client that asks; 0 when it is gone
	CatalogVersion int64      // of the resources that there are
	Groups         []string   // claim values of the person's groups; nil when nothing of the grant needs them
	SessionEnds    *time.Time // the latest end of the session it was made in; nil when that is over
	SessionIdles   *time.Time // when that session ends without further use
	tokenRevoked   bool
	mayUse         bool
	parentDead     bool
}

// Alive says whether tokens may be derived from the grant, and count, at this moment: the one
// choke point behind every endpoint.
func (g *GrantFacts) Alive(now time.Time) bool {
	switch {
	case g.State != GrantActive, !now.Before(g.ExpiresAt), g.ClientVersion == 0, g.ClientDisabled, g.tokenRevoked, g.parentDead:
		return false
	case g.UserID != "" && (g.User == nil || g.User.State != UserActive || !g.mayUse):
		return false
	}
	return g.Offline || g.SessionID == nil || g.SessionEnds != nil
}

// Ends is when the grant ends at the latest: by itself, or with its session if it hangs on one.
func (g *GrantFacts) Ends() time.Time {
	if !g.Offline && g.SessionEnds != nil && g.SessionEnds.Before(g.ExpiresAt) {
		return *g.SessionEnds
	}
	return g.ExpiresAt
}

// Idles is when the grant ends if nobody uses it, nor the session that it hangs on, while its
// refresh token would last until idle.
func (g *GrantFacts) Idles(idle time.Time) time.Time {
	if ends := g.Ends(); ends.Before(idle) {
		idle = ends
	}
	if !g.Offline && g.SessionIdles != nil && g.SessionIdles.Before(idle) {
		idle = *g.SessionIdles
	}
	return idle
}

// Redeemable says whether the grant's code may still be redeemed, the code itself being right.
func (g *GrantFacts) Redeemable(now time.Time) bool {
	if g.State != GrantIssued || g.CodeExpiresAt == nil || !now.Before(*g.CodeExpiresAt) || g.CodeFailures >= MaxCodeFailures {
		return false
	}
	issued := *g
	issued.State = GrantActive
	return issued.Alive(now)
}

// MaxCodeFailures is how many wrong attempts an otherwise valid code survives.
const MaxCodeFailures = 5

// GrantFacts reads a grant by id. Number is that of the access token it is asked about (0 for
// codes and refresh tokens, which are not revoked singly). Caller is the client that asks, whose
// version comes along; "" for none.
func (db *DB) GrantFacts(ctx context.Context, id uuid.UUID, number int64, caller string, now time.Time) (*GrantFacts, error) {
	g := &GrantFacts{}
	var u nullUser
	var userID *string
	err := db.scanOne(ctx, "read grant", `
		select g.id, g.kind, g.client_id, g.user_id, g.session_id, g.subject, g.scopes, g.resources, g.claims, g.auth_time, g.acr, g.amr, g.nonce,
		  g.redirect_uri, g.code_challenge, g.seed, g.offline, g.state, g.generation, g.token_key, g.rotated_at, g.code_failures,
		  g.code_expires_at, g.idle_expires_at, g.expires_at, g.created_at, g.revoked_at, g.revoke_reason,
		  coalesce(c.version, 0), c.disabled_at is not null, `+userColumns+`,
		  s.expires_at, s.idle_expires_at, t.number is not null, coalesce(k.version, 0), (select version from catalog where id = 1), `+groupClaims+`, `+mayUse+`,
		  g.parents, g.parent_tokens, g.actor, `+parentDead+`
		from grants g
		left join clients c on c.id = g.client_id
		left join clients k on k.id = $4
		left join users u on u.id = g.user_id
		left join sessions s on s.id = g.session_id and s.ended_at is null and s.expires_at > $3 and s.idle_expires_at > $3
		left join revoked_tokens t on t.grant_id = g.id and t.number = $2
		where g.id = $1`,
		[]any{id, number, now, caller},
		append(append([]any{&g.ID, &g.Kind, &g.ClientID, &userID, &g.SessionID, &g.Subject, &g.Scopes, &g.Resources, &g.Claims, &g.AuthTime, &g.ACR, &g.AMR, &g.Nonce,
			&g.RedirectURI, &g.CodeChallenge, &g.Seed, &g.Offline, &g.State, &g.Generation, &g.TokenKey, &g.RotatedAt, &g.CodeFailures,
			&g.CodeExpiresAt, &g.IdleExpiresAt, &g.ExpiresAt, &g.CreatedAt, &g.RevokedAt, &g.RevokeReason,
			&g.ClientVersion, &g.ClientDisabled}, u.fields()...), &g.SessionEnds, &g.SessionIdles, &g.tokenRevoked, &g.CallerVersion, &g.CatalogVersion, &g.Groups, &g.mayUse,
			&g.Parents, &g.ParentTokens, &g.Actor, &g.parentDead)...)
	if err != nil {
		return nil, err
	}
	if userID != nil {
		g.UserID = *userID
	}
	g.User = u.value()
	return g, nil
}

// RedeemCode turns an issued grant active. One caller ever succeeds; the others get ErrConflict.
// From then on the grant lives until expiresAt, its refresh token (if any) until idleExpiresAt.
func (db *DB) RedeemCode(ctx context.Context, id uuid.UUID, tokenKey int16, now time.Time, idleExpiresAt *time.Time) error {
	return db.change(ctx, "redeem code", `
		update grants
		set state = 'active', generation = 1, token_key = $2, rotated_at = $3, idle_expires_at = $4
		where id = $1 and state = 'issued' and code_expires_at > $3 and code_failures < 5`, id, tokenKey, now, idleExpiresAt)
}

// RotateRefresh moves an active grant from one generation of its refresh token to the next. One
// caller ever succeeds; the others get ErrConflict and read again.
func (db *DB) RotateRefresh(ctx context.Context, id uuid.UUID, generation int, tokenKey int16, now, idleExpiresAt time.Time) error {
	return db.change(ctx, "rotate refresh token", `
		update grants
		set generation = generation + 1, token_key = $3, rotated_at = $4, idle_expires_at = $5
		where id = $1 and generation = $2 and state = 'active'`, id, generation, tokenKey, now, idleExpiresAt)
}

// TouchRefresh moves the idle expiry of a grant whose refresh token is not rotated.
func (db *DB) TouchRefresh(ctx context.Context, id uuid.UUID, idleExpiresAt time.Time) error {
	return db.change(ctx, "touch refresh token", `
		update grants
		set idle_expires_at = $2
		where id = $1 and state = 'active'`, id, idleExpiresAt)
}

// CountCodeFailure remembers a wrong attempt with an otherwise valid code.
func (db *DB) CountCodeFailure(ctx context.Context, id uuid.UUID) error {
	_, err := db.exec(ctx, "count code failure", `
		update grants
		set code_failures = code_failures + 1
		where id = $1 and state = 'issued'`, id)
	return err
}

// RevokeGrant ends a grant, with everything derived from it; again is no error. With endSession,
// the session it was made in ends too, and the other grants that hang on it.
func (db *DB) RevokeGrant(ctx context.Context, g *Grant, reason string, endSession bool, now time.Time, e Event) error {
	return db.inTx(ctx, "revoke grant", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update grants
			set state = 'revoked', revoked_at = $2, revoke_reason = $3
			where id = $1 and state <> 'revoked'`, g.ID, now, reason)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		if endSession && g.SessionID != nil {
			tag, err := tx.Exec(ctx, `
				update sessions
				set ended_at = $2, end_reason = $3
				where id = $1 and ended_at is null`, *g.SessionID, now, reason)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 { // somebody else ended it, and what hung on it
				return appendEvent(ctx, tx, e)
			}
			if _, err := sessionsEnded(ctx, tx, []uuid.UUID{*g.SessionID}, reason, now); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
}

// RevokeToken ends one access token of a grant before its time.
func (db *DB) RevokeToken(ctx context.Context, grantID uuid.UUID, number int64, expiresAt time.Time) error {
	_, err := db.exec(ctx, "revoke token", `
		insert into revoked_tokens (grant_id, number, expires_at)
		values ($1, $2, $3)
		on conflict (grant_id, number) do nothing`, grantID, number, expiresAt)
	return err
}

// change runs an update that must hit its one row.
func (db *DB) change(ctx context.Context, what, sql string, args ...any) error {
	n, err := db.exec(ctx, what, sql, args...)
	if err == nil && n == 0 {
		return wrap(what, ErrConflict)
	}
	return err
}

func revokeUserGrants(ctx context.Context, tx pgx.Tx, userID, reason string, now time.Time) (int64, error) {
	tag, err := tx.Exec(ctx, `
		update grants
		set state = 'revoked', revoked_at = $2, revoke_reason = $3
		where user_id = $1 and state <> 'revoked'`, userID, now, reason)
	return tag.RowsAffected(), err
}

// sessionsEnded does what follows from the end of sessions, in the transaction that ends them: the
// grants that hang on them end, and their clients are to be told. It counts the grants.
func sessionsEnded(ctx context.Context, tx pgx.Tx, sessions []uuid.UUID, reason string, now time.Time) (int64, error) {
	if len(sessions) == 0 {
		return 0, nil
	}
	if err := tellClients(ctx, tx, `sc.session_id = any($1)`, sessions, now); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, `
		update grants
		set state = 'revoked', revoked_at = $2, revoke_reason = $3
		where session_id = any($1) and (not offline or state = 'issued') and state <> 'revoked'`, sessions, now, reason)
	return tag.RowsAffected(), err
}

func revokeClientGrants(ctx context.Context, tx pgx.Tx, clientID, reason string, now time.Time) (int64, error) {
	tag, err := tx.Exec(ctx, `
		update grants
		set state = 'revoked', revoked_at = $2, revoke_reason = $3
		where client_id = $1 and state <> 'revoked'`, clientID, now, reason)
	return tag.RowsAffected(), err
}

// nullSession and nullUser take the columns of an outer join.
type nullSession struct {
	id                                                *uuid.UUID
	userID, acr, ip, userAgent                        *string
	authTime, createdAt, seenAt, idle, expires, ended *time.Time
	methods                                           []string
	persistent                                        *bool
}

func (s *nullSession) fields() []any {
	return []any{&s.id, &s.userID, &s.authTime, &s.methods, &s.acr, &s.ip, &s.userAgent, &s.persistent, &s.createdAt, &s.seenAt, &s.idle, &s.expires, &s.ended}
}

func (s *nullSession) value() *Session {
	if s.id == nil {
		return nil
	}
	return &Session{*s.id, *s.userID, *s.authTime, s.methods, *s.acr, *s.ip, *s.userAgent, *s.persistent, *s.createdAt, *s.seenAt, *s.idle, *s.expires, s.ended}
}

type nullUser struct {
	id, username, email, state       *string
	verifiedAt, createdAt, updatedAt *time.Time
	profile                          *Profile
}

func (u *nullUser) fields() []any {
	return []any{&u.id, &u.username, &u.email, &u.verifiedAt, &u.profile, &u.state, &u.createdAt, &u.updatedAt}
}

func (u *nullUser) value() *User {
	if u.id == nil {
		return nil
	}
	return &User{*u.id, *u.username, *u.email, u.verifiedAt, *u.profile, *u.state, *u.createdAt, *u.updatedAt}
}
