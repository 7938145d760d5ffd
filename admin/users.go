package admin

import (
	"context"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	return u, taken(nameTaken, err)
}

const nameTaken = "Somebody has this user name or e-mail address already. Choose another one."

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
	if err := checkProfile(&u.Profile); err != nil {
		return err
	}
	if u.Email == "" {
		return nil
	}
	if parsed, err := mail.ParseAddress(u.Email); err != nil || parsed.Address != u.Email || len(u.Email) > 254 {
		return impossible("%q is no e-mail address.", u.Email)
	}
	return nil
}

func checkProfile(p *storage.Profile) error {
	if !isBirthdate(p.Birthdate) {
		return impossible("The birthdate %q is none. Write it as YYYY-MM-DD, as 0000-MM-DD without the year, or as the year alone.", p.Birthdate)
	}
	claims := []struct{ name, value string }{
		{"name", p.Name}, {"given_name", p.GivenName}, {"family_name", p.FamilyName}, {"middle_name", p.MiddleName}, {"nickname", p.Nickname},
		{"profile", p.ProfileURL}, {"picture", p.Picture}, {"website", p.Website}, {"gender", p.Gender}, {"birthdate", p.Birthdate},
		{"zoneinfo", p.Zoneinfo}, {"locale", p.Locale}, {"phone_number", p.PhoneNumber},
	}
	if d := p.Address; d != nil {
		claims = append(claims, []struct{ name, value string }{
			{"locality", d.Locality}, {"region", d.Region}, {"postal_code", d.PostalCode}, {"country", d.Country},
		}...)
		for _, several := range []string{d.Formatted, d.StreetAddress} { // these may have lines
			claims = append(claims, struct{ name, value string }{"address", strings.NewReplacer("\r", "", "\n", "").Replace(several)})
		}
	}
	for _, c := range claims {
		if utf8.RuneCountInString(c.value) > 1024 || !utf8.ValidString(c.value) || strings.ContainsFunc(c.value, unicode.IsControl) {
			return impossible("The claim %s must be text of at most 1024 characters.", c.name)
		}
	}
	return nil
}

// isBirthdate is OpenID Connect Core, 5.1; none is fine too.
func isBirthdate(s string) bool {
	for _, layout := range []string{"2006-01-02", "2006"} {
		if _, err := time.Parse(layout, s); err == nil {
			return true
		}
	}
	return s == ""
}

func (a *Admin) hashPassword(ctx context.Context, u *storage.User, password string) (string, error) {
	if a.CheckPassword != nil {
		if err := a.CheckPassword(password, u.Username, u.Email, u.Profile.Name); err != nil {
			return "", err
		}
	}
	return a.HashPassword(ctx, password)
}

// UserChange is what to change of an account; nil leaves things as they are.
type UserChange struct {
	Username      *string
	Email         *string // "" takes the address away
	EmailVerified *bool   // nil: another address is not verified, the same one stays what it is
	Profile       func(*storage.Profile)
}

// UpdateUser changes an account. Sessions and grants go on: the person is the same.
func (a *Admin) UpdateUser(ctx context.Context, identifier string, change UserChange) (storage.User, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return u, err
	}
	e := a.event("user.updated")
	e.UserID = u.ID
	u, err = a.DB.UpdateUser(ctx, u.ID, func(u *storage.User) error { return change.apply(u, e.At) }, e.At, e)
	return u, taken(nameTaken, missing("user", fmt.Sprintf("There is no user %s.", identifier), err))
}

func (c *UserChange) apply(u *storage.User, now time.Time) error {
	if c.Username != nil {
		u.Username = strings.TrimSpace(*c.Username)
	}
	if c.Email != nil {
		email := strings.TrimSpace(*c.Email)
		if storage.CanonicalIdentifier(email) != storage.CanonicalIdentifier(u.Email) {
			u.EmailVerifiedAt = nil
		}
		u.Email = email
	}
	switch {
	case c.EmailVerified == nil:
	case !*c.EmailVerified:
		u.EmailVerifiedAt = nil
	case u.Email == "":
		return impossible("There is no e-mail address that could be verified. Add --email.")
	case u.EmailVerifiedAt == nil:
		u.EmailVerifiedAt = &now
	}
	if c.Profile != nil {
		c.Profile(&u.Profile)
	}
	return checkUser(u)
}

// User finds an account by id, user name or e-mail address.
func (a *Admin) User(ctx context.Context, identifier string) (storage.User, error) {
	u, err := a.DB.UserByIdentifier(ctx, identifier)
	return u, noUser(identifier, err)
}

func noUser(identifier string, err error) error {
	err = missing("user", fmt.Sprintf("There is no user %s.", identifier), err)
	return taken("Somebody else changes this user at the moment. Try again.", err)
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
	return u, noUser(identifier, a.DB.SetPassword(ctx, storage.NewPassword{UserID: u.ID, Hash: hash, Now: e.At, Event: e}))
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

// RevokeUser ends all sessions of a person and all that apps hold of them. The account stays
// active: they can sign in again at once.
func (a *Admin) RevokeUser(ctx context.Context, identifier string) (storage.User, storage.Ended, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return u, storage.Ended{}, err
	}
	e := a.event("user.revoked")
	e.UserID = u.ID
	ended, err := a.DB.RevokeUser(ctx, u.ID, e.At, e)
	return u, ended, noUser(identifier, err)
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
