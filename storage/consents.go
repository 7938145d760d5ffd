package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Consent is what a person allowed a client, until they take it back.
type Consent struct {
	UserID    string
	ClientID  string
	Scopes    []string
	Resources []string
	Snapshot  map[string]any // what the page showed of the client
	GrantedAt time.Time
}

// RememberConsent adds scopes and resources to what the person allowed this client before.
func (db *DB) RememberConsent(ctx context.Context, c Consent, e Event) error {
	if c.Snapshot == nil {
		c.Snapshot = map[string]any{}
	}
	return db.inTx(ctx, "remember consent", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into consents (user_id, client_id, scopes, resources, snapshot, granted_at)
			values ($1, $2, $3, $4, $5, $6)
			on conflict (user_id, client_id) do update
			set scopes = array(select distinct unnest(consents.scopes || excluded.scopes) order by 1),
			  resources = array(select distinct unnest(consents.resources || excluded.resources) order by 1),
			  snapshot = excluded.snapshot,
			  granted_at = excluded.granted_at`,
			c.UserID, c.ClientID, c.Scopes, c.Resources, c.Snapshot, c.GrantedAt)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// WithdrawConsent forgets what a person allowed a client and ends all its grants from them.
func (db *DB) WithdrawConsent(ctx context.Context, userID, clientID string, now time.Time, e Event) (int64, error) {
	var ended int64
	err := db.inTx(ctx, "withdraw consent", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from consents where user_id = $1 and client_id = $2`, userID, clientID); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			update grants
			set state = 'revoked', revoked_at = $3, revoke_reason = 'consent_withdrawn'
			where user_id = $1 and client_id = $2 and state <> 'revoked'`, userID, clientID, now)
		if err != nil {
			return err
		}
		ended = tag.RowsAffected()
		return appendEvent(ctx, tx, e)
	})
	return ended, err
}
