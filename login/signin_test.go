package login

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
	"idp/web"
)

func TestSignInByUserNameOrAddressLeadsToTheAccount(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	for _, name := range []string{"ada", " ADA ", "ada@example.test", "Ada@Example.Test"} {
		b := s.browser()
		if a := b.signIn(name); a.location() != "/account" {
			t.Errorf("signed in as %q: sent to %q, want /account", name, a.location())
		}
		if got := b.who(); got != "ada" {
			t.Errorf("signed in as %q: account is of %q, want ada", name, got)
		}
	}
}

func TestWhateverIsWrongTheAnswerAndItsCostAreTheSame(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("known")
	s.personWith("empty", "") // no password
	suspended := s.person("sleep")
	if _, err := s.db.SetUserState(t.Context(), suspended, storage.UserSuspended, s.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	deleted := s.person("goner")
	if _, err := s.db.SetUserState(t.Context(), deleted, storage.UserDeleted, s.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	shape := func(name string) (string, int64) {
		b := s.browser()
		before := s.login.hashes.runs.Load()
		a := b.try(name, "not the password")
		h := a.Header.Clone()
		h.Del("Date")
		h.Del("X-Request-Id")
		var text strings.Builder
		h.Write(&text)
		text.WriteString(strings.ReplaceAll(a.body, name, "NAME"))
		flow := b.value(web.FlowCookie)
		return a.Status + "\n" + strings.ReplaceAll(text.String(), flow, "FLOW"), s.login.hashes.runs.Load() - before
	}
	want, cost := shape("known")
	if cost != 1 || !strings.HasPrefix(want, "422") || !strings.Contains(want, "That user name and password don&#39;t match. Please check both.") {
		t.Fatalf("wrong password: %d hashes, want 1; answer:\n%s", cost, want)
	}
	for _, name := range []string{"empty", "sleep", "goner", "nobod"} {
		got, cost := shape(name)
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		if cost != 1 {
			t.Errorf("%s: %d hashes, want 1", name, cost)
		}
	}
}

func TestSuspendedPeopleAreToldOnlyAfterTheRightPassword(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.person("ada")
	if _, err := s.db.SetUserState(t.Context(), id, storage.UserSuspended, s.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	expectPage(t, b.try("ada", rightPassword), 422, "This account is switched off. Contact support.")
	if got := b.value(web.SessionCookie); got != "" {
		t.Errorf("got a session cookie %q, want none", got)
	}
}

func TestFailedSignInKeepsTheNameAndNotThePassword(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := s.browser().try("<ada>", "secret-word-of-mine", "remember", "1")
	expectPage(t, a, 422, `value="&lt;ada&gt;"`)
	expectPage(t, a, 422, "checked")
	if strings.Contains(a.body, "secret-word-of-mine") {
		t.Error("the page holds the password")
	}
}

func TestEmptyFieldsAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	expectPage(t, b.try(" ", "x"), 422, "Enter your email or user name.")
	expectPage(t, b.try("ada", ""), 422, "Enter your password.")
	if n := s.login.hashes.runs.Load(); n != 0 {
		t.Errorf("%d hashes ran, want none", n)
	}
}

func TestPasswordsBeyondTheCapCostNoHash(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	before := s.login.hashes.runs.Load()
	b := s.browser()
	for _, password := range []string{strings.Repeat("x", 1025), strings.Repeat("ü", 257)} {
		for _, name := range []string{"ada", "nobody"} {
			expectPage(t, b.try(name, password), 422, "That user name and password don't match")
		}
	}
	expectPage(t, b.try("ada", strings.Repeat("x", 1<<20)), 413, "too large")
	if n := s.login.hashes.runs.Load() - before; n != 0 {
		t.Errorf("%d hashes ran, want none", n)
	}
}

func TestPasswordsAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	s := start(t)
	head := strings.Repeat("abcdefgh", 9) // 72 bytes, where bcrypt would stop reading
	s.personWith("long", head+"x")
	s.personWith("space", "  leading and trailing  ")
	s.personWith("emoji", "👩‍🚀 to the moon, and back 🌙")
	s.personWith("accent", "p\u00e4ssw\u00f6rter \ufb01nden")
	for _, tc := range []struct {
		name, password string
		right          bool
	}{
		{"long", head + "x", true},
		{"long", head + "y", false},
		{"space", "  leading and trailing  ", true},
		{"space", "leading and trailing", false},
		{"emoji", "👩‍🚀 to the moon, and back 🌙", true},
		{"accent", "pa\u0308sswo\u0308rter finden", true}, // decomposed, ligature apart: NFKC
	} {
		got := s.browser().try(tc.name, tc.password).StatusCode == http.StatusSeeOther
		if got != tc.right {
			t.Errorf("%s with %q: signed in %v, want %v", tc.name, tc.password, got, tc.right)
		}
	}
}

func TestSignInLeadsOnlyToPagesOfOurOwn(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	for to, want := range map[string]string{
		"/account/security":      "/account/security",
		"//evil.test":            "/account",
		`/\evil.test`:            "/account",
		"/%09/evil.test":         "/account",
		"https:evil.test":        "/account",
		"javascript:alert(1)":    "/account",
		"/account/../logout":     "/account",
		"/account/security?x=//": "/account",
	} {
		if got := b.signIn("ada", "to", to, "return_to", to, "next", to, "back", to).location(); got != want {
			t.Errorf("to %q: sent to %q, want %q", to, got, want)
		}
		if got := b.get("/login?to=" + url.QueryEscape(to)).location(); got != want {
			t.Errorf("to %q while signed in: sent to %q, want %q", to, got, want)
		}
	}
}

func TestPageKeepsWhereToGo(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	expectPage(t, b.get("/login?to=%2Faccount%2Fsecurity"), 200, `name="to" value="/account/security"`)
	expectPage(t, b.try("ada", "wrong", "to", "/account/security"), 422, `name="to" value="/account/security"`)
}

func TestKeptRequestIsTakenUpAfterSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	kept := b.request(url.Values{"login_hint": {"ada@example.test"}, "redirect_uri": {"https://wiki.example:8443/cb"}})
	short := b.request(nil) // the client's only redirect URI is left out
	for _, id := range []string{kept.ID, short.ID} {
		policy := b.get("/login?request=" + id).Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "form-action 'self' https://wiki.example:8443;") {
			t.Errorf("policy %q does not let the form lead to the app", policy)
		}
	}
	a := b.get("/login?request=" + kept.ID)
	for _, text := range []string{"Acme Wiki", `name="request" value="` + kept.ID + `"`, `value="ada@example.test"`, "/authorize?request=" + kept.ID + "&amp;cancel=1"} {
		expectPage(t, a, 200, text)
	}
	if got, want := b.signIn("ada", "request", kept.ID).location(), "/authorize?request="+kept.ID; got != want {
		t.Errorf("sent to %q, want %q", got, want)
	}
}

