// Package storage remembers everything that must last, in PostgreSQL: the domain's types, one
// method for each question asked of them, the migrations, and the sealing of secrets at rest.
//
// Rules of the area. Races are settled by a condition in the statement and the number of rows.
// Time is an argument. A connection is held for one statement, or for one short transaction in
// which nothing else happens. Errors are ErrNotFound, ErrConflict, or tell through Unavailable
// whether trying again later can help.
package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrNotFound says that no row answers the question.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a unique value is taken, or that a conditional change found another state.
	ErrConflict = errors.New("conflict")
	// ErrTooMany says that a bound of the data was reached.
	ErrTooMany = errors.New("too many")
)

// Config says how to reach the database.
type Config struct {
	URL       string           // PostgreSQL connection string; several hosts may be named
	MaxConns  int32            // pool size of this process; 0 means 8
	Acquire   time.Duration    // longest wait for a connection of the pool; 0 means 2 s
	Statement time.Duration    // longest a statement may run; 0 means 5 s. An answer is awaited for 1 s more.
	Sealer    *Sealer          // opens and closes secret columns; may be nil for tools that touch none
	Now       func() time.Time // clock of caches and of work that is bounded in time; nil means time.Now
}

// DB is the database. It is safe for concurrent use.
type DB struct {
	pool    *pgxpool.Pool
	sealer  *Sealer
	now     func() time.Time // never part of a statement: there, time is an argument
	clients clientCache
	catalog atomic.Pointer[Catalog] // of resources, as last read
	written chan struct{}           // holds one when the outbox has something new
}

// Open makes a pool; it does not wait for the database to be there.
func Open(ctx context.Context, c Config) (*DB, error) {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read database URL: %w", err)
	}
	pc.MaxConns = 8
	if c.MaxConns > 0 {
		pc.MaxConns = c.MaxConns
	}
	pc.MaxConnIdleTime = 5 * time.Minute
	pc.ConnConfig.ConnectTimeout = 3 * time.Second
	pc.ConnConfig.DialFunc = dialer(pc.ConnConfig.ConnectTimeout).DialContext
	acquire, statement := cmp.Or(c.Acquire, 2*time.Second), cmp.Or(c.Statement, 5*time.Second)
	pc.PingTimeout = acquire / 2 // leaves time for another connection when one is dead
	pc.ConnConfig.Tracer = deadlines{acquire, statement + time.Second}
	params := pc.ConnConfig.RuntimeParams
	params["application_name"] = "idp"
	params["timezone"] = "UTC"
	params["statement_timeout"] = fmt.Sprint(statement.Milliseconds())
	params["lock_timeout"] = "2000"
	params["idle_in_transaction_session_timeout"] = "10000"
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	return &DB{pool: pool, sealer: c.Sealer, now: now, clients: newClientCache(now), written: make(chan struct{}, 1)}, nil
}

// Close waits for running statements and closes the pool.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the database for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, "select 1")
	return wrap("ping database", err)
}

// Pool lends the pool to tests that look at rows.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// querier is what a pool and a transaction have in common.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// exec runs one statement on the pool and tells how many rows it changed. It is tried again when
// the server cannot have seen it, or has refused it as a whole.
func (db *DB) exec(ctx context.Context, what, sql string, args ...any) (int64, error) {
	var n int64
	err := db.again(ctx, func() error {
		tag, err := db.pool.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, wrap(what, err)
}

// scanOne runs a query that gives at most one row and scans it. What PostgreSQL cannot store as
// text, it cannot find either: that is ErrNotFound.
func (db *DB) scanOne(ctx context.Context, what, sql string, args []any, dest ...any) error {
	err := db.again(ctx, func() error { return db.pool.QueryRow(ctx, sql, args...).Scan(dest...) })
	if notText(err) {
		err = pgx.ErrNoRows
	}
	return wrap(what, err)
}

// list runs a query and reads all its rows.
func list[T any](ctx context.Context, db *DB, what, sql string, args []any, read pgx.RowToFunc[T]) ([]T, error) {
	var all []T
	err := db.again(ctx, func() error {
		rows, err := db.pool.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, read)
		return err
	})
	return all, wrap(what, err)
}

// inTx runs f in one transaction, again from its start when the database asks for that.
func (db *DB) inTx(ctx context.Context, what string, f func(tx pgx.Tx) error) error {
	var t *transaction
	err := db.again(ctx, func() error {
		return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
			t = &transaction{Tx: tx}
			return f(t)
		})
	})
	if err == nil && t.outbox {
		select {
		case db.written <- struct{}{}:
		default: // somebody is going to look already
		}
	}
	return wrap(what, err)
}

// transaction is a pgx.Tx that remembers what has to be done once it is committed.
type transaction struct {
	pgx.Tx
	outbox bool // it wrote something into the outbox
}

func (db *DB) again(ctx context.Context, f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if err == nil || try == 3 || !repeatable(err) || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// repeatable says that the statement had no effect: it was never sent, or it was rolled back
// because of other transactions (serialization failure, deadlock).
func repeatable(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	return pgconn.SafeToRetry(err)
}

// notText says that PostgreSQL refused an argument that its text cannot hold: broken UTF-8, or NUL.
func notText(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "22021" || pg.Code == "22P05")
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
		return fmt.Errorf("%s: %w (%s)", what, ErrConflict, pg.ConstraintName)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Unavailable says whether err means that the database cannot serve for the moment, so that the
// answer must be "try again later" (503) and never a protocol error.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return false
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true // whatever the server said: no password, no database
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "08", "53", "57", "40", "55", "58": // connection, resources, operator, rollback, locks, system
			return true
		}
		// Read-only: a standby. Undefined table: not migrated yet, or in the middle of a restore.
		return pg.Code == "25006" || pg.Code == "42P01"
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgx.ErrTxClosed) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) || errors.Is(err, net.ErrClosed) || connectionLost(err)
}

// connectionLost recognises a connection that broke in the middle of an answer.
func connectionLost(err error) bool {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e.Error() {
		case "unexpected EOF", "EOF", "conn closed", "closed pool":
			return true
		}
	}
	return false
}
