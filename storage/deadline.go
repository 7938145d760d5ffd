package storage

import (
	"context"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// deadlines bounds every wait for the database on this side too: a server that hangs, or a network
// that swallows what is sent, enforces no timeout of its own.
//
// They hang on pgx's tracing, because pgx runs each call with the context that the tracer returns.
// So they hold for every statement, those in transactions and lists included, and for every wait
// for a connection, without a caller who could forget them.
type deadlines struct {
	acquire   time.Duration // of getting a connection from the pool
	statement time.Duration // of one statement, with reading its answer
}

var (
	_ pgx.QueryTracer       = deadlines{}
	_ pgxpool.AcquireTracer = deadlines{}
)

func (d deadlines) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return withDeadline(ctx, d.statement)
}

func (d deadlines) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	endDeadline(ctx)
}

func (d deadlines) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return withDeadline(ctx, d.acquire)
}

func (d deadlines) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	endDeadline(ctx)
}

type deadlineKey struct{}

// withDeadline returns a context that carries what ends it.
func withDeadline(ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, d)
	return context.WithValue(ctx, deadlineKey{}, cancel)
}

func endDeadline(ctx context.Context) {
	if cancel, ok := ctx.Value(deadlineKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// dialer notices within half a minute that the other side of an idle connection is gone, so that
// the pool's next look at it fails at once.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return setUserTimeout(c, 15*time.Second)
		},
	}
}
