package login

import "idp/storage"

// NextTouch is Touch for callers that write anyway: what the use of a session changes in its row.
func (l *Login) NextTouch(s *storage.Session) storage.Touch {
	now := l.now()
	idle, _ := l.lives(s.Persistent)
	return storage.Touch{Before: now.Add(-touchEvery), IdleExpiresAt: now.Add(idle)}
}
