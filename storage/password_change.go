package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PasswordChange is a new password that somebody chose in a session of their own.
type PasswordChange struct {
	UserID      string
	Hash        string    // PHC string of the new password
	ProvedSetAt time.Time // of the password that was confirmed: replaced meanwhile, it proves nothing
	Session     uuid.UUID // goes on, under a new cookie; all others end
	OldSecret   []byte    // hash of the session's cookie before
	NewSecret   []byte    // and after
	Now         time.Time
	Event       Event
}

// ChangePassword replaces the password of somebody who has just confirmed it. Their other sessions
// end, with the grants that hang on them. ErrConflict when the password is not the confirmed one
// any more; ErrNotFound when the account is not active, or the session not live under its cookie.
func (db *DB) ChangePassword(ctx context.Context, c PasswordChange) error {
	return db.inTx(ctx, "change password of "+c.UserID, func(tx pgx.Tx) error {
		// The lock makes a suspension or a deletion wait, or be seen.
		var active bool
		err := tx.QueryRow(ctx, `select true from users where id = $1 and state = 'active' for share`, c.UserID).Scan(&active)
		if err != nil {
			return err
		}
		sealed := db.sealer.Seal([]byte(c.Hash), "credentials", c.UserID, "data")
		tag, err := tx.Exec(ctx, `
			update credentials
			set data = $2, updated_at = $3
			where user_id = $1 and kind = 'password' and updated_at = $4`, c.UserID, sealed, c.Now, c.ProvedSetAt)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		tag, err = tx.Exec(ctx, `
			update sessions
			set secret_hash = $3
			where id = $1 and secret_hash = $2 and ended_at is null and idle_expires_at > $4 and expires_at > $4`,
			c.Session, c.OldSecret, c.NewSecret, c.Now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if _, err := endSessions(ctx, tx, c.UserID, c.Session, "password_changed", c.Now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, c.Event)
	})
}
