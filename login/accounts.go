package login

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"idp/storage"
	"idp/web"
)

// Several people may be signed in in one browser. One session is present: the session cookie names
// it. The others are put aside: a second cookie holds their secrets. A secret that was in one of
// the cookies is dead when its session becomes the present one.

// maxAside is how many sessions a browser has beside the present one. One more ends the one that
// was put aside longest ago.
const maxAside = 4

// SignedIn is somebody who is signed in in a browser.
type SignedIn struct {
	Session *storage.Session
	User    *storage.User
	Present bool // the session cookie names it
	secret  string
}

// aside are the secrets of the accounts cookie, the last that was put aside first.
func (l *Login) aside(r *http.Request) []string {
	return l.secrets(r, web.AccountsCookie, maxAside)
}

// secrets reads a cookie that holds several secrets. One that is not written as we write it holds
// none.
func (l *Login) secrets(r *http.Request, cookie string, most int) []string {
	value := l.Site.Cookies.Value(r, cookie)
	if value == "" {
		return nil
	}
	secrets := strings.Split(value, ".")
	if len(secrets) > most {
		return nil
	}
	for i, s := range secrets {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || len(raw) != sessionBytes || slices.Contains(secrets[:i], s) {
			return nil
		}
	}
	return secrets
}

// setAside writes the accounts cookie, unless it says the same already.
func (l *Login) setAside(w http.ResponseWriter, r *http.Request, secrets []string) {
	value := strings.Join(secrets, ".")
	switch {
	case value == l.Site.Cookies.Value(r, web.AccountsCookie):
	case value == "":
		l.Site.Cookies.Clear(w, web.AccountsCookie)
	default:
		l.Site.Cookies.Set(w, web.AccountsCookie, value, 0)
	}
}

func hashes(secrets []string) [][]byte {
	var list [][]byte
	for _, s := range secrets {
		list = append(list, storage.HashSecret(s))
	}
	return list
}

// Here are the people who are signed in in the browser: the present one first, then the others in
// the order in which they were put aside, the last one first. Errors are the database's.
func (l *Login) Here(r *http.Request) ([]SignedIn, error) {
	secrets := l.aside(r)
	present := l.SessionHash(r)
	if present != nil {
		secrets = append([]string{l.Site.Cookies.Value(r, web.SessionCookie)}, secrets...)
	}
	if len(secrets) == 0 {
		return nil, nil
	}
	live, err := l.DB.LiveSessionsByHash(r.Context(), hashes(secrets), l.now())
	if err != nil {
		return nil, err
	}
	var here []SignedIn
	for i, secret := range secrets {
		hash := storage.HashSecret(secret)
		j := slices.IndexFunc(live, func(s storage.SignedIn) bool { return bytes.Equal(s.SecretHash, hash) })
		if j >= 0 && !slices.Contains(secrets[:i], secret) {
			here = append(here, SignedIn{&live[j].Session, &live[j].User, i == 0 && present != nil, secret})
		}
	}
	return here, nil
}

// Wanted says whom, of several who are signed in, a request is about. Empty members say nothing;
// an earlier one counts more than a later one.
type Wanted struct {
	Session string   // id of the session that was chosen for the request
	UserIDs []string // of the people whom a hint or the request itself names
	Name    string   // user name or address (login_hint)
}

func (want Wanted) among(here []SignedIn) (SignedIn, bool) {
	for _, fits := range []func(SignedIn) bool{
		func(s SignedIn) bool { return s.Session.ID.String() == want.Session },
		func(s SignedIn) bool { return slices.Contains(want.UserIDs, s.User.ID) },
		func(s SignedIn) bool { return want.Name != "" && isNameOf(want.Name, s.User) },
	} {
		if i := slices.IndexFunc(here, fits); i >= 0 {
			return here[i], true
		}
	}
	return SignedIn{}, false
}

// Several says that sessions were put aside in the browser. It says nothing of whether they live.
func (l *Login) Several(r *http.Request) bool { return l.aside(r) != nil }

