package storage

import (
	"context"
	"time"
)

// SpendAssertion remembers an accepted client assertion until it expires; false means that it was
// accepted before (RFC 7523, 3: jti).
func (db *DB) SpendAssertion(ctx context.Context, clientID, jti string, expiresAt time.Time) (bool, error) {
	n, err := db.exec(ctx, "spend assertion", `
		insert into assertions (client_id, jti_hash, expires_at)
		values ($1, $2, $3)
		on conflict (client_id, jti_hash) do nothing`, clientID, HashSecret(jti), expiresAt)
	return n == 1, err
}
