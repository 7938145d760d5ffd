package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"
)

// States of an account.
const (
	UserActive    = "active"
	UserSuspended = "suspended"
	UserDeleted   = "deleted"
)

// User is a person's account. Its ID is the public subject: random, never reused.
type User struct {
	ID              string     `json:"id"`
	Username        string     `json:"username"`
	Email           string     `json:"email,omitempty"`
	EmailVerifiedAt *time.Time `json:"email_verified_at,omitempty"`
	Profile         Profile    `json:"profile"`
	State           string     `json:"state"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
}

// Profile holds the standard claims that are not columns (OpenID Connect Core, 5.1). Absent
// members stay absent in every answer.
type Profile struct {
	Name                string   `json:"name,omitempty"`
	GivenName           string   `json:"given_name,omitempty"`
	FamilyName          string   `json:"family_name,omitempty"`
	MiddleName          string   `json:"middle_name,omitempty"`
	Nickname            string   `json:"nickname,omitempty"`
	ProfileURL          string   `json:"profile,omitempty"`
	Picture             string   `json:"picture,omitempty"`
	Website             string   `json:"website,omitempty"`
	Gender              string   `json:"gender,omitempty"`
	Birthdate           string   `json:"birthdate,omitempty"`
	Zoneinfo            string   `json:"zoneinfo,omitempty"`
	Locale              string   `json:"locale,omitempty"`
	PhoneNumber         string   `json:"phone_number,omitempty"`
	PhoneNumberVerified bool     `json:"phone_number_verified,omitempty"`
	Address             *Address `json:"address,omitempty"`
}

// Address is the address claim (OpenID Connect Core, 5.1.1).
type Address struct {
	Formatted     string `json:"formatted,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
}

// CanonicalIdentifier gives the one form in which user names and e-mail addresses are compared:
// NFKC, lower case, no space around.
func CanonicalIdentifier(s string) string {
	return norm.NFKC.String(strings.ToLower(norm.NFKC.String(strings.TrimSpace(s))))
}

