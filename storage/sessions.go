package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Session is one browser in which a person signed in. The cookie holds the secret, the row its hash.
type Session struct {
	ID            uuid.UUID
	UserID        string
	AuthTime      time.Time // when the person last proved who they are
	Methods       []string  // RFC 8176: "pwd", …
	ACR           string
	IP, UserAgent string
	Persistent    bool // "stay signed in"
	CreatedAt     time.Time
	SeenAt        time.Time
	IdleExpiresAt time.Time
	ExpiresAt     time.Time
	EndedAt       *time.Time
}

// SignIn is what a new session rests on.
type SignIn struct {
	SecretHash    []byte    // of the new cookie
	OldHash       []byte    // of the cookie that the browser had before; may be nil
	Aside         [][]byte  // of the sessions that the browser has beside that one
	KeepOld       bool      // the session of the old cookie goes on when it is somebody else's
	End           [][]byte  // of sessions that end, because the browser has too many
	PasswordSetAt time.Time // of the password that was proved: replaced meanwhile, it proves nothing
	Event         Event
}

// HashSecret is how random secrets of 128 bits or more are stored: nothing to guess, so no slow hash.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// CreateSession stores a session under the hash of its new cookie and writes the event. When the
// same person proved themselves again in this browser, the row goes on with the new secret, so that
// grants and clients keep their session, and the cookie before is dead. Somebody else's session
// ends, unless it is kept or stands aside. ErrNotFound when the account is not active any more, or
// its password was replaced.
func (db *DB) CreateSession(ctx context.Context, s *Session, in SignIn) error {
	return db.inTx(ctx, "create session", func(tx pgx.Tx) error {
		// The lock makes a suspension or a new password wait, or be seen.
		var active bool
		err := tx.QueryRow(ctx, `
			select true
			from users u
			join credentials c on c.user_id = u.id and c.kind = 'password' and c.updated_at = $2
			where u.id = $1 and u.state = 'active'
			for share`, s.UserID, in.PasswordSetAt).Scan(&active)
		if err != nil {
			return err
		}
		renewed, err := renewSession(ctx, tx, s, in)
		if err != nil {
			return err
		}
		ends := in.End
		if in.OldHash != nil && !in.KeepOld { // the person's own has another hash by now
			ends = append(slices.Clone(ends), in.OldHash)
		}
		if err := replaceSessions(ctx, tx, ends, s.CreatedAt); err != nil {
			return err
		}
		if !renewed {
			_, err := tx.Exec(ctx, `
				insert into sessions (id, secret_hash, user_id, auth_time, methods, acr, ip, user_agent, persistent,
				  created_at, seen_at, idle_expires_at, expires_at)
				values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12)`,
				s.ID, in.SecretHash, s.UserID, s.AuthTime, s.Methods, s.ACR, s.IP, s.UserAgent, s.Persistent,
				s.CreatedAt, s.IdleExpiresAt, s.ExpiresAt)
			if err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, in.Event)
	})
}

// renewSession gives the row that the person has in this browser already, if any, the new secret.
func renewSession(ctx context.Context, tx pgx.Tx, s *Session, in SignIn) (bool, error) {
	own := in.Aside
	if in.OldHash != nil {
		own = append(slices.Clone(own), in.OldHash)
	}
	if len(own) == 0 {
		return false, nil
	}
	// The hash stands in the outer condition too: it is what settles races for the row.
	err := tx.QueryRow(ctx, `
		update sessions
		set secret_hash = $2, auth_time = $4, methods = $5, acr = $6, ip = $7, user_agent = $8, persistent = $9,
		  seen_at = $10, idle_expires_at = $11, expires_at = $12
		where secret_hash = any($1)
		  and id = (
		    select id
		    from sessions
		    where secret_hash = any($1) and user_id = $3 and ended_at is null and idle_expires_at > $10 and expires_at > $10
		    order by auth_time desc, id
		    limit 1)
		  and ended_at is null
		returning id`,
		own, in.SecretHash, s.UserID, s.AuthTime, s.Methods, s.ACR, s.IP, s.UserAgent, s.Persistent,
		s.CreatedAt, s.IdleExpiresAt, s.ExpiresAt).Scan(&s.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// replaceSessions ends sessions by the hashes of their cookies, with the grants that hang on them.
func replaceSessions(ctx context.Context, tx pgx.Tx, hashes [][]byte, now time.Time) error {
	if len(hashes) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `
		update sessions
		set ended_at = $2, end_reason = 'replaced'
		where secret_hash = any($1) and ended_at is null
		returning id`, hashes, now)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return err
	}
	_, err = sessionsEnded(ctx, tx, ids, "session_replaced", now)
	return err
}

const sessionColumns = `s.id, s.user_id, s.auth_time, s.methods, s.acr, s.ip, s.user_agent, s.persistent, s.created_at, s.seen_at, s.idle_expires_at, s.expires_at, s.ended_at`

func (s *Session) fields() []any {
	return []any{&s.ID, &s.UserID, &s.AuthTime, &s.Methods, &s.ACR, &s.IP, &s.UserAgent, &s.Persistent, &s.CreatedAt, &s.SeenAt, &s.IdleExpiresAt, &s.ExpiresAt, &s.EndedAt}
}

// LiveSession finds the session of a cookie with its person. Ended and expired sessions, and those
// of people who are not active, are not found.
func (db *DB) LiveSession(ctx context.Context, secretHash []byte, now time.Time) (Session, User, error) {
	var s Session
	var u User
	err := db.scanOne(ctx, "read session", `
		select `+sessionColumns+`, `+userColumns+`
		from sessions s
		join users u on u.id = s.user_id and u.state = 'active'
		where s.secret_hash = $1 and s.ended_at is null and s.idle_expires_at > $2 and s.expires_at > $2`,
		[]any{secretHash, now}, append(s.fields(), u.fields()...)...)
	return s, u, err
}

// TouchSession moves the idle expiry of a session that is in use.
func (db *DB) TouchSession(ctx context.Context, id uuid.UUID, now, idleExpiresAt time.Time) error {
	_, err := db.exec(ctx, "touch session", `
		update sessions
		set seen_at = $2, idle_expires_at = least($3, expires_at)
		where id = $1 and ended_at is null`, id, now, idleExpiresAt)
	return err
}

// EndSession ends one session and the grants that hang on it. Grants with offline access outlive
// it. It tells how many grants ended; ErrNotFound when the session had ended before.
func (db *DB) EndSession(ctx context.Context, id uuid.UUID, reason string, now time.Time, e Event) (int64, error) {
	var grants int64
	err := db.inTx(ctx, "end session", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update sessions
			set ended_at = $2, end_reason = $3
			where id = $1 and ended_at is null`, id, now, reason)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if grants, err = sessionsEnded(ctx, tx, []uuid.UUID{id}, reason, now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	return grants, err
}

// endSessions ends all sessions of a person but keep, with the grants that hang on them.
func endSessions(ctx context.Context, tx pgx.Tx, userID string, keep uuid.UUID, reason string, now time.Time) (Ended, error) {
	rows, err := tx.Query(ctx, `
		update sessions
		set ended_at = $3, end_reason = $4
		where user_id = $1 and id <> $2 and ended_at is null
		returning id`, userID, keep, now, reason)
	if err != nil {
		return Ended{}, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return Ended{}, err
	}
	grants, err := sessionsEnded(ctx, tx, ids, reason, now)
	return Ended{Sessions: int64(len(ids)), Grants: grants}, err
}
