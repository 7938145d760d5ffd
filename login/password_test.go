package login

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"idp/storage"
	"idp/web"
)

// weakerHash is a hash with parameters of another time.
func weakerHash(password string) string {
	p := phc{memory: 64, passes: 1, lanes: 1, salt: []byte("somesaltsomesalt"), tag: make([]byte, 32)}
	p.tag = argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, 32)
	return p.String()
}

func TestOldHashesAreMadeAnewAtSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	old := weakerHash(rightPassword)
	u := storage.User{ID: storage.NewID("usr_"), Username: "ada", CreatedAt: s.now()}
	if err := s.db.CreateUser(t.Context(), u, old, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	stored := func() string {
		p, err := s.db.PasswordByUser(t.Context(), u.ID)
		if err != nil {
			t.Fatal(err)
		}
		return p.Hash
	}
	s.browser().try("ada", "wrong")
	if got := stored(); got != old {
		t.Fatalf("after a wrong password the hash is %q, want %q still", got, old)
	}
	s.browser().signIn("ada")
	today := stored()
	if !strings.HasPrefix(today, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %q, want today's parameters", today)
	}
	s.browser().signIn("ada")
	if got := stored(); got != today {
		t.Error("a hash of today's parameters was made anew")
	}
}

func TestHashesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	good := fresh().String()
	if _, err := parsePHC(good); err != nil {
		t.Fatalf("parsePHC(%q) = %v", good, err)
	}
	salt := base64.RawStdEncoding.EncodeToString(make([]byte, 16))
	tag := base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	for _, s := range []string{
		"",
		"plain text",
		"$2b$12$abcdefghijklmnopqrstuv",
		"$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$m=19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$t=2,m=19456,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=019456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=+19456,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1,x=2$" + salt + "$" + tag,
		"$argon2id$v=19$m=4294967296,t=2,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=1048577,t=2,p=1$" + salt + "$" + tag, // more than 1 GiB
		"$argon2id$v=19$m=7,t=2,p=1$" + salt + "$" + tag,       // below 8 KiB a lane
		"$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=65,p=1$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=257$" + salt + "$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "==$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt[:21] + "B$" + tag, // trailing bits
		"$argon2id$v=19$m=19456,t=2,p=1$c2hvcnQ$" + tag,
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$c2hvcnQ",
		"$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		good + "$",
		good + "\n",
		" " + good,
		good + strings.Repeat("A", 600),
	} {
		if p, err := parsePHC(s); err == nil {
			t.Errorf("parsePHC(%q) = %+v, want an error", s, p)
		}
	}
}

func TestHashesOfOtherProgramsAreUnderstood(t *testing.T) {
	t.Parallel()
	// Test vector of the reference implementation: argon2 -id -t 2 -m 16 -p 1, "password", "somesalt".
	const vector = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	right, stale, err := newHasher(1).verify(t.Context(), vector, "password")
	if err != nil || !right || !stale {
		t.Errorf("verify = %v, %v, %v; want right and to be made anew", right, stale, err)
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(fresh().String())
	f.Add(weakerHash("x"))
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Errorf("parsePHC(%q).String() = %q", s, p.String())
		}
		if p.memory > 1<<20 || p.passes > 64 || p.lanes == 0 || len(p.salt) > 64 || len(p.tag) > 64 {
			t.Errorf("parsePHC(%q) = %+v, beyond its bounds", s, p)
		}
	})
}

func expectBusy(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*web.Error](err)
	if !ok || e.Status != 503 || e.Code != "temporarily_unavailable" || e.RetryAfter <= 0 {
		t.Errorf("got %v, want 503 temporarily_unavailable with Retry-After", err)
	}
}

func TestHashingQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := newHasher(1)
	h.slots <- struct{}{} // somebody hashes
	h.wait = time.Millisecond
	_, err := h.hash(t.Context(), "x")
	expectBusy(t, err) // waited in vain
	if n := h.waiting.Load(); n != 0 {
		t.Errorf("%d wait still, want none", n)
	}
	h.wait = time.Hour
	h.waiting.Store(h.queue)
	_, err = h.hash(t.Context(), "x")
	expectBusy(t, err) // did not even wait
	h.waiting.Store(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = h.hash(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v for somebody who left, want context.Canceled", err)
	}
	done := make(chan error)
	go func() {
		_, err := h.hash(t.Context(), "x")
		done <- err
	}()
	<-h.slots // the slot comes free
	if err := <-done; err != nil {
		t.Errorf("got %v after the slot came free, want a hash", err)
	}
	if n := h.runs.Load(); n != 1 {
		t.Errorf("%d hashes ran, want 1", n)
	}
}

func TestBusyHashingIsToldOnThePageAndCostsNoTry(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	slots := cap(s.login.hashes.slots)
	for range slots {
		s.login.hashes.slots <- struct{}{}
	}
	s.login.hashes.wait = time.Microsecond
	b := s.browser()
	for range 12 {
		a := b.try("ada", rightPassword)
		expectPage(t, a, 503, "Many people are signing in right now.")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	for range slots {
		<-s.login.hashes.slots
	}
	b.signIn("ada")
}

func TestSetPasswordNeverTakesWhatSignInWouldRefuse(t *testing.T) {
	t.Parallel()
	l := New(Config{})
	for _, password := range []string{strings.Repeat("x", 1025), strings.Repeat("ü", 257)} {
		_, err := l.HashPassword(t.Context(), password)
		if e, ok := errors.AsType[*web.Error](err); !ok || e.Status != 422 {
			t.Errorf("HashPassword of %d bytes: %v, want 422", len(password), err)
		}
	}
}

func TestGuessablePasswordsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	context := []string{"ada.lovelace", "ada@analytical.example", "Ada Lovelace", "id.example", "Example ID"}
	for password, want := range map[string]string{
		"short":                             "at least 15",
		"fourteen chars":                    "at least 15",
		strings.Repeat("ab cd ", 50):        "too long",
		strings.Repeat("xyzzy plugh ", 100): "too long",
		"aaaaaaaaaaaaaaaaaaaa":              "repeats",
		"ab1ab1ab1ab1ab1":                   "repeats",
		"correct horse correct horse ":      "repeats",
		"passwordpassword":                  "repeats",
		"password12345678":                  "Many people",
		"123456789!!password":               "Many people",
		"P@ssw0rd 20262026":                 "Many people",
		"iloveyousunshine":                  "Many people",
		"123456789987654321":                "Many people",
		"qwertyuiop98765":                   "Many people",
		"mnbvcxz/poiuytr":                   "rows of keys",
		"ada.lovelace2026":                  "your name",
		"LovelaceAnalytical":                "your name",
		"Example ID 12345":                  "your name",
		"with a tab\tin the middle":         "control characters",
		"not text \xff\xfe at all":          "control characters",
	} {
		err := CheckPassword(password, context...)
		e, ok := errors.AsType[*web.Error](err)
		if !ok || e.Status != 422 || !strings.Contains(e.Message, want) {
			t.Errorf("CheckPassword(%q) = %v, want %q", password, err, want)
		}
	}
	for _, password := range []string{
		rightPassword,
		"correct horse battery staple",
		"the lovelace engine hums at night",
		"Xk7 vG2-pQ9_wL4",
		"七転び八起きという言葉が好きです",
		"👩‍🚀 to the moon, and back 🌙",
	} {
		if err := CheckPassword(password, context...); err != nil {
			t.Errorf("CheckPassword(%q) = %v, want it taken", password, err)
		}
	}
}

func TestListOfCommonPasswordsIsWhole(t *testing.T) {
	t.Parallel()
	if n := strings.Count(commonPasswords, "\n"); n < 3000 {
		t.Errorf("%d lines, want at least 3000", n)
	}
	if !strings.HasSuffix(commonPasswords, "\n") || strings.Contains(commonPasswords, "\r") {
		t.Error("the list must have plain lines, the last one ended")
	}
}
