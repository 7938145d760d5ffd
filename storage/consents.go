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

// consentLife is how long a consent is remembered after it was last given: people forget what they
// allowed, and are asked again once a year.
const consentLife = 365 * 24 * time.Hour

// RememberConsent adds scopes and resources to what the person allowed this client before, unless
// that has expired. All of it counts for a year from then on. A client that registered itself is in
// use from then on: it does not expire.
func (db *DB) RememberConsent(ctx context.Context, c Consent, e Event) error {
	if c.Snapshot == nil {
		c.Snapshot = map[string]any{}
	}
	return db.inTx(ctx, "remember consent", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			with in_use as (
			  update clients set unused_until = null where id = $2 and unused_until is not null
			)
			insert into consents (user_id, client_id, scopes, resources, snapshot, granted_at, expires_at)
			values ($1, $2, $3, $4, $5, $6, $7)
			on conflict (user_id, client_id) do update
			set scopes = case when consents.expires_at <= excluded.granted_at then excluded.scopes
			    else array(select distinct unnest(consents.scopes || excluded.scopes) order by 1) end,
			  resources = case when consents.expires_at <= excluded.granted_at then excluded.resources
			    else array(select distinct unnest(consents.resources || excluded.resources) order by 1) end,
			  snapshot = excluded.snapshot,
			  granted_at = excluded.granted_at,
			  expires_at = excluded.expires_at`,
			c.UserID, c.ClientID, noneForNil(c.Scopes), noneForNil(c.Resources), c.Snapshot, c.GrantedAt, c.GrantedAt.Add(consentLife))
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// WithdrawConsent forgets what a person allowed a client and ends all its grants from them. The
// client is told that the person is not signed in any more.
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
		if err := forgetSignIns(ctx, tx, userID, clientID, now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	return ended, err
}
