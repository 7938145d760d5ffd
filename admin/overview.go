package admin

import (
	"context"
	"errors"
	"strings"

	"idp/storage"
)

// Sessions lists where a person is signed in, the session used last first.
func (a *Admin) Sessions(ctx context.Context, identifier string) ([]storage.Session, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return nil, err
	}
	return a.DB.LiveSessions(ctx, u.ID, a.now())
}

// Grants lists what clients hold of a person, newest first.
func (a *Admin) Grants(ctx context.Context, identifier string) ([]storage.HeldGrant, error) {
	u, err := a.User(ctx, identifier)
	if err != nil {
		return nil, err
	}
	return a.DB.HeldGrants(ctx, u.ID, a.now())
}

// MaxEvents is how many events are listed at most.
const MaxEvents = 10_000

// Events lists what happened, newest first: to one person, or to all with identifier "". A deleted
// account has only its id left.
func (a *Admin) Events(ctx context.Context, identifier string, limit int) ([]storage.Event, error) {
	if limit < 1 || limit > MaxEvents {
		return nil, impossible("From 1 to %d events can be listed.", MaxEvents)
	}
	userID := ""
	if identifier != "" {
		u, err := a.User(ctx, identifier)
		gone := errors.Is(err, storage.ErrNotFound) && strings.HasPrefix(identifier, "usr_")
		switch {
		case err == nil:
			userID = u.ID
		case gone:
			userID = identifier
		default:
			return nil, err
		}
	}
	return a.DB.Events(ctx, userID, limit)
}
