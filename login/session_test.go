package login

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"idp/storage"
	"idp/web"
)

func sessionCookie(t *testing.T, a answer, name string) *http.Cookie {
	t.Helper()
	for _, k := range a.Cookies() {
		if k.Name == name {
			return k
		}
	}
	t.Fatalf("no cookie %s in %v", name, a.Header["Set-Cookie"])
	return nil
}

func TestSessionCookieCannotBeReadSentAroundOrPlanted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		start  func(*testing.T) *site
		prefix string
		secure bool
	}{
		{"https", startHTTPS, "__Host-", true},
		{"plain http on loopback", start, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := tc.start(t)
			s.person("ada")
			b := s.browser()
			flow := sessionCookie(t, b.get("/login"), tc.prefix+web.FlowCookie)
			session := sessionCookie(t, b.signIn("ada"), tc.prefix+web.SessionCookie)
			for _, k := range []*http.Cookie{flow, session} {
				if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.Secure != tc.secure {
					t.Errorf("cookie %v, want HttpOnly, Lax, path /, no domain, secure %v", k, tc.secure)
				}
			}
			if len(session.Value) != 43 || session.MaxAge != 0 || !session.Expires.IsZero() {
				t.Errorf("session cookie %v, want 43 characters that end with the browser", session)
			}
			if len(flow.Value) != 22 || flow.MaxAge != 1800 {
				t.Errorf("flow cookie %v, want 22 characters for 30 minutes", flow)
			}
			if got := b.who(); got != "ada" {
				t.Errorf("signed in as %q, want ada", got)
			}
		})
	}
}

func TestDatabaseHoldsNoSessionSecret(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	if n := s.count(`select count(*) from sessions where position($1::bytea in secret_hash) > 0`, []byte(b.value(web.SessionCookie))); n != 0 {
		t.Error("the row holds the cookie")
	}
	if n := s.count(`select count(*) from sessions where secret_hash = $1`, storage.HashSecret(b.value(web.SessionCookie))); n != 1 {
		t.Errorf("%d rows under the cookie's hash, want 1", n)
	}
}

func TestSignInAgainGivesANewCookieAndKillsTheOldOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	old := b.value(web.SessionCookie)
	first := s.count(`select count(*) from sessions where ended_at is null`)
	b.signIn("ada")
	if b.value(web.SessionCookie) == old {
		t.Error("the cookie is the same after signing in again")
	}
	if got := b.who(); got != "ada" {
		t.Errorf("new cookie is signed in as %q, want ada", got)
	}
	thief := s.browser()
	thief.plant(web.SessionCookie, old)
	if got := thief.who(); got != "" {
		t.Errorf("old cookie is signed in as %q, want nobody", got)
	}
	if n := s.count(`select count(*) from sessions where ended_at is null`); n != 1 || first != 1 {
		t.Errorf("%d then %d live sessions, want 1 that goes on", first, n)
	}
}

func TestPlantedCookiesBecomeNobodysSession(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	s.person("mallory")
	mallory := s.browser()
	mallory.signIn("mallory")
	for _, planted := range []string{newCookie(sessionBytes), mallory.value(web.SessionCookie), "short", strings.Repeat("x", 43)} {
		b := s.browser()
		b.plant(web.SessionCookie, planted)
		b.post("/login", nil)
		b.get("/login?switch=1")
		b.signIn("ada")
		if b.value(web.SessionCookie) == planted {
			t.Fatalf("planted cookie %q was kept", planted)
		}
		attacker := s.browser()
		attacker.plant(web.SessionCookie, planted)
		if got := attacker.who(); got != "" {
			t.Errorf("planted cookie %q is signed in as %q, want nobody", planted, got)
		}
	}
}

func TestSessionEndsWhenUnused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	for range 2 {
		s.wait(DefaultIdle - time.Minute)
		if got := b.who(); got != "ada" { // use moves the end
			t.Fatalf("signed in as %q within the idle life, want ada", got)
		}
	}
	s.wait(DefaultIdle)
	if got := b.who(); got != "" {
		t.Errorf("signed in as %q after the idle life, want nobody", got)
	}
}

