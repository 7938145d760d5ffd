package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"idp/storage"
	"idp/web"
)

// What the page of new accounts says.
const (
	saysNoFullName = "Enter your name."
	saysLongName   = "Enter a name of at most 128 characters, on one line."
	saysNoUsername = "Choose a user name."
	saysUsername   = "Use 2 to 64 letters, digits, dots, dashes and underscores."
	saysScripts    = "Use letters of one script, and at least one letter or digit, so that nobody takes the name for another one."
	saysTaken      = "Somebody has this user name already. Choose another one, or sign in if it is you."
	saysWeakName   = "A user name cannot begin with usr_. Choose another one."
)

// Longest names that people choose for themselves, in characters.
const (
	maxFullName = 128
	maxUsername = 64
)

// SignUpPage is the data of signup.html.
type SignUpPage struct {
	Purpose
	Name, Username string
	MinLength      int // of the password, in characters
	Error          string
	FieldError     string // "name", "username", "new_password" or ""
	SignInURL      string
}

// SignUp is the page where people make an account of their own (GET, POST /signup), where that is
// open to them. No address is asked for, as none could be verified: what the page says of a user
// name tells nothing of anybody's address, because no user name looks like one.
func (l *Login) SignUp(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	if !l.SignUpOpen {
		return &web.Error{Status: http.StatusNotFound, ActionText: "Sign in", ActionURL: "/login",
			Message: "Accounts here are made by an administrator. If you have none yet, ask for one."}
	}
	why, err := l.purpose(r, form)
	page := SignUpPage{Name: form.Get("name"), Username: form.Get("username")}
	stale := errors.Is(err, errStale)
	switch {
	case stale && r.Method == http.MethodPost:
		if why.request, err = l.renew(r.Context(), why); err == nil {
			return l.showSignUp(w, r, why, page, refusal(saysStale))
		}
	case stale:
		err = Expired(why.client, why.request)
	}
	if err != nil {
		return err
	}
	if r.Method != http.MethodPost {
		l.EnsureBrowser(w, r)
		page = SignUpPage{}
		if h := hint(why.param("login_hint")); checkUsername(h) == nil {
			page.Username = h
		}
		return l.showSignUp(w, r, why, page, nil)
	}
	if l.Browser(r) == nil {
		return cookieLost(why.to)
	}
	l.EnsureBrowser(w, r)
	err = l.signUp(w, r, why, page, form)
	if _, ok := errors.AsType[*web.Error](err); ok {
		return l.showSignUp(w, r, why, page, err)
	}
	if err != nil {
		return err
	}
	return web.See(w, r, why.next())
}

// signUp makes the account and begins its first session, with whoever is present put aside.
func (l *Login) signUp(w http.ResponseWriter, r *http.Request, why purpose, page SignUpPage, form url.Values) error {
	ctx, password := r.Context(), form.Get("new_password")
	now := l.now()
	u := storage.User{
		ID: storage.NewID("usr_"), Username: strings.TrimSpace(page.Username), Profile: storage.Profile{Name: strings.TrimSpace(page.Name)},
		State: storage.UserActive, CreatedAt: now, UpdatedAt: now,
	}
	if err := l.checkSignUp(u, password); err != nil {
		return err
	}
	if err := l.spend(ctx, signUpBudgets(web.ClientIP(ctx))); err != nil {
		return err
	}
	hash, err := l.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	created := storage.Event{At: now, Kind: "account.created", UserID: u.ID, Actor: u.ID, IP: web.ClientIP(ctx)}
	if why.request != nil {
		created.ClientID = why.request.ClientID
	}
	err = l.DB.CreateUser(ctx, u, hash, created)
	if errors.Is(err, storage.ErrConflict) {
		return l.signUpAgain(w, r, why, u.Username, password)
	}
	if err != nil {
		return err
	}
	web.Note(ctx, "user_id", u.ID)
	in := created
	in.Kind, in.Details = "login.succeeded", map[string]any{"methods": []string{"pwd"}, "remembered": false}
	err = l.begin(w, r, arrival{proved: storage.Password{User: u, Hash: hash, SetAt: now}, add: true, request: why.request, event: in})
	if errors.Is(err, storage.ErrNotFound) { // switched off a moment after it was made
		return refusal(saysSuspended)
	}
	return err
}

