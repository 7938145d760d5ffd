package oauth

import (
	"sync"
	"time"
)

// Limits that are counted in each process: shields against floods, which need not be exact. What
// must hold across replicas is counted in the database.
const (
	maxClientFailures = 20     // a minute: failed authentications of one client from one network
	maxKeptRequests   = 3000   // a minute: requests kept for people of one network
	maxPushedRequests = 60_000 // a minute: requests pushed by one confidential client, all of whose people it speaks for
	maxDeviceRequests = 600    // a minute: codes for devices of one network, or of one confidential client
	maxLimitKeys      = 10_000 // networks and clients that are counted at a time
)

// limit allows so many per key in a minute.
type limit struct {
	most   int
	mu     sync.Mutex
	window time.Time
	counts map[string]int
}

func newLimit(most int) *limit { return &limit{most: most, counts: map[string]int{}} }

func (l *limit) turn(now time.Time) {
	if now.Sub(l.window) >= time.Minute || len(l.counts) >= maxLimitKeys {
		l.window = now
		clear(l.counts)
	}
}

func (l *limit) add(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	l.counts[key]++
}

// wait is how long a key has to wait; 0 when it need not.
func (l *limit) wait(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(now)
	if l.counts[key] < l.most {
		return 0
	}
	return max(time.Second, time.Minute-now.Sub(l.window))
}
