package storage

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Trust says that assertions of an issuer are accepted in place of a client's own credentials (RFC
// 7523, 2.1), which of them, and what they give.
type Trust struct {
	ID        string    `json:"id"`
	ClientID  string    `json:"client_id"` // whom the workload acts as
	Issuer    string    `json:"issuer"`    // iss of the assertions, exactly
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	TrustPolicy
}

// TrustPolicy is what an operator may change of a trust.
type TrustPolicy struct {
	Subject   string            `json:"subject"`             // sub of the assertions; a * at its end stands for anything
	Claims    map[string]string `json:"claims,omitempty"`    // further claims that assertions must have, exactly
	JWKS      json.RawMessage   `json:"jwks,omitempty"`      // the issuer's keys
	JWKSURI   string            `json:"jwks_uri,omitempty"`  // or where they are; without either, the issuer's discovery document says it
	Scopes    []string          `json:"scopes"`              // of those of the client
	Resources []string          `json:"resources,omitempty"` // of those of the client
	TokenLife int               `json:"token_life"`          // seconds that an access token lives at most
	Reusable  bool              `json:"reusable,omitempty"`  // an assertion counts until it expires, not once
}

const trustColumns = `id, client_id, issuer, version, created_at, updated_at, policy`

func scanTrust(row pgx.CollectableRow) (Trust, error) {
	var t Trust
	err := row.Scan(&t.ID, &t.ClientID, &t.Issuer, &t.Version, &t.CreatedAt, &t.UpdatedAt, &t.TrustPolicy)
	return t, err
}

// MaxTrusts bounds the trusts of one client, which are all looked at when it presents an assertion.
const MaxTrusts = 50

// CreateTrust stores a new trust. ErrConflict when the client has MaxTrusts already, ErrNotFound
// when there is no such client.
func (db *DB) CreateTrust(ctx context.Context, t Trust, e Event) error {
	return db.inTx(ctx, "create trust", func(tx pgx.Tx) error {
		var count int
		err := tx.QueryRow(ctx, `
			with owner as (select id from clients where id = $1 for no key update)
			select (select count(*) from trusts where client_id = owner.id) from owner`, t.ClientID).Scan(&count)
		if err != nil {
			return err
		}
		if count >= MaxTrusts {
			return ErrConflict
		}
		_, err = tx.Exec(ctx, `
			insert into trusts (id, client_id, issuer, policy, version, created_at, updated_at)
			values ($1, $2, $3, $4, 1, $5, $5)`, t.ID, t.ClientID, t.Issuer, t.TrustPolicy, t.CreatedAt)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// UpdateTrust stores a trust's policy, if nobody changed it since it was read (ErrConflict
// otherwise), and ends the grants that were made by it.
func (db *DB) UpdateTrust(ctx context.Context, t Trust, now time.Time, e Event) error {
	return db.inTx(ctx, "update trust", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update trusts
			set policy = $3, updated_at = $4, version = version + 1
			where id = $1 and version = $2`, t.ID, t.Version, t.TrustPolicy, now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		if err := revokeRuleGrants(ctx, tx, t.ID, "trust_changed", now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// DeleteTrust removes a trust and ends the grants that were made by it.
func (db *DB) DeleteTrust(ctx context.Context, id string, now time.Time, e Event) error {
	return db.inTx(ctx, "delete trust", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from trusts where id = $1`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if err := revokeRuleGrants(ctx, tx, id, "trust_deleted", now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// Trust reads one trust.
func (db *DB) Trust(ctx context.Context, id string) (Trust, error) {
	var t Trust
	err := db.scanOne(ctx, "read trust", `select `+trustColumns+` from trusts where id = $1`, []any{id},
		&t.ID, &t.ClientID, &t.Issuer, &t.Version, &t.CreatedAt, &t.UpdatedAt, &t.TrustPolicy)
	return t, err
}

// Trusts lists trusts by id.
func (db *DB) Trusts(ctx context.Context, after string, limit int) ([]Trust, error) {
	return list(ctx, db, "list trusts", `
		select `+trustColumns+`
		from trusts
		where id > $1
		order by id
		limit $2`, []any{after, limit}, scanTrust)
}

// TrustsOf gives what a client may be reached by from one issuer, the oldest first.
func (db *DB) TrustsOf(ctx context.Context, clientID, issuer string) ([]Trust, error) {
	return list(ctx, db, "read trusts", `
		select `+trustColumns+`
		from trusts
		where client_id = $1 and issuer = $2
		order by created_at, id`, []any{clientID, issuer}, scanTrust)
}

// Assertion is one that is accepted once.
type Assertion struct {
	Issuer    string
	ID        string // jti
	ExpiresAt time.Time
}

// InsertTrustedGrant stores a grant that was made by a trust, and spends the assertion (nil when it
// may come again) with it; spent says that it was spent before. ErrConflict when the trust or its
// client is not as it was read.
func (db *DB) InsertTrustedGrant(ctx context.Context, g *Grant, t *Trust, clientVersion int64, once *Assertion, e Event) (spent bool, err error) {
	err = db.inTx(ctx, "insert trusted grant", func(tx pgx.Tx) error {
		spent = false
		// Whoever changes either waits, and then sees the grant and ends it.
		tag, err := tx.Exec(ctx, `
			select 1
			from trusts t join clients c on c.id = t.client_id and c.version = $3 and c.disabled_at is null
			where t.id = $1 and t.version = $2
			for share of t, c`, t.ID, t.Version, clientVersion)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		if once != nil {
			tag, err := tx.Exec(ctx, `
				insert into assertions (client_id, jti_hash, expires_at)
				values ($1, $2, $3)
				on conflict (client_id, jti_hash) do nothing`, "iss "+once.Issuer, HashSecret(once.ID), once.ExpiresAt)
			if err != nil {
				return err
			}
			if spent = tag.RowsAffected() == 0; spent {
				return nil
			}
		}
		if err := insertOwnGrant(ctx, tx, g); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	return spent, err
}
