package storage

import (
	"context"
	"time"
)

// Budget bounds how often something may be tried: Burst times at once, then once every Every.
type Budget struct {
	Key   string
	Every time.Duration
	Burst int
}

// Spend takes one try from every budget, if each has one left (GCRA, one row a key). When one has
// not, wait is the time until it does; nothing is taken from that one.
func (db *DB) Spend(ctx context.Context, now time.Time, budgets ...Budget) (wait time.Duration, err error) {
	for _, b := range budgets {
		cost, burst := b.Every, b.Every*time.Duration(b.Burst)
		n, err := db.exec(ctx, "spend attempt", `
			insert into attempts (key, tat) values ($1, $2::timestamptz + $3::interval)
			on conflict (key) do update
			set tat = greatest(attempts.tat, $2) + $3::interval
			where greatest(attempts.tat, $2) + $3::interval <= $2::timestamptz + $4::interval`,
			b.Key, now, cost, burst)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			wait = max(wait, b.Every)
		}
	}
	return wait, nil
}

// Refund gives back the try that a success had taken from each budget.
func (db *DB) Refund(ctx context.Context, budgets ...Budget) error {
	for _, b := range budgets {
		_, err := db.exec(ctx, "refund attempt", `
			update attempts
			set tat = tat - $2::interval
			where key = $1`, b.Key, b.Every)
		if err != nil {
			return err
		}
	}
	return nil
}

// SpendAssertion remembers an accepted client assertion until it expires; false means that it was
// accepted before (RFC 7523, 3: jti).
func (db *DB) SpendAssertion(ctx context.Context, clientID, jti string, expiresAt time.Time) (bool, error) {
	n, err := db.exec(ctx, "spend assertion", `
		insert into assertions (client_id, jti_hash, expires_at)
		values ($1, $2, $3)
		on conflict (client_id, jti_hash) do nothing`, clientID, HashSecret(jti), expiresAt)
	return n == 1, err
}
