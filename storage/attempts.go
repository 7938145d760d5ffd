package storage

import (
	"context"
	"time"
)

// Budget bounds how often something may be tried: Burst times at once, then once every Every.
type Budget struct {
	Key   string
	Every time.Duration
	Burst int
}

// Spend takes one try from each budget in turn (GCRA, one row a key), until one has none left.
// Then wait is the time until that one has a try again; nothing is taken from it, nor from those
// that follow, while those before it stay charged. A burst of 0 allows nothing, ever.
func (db *DB) Spend(ctx context.Context, now time.Time, budgets ...Budget) (wait time.Duration, err error) {
	for _, b := range budgets {
		if wait, err = db.spend(ctx, now, b); wait > 0 || err != nil {
			return wait, err
		}
	}
	return 0, nil
}

func (db *DB) spend(ctx context.Context, now time.Time, b Budget) (time.Duration, error) {
	if b.Burst <= 0 {
		return max(b.Every, time.Second), nil
	}
	burst := b.Every * time.Duration(b.Burst)
	var spent bool
	var tat *time.Time // as it was before; nil when another made the row at the same moment
	err := db.scanOne(ctx, "spend attempt", `
		with spent as (
		  insert into attempts (key, tat) values ($1, $2::timestamptz + $3::interval)
		  on conflict (key) do update
		  set tat = greatest(attempts.tat, $2) + $3::interval
		  where greatest(attempts.tat, $2) + $3::interval <= $2::timestamptz + $4::interval
		  returning 1
		)
		select exists (select 1 from spent), (select tat from attempts where key = $1)`,
		[]any{b.Key, now, b.Every, burst}, &spent, &tat)
	if err != nil || spent {
		return 0, err
	}
	// Tries at the same moment may not be in tat yet. Without it, the whole of Every is on the safe side.
	if tat != nil {
		if wait := tat.Add(b.Every - burst).Sub(now); wait > 0 {
			return wait, nil
		}
	}
	return b.Every, nil
}

// Refund gives back the try that a success had taken from each budget.
func (db *DB) Refund(ctx context.Context, budgets ...Budget) error {
	for _, b := range budgets {
		_, err := db.exec(ctx, "refund attempt", `
			update attempts
			set tat = tat - $2::interval
			where key = $1`, b.Key, b.Every)
		if err != nil {
			return err
		}
	}
	return nil
}
