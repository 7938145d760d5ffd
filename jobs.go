package idp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"idp/storage"
)

// job is one line of what runs in the background.
type job struct {
	name   string
	every  time.Duration // about: each round is up to a tenth shorter or longer
	leased bool          // one replica does it for all
	run    func(context.Context) error
	wake   <-chan struct{} // a round is due at once when it gives something
}

func (s *Server) jobs() []job {
	return []job{
		{"reload keys", 30 * time.Second, false, s.oauth.ReloadKeys, nil},
		{"maintain keys", 10 * time.Minute, true, s.oauth.MaintainKeys, nil},
		{"sweep", time.Minute, true, s.sweep, nil},
		{"note secret uses", time.Minute, false, s.oauth.NoteSecretUses, nil},
		{"deliver sign-outs", 3 * time.Second, false, s.oauth.DeliverLogouts, s.db.OutboxWritten()},
	}
}

const (
	// keepDead is how long a dead grant stays. Whatever was derived from it is dead too, so this is
	// only about telling a replay from nonsense; JWT access tokens live a day at most.
	keepDead   = 48 * time.Hour
	sweepLimit = 5000 // rows of a kind at once, so that no statement takes long
)

func (s *Server) sweep(ctx context.Context) error {
	n, err := s.db.Sweep(ctx, s.now(), keepDead, sweepLimit)
	if n > 0 {
		s.log.Debug("swept", "rows", n)
	}
	return err
}

// runJobs runs all jobs until ctx ends.
func (s *Server) runJobs(ctx context.Context) {
	holder := storage.NewID("replica_")
	var running sync.WaitGroup
	for _, j := range s.jobs() {
		running.Go(func() {
			for pause(ctx, j.every, j.wake) {
				if err := s.runJob(ctx, j, holder); err != nil && ctx.Err() == nil {
					s.log.Warn("job did not work", "job", j.name, "error", err.Error())
				}
			}
		})
	}
	running.Wait()
}

// pause waits for d, a tenth more or less so that replicas spread, or until something comes to do,
// and tells whether to go on.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	d += time.Duration((rand.Float64() - 0.5) / 5 * float64(d))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	case <-wake:
		return true
	}
}

// runJob does one round. A panic is an error like any other.
func (s *Server) runJob(ctx context.Context, j job, holder string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.Join(err, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if j.leased {
		// The lease outlives the pause, so that its holder keeps the job, and ends soon after a
		// replica that is gone.
		now := s.now()
		mine, err := s.db.ReserveLease(ctx, j.name, holder, now, now.Add(j.every*3/2))
		if err != nil || !mine {
			return err
		}
	}
	return j.run(ctx)
}

// RunJobs runs every job once, now, whoever holds the leases: for tests, and for operators who do
// not want to wait.
func (s *Server) RunJobs(ctx context.Context) error {
	var err error
	for _, j := range s.jobs() {
		if problem := j.run(ctx); problem != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", j.name, problem))
		}
	}
	return err
}