// CreateUser stores a new account with its password hash ("" for none). A user name or address
// that somebody has gives ErrConflict.
func (db *DB) CreateUser(ctx context.Context, u User, passwordHash string, e Event) error {
	return db.inTx(ctx, "create user "+u.ID, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into users (id, username, email, email_verified_at, profile, state, created_at, updated_at)
			values ($1, $2, nullif($3, ''), $4, $5, 'active', $6, $6)`,
			u.ID, u.Username, u.Email, u.EmailVerifiedAt, u.Profile, u.CreatedAt)
		if err != nil {
			return err
		}
		if err := addIdentifiers(ctx, tx, u); err != nil {
			return err
		}
		if passwordHash != "" {
			if err := db.putPassword(ctx, tx, u.ID, passwordHash, u.CreatedAt); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
}

func addIdentifiers(ctx context.Context, tx pgx.Tx, u User) error {
	keys := map[string]string{CanonicalIdentifier(u.Username): "username"}
	if u.Email != "" {
		if key := CanonicalIdentifier(u.Email); keys[key] == "" {
			keys[key] = "email"
		}
	}
	for key, kind := range keys {
		if _, err := tx.Exec(ctx, `insert into identifiers (key, user_id, kind) values ($1, $2, $3)`, key, u.ID, kind); err != nil {
			return err
		}
	}
	return nil
}

const userColumns = `u.id, u.username, coalesce(u.email, ''), u.email_verified_at, u.profile, u.state, u.created_at, u.updated_at`

func (u *User) fields() []any {
	return []any{&u.ID, &u.Username, &u.Email, &u.EmailVerifiedAt, &u.Profile, &u.State, &u.CreatedAt, &u.UpdatedAt}
}

// User finds an account by id.
func (db *DB) User(ctx context.Context, id string) (User, error) {
	var u User
	err := db.scanOne(ctx, "read user", `select `+userColumns+` from users u where u.id = $1`, []any{id}, u.fields()...)
	return u, err
}

// UserByIdentifier finds an account, deleted ones excepted, by user name, e-mail address or id.
func (db *DB) UserByIdentifier(ctx context.Context, identifier string) (User, error) {
	var u User
	err := db.scanOne(ctx, "find user", `
		select `+userColumns+`
		from users u
		where u.state <> 'deleted'
		  and (u.id = $2 or u.id = (select user_id from identifiers where key = $1))`,
		[]any{CanonicalIdentifier(identifier), identifier}, u.fields()...)
	return u, err
}

// Users lists accounts that are not deleted, by user name.
func (db *DB) Users(ctx context.Context, after string, limit int) ([]User, error) {
	return list(ctx, db, "list users", `
		select `+userColumns+`
		from users u
		where u.state <> 'deleted' and u.username > $1
		order by u.username, u.id
		limit $2`, []any{after, limit}, func(row pgx.CollectableRow) (User, error) {
		var u User
		err := row.Scan(u.fields()...)
		return u, err
	})
}

// Password is a person's password credential.
type Password struct {
	User  User
	Hash  string    // PHC string; empty when the person has no password
	SetAt time.Time // when it was chosen; a new hash of the same password does not change it
}

// PasswordByIdentifier reads, in one statement, the account somebody claims to own and the
// password hash to check the claim with.
func (db *DB) PasswordByIdentifier(ctx context.Context, identifier string) (Password, error) {
	return db.password(ctx, `u.id = (select user_id from identifiers where key = $1)`, CanonicalIdentifier(identifier))
}

// PasswordByUser is PasswordByIdentifier for somebody who is known already.
func (db *DB) PasswordByUser(ctx context.Context, userID string) (Password, error) {
	return db.password(ctx, `u.id = $1`, userID)
}

func (db *DB) password(ctx context.Context, where, arg string) (Password, error) {
	var p Password
	var sealed []byte
	var setAt *time.Time
	err := db.scanOne(ctx, "read password credential", `
		select `+userColumns+`, c.data, c.updated_at
		from users u
		left join credentials c on c.user_id = u.id and c.kind = 'password'
		where u.state <> 'deleted' and `+where, []any{arg}, append(p.User.fields(), &sealed, &setAt)...)
	if err != nil || sealed == nil {
		return p, err
	}
	plain, err := db.sealer.Open(sealed, "credentials", p.User.ID, "data")
	if err != nil {
		return p, fmt.Errorf("read password credential of %s: %w", p.User.ID, err)
	}
	p.Hash, p.SetAt = string(plain), *setAt
	return p, nil
}

func (db *DB) putPassword(ctx context.Context, q querier, userID, hash string, now time.Time) error {
	sealed := db.sealer.Seal([]byte(hash), "credentials", userID, "data")
	_, err := q.Exec(ctx, `
		insert into credentials (id, user_id, kind, data, created_at, updated_at)
		values ($1, $2, 'password', $3, $4, $4)
		on conflict (user_id) where kind = 'password' do update
		set data = excluded.data, updated_at = excluded.updated_at`, NewRowID(), userID, sealed, now)
	return err
}

// RehashPassword replaces the hash of a password that was just proved right by one with newer
// parameters, unless another password was chosen since setAt.
func (db *DB) RehashPassword(ctx context.Context, userID, hash string, setAt time.Time) error {
	sealed := db.sealer.Seal([]byte(hash), "credentials", userID, "data")
	_, err := db.exec(ctx, "rehash password", `
		update credentials
		set data = $2
		where user_id = $1 and kind = 'password' and updated_at = $3`, userID, sealed, setAt)
	return err
}

// NewPassword is a password that replaces another, or is the first.
type NewPassword struct {
	UserID      string
	Hash        string     // PHC string of the new password
	ProvedSetAt *time.Time // of the password that was confirmed before; nil when an operator sets it
	Keep        uuid.UUID  // session that goes on; the zero id keeps none
	Now         time.Time
	Event       Event
}

// SetPassword replaces a person's password. It ends their sessions but Keep, and the grants that
// hang on those sessions. ErrNotFound when there is no such account; ErrConflict when the password
// is not the one that was confirmed any more.
func (db *DB) SetPassword(ctx context.Context, p NewPassword) error {
	return db.inTx(ctx, "set password of "+p.UserID, func(tx pgx.Tx) error {
		// The lock makes others wait, or be seen: a deletion, which must leave no credential behind,
		// and another new password, of which only one may rest on the same proof.
		var there bool
		err := tx.QueryRow(ctx, `select true from users where id = $1 and state in ('active', 'suspended') for update`, p.UserID).Scan(&there)
		if err != nil {
			return err
		}
		if p.ProvedSetAt != nil {
			var same bool
			err := tx.QueryRow(ctx, `
				select exists (select 1 from credentials where user_id = $1 and kind = 'password' and updated_at = $2)`,
				p.UserID, *p.ProvedSetAt).Scan(&same)
			if err != nil {
				return err
			}
			if !same {
				return ErrConflict
			}
		}
		if err := db.putPassword(ctx, tx, p.UserID, p.Hash, p.Now); err != nil {
			return err
		}
		if _, err := endSessions(ctx, tx, p.UserID, p.Keep, "password_changed", p.Now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, p.Event)
	})
}

// Ended counts what a suspension, deletion or sign-out took away.
type Ended struct {
	Sessions int64 `json:"sessions"`
	Grants   int64 `json:"grants"`
}

// SetUserState suspends, activates or deletes an account. Leaving the active state ends every
// session and every grant at once; a deleted account also frees its user name and address and
// loses its profile and credentials, while the id stays taken.
func (db *DB) SetUserState(ctx context.Context, userID, state string, now time.Time, e Event) (Ended, error) {
	var ended Ended
	err := db.inTx(ctx, "set state of user "+userID, func(tx pgx.Tx) error {
		ended = Ended{}
		tag, err := tx.Exec(ctx, `
			update users
			set state = $2, updated_at = $3
			where id = $1 and state <> 'deleted'`, userID, state, now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if state == UserActive {
			return appendEvent(ctx, tx, e)
		}
		if ended, err = endSessions(ctx, tx, userID, uuid.Nil, "user_"+state, now); err != nil {
			return err
		}
		others, err := revokeUserGrants(ctx, tx, userID, "user_"+state, now)
		if err != nil {
			return err
		}
		ended.Grants += others
		if state == UserDeleted {
			if err := eraseUser(ctx, tx, userID); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, e)
	})
	return ended, err
}

func eraseUser(ctx context.Context, tx pgx.Tx, userID string) error {
	for _, statement := range []string{
		`update users set username = '', email = null, email_verified_at = null, profile = '{}' where id = $1`,
		`delete from identifiers where user_id = $1`,
		`delete from credentials where user_id = $1`,
		`delete from consents where user_id = $1`,
		`delete from devices where user_id = $1`,
		`delete from members where user_id = $1`,
	} {
		if _, err := tx.Exec(ctx, statement, userID); err != nil {
			return err
		}
	}
	return nil
}
