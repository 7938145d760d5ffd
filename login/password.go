package login

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"idp/storage"
	"idp/web"
)

// Longest password. Anything longer is refused before it costs a hash.
const (
	maxPasswordBytes  = 1024
	maxPasswordLength = 256 // in characters (code points)
)

// phc is a password hash in the PHC string format:
// $argon2id$v=19$m=19456,t=2,p=1$salt$tag. The database seals it, which is the pepper.
type phc struct {
	memory    uint32 // KiB
	passes    uint32
	lanes     uint8
	salt, tag []byte
}

// What new hashes are made with: the floor that OWASP gives for Argon2id, about 50 ms of one
// processor.
const (
	hashMemory = 19 << 10
	hashPasses = 2
	hashLanes  = 1
	saltLength = 16
	tagLength  = 32
)

var errPHC = errors.New("password hash is malformed, or beyond the bounds of this program")

// parsePHC accepts one spelling of a hash only, and only what this machine can compute.
func parsePHC(s string) (phc, error) {
	var p phc
	parts := strings.Split(s, "$")
	if len(parts) != 6 || len(s) > 512 {
		return phc{}, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil {
		return phc{}, errPHC
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	p.tag, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	switch {
	case err1 != nil, err2 != nil,
		p.lanes < 1, p.lanes > 64, p.passes < 1, p.passes > 64,
		p.memory < 8*uint32(p.lanes), p.memory > 1<<20,
		len(p.salt) < 8, len(p.salt) > 64, len(p.tag) < 16, len(p.tag) > 64,
		p.String() != s:
		return phc{}, errPHC
	}
	return p, nil
}

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.tag))
}

// fresh is a hash of nothing yet, with today's parameters and a salt of its own.
func fresh() phc {
	return phc{memory: hashMemory, passes: hashPasses, lanes: hashLanes, salt: storage.RandomBytes(saltLength), tag: make([]byte, tagLength)}
}

// stale says that p was made with other parameters than today's.
func (p phc) stale() bool {
	return p.memory != hashMemory || p.passes != hashPasses || p.lanes != hashLanes || len(p.salt) < saltLength || len(p.tag) != tagLength
}

// compute derives the tag of a password with p's parameters and salt.
func (p phc) compute(password string) []byte {
	// One person types the same letters differently on two keyboards: NFKC makes them equal.
	return argon2.IDKey(norm.NFKC.AppendString(nil, password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.tag)))
}

// tooLong says that a password is beyond what is ever hashed.
func tooLong(password string) bool {
	return len(password) > maxPasswordBytes || utf8.RuneCountInString(password) > maxPasswordLength
}

// hasher bounds how many hashes run at once, and how many wait for that. A flood of sign-ins then
// costs its senders an answer of 503, and not the whole machine its memory.
type hasher struct {
	slots   chan struct{}
	queue   int64         // most that wait
	wait    time.Duration // longest wait
	waiting atomic.Int64
	runs    atomic.Int64 // hashes ever run
}

func newHasher(slots int) *hasher {
	return &hasher{slots: make(chan struct{}, slots), queue: 64, wait: 1500 * time.Millisecond}
}

func busy(why string) error {
	return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: 2 * time.Second, Err: errors.New(why),
		Message: "Many people are signing in right now. Please try again in a moment."}
}

// tag computes p's tag of a password as soon as there is a slot.
func (h *hasher) tag(ctx context.Context, p phc, password string) ([]byte, error) {
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	h.runs.Add(1)
	return p.compute(password), nil
}

func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.queue {
		return busy("password hashing: the queue is full")
	}
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return busy("password hashing: no slot came free")
	case <-ctx.Done():
		return fmt.Errorf("wait for password hashing: %w", ctx.Err())
	}
}

// hash makes the PHC string of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	p := fresh()
	var err error
	if p.tag, err = h.tag(ctx, p, password); err != nil {
		return "", err
	}
	return p.String(), nil
}

// verify says whether a password belongs to a stored hash, and whether that hash should be made
// anew. Without a hash it costs the same and says no.
func (h *hasher) verify(ctx context.Context, stored, password string) (right, stale bool, err error) {
	p := fresh()
	if stored != "" {
		if p, err = parsePHC(stored); err != nil {
			return false, false, err
		}
	}
	tag, err := h.tag(ctx, p, password)
	if err != nil {
		return false, false, err
	}
	right = subtle.ConstantTimeCompare(tag, p.tag) == 1 && stored != ""
	return right, right && p.stale(), nil
}

// HashPassword makes the PHC string that storage keeps for a password. It waits for its turn and
// gives a *web.Error: 503 when too many wait, 422 when the password is too long. It does not judge
// the password; CheckPassword does.
func (l *Login) HashPassword(ctx context.Context, password string) (string, error) {
	if tooLong(password) {
		return "", errTooLong()
	}
	return l.hashes.hash(ctx, password)
}

// ChangePassword replaces the password that a signed-in person has just confirmed. It ends their
// other sessions, and gives this one a new cookie: the one before is dead. The errors are those of
// HashPassword and of storage.ChangePassword.
func (l *Login) ChangePassword(w http.ResponseWriter, r *http.Request, s *storage.Session, proved storage.Password, chosen string, e storage.Event) error {
	hash, err := l.HashPassword(r.Context(), chosen)
	if err != nil {
		return err
	}
	now, secret := l.now(), newCookie(sessionBytes)
	err = l.DB.ChangePassword(r.Context(), storage.PasswordChange{
		UserID: s.UserID, Hash: hash, ProvedSetAt: proved.SetAt, Now: now, Event: e,
		Session: s.ID, OldSecret: l.SessionHash(r), NewSecret: storage.HashSecret(secret),
	})
	if err != nil {
		return err
	}
	life := time.Duration(0)
	if s.Persistent {
		life = s.ExpiresAt.Sub(now)
	}
	l.Site.Cookies.Set(w, web.SessionCookie, secret, life)
	return nil
}
