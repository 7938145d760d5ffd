// Package admin lets operators look after clients and people. The command line calls it, and so
// does whatever else an operator works with: the rules stand here once.
//
// Errors are *web.Error: 404 for what is not there, 409 for what is taken, 422 for what is not
// possible, each with a sentence that names the mend.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"idp/storage"
	"idp/web"
)

// Config is what the package needs.
type Config struct {
	DB           *storage.DB
	Log          *slog.Logger
	Now          func() time.Time
	HashPassword func(ctx context.Context, password string) (string, error)
	// CheckPassword is the policy for new passwords; nil accepts all. Context are words that a
	// guesser tries first.
	CheckPassword func(password string, context ...string) error
	// Fetch gets a JSON document from an address that a client names; nil fetches nothing.
	Fetch func(ctx context.Context, address string) ([]byte, error)
}

// Admin does what operators ask for.
type Admin struct{ Config }

// New makes an Admin.
func New(c Config) *Admin {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Admin{c}
}

// now is the present in the precision of the database.
func (a *Admin) now() time.Time { return a.Now().UTC().Truncate(time.Microsecond) }

func (a *Admin) event(kind string) storage.Event {
	return storage.Event{At: a.now(), Kind: kind, Actor: "operator"}
}

// page is how many rows are read at once when all are wanted.
const page = 500

func impossible(format string, args ...any) error {
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_request", Message: fmt.Sprintf(format, args...)}
}

// Missing is the cause of an error about something that was named and is not there.
type Missing struct {
	Noun string // of the commands that list such things: client, group, outbox, registration token, resource or user
	Err  error
}

func (m Missing) Error() string { return m.Noun + ": " + m.Err.Error() }
func (m Missing) Unwrap() error { return m.Err }

// missing gives the database's answer about something of that noun a face, if it is not there.
func missing(noun, message string, err error) error {
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: message, Err: Missing{noun, err}}
}

// taken does the same when something else is in the way.
func taken(message string, err error) error {
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	return &web.Error{Status: http.StatusConflict, Code: "conflict", Message: message, Err: err}
}
