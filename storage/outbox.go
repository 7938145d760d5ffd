package storage

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The outbox holds what others have to be told: written in the transaction of what it tells of, sent
// by whichever process takes it, until it arrives or is given up. A process takes a message for a
// short time, by moving the time of the next try there: whatever happens to the process, the message
// is due again afterwards.

// LogoutMessage is the kind of messages that tell a client of the end of a session (OpenID Connect
// Back-Channel Logout 1.0).
const LogoutMessage = "backchannel_logout"

// Message is one row of the outbox.
type Message struct {
	ID          uuid.UUID  `json:"id"`
	ClientID    string     `json:"client_id"`
	UserID      string     `json:"user_id"`
	CreatedAt   time.Time  `json:"created_at"`
	NextAt      *time.Time `json:"next_try_at,omitempty"` // nil when it is settled; of a message that was taken, when it is given back
	Attempts    int        `json:"attempts"`              // the one that runs included
	DeliveredAt *time.Time `json:"delivered_at,omitempty"`
	FailedAt    *time.Time `json:"failed_at,omitempty"`
	LastError   string     `json:"last_error,omitempty"`
	SessionID   uuid.UUID  `json:"-"`
	Subject     string     `json:"-"` // as the client knows the person
	// Moot says that the client has signed the person in again since, in the same session.
	Moot bool `json:"-"`
}

// OutboxWritten receives when this process has written something into the outbox.
func (db *DB) OutboxWritten() <-chan struct{} { return db.written }

// tellClients writes a message for each client of the sessions that a condition on session_clients
// sc names, if it wants to be told.
func tellClients(ctx context.Context, tx pgx.Tx, where string, arg any, now time.Time, more ...any) error {
	tag, err := tx.Exec(ctx, `
		insert into outbox (id, kind, client_id, user_id, session_id, payload, created_at, next_at)
		select gen_random_uuid(), 'backchannel_logout', sc.client_id, s.user_id, sc.session_id, jsonb_build_object('subject', sc.subject), $2, $2
		from session_clients sc
		join sessions s on s.id = sc.session_id
		join clients c on c.id = sc.client_id and c.disabled_at is null and c.metadata ->> 'backchannel_logout_uri' <> ''
		where `+where, append([]any{arg, now}, more...)...)
	if t, ok := tx.(*transaction); ok && err == nil && tag.RowsAffected() > 0 {
		t.outbox = true
	}
	return err
}

