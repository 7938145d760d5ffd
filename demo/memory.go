package demo

import (
	"container/list"
	"sync"
	"time"
)

// memory keeps at most max values, each for at most ttl. When it is full the
// oldest goes first.
type memory[T any] struct {
	max int
	ttl time.Duration

	mu    sync.Mutex
	byKey map[string]*list.Element
	byAge *list.List // of kept[T], oldest in front
}

type kept[T any] struct {
	key     string
	value   T
	expires time.Time
}

func newMemory[T any](max int, ttl time.Duration) *memory[T] {
	return &memory[T]{max: max, ttl: ttl, byKey: make(map[string]*list.Element), byAge: list.New()}
}

func (m *memory[T]) put(key string, value T, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, value, now)
}

// add is put for a key that is new; it tells whether it was.
func (m *memory[T]) add(key string, value T, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.byKey[key]; ok && now.Before(e.Value.(kept[T]).expires) {
		return false
	}
	m.set(key, value, now)
	return true
}

func (m *memory[T]) set(key string, value T, now time.Time) {
	m.drop(key)
	m.byKey[key] = m.byAge.PushBack(kept[T]{key, value, now.Add(m.ttl)})
	for oldest := m.byAge.Front(); oldest != nil; oldest = m.byAge.Front() {
		k := oldest.Value.(kept[T])
		if m.byAge.Len() <= m.max && now.Before(k.expires) {
			return
		}
		m.drop(k.key)
	}
}

func (m *memory[T]) look(key string, now time.Time) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byKey[key]
	if !ok || !now.Before(e.Value.(kept[T]).expires) {
		var none T
		return none, false
	}
	return e.Value.(kept[T]).value, true
}

// take returns the value and forgets it; one caller ever gets it.
func (m *memory[T]) take(key string, now time.Time) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.byKey[key]
	m.drop(key)
	if !ok || !now.Before(e.Value.(kept[T]).expires) {
		var none T
		return none, false
	}
	return e.Value.(kept[T]).value, true
}

// takeAll forgets the values that match and returns their keys.
func (m *memory[T]) takeAll(match func(T) bool, now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key, e := range m.byKey {
		if k := e.Value.(kept[T]); now.Before(k.expires) && match(k.value) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		m.drop(key)
	}
	return keys
}

func (m *memory[T]) drop(key string) {
	if e, ok := m.byKey[key]; ok {
		m.byAge.Remove(e)
		delete(m.byKey, key)
	}
}
