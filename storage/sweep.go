package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// sweepTime is how long one Sweep goes on at most: a part of the minute between two of them, so
	// that it catches up after a flood and still leaves the database to others.
	sweepTime = 20 * time.Second

	// keepRequests is how long somebody who comes back to an expired request is told what it was.
	keepRequests = time.Hour

	// keepSessions is how long an expired session shows when and where somebody was signed in.
	keepSessions = 30 * 24 * time.Hour

	// keepOutbox is how long an operator can see what became of a message, and send it again.
	keepOutbox = 30 * 24 * time.Hour

	// keepEvents is a year, so that it can be compared with the one before, and a month to do it in.
	// They name people and addresses, so they do not stay for ever.
	keepEvents = 400 * 24 * time.Hour

	// grantsRest lies between two walks over all grants: most live for weeks, and a walk reads them all.
	grantsRest = time.Hour
)

// Sweep deletes what has expired and tells how many rows went. It takes at most limit rows of a
// kind at once, in turn, until nothing is left to take or its time is over. Dead grants stay until
// keep after their end, so that a replay is still recognised.
func (db *DB) Sweep(ctx context.Context, now time.Time, keep time.Duration, limit int) (int64, error) {
	rows := func(sql string, before time.Time) func() (int64, bool, error) {
		return func() (int64, bool, error) {
			n, err := db.exec(ctx, "sweep", sql, before, limit)
			return n, n == int64(limit), err
		}
	}
	kinds := []func() (n int64, more bool, err error){
		rows(`delete from requests where id in (select id from requests where expires_at < $1 limit $2)`, now.Add(-keepRequests)),
		rows(`delete from device_requests where id in (select id from device_requests where expires_at < $1 limit $2)`, now.Add(-keepRequests)),
		rows(`delete from attempts where key in (select key from attempts where tat < $1 limit $2)`, now),
		rows(`delete from assertions where (client_id, jti_hash) in (select client_id, jti_hash from assertions where expires_at < $1 limit $2)`, now),
		rows(`delete from revoked_tokens where (grant_id, number) in (select grant_id, number from revoked_tokens where expires_at < $1 limit $2)`, now),
		rows(`delete from outbox where id in (select id from outbox where created_at < $1 and next_at is null limit $2)`, now.Add(-keepOutbox)),
		// In one statement: without its session, nothing would find a sign-in again.
		rows(`
			with gone as (
			  select id from sessions where expires_at < $1 limit $2
			), sign_ins as (
			  delete from session_clients where session_id in (select id from gone)
			)
			delete from sessions where id in (select id from gone)`, now.Add(-keepSessions)),
		rows(sweepUnused, now),
		rows(`delete from registration_tokens where id in (select id from registration_tokens where expires_at < $1 limit $2)`, now),
		rows(`delete from devices where (id, user_id) in (select id, user_id from devices where expires_at < $1 limit $2)`, now),
		rows(`delete from events where id in (select id from events where at < $1 limit $2)`, now.Add(-keepEvents)),
		func() (int64, bool, error) { return db.sweepGrants(ctx, now, keep, limit) },
	}
	start := db.now()
	var total int64
	for len(kinds) > 0 && db.now().Sub(start) < sweepTime {
		var left []func() (int64, bool, error)
		for _, kind := range kinds {
			n, more, err := kind()
			total += n
			if err != nil {
				return total, err
			}
			if more {
				left = append(left, kind)
			}
		}
		kinds = left
	}
	return total, nil
}

// sweepGrants looks at the next limit grants in the order of their age, from where it stopped the
// last time: no index on expiry means that rotation stays a HOT update. More says that the walk is
// not at its end; from there, it rests before the next.
func (db *DB) sweepGrants(ctx context.Context, now time.Time, keep time.Duration, limit int) (n int64, more bool, err error) {
	err = db.inTx(ctx, "sweep grants", func(tx pgx.Tx) error {
		n, more = 0, false
		var cursor string
		var rest time.Time
		err := tx.QueryRow(ctx, `
			insert into leases (job, holder, until) values ('sweep_cursor', '', $1)
			on conflict (job) do update set holder = excluded.holder
			returning cursor, until`, now).Scan(&cursor, &rest)
		if err != nil {
			return err
		}
		if cursor == "" {
			if rest.After(now) {
				return nil
			}
			cursor = "00000000-0000-0000-0000-000000000000"
		}
		var seen int
		var last *string
		err = tx.QueryRow(ctx, `
			with page as (
			  select id, case
			    when state = 'revoked' then revoked_at
			    when state = 'issued' then code_expires_at
			    when idle_expires_at < expires_at then idle_expires_at
			    else expires_at end as dead_at
			  from grants
			  where id > $1
			  order by id
			  limit $2
			), gone as (
			  delete from grants where id in (select id from page where dead_at < $3)
			  returning 1
			)
			select (select count(*) from gone), count(*), (select id::text from page order by id desc limit 1) from page`,
			cursor, limit, now.Add(-keep)).Scan(&n, &seen, &last)
		if err != nil {
			return err
		}
		next, until := "", now.Add(grantsRest)
		if seen == limit && last != nil {
			next, until, more = *last, now, true
		}
		_, err = tx.Exec(ctx, `update leases set cursor = $1, until = $2 where job = 'sweep_cursor'`, next, until)
		return err
	})
	return n, more, err
}