// forgetSignIns tells a client that it is not signed in to any more in the sessions of a person
// that go on, and forgets that it was.
func forgetSignIns(ctx context.Context, tx pgx.Tx, userID, clientID string, now time.Time) error {
	if err := tellClients(ctx, tx, `s.user_id = $1 and sc.client_id = $3 and s.ended_at is null`, userID, now, clientID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		delete from session_clients
		where client_id = $2 and session_id in (select id from sessions where user_id = $1 and ended_at is null)`, userID, clientID)
	return err
}

const messageColumns = `o.id, o.client_id, o.user_id, o.created_at, o.next_at, o.attempts, o.delivered_at, o.failed_at, o.last_error, o.session_id, o.payload`

func scanMessage(row pgx.CollectableRow, more ...any) (Message, error) {
	var m Message
	var session *uuid.UUID
	var payload json.RawMessage
	err := row.Scan(append([]any{&m.ID, &m.ClientID, &m.UserID, &m.CreatedAt, &m.NextAt, &m.Attempts, &m.DeliveredAt, &m.FailedAt, &m.LastError, &session, &payload}, more...)...)
	if err != nil {
		return m, err
	}
	if session != nil {
		m.SessionID = *session
	}
	var p struct{ Subject string }
	err = json.Unmarshal(payload, &p)
	m.Subject = p.Subject
	return m, err
}

// TakeMessages takes up to limit messages that are due, until the given time: nobody else gets them
// before. Clients in busy are left out, and of each other at most two are taken, so that one who is
// slow, with many messages, leaves room for the others.
func (db *DB) TakeMessages(ctx context.Context, limit int, busy []string, now, until time.Time) ([]Message, error) {
	return list(ctx, db, "take messages", `
		with due as (
		  select id, client_id, next_at
		  from outbox
		  where kind = 'backchannel_logout' and next_at <= $1 and client_id <> all($3)
		  order by next_at
		  limit 500
		), fair as (
		  select id
		  from (select id, next_at, row_number() over (partition by client_id order by next_at, id) as n from due) as numbered
		  where n <= 2
		  order by next_at
		  limit $4
		), taken as materialized (
		  select id
		  from outbox
		  where id in (select id from fair) and next_at <= $1
		  for update skip locked
		)
		update outbox o
		set next_at = $2, attempts = o.attempts + 1
		where o.id in (select id from taken)
		returning `+messageColumns+`, exists (
		  select 1
		  from session_clients sc
		  join sessions s on s.id = sc.session_id and s.ended_at is null
		  where sc.session_id = o.session_id and sc.client_id = o.client_id and sc.first_at > o.created_at)`,
		[]any{now, until, noneForNil(busy), limit}, func(row pgx.CollectableRow) (Message, error) {
			var moot bool
			m, err := scanMessage(row, &moot)
			m.Moot = moot
			return m, err
		})
}

// Outcome is what became of an attempt to deliver a message.
type Outcome struct {
	Delivered bool
	Next      *time.Time // when to try again; nil, without Delivered, gives it up
	Error     string
	Event     Event // written with it; may be none
}

// SettleMessage writes down what became of a message that was taken. When it is to be tried again,
// the other messages of the client that are due now wait a minute at most: there is no use in
// finding out the same for each. ErrConflict when the message was not given back in time, so that
// somebody else may have it.
func (db *DB) SettleMessage(ctx context.Context, m Message, o Outcome, now time.Time) error {
	return db.inTx(ctx, "settle message", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update outbox
			set next_at = $3, last_error = $4,
			  delivered_at = case when $5 then $6::timestamptz end,
			  failed_at = case when not $5 and $3::timestamptz is null then $6::timestamptz end
			where id = $1 and next_at = $2`, m.ID, m.NextAt, o.Next, o.Error, o.Delivered, now)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrConflict
		}
		if o.Next != nil {
			later := *o.Next
			if soon := now.Add(time.Minute); later.After(soon) {
				later = soon
			}
			_, err := tx.Exec(ctx, `
				update outbox
				set next_at = $3
				where id in (
				  select id
				  from outbox
				  where kind = 'backchannel_logout' and client_id = $1 and next_at <= $2
				  for update skip locked)`, m.ClientID, now, later)
			if err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, o.Event)
	})
}

// States of a message, as operators ask for them.
const (
	MessagePending   = "pending"
	MessageFailed    = "failed"
	MessageDelivered = "delivered"
)

// State is one of the states above.
func (m Message) State() string {
	switch {
	case m.NextAt != nil:
		return MessagePending
	case m.FailedAt != nil:
		return MessageFailed
	}
	return MessageDelivered
}

// Messages lists messages, newest first. Client id and state may be "" for all.
func (db *DB) Messages(ctx context.Context, clientID, state string, limit int) ([]Message, error) {
	return list(ctx, db, "list messages", `
		select `+messageColumns+`
		from outbox o
		where kind = 'backchannel_logout' and ($1 = '' or client_id = $1)
		  and ($2 = '' or $2 = case when next_at is not null then 'pending' when failed_at is not null then 'failed' else 'delivered' end)
		order by created_at desc, id
		limit $3`, []any{clientID, state, limit}, func(row pgx.CollectableRow) (Message, error) { return scanMessage(row) })
}

// DeliveryState is how a client takes what it has to be told.
type DeliveryState struct {
	ClientID        string     `json:"client_id"`
	Name            string     `json:"client_name"` // "" when the client is gone
	Pending         int64      `json:"pending"`
	Failed          int64      `json:"failed"`
	Delivered       int64      `json:"delivered"`
	WaitingSince    *time.Time `json:"waiting_since,omitempty"` // of the oldest that is pending
	Attempts        int        `json:"attempts"`                // the most that one that is pending has had
	NextTryAt       *time.Time `json:"next_try_at,omitempty"`
	LastError       string     `json:"last_error,omitempty"` // of the newest that is not delivered
	LastDeliveredAt *time.Time `json:"last_delivered_at,omitempty"`
}