func TestKeptRequestBelongsToOneBrowser(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	mallory, ada := s.browser(), s.browser()
	kept := mallory.request(nil)
	ada.get("/login")
	const says = "This request was started in another browser"
	expectPage(t, ada.get("/login?request="+kept.ID), 400, says)
	expectPage(t, ada.try("ada", rightPassword, "request", kept.ID), 400, says)
	if got := ada.who(); got != "" {
		t.Errorf("signed in as %q, want nobody", got)
	}
}

func TestLostCookieIsToldWithAWayOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	kept := s.browser().request(nil)
	for _, a := range []answer{
		s.browser().get("/login?request=" + kept.ID),
		s.browser().post("/login", url.Values{"username": {"ada"}, "password": {"x"}, "request": {kept.ID}}),
	} {
		expectPage(t, a, 400, "your browser blocked the cookie we need")
		expectPage(t, a, 400, `href="https://wiki.example/start">Go back to Acme Wiki</a>`)
	}
	a := s.browser().post("/login", url.Values{"username": {"ada"}, "password": {"x"}, "to": {"/account/security"}})
	expectPage(t, a, 400, "your browser blocked the cookie we need")
	expectPage(t, a, 400, `href="/login?to=%2Faccount%2Fsecurity">Try again</a>`)
}

func TestExpiredRequestCanBeStartedAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	kept := b.request(url.Values{"client_id": {"cli_x"}, "state": {"a&b"}})
	s.wait(31 * time.Minute)
	a := b.get("/login?request=" + kept.ID)
	expectPage(t, a, 400, "the request has expired")
	expectPage(t, a, 400, `href="/authorize?client_id=cli_x&amp;state=a%26b">Start again</a>`)
}

func TestUnknownRequestsAreToldToBeGone(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	b.get("/login")
	for _, id := range []string{"req_nothing", strings.Repeat("x", 200), "a'b"} {
		expectPage(t, b.get("/login?request="+id), 400, "This request was answered already, or it has expired.")
	}
	for _, id := range []string{"%00", "%ff"} {
		if a := b.get("/login?request=" + id); a.StatusCode != 400 {
			t.Errorf("request %q: status %d, want 400", id, a.StatusCode)
		}
	}
}

func TestSignInThatLosesToAChangeIsToldWhatIsTrueNow(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada, bob := s.person("ada"), s.person("bob")
	b := s.browser()
	for name, tc := range map[string]struct {
		meanwhile func() error
		want      string
	}{
		"ada": {func() error {
			_, err := s.db.Pool().Exec(t.Context(), `update credentials set updated_at = $2 where user_id = $1`, ada, s.now())
			return err
		}, "That user name and password don't match."},
		"bob": {func() error {
			_, err := s.db.SetUserState(t.Context(), bob, storage.UserSuspended, s.now(), storage.Event{})
			return err
		}, "This account is switched off."},
	} {
		b.get("/login")
		f := func() {
			if err := tc.meanwhile(); err != nil {
				t.Error(err)
			}
		}
		s.meanwhile.Store(&f)
		expectPage(t, b.try(name, rightPassword), 422, tc.want)
	}
	if got := b.who(); got != "" {
		t.Errorf("signed in as %q, want nobody", got)
	}
}

