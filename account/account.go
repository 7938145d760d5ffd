// Package account lets a signed-in person look after their account.
package account

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// Config is what an Account is made of.
type Config struct {
	DB    *storage.DB
	Site  *web.Site
	Login *login.Login
	Now   func() time.Time
	Brand string // a word that no password may be made of
}

// Account serves the pages under /account. Its handlers stand behind the guard login.User.
type Account struct{ Config }

// New makes an Account.
func New(c Config) *Account {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Account{c}
}

// AccountPage is the data of account.html. Times are written out, in UTC.
type AccountPage struct {
	Name, Username, Email   string
	EmailVerified           bool
	SignedInAt, SessionEnds string
	Notice                  string
}

// SecurityPage is the data of security.html.
type SecurityPage struct {
	Username   string
	MinLength  int // of a new password, in characters
	Error      string
	FieldError string // "password", "new_password" or ""
	Notice     string
}

// Home shows who is signed in, and until when (GET /account).
func (a *Account) Home(w http.ResponseWriter, r *http.Request) error {
	session, user := login.From(r.Context())
	return a.Site.Pages.Show(w, r, web.View{Name: "account.html", Account: user.Username, Data: AccountPage{
		Name: user.Profile.Name, Username: user.Username, Email: user.Email, EmailVerified: user.EmailVerifiedAt != nil,
		SignedInAt: moment(session.AuthTime), SessionEnds: moment(session.ExpiresAt),
	}})
}

func moment(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// Security is where people change their password (GET, POST /account/security).
func (a *Account) Security(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	session, user := login.From(r.Context())
	page := SecurityPage{Username: user.Username, MinLength: login.MinPasswordLength}
	if r.Method != http.MethodPost {
		if form.Get("changed") == "1" {
			page.Notice = "Your password is changed, and you are signed out everywhere else."
		}
		return a.showSecurity(w, r, page, nil)
	}
	page.FieldError, err = a.changePassword(w, r, session, user, form.Get("password"), form.Get("new_password"))
	if errors.Is(err, storage.ErrNotFound) { // signed out meanwhile, or the account switched off
		return web.See(w, r, "/login?to=/account/security")
	}
	if e, ok := errors.AsType[*web.Error](err); ok {
		return a.showSecurity(w, r, page, e)
	}
	if err != nil {
		return err
	}
	return web.See(w, r, "/account/security?changed=1")
}

// changePassword gives, with a *web.Error for the person, the field that it belongs to.
func (a *Account) changePassword(w http.ResponseWriter, r *http.Request, session *storage.Session, user *storage.User, old, chosen string) (field string, err error) {
	// The new password is judged first: that costs nothing, and a refusal then needs no try.
	err = login.CheckPassword(chosen, user.Username, user.Email, user.Profile.Name, user.Profile.GivenName, user.Profile.FamilyName,
		user.Profile.Nickname, a.Site.Issuer.Hostname(), a.Brand)
	if err != nil {
		return "new_password", err
	}
	proved, err := a.Login.Confirm(r, user, old)
	if err != nil {
		return fieldOf(err), err
	}
	err = a.Login.ChangePassword(w, r, session, proved, chosen, storage.Event{
		At: a.Now().UTC(), Kind: "password.changed", UserID: user.ID, Actor: user.ID, IP: web.ClientIP(r.Context()),
	})
	if errors.Is(err, storage.ErrConflict) {
		return "", &web.Error{Status: http.StatusConflict, Err: err,
			Message: "Your password was changed a moment ago in another window or on another device, so nothing was changed here."}
	}
	return "", err
}

// fieldOf is the field that a refusal of the current password belongs to: that field, or none when
// it is about too many tries.
func fieldOf(err error) string {
	if e, ok := errors.AsType[*web.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
		return "password"
	}
	return ""
}

func (a *Account) showSecurity(w http.ResponseWriter, r *http.Request, page SecurityPage, problem *web.Error) error {
	view := web.View{Name: "security.html", Account: page.Username}
	if problem != nil {
		view.Status, page.Error = problem.Status, problem.Message
		if problem.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(problem.RetryAfter.Seconds()+0.999)))
		}
		web.Note(r.Context(), "refused", problem.Error())
	}
	view.Data = page
	return a.Site.Pages.Show(w, r, view)
}
