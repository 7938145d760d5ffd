package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Event is one line of the audit trail: append-only, written in the transaction of the change it
// tells of. Kinds are dotted and in the past tense: "login.succeeded", "user.suspended".
type Event struct {
	ID       uuid.UUID      `json:"id"`
	At       time.Time      `json:"at"`
	Kind     string         `json:"kind"`
	UserID   string         `json:"user_id,omitempty"`
	ClientID string         `json:"client_id,omitempty"`
	Actor    string         `json:"actor,omitempty"` // a user id, a client id, or "operator"
	IP       string         `json:"ip,omitempty"`
	Details  map[string]any `json:"details,omitempty"` // never a secret
}

const insertEvent = `
	insert into events (id, at, kind, user_id, client_id, actor, ip, details)
	values ($1, $2, $3, $4, $5, $6, $7, $8)`

func (e Event) args() []any {
	if e.Details == nil {
		e.Details = map[string]any{}
	}
	return []any{NewRowID(), e.At, e.Kind, e.UserID, e.ClientID, e.Actor, e.IP, e.Details}
}

// appendEvent writes e; an event without a kind is none.
func appendEvent(ctx context.Context, q querier, e Event) error {
	if e.Kind == "" {
		return nil
	}
	_, err := q.Exec(ctx, insertEvent, e.args()...)
	return err
}

// AppendEvent writes an event that belongs to no change, such as a failed sign-in.
func (db *DB) AppendEvent(ctx context.Context, e Event) error {
	return wrap("append event "+e.Kind, appendEvent(ctx, db.pool, e))
}

// Events lists events, newest first; userID "" means everybody's.
func (db *DB) Events(ctx context.Context, userID string, limit int) ([]Event, error) {
	return list(ctx, db, "list events", `
		select id, at, kind, user_id, client_id, actor, ip, details
		from events
		where $1 = '' or user_id = $1
		order by at desc, id desc
		limit $2`, []any{userID, limit}, pgx.RowToStructByPos[Event])
}
