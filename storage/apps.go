package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// App is a client that a person allowed something, or that holds something of theirs now.
type App struct {
	ClientID string
	Scopes   []string
	Since    time.Time // of the oldest permission or grant that still counts
	Offline  bool      // it has access while the person is away
}

// Apps lists the clients that a person allowed something which still counts, newest first. Clients
// that need no consent are among them as long as they hold a grant.
func (db *DB) Apps(ctx context.Context, userID string, now time.Time) ([]App, error) {
	rows, err := db.pool.Query(ctx, `
		with held as (
		  select client_id, scopes, granted_at as since, false as offline
		  from consents
		  where user_id = $1 and (expires_at is null or expires_at > $2)
		  union all
		  select client_id, scopes, created_at, offline
		  from grants
		  where user_id = $1 and expires_at > $2 and (idle_expires_at is null or idle_expires_at > $2)
		    and (state = 'active' or state = 'issued' and code_expires_at > $2)
		)
		select h.client_id, coalesce(array_agg(distinct s.scope) filter (where s.scope is not null), '{}'), min(h.since), bool_or(h.offline)
		from held h
		join clients c on c.id = h.client_id
		left join lateral unnest(h.scopes) as s(scope) on true
		group by h.client_id
		order by min(h.since) desc, h.client_id`, userID, now)
	if err != nil {
		return nil, wrap("list apps", err)
	}
	apps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[App])
	return apps, wrap("list apps", err)
}