// signUpAgain is for a user name that somebody has. When name and password are right, that is the
// same form sent twice, and as good as a sign-in. It costs what a try at the sign-in page costs.
func (l *Login) signUpAgain(w http.ResponseWriter, r *http.Request, why purpose, username, password string) error {
	err := l.authenticate(w, r, why, LoginPage{Identifier: username, Add: true}, password)
	if e, ok := errors.AsType[*web.Error](err); ok && e.Status == http.StatusUnprocessableEntity {
		return &fieldError{"username", refusal(saysTaken)}
	}
	return err
}

func (l *Login) checkSignUp(u storage.User, password string) error {
	name := u.Profile.Name
	switch {
	case !strings.ContainsFunc(name, func(c rune) bool { return unicode.IsGraphic(c) && !unicode.IsSpace(c) }):
		return &fieldError{"name", refusal(saysNoFullName)}
	case utf8.RuneCountInString(name) > maxFullName || strings.ContainsFunc(name, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) }):
		return &fieldError{"name", refusal(saysLongName)}
	}
	if err := checkUsername(u.Username); err != nil {
		return &fieldError{"username", err}
	}
	err := CheckPassword(password, u.Username, name, l.Site.Issuer.Hostname(), l.Brand)
	if e, ok := errors.AsType[*web.Error](err); ok {
		return &fieldError{"new_password", e}
	}
	return err
}

// checkUsername says what is wrong with a user name that somebody chose for themselves, nil if
// nothing is. None can be taken for an address or an id.
func checkUsername(s string) *web.Error {
	n := utf8.RuneCountInString(s)
	plain := !strings.ContainsFunc(s, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) && !strings.ContainsRune("._-", c)
	})
	switch {
	case s == "":
		return refusal(saysNoUsername)
	case n < 2 || n > maxUsername || !plain:
		return refusal(saysUsername)
	case !oneScript(storage.CanonicalIdentifier(s)):
		return refusal(saysScripts)
	case strings.HasPrefix(storage.CanonicalIdentifier(s), "usr_"):
		return refusal(saysWeakName)
	}
	return nil
}

// oneScript says whether a name has a letter or a digit, and all that it has are of one script: an "а"
// that is Cyrillic, among Latin letters, makes a name that looks like somebody else's. The scripts
// of East Asia stand together, and with Latin, in names that are no trick (Unicode TR 39, 5.2).
func oneScript(name string) bool {
	found, plain := "", false
	for _, c := range name {
		plain = plain || unicode.IsLetter(c) || unicode.IsDigit(c)
		switch s := scriptOf(c); {
		case s == "" || s == found:
		case found != "":
			return false
		default:
			found = s
		}
	}
	return plain
}

// scriptOf is the script of a character; "" for those that stand in several.
func scriptOf(c rune) string {
	if unicode.In(c, unicode.Common, unicode.Inherited, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo) {
		return ""
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, c) {
			return name
		}
	}
	return ""
}

// signUpBudgets bound how many accounts a network makes, and how many user names it finds out to be
// taken.
func signUpBudgets(ip string) []storage.Budget {
	address, around := networks(ip)
	return []storage.Budget{
		{Key: "signup:ip:" + address, Every: 2 * time.Minute, Burst: 20},
		{Key: "signup:net:" + around, Every: 15 * time.Second, Burst: 100},
	}
}

func (l *Login) showSignUp(w http.ResponseWriter, r *http.Request, why purpose, page SignUpPage, problem error) error {
	view := web.View{Name: "signup.html"}
	view.Status, page.Error, page.FieldError = told(w, r.Context(), problem)
	page.Purpose, page.MinLength = why.tell(&view), MinPasswordLength
	page.SignInURL = why.url("/login/accounts")
	view.Data = page
	return l.Site.Pages.Show(w, r, view)
}

// told is what a form shows of what went wrong: nothing, without a problem.
func told(w http.ResponseWriter, ctx context.Context, problem error) (status int, message, field string) {
	if e, ok := errors.AsType[*web.Error](problem); ok {
		status, message = e.Status, e.Message
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int(e.RetryAfter.Seconds()+0.999)))
		}
		web.Note(ctx, "refused", problem.Error())
	}
	if f, ok := errors.AsType[*fieldError](problem); ok {
		field = f.field
	}
	return status, message, field
}
