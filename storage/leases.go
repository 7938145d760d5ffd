package storage

import (
	"context"
	"time"
)

// ReserveLease makes holder the one replica that runs job until the given time. False means that
// another holds it.
func (db *DB) ReserveLease(ctx context.Context, job, holder string, now, until time.Time) (bool, error) {
	n, err := db.exec(ctx, "reserve lease "+job, `
		insert into leases (job, holder, until)
		values ($1, $2, $4)
		on conflict (job) do update
		set holder = excluded.holder, until = excluded.until
		where leases.until <= $3 or leases.holder = excluded.holder`, job, holder, now, until)
	return n == 1, err
}
