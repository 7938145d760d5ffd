package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// LiveSessions lists the sessions in which a person is signed in, the one used last first.
func (db *DB) LiveSessions(ctx context.Context, userID string, now time.Time) ([]Session, error) {
	rows, err := db.pool.Query(ctx, `
		select `+sessionColumns+`
		from sessions s
		join users u on u.id = s.user_id and u.state = 'active'
		where s.user_id = $1 and s.ended_at is null and s.idle_expires_at > $2 and s.expires_at > $2
		order by s.seen_at desc, s.id`, userID, now)
	if err != nil {
		return nil, wrap("list sessions", err)
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Session, error) {
		var s Session
		return s, row.Scan(s.fields()...)
	})
	return sessions, wrap("list sessions", err)
}

// HeldGrant is what a client holds of a person at this moment.
type HeldGrant struct {
	ClientID    string     `json:"client_id"`
	ClientName  string     `json:"client_name"`
	Scopes      []string   `json:"scopes"`
	Resources   []string   `json:"resources,omitempty"`
	Offline     bool       `json:"offline"` // goes on when the person is signed out
	Since       time.Time  `json:"since"`
	RefreshedAt *time.Time `json:"refreshed_at,omitempty"` // when the refresh token was rotated last
	ExpiresAt   time.Time  `json:"expires_at"`             // unless it is refreshed, for grants that can be
}

// HeldGrants lists the grants of a person that tokens may be derived from, newest first, by the
// rules of GrantFacts.Alive.
func (db *DB) HeldGrants(ctx context.Context, userID string, now time.Time) ([]HeldGrant, error) {
	rows, err := db.pool.Query(ctx, `
		select g.client_id, coalesce(c.metadata->>'client_name', ''), g.scopes, g.resources, g.offline, g.created_at,
		  case when g.generation > 1 then g.rotated_at end, least(g.idle_expires_at, g.expires_at)
		from grants g
		join users u on u.id = g.user_id and u.state = 'active'
		join clients c on c.id = g.client_id and c.disabled_at is null
		left join sessions s on s.id = g.session_id and s.ended_at is null and s.idle_expires_at > $2 and s.expires_at > $2
		where g.user_id = $1 and g.state = 'active' and g.expires_at > $2
		  and (g.idle_expires_at is null or g.idle_expires_at > $2)
		  and (g.offline or g.session_id is null or s.id is not null)
		order by g.created_at desc, g.id desc`, userID, now)
	if err != nil {
		return nil, wrap("list grants", err)
	}
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[HeldGrant])
	return grants, wrap("list grants", err)
}
