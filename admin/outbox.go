package admin

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"idp/storage"
)

// MaxMessages is how many messages to apps are listed at most.
const MaxMessages = 10_000

// Messages lists what apps had to be told in the last 30 days, newest first. Client id and state
// (storage.MessagePending, …) may be "" for all.
func (a *Admin) Messages(ctx context.Context, clientID, state string, limit int) ([]storage.Message, error) {
	if limit < 1 || limit > MaxMessages {
		return nil, impossible("From 1 to %d messages can be listed.", MaxMessages)
	}
	return a.DB.Messages(ctx, clientID, state, limit)
}

// RetryMessage makes a message that was given up due again. Running servers send it within seconds.
func (a *Admin) RetryMessage(ctx context.Context, id string) error {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed == uuid.Nil {
		return noMessage(id, storage.ErrNotFound)
	}
	n, err := a.retry(ctx, parsed)
	if err == nil && n == 0 {
		err = storage.ErrNotFound
	}
	return noMessage(id, err)
}

func noMessage(id string, err error) error {
	return missing("outbox", fmt.Sprintf("There is no message %s that was given up. One that is pending is tried again by itself.", id), err)
}

// RetryMessages does so with all that were given up, and counts them.
func (a *Admin) RetryMessages(ctx context.Context) (int64, error) { return a.retry(ctx, uuid.Nil) }

func (a *Admin) retry(ctx context.Context, id uuid.UUID) (int64, error) {
	e := a.event("outbox.retried")
	if id != uuid.Nil {
		e.Details = map[string]any{"message": id}
	}
	return a.DB.RetryMessages(ctx, id, a.now(), e)
}