func TestSessionEndsInAnyCase(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	for range 4 {
		s.wait(6*time.Hour - time.Second)
		if got := b.who(); got != "ada" {
			t.Fatalf("signed in as %q within the absolute life, want ada", got)
		}
	}
	s.wait(5 * time.Second)
	if got := b.who(); got != "" {
		t.Errorf("signed in as %q after the absolute life, want nobody", got)
	}
}

func TestUseIsWrittenDownAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.signIn("ada")
	seen := func() (at time.Time) {
		if err := s.db.Pool().QueryRow(t.Context(), `select seen_at from sessions`).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := seen()
	s.wait(30 * time.Second)
	b.who()
	if got := seen(); !got.Equal(first) {
		t.Errorf("seen at %v after half a minute, want %v still", got, first)
	}
	s.wait(31 * time.Second)
	b.who()
	if got := seen(); got.Equal(first) {
		t.Errorf("seen at %v after a minute, want later", got)
	}
}

func TestStayingSignedInOutlivesTheBrowser(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	k := sessionCookie(t, b.signIn("ada", "remember", "1"), web.SessionCookie)
	if want := int(DefaultRememberAbsolute.Seconds()); k.MaxAge != want {
		t.Errorf("cookie lives for %d s, want %d", k.MaxAge, want)
	}
	for _, d := range []time.Duration{13 * 24 * time.Hour, 13 * 24 * time.Hour} {
		s.wait(d)
		if got := b.who(); got != "ada" {
			t.Fatalf("signed in as %q, want ada", got)
		}
	}
	s.wait(4 * 24 * time.Hour)
	if got := b.who(); got != "" {
		t.Errorf("signed in as %q after 30 days, want nobody", got)
	}
}

func TestSignOutEndsTheSessionInTheDatabase(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.person("ada")
	b := s.browser()
	b.signIn("ada")
	stolen := b.value(web.SessionCookie)
	b.get("/logout")
	if got := b.value(web.SessionCookie); got != "" {
		t.Errorf("cookie %q stayed, want none", got)
	}
	thief := s.browser()
	thief.plant(web.SessionCookie, stolen)
	if got := thief.who(); got != "" {
		t.Errorf("cookie from before is signed in as %q, want nobody", got)
	}
	if n := s.count(`select count(*) from sessions where user_id = $1 and ended_at is not null and end_reason = 'signed_out'`, id); n != 1 {
		t.Errorf("%d sessions ended by signing out, want 1", n)
	}
	if n := s.count(`select count(*) from events where kind = 'session.ended' and user_id = $1`, id); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	if a := b.get("/logout"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("signing out twice: status %d, want 303", a.StatusCode)
	}
}

func TestSuspensionSignsOutAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.person("ada")
	b := s.browser()
	b.signIn("ada")
	if _, err := s.db.SetUserState(t.Context(), id, storage.UserSuspended, s.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if got := b.who(); got != "" {
		t.Errorf("signed in as %q, want nobody", got)
	}
}

func TestUserAgentIsCutToTextThatFits(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.headers.Set("User-Agent", "a\xffb"+strings.Repeat("ü", 600))
	b.signIn("ada")
	if n := s.count(`select octet_length(user_agent) from sessions`); n < 500 || n > 512 {
		t.Errorf("user agent has %d bytes, want at most 512", n)
	}
}

func TestBrowserKeepsItsFlowCookie(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.get("/login")
	flow := b.value(web.FlowCookie)
	b.get("/login")
	b.signIn("ada")
	if got := b.value(web.FlowCookie); got != flow {
		t.Errorf("flow cookie %q, want %q: other tabs hang on it", got, flow)
	}
	b.plant(web.FlowCookie, "something else")
	b.get("/login?switch=1")
	if got := b.value(web.FlowCookie); len(got) != 22 {
		t.Errorf("flow cookie %q, want a fresh one in place of a strange one", got)
	}
}