// SessionHashFor is SessionHash of whom a request is about, if they are signed in in the browser,
// else of who is present. It asks the database only when the request is about somebody and others
// were put aside.
func (l *Login) SessionHashFor(r *http.Request, want Wanted) ([]byte, error) {
	if !l.Several(r) || want.Session == "" && len(want.UserIDs) == 0 && want.Name == "" {
		return l.SessionHash(r), nil
	}
	here, err := l.Here(r)
	if err != nil {
		return nil, err
	}
	if s, ok := want.among(here); ok {
		return storage.HashSecret(s.secret), nil
	}
	return l.SessionHash(r), nil
}

// present makes a session that was put aside the present one, and puts the present one aside. The
// session has a new secret afterwards. storage.ErrNotFound says that it is not live any more, or
// that another request was faster.
func (l *Login) present(w http.ResponseWriter, r *http.Request, here []SignedIn, chosen SignedIn) error {
	now, secret := l.now(), newCookie(sessionBytes)
	if err := l.DB.RenewSecret(r.Context(), storage.HashSecret(chosen.secret), storage.HashSecret(secret), now); err != nil {
		return err
	}
	life := chosen.Session.ExpiresAt.Sub(now)
	if !chosen.Session.Persistent {
		life = 0
	}
	l.Site.Cookies.Set(w, web.SessionCookie, secret, life)
	var aside []string
	for _, s := range here { // the present one is the first
		if s.secret != chosen.secret {
			aside = append(aside, s.secret)
		}
	}
	l.setAside(w, r, aside[:min(len(aside), maxAside)])
	return nil
}

// choose notes in a kept request whose session it is about. A request that was answered meanwhile
// needs no note: whoever takes it up next is told.
func (l *Login) choose(r *http.Request, kept *storage.Request, session uuid.UUID) error {
	if kept == nil {
		return nil
	}
	err := l.DB.SetRequestParam(r.Context(), kept.ID, l.Browser(r), KeptSession, session.String(), l.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// End signs the browser out: the sessions of everybody who is signed in here, and what hangs on
// them, end in the database, then the cookies go. The reason is one word for the rows and the
// events, such as "signed_out". It returns the session that was present, nil when there was none.
func (l *Login) End(w http.ResponseWriter, r *http.Request, reason string) (*storage.Session, error) {
	here, err := l.Here(r)
	if err != nil {
		return nil, err
	}
	var present *storage.Session
	for _, s := range here {
		ended, err := l.end(r, s, reason)
		if err != nil {
			return nil, err
		}
		if ended && s.Present {
			present = s.Session
		}
	}
	l.Site.Cookies.Clear(w, web.SessionCookie)
	l.setAside(w, r, nil)
	return present, nil
}

// EndOne signs out one of those who are signed in in the browser: the first whom the function
// picks, be they present or put aside. Everybody else stays signed in. It returns who it was, nil
// when the function picked nobody.
func (l *Login) EndOne(w http.ResponseWriter, r *http.Request, reason string, pick func(SignedIn) bool) (*SignedIn, error) {
	here, err := l.Here(r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(here, pick)
	if i < 0 {
		return nil, nil
	}
	picked := here[i]
	if _, err := l.end(r, picked, reason); err != nil {
		return nil, err
	}
	if picked.Present {
		l.Site.Cookies.Clear(w, web.SessionCookie)
	} else {
		l.setAside(w, r, slices.DeleteFunc(l.aside(r), func(secret string) bool { return secret == picked.secret }))
	}
	return &picked, nil
}

// end says whether it was this call that ended the session: somebody else may be faster.
func (l *Login) end(r *http.Request, s SignedIn, reason string) (bool, error) {
	now := l.now()
	_, err := l.DB.EndSession(r.Context(), s.Session.ID, reason, now, storage.Event{
		At: now, Kind: "session.ended", UserID: s.User.ID, Actor: s.User.ID, IP: web.ClientIP(r.Context()),
		Details: map[string]any{"reason": reason},
	})
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("sign out: %w", err)
	}
	return true, nil
}