func TestFormThatWasOpenForTooLongIsShownAgainAndThenWorks(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	kept := b.request(url.Values{"state": {"xyz"}})
	s.wait(31 * time.Minute)
	a := b.try("ada", rightPassword, "request", kept.ID)
	expectPage(t, a, 422, "This page was open for a while. Please try again.")
	expectPage(t, a, 422, `value="ada"`)
	_, rest, _ := strings.Cut(a.body, `name="request" value="`)
	id, _, _ := strings.Cut(rest, `"`)
	if got, want := b.signIn("ada", "request", id).location(), "/authorize?request="+id; got != want || id == kept.ID {
		t.Errorf("sent to %q, want %q with a new id", got, want)
	}
	renewed, err := s.db.Request(t.Context(), id)
	if err != nil || renewed.Params.Get("state") != "xyz" || renewed.ClientID != kept.ClientID {
		t.Errorf("renewed request = %+v, %v; want the old one's parameters", renewed, err)
	}
	expectPage(t, b.try("ada", rightPassword, "request", kept.ID), 400, "This request was answered already")
}

func TestSignedInPeopleConfirmOrSwitch(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	s.person("bob")
	b := s.browser()
	b.signIn("ada")
	for _, tc := range []struct {
		name   string
		params url.Values
		query  string
		reauth bool
		value  string
	}{
		{"asked again", nil, "", true, "ada"},
		{"hint is theirs", url.Values{"login_hint": {"ADA@example.test"}}, "", true, "ADA@example.test"},
		{"hint is another's", url.Values{"login_hint": {"bob"}}, "", false, "bob"},
		{"not you", nil, "&switch=1", false, ""},
		{"another account", url.Values{"prompt": {"select_account"}}, "&add=1", false, ""},
	} {
		kept := b.request(tc.params)
		a := b.get("/login?request=" + kept.ID + tc.query)
		if got := strings.Contains(a.body, "Confirm it&#39;s you</h1>") || strings.Contains(a.body, "Confirm it's you</h1>"); got != tc.reauth {
			t.Errorf("%s: re-authentication %v, want %v", tc.name, got, tc.reauth)
		}
		if !strings.Contains(a.body, `value="`+tc.value+`"`) {
			t.Errorf("%s: the name is not %q in\n%s", tc.name, tc.value, a.body)
		}
	}
	kept := b.request(nil)
	expectPage(t, b.try("ada", "wrong", "request", kept.ID), 422, "&amp;switch=1")
	b.signIn("bob", "request", kept.ID)
	if got := b.who(); got != "bob" {
		t.Errorf("signed in as %q after the switch, want bob", got)
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.person("ada")
	b := s.browser()
	b.get("/login")
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"} {
		b.headers = http.Header{name: {value}}
		expectPage(t, b.try("ada", rightPassword), 403, "sent from another site")
	}
}

func TestFormsThatAreNotOursAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	b.get("/login")
	for _, tc := range []struct {
		name, kind, body string
		want             int
	}{
		{"doubled field", "application/x-www-form-urlencoded", "username=a&username=b&password=c", 400},
		{"not UTF-8", "application/x-www-form-urlencoded", "username=%ff&password=c", 400},
		{"NUL", "application/x-www-form-urlencoded", "username=a%00&password=c", 400},
		{"bad escape", "application/x-www-form-urlencoded", "username=%zz&password=c", 400},
		{"JSON", "application/json", `{"username":"a"}`, 415},
		{"text", "text/plain", "username=a&password=c", 415},
		{"no type", "", "username=a&password=c", 415},
	} {
		r, err := http.NewRequest(http.MethodPost, s.url+"/login", strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		if tc.kind != "" {
			r.Header.Set("Content-Type", tc.kind)
		}
		if a := b.do(r); a.StatusCode != tc.want {
			t.Errorf("%s: status %d, want %d", tc.name, a.StatusCode, tc.want)
		}
	}
	if a := b.get("/login?request=a&request=b"); a.StatusCode != 400 {
		t.Errorf("doubled parameter: status %d, want 400", a.StatusCode)
	}
}

func TestEventsTellWhoSignedInAndNotWhatStrangersTyped(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := s.person("ada")
	b := s.browser()
	b.from = "203.0.113.7"
	b.try("my-password-typed-as-name", "x")
	b.try("ada", "wrong")
	b.signIn("ada")
	events, err := s.db.Events(t.Context(), "", 10)
	if err != nil || len(events) != 3 {
		t.Fatalf("got %d events, %v; want 3", len(events), err)
	}
	for i, want := range []struct{ kind, user string }{{"login.succeeded", id}, {"login.failed", id}, {"login.failed", ""}} {
		e := events[i]
		if e.Kind != want.kind || e.UserID != want.user || e.IP != "203.0.113.7" {
			t.Errorf("event %d = %+v, want %+v from 203.0.113.7", i, e, want)
		}
		for _, v := range e.Details {
			if v == "my-password-typed-as-name" {
				t.Errorf("event %d holds what was typed", i)
			}
		}
	}
}
