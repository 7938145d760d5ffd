package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// UpdateUser changes a person's user name, e-mail address and profile, and gives the account as it
// is then. The row is locked while change, which must only look at its argument, runs; it may run
// again. An error of change ends the matter. A user name or address that somebody else has gives
// ErrConflict; a deleted account is not found.
func (db *DB) UpdateUser(ctx context.Context, userID string, change func(*User) error, now time.Time, e Event) (User, error) {
	var u User
	err := db.inTx(ctx, "update user "+userID, func(tx pgx.Tx) error {
		u = User{}
		err := tx.QueryRow(ctx, `
			select `+userColumns+`
			from users u
			where u.id = $1 and u.state <> 'deleted'
			for update`, userID).Scan(u.fields()...)
		if err != nil {
			return err
		}
		old := u
		if err := change(&u); err != nil {
			return err
		}
		u.ID, u.State, u.CreatedAt, u.UpdatedAt = old.ID, old.State, old.CreatedAt, now
		if _, err := tx.Exec(ctx, `
			update users
			set username = $2, email = nullif($3, ''), email_verified_at = $4, profile = $5, updated_at = $6
			where id = $1`, u.ID, u.Username, u.Email, u.EmailVerifiedAt, u.Profile, now); err != nil {
			return err
		}
		if old.Username != u.Username || old.Email != u.Email {
			// Only what this change replaces: further addresses of the person stay theirs.
			if _, err := tx.Exec(ctx, `
				delete from identifiers
				where user_id = $1 and key in ($2, $3)`,
				u.ID, CanonicalIdentifier(old.Username), CanonicalIdentifier(old.Email)); err != nil {
				return err
			}
			if err := addIdentifiers(ctx, tx, u); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
	return u, err
}

// RevokeUser ends every session and every grant of a person, whose account stays as it is, and
// counts them. What they allowed clients stays remembered. ErrNotFound when there is no such account.
func (db *DB) RevokeUser(ctx context.Context, userID string, now time.Time, e Event) (Ended, error) {
	var ended Ended
	err := db.inTx(ctx, "revoke user "+userID, func(tx pgx.Tx) error {
		// The lock makes a sign-in wait, or be seen.
		var there bool
		err := tx.QueryRow(ctx, `select true from users where id = $1 and state <> 'deleted' for update`, userID).Scan(&there)
		if err != nil {
			return err
		}
		if ended, err = endSessions(ctx, tx, userID, uuid.Nil, "user_revoked", now); err != nil {
			return err
		}
		others, err := revokeUserGrants(ctx, tx, userID, "user_revoked", now)
		if err != nil {
			return err
		}
		ended.Grants += others
		e.Details = map[string]any{"sessions": ended.Sessions, "grants": ended.Grants}
		return appendEvent(ctx, tx, e)
	})
	return ended, err
}
