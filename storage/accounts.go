package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// SignedIn is a live session with its person, and the hash of the cookie secret that it was found by.
type SignedIn struct {
	SecretHash []byte
	Session    Session
	User       User
}

// LiveSessionsByHash is LiveSession for several cookie secrets at once, in no order.
func (db *DB) LiveSessionsByHash(ctx context.Context, secretHashes [][]byte, now time.Time) ([]SignedIn, error) {
	return list(ctx, db, "read sessions of a browser", `
		select s.secret_hash, `+sessionColumns+`, `+userColumns+`
		from sessions s
		join users u on u.id = s.user_id and u.state = 'active'
		where s.secret_hash = any($1) and s.ended_at is null and s.idle_expires_at > $2 and s.expires_at > $2`,
		[]any{secretHashes, now}, func(row pgx.CollectableRow) (SignedIn, error) {
			var s SignedIn
			err := row.Scan(append(append([]any{&s.SecretHash}, s.Session.fields()...), s.User.fields()...)...)
			return s, err
		})
}

// EndedSessions finds the sessions of cookie secrets that have ended since a time.
func (db *DB) EndedSessions(ctx context.Context, secretHashes [][]byte, since time.Time) ([]uuid.UUID, error) {
	return list(ctx, db, "read ended sessions", `
		select id
		from sessions
		where secret_hash = any($1) and ended_at >= $2`, []any{secretHashes, since}, pgx.RowTo[uuid.UUID])
}

// RenewSecret gives a live session another cookie secret; the one before is dead. One caller ever
// succeeds for a secret: the others get ErrNotFound, as for a session that is not live.
func (db *DB) RenewSecret(ctx context.Context, oldHash, newHash []byte, now time.Time) error {
	n, err := db.exec(ctx, "renew session secret", `
		update sessions
		set secret_hash = $2
		where secret_hash = $1 and ended_at is null and idle_expires_at > $3 and expires_at > $3
		  and exists (select 1 from users u where u.id = user_id and u.state = 'active')`, oldHash, newHash, now)
	if err == nil && n == 0 {
		return wrap("renew session secret", ErrNotFound)
	}
	return err
}

// KnownPeople lists who has signed in in the browser with that device cookie, the last one first.
// Accounts that are not active are left out.
func (db *DB) KnownPeople(ctx context.Context, deviceHash []byte, now time.Time, limit int) ([]User, error) {
	return list(ctx, db, "list people of a browser", `
		select `+userColumns+`
		from devices d
		join users u on u.id = d.user_id and u.state = 'active'
		where d.secret_hash = $1 and d.expires_at > $2
		order by d.seen_at desc, u.id
		limit $3`, []any{deviceHash, now, limit}, func(row pgx.CollectableRow) (User, error) {
		var u User
		err := row.Scan(u.fields()...)
		return u, err
	})
}

// ForgetPerson takes a person out of those who are known in the browser with that device cookie.
// Again is no error.
func (db *DB) ForgetPerson(ctx context.Context, deviceHash []byte, userID string) error {
	_, err := db.exec(ctx, "forget person", `
		delete from devices
		where secret_hash = $1 and user_id = $2`, deviceHash, userID)
	return err
}