// DeliveryStates lists it for each client that had to be told something in the last 30 days.
func (db *DB) DeliveryStates(ctx context.Context) ([]DeliveryState, error) {
	return list(ctx, db, "list delivery states", `
		select o.client_id, coalesce(max(c.metadata ->> 'client_name'), ''),
		  count(*) filter (where o.next_at is not null), count(*) filter (where o.failed_at is not null), count(*) filter (where o.delivered_at is not null),
		  min(o.created_at) filter (where o.next_at is not null), coalesce(max(o.attempts) filter (where o.next_at is not null), 0), min(o.next_at),
		  coalesce((array_agg(o.last_error order by o.created_at desc) filter (where o.last_error <> '' and o.delivered_at is null))[1], ''),
		  max(o.delivered_at)
		from outbox o
		left join clients c on c.id = o.client_id
		where o.kind = 'backchannel_logout'
		group by o.client_id
		order by o.client_id`, nil, pgx.RowToStructByPos[DeliveryState])
}

// RetryMessages makes messages that were given up due again, as if they had not been tried: the one
// with that id, or all for the zero id. It counts them.
func (db *DB) RetryMessages(ctx context.Context, id uuid.UUID, now time.Time, e Event) (int64, error) {
	var n int64
	err := db.inTx(ctx, "retry messages", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update outbox
			set next_at = $2, attempts = 0, failed_at = null
			where ($1 = '00000000-0000-0000-0000-000000000000'::uuid or id = $1) and failed_at is not null`, id, now)
		if n = tag.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	return n, err
}

// SignedOut is what a browser is told after a sign-out.
type SignedOut struct {
	Told    int  // times that a client was told of a session
	Telling int  // those that are under way
	Untold  int  // those that did not arrive so far
	Kept    bool // clients have access to the account that goes on without a session
}

// SignedOut looks at what became of what hung on sessions that have ended.
func (db *DB) SignedOut(ctx context.Context, sessions []uuid.UUID, now time.Time) (SignedOut, error) {
	var s SignedOut
	err := db.scanOne(ctx, "read sign-out", `
		select count(*) filter (where o.delivered_at is not null),
		  count(*) filter (where o.next_at is not null and o.last_error = ''),
		  count(*) filter (where o.failed_at is not null or o.next_at is not null and o.last_error <> ''),
		  exists (
		    select 1
		    from sessions s
		    join grants g on g.user_id = s.user_id and g.offline and g.state = 'active' and g.expires_at > $2 and g.idle_expires_at > $2
		    join clients c on c.id = g.client_id and c.disabled_at is null
		    where s.id = any($1))
		from outbox o
		where o.session_id = any($1) and o.kind = 'backchannel_logout'`,
		[]any{sessions, now}, &s.Told, &s.Telling, &s.Untold, &s.Kept)
	return s, err
}

// SessionClients are the clients that were signed in to in sessions, by name; those that are
// disabled are left out.
func (db *DB) SessionClients(ctx context.Context, sessions []uuid.UUID) ([]SessionClient, error) {
	return list(ctx, db, "list clients of sessions", `
		select sc.session_id, `+clientColumns+`
		from session_clients sc
		join clients c on c.id = sc.client_id and c.disabled_at is null
		where sc.session_id = any($1)
		order by c.metadata ->> 'client_name', c.id
		limit 200`, []any{sessions}, func(row pgx.CollectableRow) (SessionClient, error) {
		var s SessionClient
		err := row.Scan(append([]any{&s.SessionID}, s.Client.fields()...)...)
		return s, err
	})
}

// SessionClient is a client that was signed in to in a session.
type SessionClient struct {
	SessionID uuid.UUID
	Client    Client
}
