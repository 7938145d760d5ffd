package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// maxDevices is how many browsers are remembered for one person; the one unused for longest goes.
const maxDevices = 20

// DeviceUse is a sign-in that worked, as the browser's device cookie is to remember it.
type DeviceUse struct {
	OldHash   []byte // of the cookie that the browser had before; may be nil
	NewHash   []byte // of the one it gets now
	UserID    string
	SessionID uuid.UUID
	Now       time.Time
	ExpiresAt time.Time
}

// RememberDevice adds a person to those who are known in a browser, and notes the browser in the
// session. The cookie before is dead afterwards.
func (db *DB) RememberDevice(ctx context.Context, d DeviceUse) error {
	return db.inTx(ctx, "remember device", func(tx pgx.Tx) error {
		id, err := renewDevice(ctx, tx, d)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			insert into devices (id, user_id, secret_hash, created_at, seen_at, expires_at)
			values ($1, $2, $3, $4, $4, $5)
			on conflict (id, user_id) do update
			set secret_hash = excluded.secret_hash, seen_at = excluded.seen_at, expires_at = excluded.expires_at`,
			id, d.UserID, d.NewHash, d.Now, d.ExpiresAt)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			delete from devices
			where user_id = $1
			  and id in (select id from devices where user_id = $1 order by seen_at desc, id offset $2)`, d.UserID, maxDevices)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update sessions set device_id = $2 where id = $1`, d.SessionID, id)
		return err
	})
}

// renewDevice moves the browser of the old cookie to the new one and gives its id; a new id where
// the cookie is none of ours, or another sign-in was faster.
func renewDevice(ctx context.Context, tx pgx.Tx, d DeviceUse) (string, error) {
	if d.OldHash == nil {
		return NewID("dev_"), nil
	}
	rows, err := tx.Query(ctx, `
		update devices
		set secret_hash = $2
		where secret_hash = $1 and expires_at > $3
		returning id`, d.OldHash, d.NewHash, d.Now)
	if err != nil {
		return "", err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	if len(ids) == 0 {
		return NewID("dev_"), nil
	}
	return ids[0], nil
}

// KnownDevice gives the id of the browser with that cookie, if the person has signed in there;
// ErrNotFound if not.
func (db *DB) KnownDevice(ctx context.Context, secretHash []byte, userID string, now time.Time) (string, error) {
	var id string
	err := db.scanOne(ctx, "read device", `
		select id
		from devices
		where secret_hash = $1 and user_id = $2 and expires_at > $3`, []any{secretHash, userID, now}, &id)
	return id, err
}
