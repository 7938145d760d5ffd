// Package login finds out who a person is: passwords, factors, sessions and ways back in.
//
// Rules of the area. Whatever is wrong with a name or a password, the answer, its headers and its
// cost are the same: each try runs one password hash, in one queue. A sign-in leads only to a page
// of our own, whose address never comes from the browser. A session's cookie is new after every
// sign-in, and the cookie before it is dead: its session ended, or went on under another secret, or
// was put aside by the person (accounts.go).
package login

import (
	"cmp"
	"log/slog"
	"runtime"
	"time"

	"idp/storage"
	"idp/web"
)

// ACRPassword is the authentication context class of somebody who proved one factor
// (OpenID Connect Core, 2: acr).
const ACRPassword = "urn:idp:acr:1fa"

// Default lifetimes of sessions: without use, and at most.
const (
	DefaultIdle             = 8 * time.Hour
	DefaultAbsolute         = 24 * time.Hour
	DefaultRememberIdle     = 14 * 24 * time.Hour
	DefaultRememberAbsolute = 30 * 24 * time.Hour
)

// Config is what a Login is made of. A zero duration means its default.
type Config struct {
	DB   *storage.DB
	Site *web.Site // not needed for HashPassword alone
	Log  *slog.Logger
	Now  func() time.Time

	Idle, Absolute                 time.Duration // a session ends when unused, and in any case
	RememberIdle, RememberAbsolute time.Duration // the same for those who stay signed in

	SignUpOpen bool   // people may make accounts for themselves
	Brand      string // a word that no password may be made of

	HashSlots int // password hashes that run at once, 19 MiB each; 0 means one a processor
}

// Login signs people in and out.
type Login struct {
	Config
	hashes *hasher
}

// New makes a Login.
func New(c Config) *Login {
	c.Idle = cmp.Or(c.Idle, DefaultIdle)
	c.Absolute = cmp.Or(c.Absolute, DefaultAbsolute)
	c.RememberIdle = cmp.Or(c.RememberIdle, DefaultRememberIdle)
	c.RememberAbsolute = cmp.Or(c.RememberAbsolute, DefaultRememberAbsolute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Login{Config: c, hashes: newHasher(cmp.Or(c.HashSlots, runtime.GOMAXPROCS(0)))}
}

// now is the present in the precision of the database, so that what is kept equals what was said.
func (l *Login) now() time.Time { return l.Now().UTC().Truncate(time.Microsecond) }
