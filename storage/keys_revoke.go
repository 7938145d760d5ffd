package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// RevokeKey takes a key out of use for good: it leaves the published keys and both its halves are
// erased, so that nothing it signed is recognised any more. If it was the current one, the next one of its kind takes its place in the same
// transaction; ErrConflict when there is none, so that nothing is left without a key. It tells
// which key took the place, "" if none had to. ErrNotFound when there is no such key, or its
// private half is erased already.
func (db *DB) RevokeKey(ctx context.Context, kid string, now time.Time, e Event) (string, error) {
	var successor string
	err := db.inTx(ctx, "revoke key "+kid, func(tx pgx.Tx) error {
		successor = ""
		var use, alg, state string
		err := tx.QueryRow(ctx, `
			select use, alg, state
			from keys
			where kid = $1 and private is not null
			for update`, kid).Scan(&use, &alg, &state)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `
			update keys
			set state = 'retired', private = null, public = null, retired_at = coalesce(retired_at, $2), expires_at = $2
			where kid = $1`, kid, now); err != nil {
			return err
		}
		if state == KeyCurrent {
			err := tx.QueryRow(ctx, `
				update keys
				set state = 'current', activates_at = $3
				where use = $1 and alg = $2 and state = 'next'
				returning kid`, use, alg, now).Scan(&successor)
			if err == pgx.ErrNoRows {
				return ErrConflict
			}
			if err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
	return successor, err
}
