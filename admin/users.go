package admin

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"idp/storage"
)

// UserInput is an account to make.
type UserInput struct {
	Username      string
	Email         string
	EmailVerified bool
	Profile       storage.Profile
	Password      string // "" makes an account without one
}

// CreateUser makes an account.
func (a *Admin) CreateUser(ctx context.Context, in UserInput) (storage.User, error) {
	now := a.now()
	u := storage.User{
		ID: storage.NewID("usr_"), Username: strings.TrimSpace(in.Username), Email: strings.TrimSpace(in.Email),
		Profile: in.Profile, State: storage.UserActive, CreatedAt: now, UpdatedAt: now,
	}
	if err := checkUser(&u); err != nil {
		return u, err
	}
	if in.EmailVerified && u.Email != "" {
		u.EmailVerifiedAt = &now
	}
	hash := ""
	if in.Password != "" {
		var err error
		if hash, err = a.hashPassword(ctx, &u, in.Password); err != nil {
			return u, err
		}
	}
	e := a.event("user.created")
	e.UserID = u.ID
	err := a.DB.CreateUser(ctx, u, hash, e)
	return u, told(err, "", "Somebody has this user name or e-mail address already. Choose another one.")
}

func checkUser(u *storage.User) error {
	n := utf8.RuneCountInString(u.Username)
	switch {
	case n == 0:
		return impossible("A user name is needed.")
	case n > 128 || !utf8.ValidString(u.Username) || strings.ContainsFunc(u.Username, unicode.IsControl):
		return impossible("The user name must be text of at most 128 characters.")
	case strings.HasPrefix(storage.CanonicalIdentifier(u.Username), "usr_"):
		return impossible("A user name cannot begin with usr_: ids do.")
	}
	if u.Email == "" {
		return nil
	}
	if parsed, err := mail.ParseAddress(u.Email); err != nil || parsed.Address != u.Email || len(u.Email) > 254 {
		return impossible("%q is no e-mail address.", u.Email)
	}
	return nil
}

func (a *Admin) hashPassword(ctx context.Context, u *storage.User, password string) (string, error) {
	if a.CheckPassword != nil {
		if err := a.CheckPassword(password, u.Username, u.Email, u.Profile.Name); err != nil {
			return "", err
		}
	}
	return a.HashPassword(ctx, password)
}

// User finds an account by id, user name or e-mail address.
func (a *Admin) User(ctx context.Context, identifier string) (storage.User, error) {
	u, err := a.DB.UserByIdentifier(ctx, identifier)
	return u, noUser(identifier, err)
}

func noUser(identifier string, err error) error {
	return told(err, fmt.Sprintf("There is no user %s.", identifier), "Somebody else changes this user at the moment. Try again.")
}

// Users lists all accounts by user name.
func (a *Admin) Users(ctx context.Context) ([]storage.User, error) {
	var all []storage.User
	for after := ""; ; {
		some, err := a.DB.Users(ctx, after, page)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < page {
			return all, nil
		}
		after = some[len(some)-1].Username
	}
}

// SetPassword replaces a person's password and ends their sessions.
func (a *Admin) SetPassword(ctx context.Context, identifier, password string) (storage.User, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return u, err
	}
	hash, err := a.hashPassword(ctx, &u, password)
	if err != nil {
		return u, err
	}
	e := a.event("password.changed")
	e.UserID = u.ID
	return u, noUser(identifier, a.DB.SetPassword(ctx, u.ID, hash, uuid.Nil, e.At, e))
}

// Suspend switches an account off: its sessions and all that apps hold of it end at once.
func (a *Admin) Suspend(ctx context.Context, identifier string) (storage.User, storage.Ended, error) {
	return a.setState(ctx, identifier, storage.UserSuspended, "user.suspended")
}

// Activate switches a suspended account on again. What had ended stays ended.
func (a *Admin) Activate(ctx context.Context, identifier string) (storage.User, storage.Ended, error) {
	return a.setState(ctx, identifier, storage.UserActive, "user.activated")
}

// DeleteUser ends and erases an account. Its id is never used again.
func (a *Admin) DeleteUser(ctx context.Context, identifier string) (storage.User, storage.Ended, error) {
	return a.setState(ctx, identifier, storage.UserDeleted, "user.deleted")
}

func (a *Admin) setState(ctx context.Context, identifier, state, kind string) (storage.User, storage.Ended, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return u, storage.Ended{}, err
	}
	e := a.event(kind)
	e.UserID = u.ID
	ended, err := a.DB.SetUserState(ctx, u.ID, state, e.At, e)
	u.State = state
	return u, ended, noUser(identifier, err)
}
