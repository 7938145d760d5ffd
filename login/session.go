package login

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"idp/storage"
	"idp/web"
)

const (
	sessionBytes = 32 // random bytes of the session cookie
	flowBytes    = 16 // random bytes of the flow cookie

	// flowLife is how long the flow cookie lasts after the last page that needed it.
	flowLife = 30 * time.Minute

	// touchEvery bounds how often the use of a session is written down.
	touchEvery = time.Minute
)

// destinations are the pages of our own that a sign-in may lead to.
var destinations = [...]string{"/account", "/account/security", "/account/apps", "/device/confirm"}

// cookie is the hash of one of our cookies; nil when it is missing or none of ours.
func (l *Login) cookie(r *http.Request, name string, bytes int) []byte {
	value := l.Site.Cookies.Value(r, name)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil || len(raw) != bytes {
		return nil
	}
	return storage.HashSecret(value)
}

func newCookie(bytes int) string {
	return base64.RawURLEncoding.EncodeToString(storage.RandomBytes(bytes))
}

// SessionHash is the hash of the session cookie, nil when there is none. It says nothing of
// whether the session lives.
func (l *Login) SessionHash(r *http.Request) []byte {
	return l.cookie(r, web.SessionCookie, sessionBytes)
}

// Browser is the hash of the flow cookie, nil when there is none. Kept requests are bound to it.
func (l *Login) Browser(r *http.Request) []byte { return l.cookie(r, web.FlowCookie, flowBytes) }

// EnsureBrowser gives the browser a flow cookie when it has none, renews the life of the one it
// has, and returns its hash.
func (l *Login) EnsureBrowser(w http.ResponseWriter, r *http.Request) []byte {
	value, hash := l.Site.Cookies.Value(r, web.FlowCookie), l.Browser(r)
	if hash == nil {
		value = newCookie(flowBytes)
		hash = storage.HashSecret(value)
	}
	l.Site.Cookies.Set(w, web.FlowCookie, value, flowLife)
	return hash
}

// Current is the live session of the browser and its person; all nil when nobody is signed in.
// Errors are the database's.
func (l *Login) Current(r *http.Request) (*storage.Session, *storage.User, error) {
	hash := l.SessionHash(r)
	if hash == nil {
		return nil, nil, nil
	}
	s, u, err := l.DB.LiveSession(r.Context(), hash, l.now())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return &s, &u, nil
}

type signedIn struct {
	session *storage.Session
	user    *storage.User
}

type signedInKey struct{}

// From gives handlers behind the guard User the session and its person; nil elsewhere.
func From(ctx context.Context) (*storage.Session, *storage.User) {
	s, _ := ctx.Value(signedInKey{}).(signedIn)
	return s.session, s.user
}

// User is the guard of pages for a signed-in person. Everybody else is sent to sign in, and comes
// back if the page is one of those that a sign-in may lead to.
func (l *Login) User(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s, u, err := l.Current(r)
		if err != nil {
			return err
		}
		if s == nil {
			to := "/login"
			if slices.Contains(destinations[:], r.URL.Path) {
				to += "?to=" + url.QueryEscape(r.URL.Path)
			}
			return web.See(w, r, to)
		}
		web.Note(r.Context(), "user_id", u.ID)
		if err := l.Touch(r.Context(), s); err != nil {
			web.Note(r.Context(), "touch", err.Error())
		}
		return h(w, r.WithContext(context.WithValue(r.Context(), signedInKey{}, signedIn{s, u})))
	}
}

// lives are the lifetimes of a session: without use, and at most.
func (l *Login) lives(persistent bool) (idle, absolute time.Duration) {
	if persistent {
		return l.RememberIdle, l.RememberAbsolute
	}
	return l.Idle, l.Absolute
}

// Touch notes that a session is in use, which moves its idle expiry; at most once a minute.
func (l *Login) Touch(ctx context.Context, s *storage.Session) error {
	now := l.now()
	if now.Sub(s.SeenAt) < touchEvery {
		return nil
	}
	idle, _ := l.lives(s.Persistent)
	if err := l.DB.TouchSession(ctx, s.ID, now, now.Add(idle)); err != nil {
		return err
	}
	s.SeenAt, s.IdleExpiresAt = now, now.Add(idle)
	if s.IdleExpiresAt.After(s.ExpiresAt) {
		s.IdleExpiresAt = s.ExpiresAt
	}
	return nil
}

// arrival is a sign-in whose password was right.
type arrival struct {
	proved   storage.Password
	remember bool             // stay signed in on this device
	add      bool             // whoever is present is put aside; otherwise their session ends
	request  *storage.Request // what it is for; nil for a page of our own
	event    storage.Event
}

// begin signs a person in: a session with a cookie that nobody has seen before. A session that the
// same person has in this browser goes on under the new cookie. storage.ErrNotFound says that the
// account is not active, or that the password was replaced.
func (l *Login) begin(w http.ResponseWriter, r *http.Request, a arrival) error {
	now := l.now()
	idle, absolute := l.lives(a.remember)
	methods := []string{"pwd"}
	proved := now
	if a.request != nil && !proved.After(a.request.CreatedAt) {
		// The request began at a replica whose clock is ahead. Whether a sign-in was made for it is
		// told by the order of the two; otherwise prompt=login would ask again and again.
		proved = a.request.CreatedAt.Add(time.Microsecond)
	}
	s := &storage.Session{
		ID: storage.NewRowID(), UserID: a.proved.User.ID, AuthTime: proved, Methods: methods, ACR: ACR(methods),
		IP: web.ClientIP(r.Context()), UserAgent: userAgent(r), Persistent: a.remember,
		CreatedAt: now, SeenAt: now, IdleExpiresAt: now.Add(min(idle, absolute)), ExpiresAt: now.Add(absolute),
	}
	beside, tooMany, err := l.beside(r, a)
	if err != nil {
		return err
	}
	secret := newCookie(sessionBytes)
	in := storage.SignIn{
		SecretHash: storage.HashSecret(secret), OldHash: l.SessionHash(r), KeepOld: a.add, Aside: hashes(l.aside(r)), End: hashes(tooMany),
		PasswordSetAt: a.proved.SetAt, Event: a.event,
	}
	if err := l.DB.CreateSession(r.Context(), s, in); err != nil {
		return err
	}
	life := time.Duration(0)
	if a.remember {
		life = absolute
	}
	l.Site.Cookies.Set(w, web.SessionCookie, secret, life)
	l.setAside(w, r, beside)
	l.rememberDevice(w, r, a.proved.User.ID, s.ID)
	return l.choose(r, a.request, s.ID)
}

// beside are the secrets of the sessions that stand beside a new one, and of those for which there
// is no room any more.
func (l *Login) beside(r *http.Request, a arrival) (keep, tooMany []string, err error) {
	if !a.add && l.aside(r) == nil {
		return nil, nil, nil
	}
	here, err := l.Here(r)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range here {
		if s.User.ID != a.proved.User.ID && (a.add || !s.Present) {
			keep = append(keep, s.secret)
		}
	}
	n := min(len(keep), maxAside)
	return keep[:n], keep[n:], nil
}

// userAgent is what the browser calls itself, in text that a database can hold.
func userAgent(r *http.Request) string {
	s := strings.ToValidUTF8(r.UserAgent(), "")
	if len(s) <= 512 {
		return s
	}
	n := 512
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
