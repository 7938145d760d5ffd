package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// States of a key: published and not yet used; used; no longer used, but what it made still counts.
const (
	KeyNext    = "next"
	KeyCurrent = "current"
	KeyRetired = "retired"
)

// Key is a signing key (Use "sign") or the HMAC key that tokens are derived with (Use "token").
type Key struct {
	KID         string          `json:"kid"`
	Use         string          `json:"use"`
	Alg         string          `json:"alg"`
	Number      int16           `json:"number,omitempty"` // token keys: named inside each token
	Public      json.RawMessage `json:"public,omitempty"` // signing keys: the public JWK
	Private     []byte          `json:"-"`                // PKCS #8 or the raw HMAC key, opened
	State       string          `json:"state"`
	CreatedAt   time.Time       `json:"created_at"`
	ActivatesAt *time.Time      `json:"activates_at,omitempty"` // next keys: when they become current by themselves
	RetiredAt   *time.Time      `json:"retired_at,omitempty"`
	ExpiresAt   *time.Time      `json:"expires_at,omitempty"` // retired keys: when they leave the JWKS and are erased
}

// Keys reads all keys that are not erased, opened.
func (db *DB) Keys(ctx context.Context) ([]Key, error) {
	keys, err := list(ctx, db, "read keys", `
		select kid, use, alg, number, public, private, state, created_at, activates_at, retired_at, expires_at
		from keys
		where private is not null
		order by use, alg, created_at, kid`, nil, func(row pgx.CollectableRow) (Key, error) {
		var k Key
		err := row.Scan(&k.KID, &k.Use, &k.Alg, &k.Number, &k.Public, &k.Private, &k.State, &k.CreatedAt, &k.ActivatesAt, &k.RetiredAt, &k.ExpiresAt)
		return k, err
	})
	if err != nil {
		return nil, err
	}
	for i := range keys {
		k := &keys[i]
		if k.Private, err = db.sealer.Open(k.Private, "keys", k.KID, "private"); err != nil {
			return nil, fmt.Errorf("read key %s: %w", k.KID, err)
		}
	}
	return keys, nil
}

// ErasedKeys reads the public halves of signing keys that left the published keys after since, and
// were not revoked: what they signed can still be recognised. At most 200, the latest.
func (db *DB) ErasedKeys(ctx context.Context, since time.Time) ([]Key, error) {
	return list(ctx, db, "read erased keys", `
		select kid, use, alg, public, state, created_at, expires_at
		from keys
		where use = 'sign' and private is null and public is not null and expires_at > $1
		order by expires_at desc
		limit 200`, []any{since}, func(row pgx.CollectableRow) (Key, error) {
		var k Key
		err := row.Scan(&k.KID, &k.Use, &k.Alg, &k.Public, &k.State, &k.CreatedAt, &k.ExpiresAt)
		return k, err
	})
}

// AddKey stores a key, sealed. When another replica was first with a key in that state, it gives
// ErrConflict and stores nothing.
func (db *DB) AddKey(ctx context.Context, k Key, e Event) error {
	return db.inTx(ctx, "add key "+k.KID, func(tx pgx.Tx) error {
		if k.Use == "token" {
			if err := tx.QueryRow(ctx, `select coalesce(max(number), 0) + 1 from keys where use = 'token'`).Scan(&k.Number); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `
			insert into keys (kid, use, alg, number, public, private, state, created_at, activates_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			k.KID, k.Use, k.Alg, k.Number, k.Public, db.sealer.Seal(k.Private, "keys", k.KID, "private"), k.State, k.CreatedAt, k.ActivatesAt)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// PromoteKey makes the next key of an algorithm the current one and retires the old, which leaves
// the JWKS at expiresAt. ErrConflict when kid is not the next key any more.
func (db *DB) PromoteKey(ctx context.Context, kid string, now, expiresAt time.Time, e Event) error {
	return db.inTx(ctx, "promote key "+kid, func(tx pgx.Tx) error {
		var use, alg string
		err := tx.QueryRow(ctx, `select use, alg from keys where kid = $1 and state = 'next' for update`, kid).Scan(&use, &alg)
		if err == pgx.ErrNoRows {
			return ErrConflict
		}
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `
			update keys
			set state = 'retired', retired_at = $3, expires_at = $4
			where use = $1 and alg = $2 and state = 'current'`, use, alg, now, expiresAt); err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `update keys set state = 'current', activates_at = $2 where kid = $1`, kid, now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// ScheduleKey sets when the next key kid becomes current.
func (db *DB) ScheduleKey(ctx context.Context, kid string, at time.Time) error {
	n, err := db.exec(ctx, "schedule key "+kid, `update keys set activates_at = $2 where kid = $1 and state = 'next'`, kid, at)
	if err == nil && n == 0 {
		return wrap("schedule key "+kid, ErrConflict)
	}
	return err
}

// EraseKeys removes the private half of retired keys whose last token is dead.
func (db *DB) EraseKeys(ctx context.Context, now time.Time) (int64, error) {
	return db.exec(ctx, "erase keys", `
		update keys
		set private = null
		where state = 'retired' and expires_at <= $1 and private is not null`, now)
}
