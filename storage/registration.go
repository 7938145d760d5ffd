package storage

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// RegistrationToken is an initial access token (RFC 7591, 3): its holder may register Uses clients.
type RegistrationToken struct {
	ID        string    `json:"id"`
	Uses      int       `json:"uses"`
	Used      int       `json:"used"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// CreateRegistrationToken stores an initial access token by the hash of its secret.
func (db *DB) CreateRegistrationToken(ctx context.Context, t RegistrationToken, secretHash []byte, e Event) error {
	return db.inTx(ctx, "create registration token", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into registration_tokens (id, secret_hash, uses, created_at, expires_at)
			values ($1, $2, $3, $4, $5)`, t.ID, secretHash, t.Uses, t.CreatedAt, t.ExpiresAt)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// RegistrationTokens lists initial access tokens, newest first. Those that have expired go with the
// next sweep.
func (db *DB) RegistrationTokens(ctx context.Context, limit int) ([]RegistrationToken, error) {
	return list(ctx, db, "list registration tokens", `
		select id, uses, used, created_at, expires_at
		from registration_tokens
		order by created_at desc, id
		limit $1`, []any{limit}, pgx.RowToStructByPos[RegistrationToken])
}

// DeleteRegistrationToken ends an initial access token. Clients that were registered with it stay.
func (db *DB) DeleteRegistrationToken(ctx context.Context, id string, e Event) error {
	return db.inTx(ctx, "delete registration token", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from registration_tokens where id = $1`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		return appendEvent(ctx, tx, e)
	})
}

// RegistrationTokenCounts says whether the initial access token with that hash may register a client
// at this moment. Only RegisterClient takes a use of it.
func (db *DB) RegistrationTokenCounts(ctx context.Context, secretHash []byte, now time.Time) (bool, error) {
	var yes bool
	err := db.scanOne(ctx, "read registration token", `
		select exists (select 1 from registration_tokens where secret_hash = $1 and used < uses and expires_at > $2)`,
		[]any{secretHash, now}, &yes)
	return yes, err
}

// Why a client was not registered.
var (
	ErrTokenSpent       = errors.New("the initial access token does not count")
	ErrRegistrationFull = errors.New("too many clients are registered and unused")
)

// Registration is what belongs to a client that registers itself, beside the client.
type Registration struct {
	AccessHash  []byte    // of its registration access token
	InitialHash []byte    // of the initial access token that a use is taken of; nil for none
	UnusedUntil time.Time // when it is deleted if nobody has allowed it anything
	MostUnused  int       // how many clients nobody has allowed anything may be there with it
}

// registrationLock is the advisory lock that registrations take in turn, so that the count of unused
// clients is exact, whatever number of replicas counts.
const registrationLock = 0x1d9_0005

// RegisterClient stores a client that registers itself. ErrTokenSpent and ErrRegistrationFull say why not.
func (db *DB) RegisterClient(ctx context.Context, c Client, r Registration, e Event) error {
	return db.inTx(ctx, "register client", func(tx pgx.Tx) error {
		if r.InitialHash != nil {
			tag, err := tx.Exec(ctx, `
				update registration_tokens
				set used = used + 1
				where secret_hash = $1 and used < uses and expires_at > $2`, r.InitialHash, c.CreatedAt)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return ErrTokenSpent
			}
		}
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, registrationLock); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			insert into clients (id, metadata, secrets, source, version, created_at, updated_at, origins, registration_hash, unused_until)
			select $1, $2, $3, 'registration', 1, $4, $4, $5, $6, $7
			where (select count(*) from clients where unused_until is not null) < $8`,
			c.ID, c.ClientMetadata, noneForNil(c.Secrets), c.CreatedAt, c.Origins(), r.AccessHash, r.UnusedUntil, r.MostUnused)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrRegistrationFull
		}
		return appendEvent(ctx, tx, e)
	})
}

// RegisteredClient finds a client by its id and the hash of its registration access token. Clients
// that did not register themselves are never found, nor those that an operator has disabled.
func (db *DB) RegisteredClient(ctx context.Context, id string, accessHash []byte) (*Client, error) {
	c := &Client{}
	err := db.scanOne(ctx, "read registered client", `
		select `+clientColumns+`
		from clients c
		where c.id = $1 and c.registration_hash = $2 and c.source = 'registration' and c.disabled_at is null`,
		[]any{id, accessHash}, c.fields()...)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// UpdateRegisteredClient stores the metadata and secrets of a client that registered itself, if
// nobody changed it since it was read (ErrConflict otherwise). With askAgain, what people allowed it
// is not remembered any more; what it holds stays.
func (db *DB) UpdateRegisteredClient(ctx context.Context, c Client, askAgain bool, now time.Time, e Event) error {
	err := db.inTx(ctx, "update registered client", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update clients
			set metadata = $3, secrets = $4, updated_at = $5, version = version + 1, origins = $6
			where id = $1 and version = $2 and source = 'registration'`, c.ID, c.Version, c.ClientMetadata, noneForNil(c.Secrets), now, c.Origins())
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		if askAgain {
			if _, err := tx.Exec(ctx, `update consents set expires_at = $2 where client_id = $1 and (expires_at is null or expires_at > $2)`, c.ID, now); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
	db.clients.drop(c.ID)
	return err
}

// DeleteRegisteredClient is DeleteClient by the hash of the registration access token.
func (db *DB) DeleteRegisteredClient(ctx context.Context, id string, accessHash []byte, now time.Time, e Event) error {
	err := db.inTx(ctx, "delete registered client", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			delete from clients
			where id = $1 and registration_hash = $2 and source = 'registration' and disabled_at is null`, id, accessHash)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		return endClient(ctx, tx, id, now, e)
	})
	db.clients.drop(id)
	return err
}

// sweepUnused deletes clients that registered themselves and that nobody has allowed anything in
// time. A consent at the same moment is in time: the condition is looked at again under the lock.
const sweepUnused = `
	with gone as (
	  delete from clients
	  where id in (select id from clients where unused_until < $1 order by unused_until limit $2) and unused_until < $1
	  returning id
	)
	insert into events (id, at, kind, user_id, client_id, actor, ip, details)
	select gen_random_uuid(), $1, 'client.expired', '', id, 'sweep', '', '{}' from gone`
