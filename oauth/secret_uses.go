package oauth

import (
	"context"
	"sync"
	"time"

	"idp/storage"
)

// maxSecretUses is how many secrets a process remembers the uses of. What is more is noted later, or
// more often than it need be.
const maxSecretUses = 10_000

// secretUses collects which secrets clients have used, so that no request has to write it. It is
// safe for concurrent use.
type secretUses struct {
	mu    sync.Mutex
	noted map[secretID]time.Time // the last use that was written, or waits to be
	wait  map[secretID]time.Time // not written yet
}

type secretID struct{ clientID, hash string }

func newSecretUses() *secretUses {
	return &secretUses{noted: map[secretID]time.Time{}, wait: map[secretID]time.Time{}}
}

// note says that a client's secret was accepted.
func (s *secretUses) note(clientID string, hash []byte, now time.Time) {
	id := secretID{clientID, string(hash)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.noted[id]; ok && now.Sub(last) < storage.SecretUseStep {
		return
	}
	if len(s.wait) >= maxSecretUses {
		return
	}
	if len(s.noted) >= maxSecretUses {
		clear(s.noted) // the database refuses what is too early
	}
	s.noted[id], s.wait[id] = now, now
}

// take gives what waits to be written.
func (s *secretUses) take() []storage.SecretUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []storage.SecretUse
	for id, at := range s.wait {
		list = append(list, storage.SecretUse{ClientID: id.clientID, Hash: []byte(id.hash), At: at})
	}
	clear(s.wait)
	return list
}

// NoteSecretUses writes which secrets were used since the last time. It is a job, and the last thing
// that a server does.
func (o *OAuth) NoteSecretUses(ctx context.Context) error {
	uses := o.secretUses.take()
	if len(uses) == 0 {
		return nil
	}
	err := o.DB.NoteSecretUses(ctx, uses)
	if err != nil { // later, if they are not used again before
		o.secretUses.putBack(uses)
	}
	return err
}

// putBack keeps uses that could not be written.
func (s *secretUses) putBack(uses []storage.SecretUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range uses {
		id := secretID{u.ClientID, string(u.Hash)}
		if _, newer := s.wait[id]; !newer && len(s.wait) < maxSecretUses {
			s.wait[id] = u.At
		}
	}
}
