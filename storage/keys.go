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
	rows, err := db.pool.Query(ctx, `
		select kid, use, alg, number, public, private, state, created_at, activates_at, retired_at, expires_at
		from keys
		where private is not null
		order by use, alg, created_at, kid`)
	if err != nil {
		return nil, wrap("read keys", err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Key, error) {
		var k Key
		err := row.Scan(&k.KID, &k.Use, &k.Alg, &k.Number, &k.Public, &k.Private, &k.State, &k.CreatedAt, &k.ActivatesAt, &k.RetiredAt, &k.ExpiresAt)
		return k, err
	})
	if err != nil {
		return nil, wrap("read keys", err)
	}
	for i := range keys {
		k := &keys[i]
		if k.Private, err = db.sealer.Open(k.Private, "keys", k.KID, "private"); err != nil {
			return nil, fmt.Errorf("read key %s: %w", k.KID, err)
		}
	}
	return keys, nil
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

// ReserveLease makes holder the one replica that runs job until the given time. False means that
// another holds it.
func (db *DB) ReserveLease(ctx context.Context, job, holder string, now, until time.Time) (bool, error) {
	n, err := db.exec(ctx, "reserve lease "+job, `
		insert into leases (job, holder, until)
		values ($1, $2, $4)
		on conflict (job) do update
		set holder = excluded.holder, until = excluded.until
		where leases.until <= $3 or leases.holder = excluded.holder`, job, holder, now, until)
	return n == 1, err
}

// Sweep deletes what has expired, at most limit rows of each kind, and tells how many rows went.
// Dead grants stay until keep after their end, so that a replay is still recognised.
func (db *DB) Sweep(ctx context.Context, now time.Time, keep time.Duration, limit int) (int64, error) {
	var total int64
	for _, statement := range []string{
		`delete from requests where id in (select id from requests where expires_at < $1::timestamptz - interval '1 day' limit $2)`,
		`delete from attempts where key in (select key from attempts where tat < $1 limit $2)`,
		`delete from assertions where (client_id, jti_hash) in (select client_id, jti_hash from assertions where expires_at < $1 limit $2)`,
		`delete from revoked_tokens where (grant_id, number) in (select grant_id, number from revoked_tokens where expires_at < $1 limit $2)`,
		`delete from sessions where id in (select id from sessions where expires_at < $1::timestamptz - interval '30 days' limit $2)`,
		`delete from devices where (id, user_id) in (select id, user_id from devices where expires_at < $1 limit $2)`,
	} {
		n, err := db.exec(ctx, "sweep", statement, now, limit)
		if err != nil {
			return total, err
		}
		total += n
	}
	n, err := db.sweepGrants(ctx, now, keep, limit)
	return total + n, err
}

// sweepGrants walks the grants in the order of their age, limit at a time, from where it stopped
// the last time: no index on expiry means that rotation stays a HOT update.
func (db *DB) sweepGrants(ctx context.Context, now time.Time, keep time.Duration, limit int) (int64, error) {
	var n int64
	err := db.inTx(ctx, "sweep grants", func(tx pgx.Tx) error {
		var cursor string
		err := tx.QueryRow(ctx, `
			insert into leases (job, holder, until) values ('sweep_cursor', '', $1)
			on conflict (job) do update set until = excluded.until
			returning cursor`, now).Scan(&cursor)
		if err != nil {
			return err
		}
		if cursor == "" {
			cursor = "00000000-0000-0000-0000-000000000000"
		}
		var seen int
		var last *string
		err = tx.QueryRow(ctx, `
			with page as (
			  select id, case
			    when state = 'revoked' then revoked_at
			    when state = 'issued' then code_expires_at
			    when idle_expires_at < expires_at then idle_expires_at
			    else expires_at end as dead_at
			  from grants
			  where id > $1
			  order by id
			  limit $2
			), gone as (
			  delete from grants where id in (select id from page where dead_at < $3)
			  returning 1
			)
			select (select count(*) from gone), count(*), (select id::text from page order by id desc limit 1) from page`,
			cursor, limit, now.Add(-keep)).Scan(&n, &seen, &last)
		if err != nil {
			return err
		}
		next := ""
		if seen == limit && last != nil {
			next = *last
		}
		_, err = tx.Exec(ctx, `update leases set cursor = $1 where job = 'sweep_cursor'`, next)
		return err
	})
	return n, err
}
