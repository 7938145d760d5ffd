package integration

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

var accountRow = regexp.MustCompile(`(?s)<button class="account"[^>]* value="([^"]+)">(.*?)</button>`)

// row finds an account of the chooser by a word of what it shows.
func (p *page) row(word string) (handle, text string, ok bool) {
	for _, m := range accountRow.FindAllStringSubmatch(p.body, -1) {
		if strings.Contains(m[2], word) {
			return m[1], m[2], true
		}
	}
	return "", "", false
}

// choose presses the row of a person.
func (p *page) choose(who *person) *page {
	p.b.t.Helper()
	handle, _, ok := p.at("/login/accounts").row(who.Profile.Name)
	if !ok {
		p.b.t.Fatalf("%s is not among the accounts:\n%s", who.Username, p.body)
	}
	return p.submit(map[string]string{"account": handle})
}

// signInAs adds a person to those who are signed in in the browser.
func (b *browser) signInAs(who *person) {
	b.t.Helper()
	b.get("/login?add=1").at("/login").submit(map[string]string{"username": who.Username, "password": who.Password}).at("/account")
}

// present is the e-mail address of whom the browser acts for; "" for nobody.
func (b *browser) present(people ...*person) string {
	p := b.get("/account")
	for _, who := range people {
		if p.url.Path == "/account" && strings.Contains(p.body, who.Email) {
			return who.Username
		}
	}
	return ""
}

// clone is a browser with the same cookies, which go their own way from here on.
func (b *browser) clone() *browser {
	b.t.Helper()
	issuer, err := url.Parse(b.w.issuer)
	if err != nil {
		b.t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	jar.SetCookies(issuer, b.jar.Cookies(issuer))
	c := *b
	c.jar, c.http = jar, &http.Client{Transport: b.http.Transport, Jar: jar, CheckRedirect: b.http.CheckRedirect}
	return &c
}

// subject is whom the answer to a request is about, and when they proved who they are.
func (f *flow) subject(answer url.Values) (sub string, authTime float64) {
	f.a.t.Helper()
	_, id := claims(f.a.t, f.exchange(answer.Get("code")).ok().text("id_token"))
	sub, _ = id["sub"].(string)
	authTime, _ = id["auth_time"].(float64)
	return sub, authTime
}

func TestAnAccountThatIsSignedInIsChosenWithoutAPassword(t *testing.T) { // conformance 47
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	w.clock.advance(time.Minute)
	b.signInAs(bob)
	a.signIn(b, bob, "prompt", "consent")
	if got := b.present(ada, bob); got != "bob" {
		t.Fatalf("%q is present, want the one who signed in last", got)
	}
	old := b.cookies()["idp_sid"]
	f := a.begin("prompt", "select_account", "max_age", "10000")
	p := b.get(f.url()).at("/login/accounts")
	for _, who := range []*person{ada, bob} {
		if _, text, ok := p.row(who.Profile.Name); !ok || !strings.Contains(text, "Signed in") || !strings.Contains(text, who.Email) {
			t.Errorf("the row of %s is %q, want it signed in", who.Username, text)
		}
	}
	p = p.choose(ada)
	if sub, _ := f.subject(p.answer()); sub != ada.ID {
		t.Errorf("the code is of %s, want that of ada", sub)
	}
	if got := b.present(ada, bob); got != "ada" {
		t.Errorf("%q is present, want the one who was chosen", got)
	}
	if b.cookies()["idp_sid"] == old || strings.Contains(b.cookies()["idp_sid"], old) {
		t.Error("the session cookie is the one from before the choice")
	}
	f = a.begin("prompt", "select_account")
	if sub, _ := f.subject(b.get(f.url()).choose(bob).answer()); sub != bob.ID {
		t.Errorf("the way back gives the code of %s, want that of bob", sub)
	}
}

func TestASecretFromBeforeAChoiceIsDead(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, bob, b := w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	b.signInAs(bob)
	aside := b.cookies()["idp_accounts"]
	b.get("/login/accounts").choose(ada).at("/account")
	thief := w.browser(t)
	thief.plant("idp_sid", aside)
	if got := thief.present(ada, bob); got != "" {
		t.Errorf("the secret that ada's session had before it was chosen signs in as %s", got)
	}
	if b.cookies()["idp_accounts"] == aside || len(strings.Split(b.cookies()["idp_accounts"], ".")) != 1 {
		t.Errorf("aside is %q, want bob alone", b.cookies()["idp_accounts"])
	}
}

func TestAChosenSessionThatIsTooOldStillAsksForThePassword(t *testing.T) { // conformance 46-48
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	b.signInAs(bob)
	for _, params := range [][]string{
		{"prompt", "select_account", "max_age", "60"},
		{"prompt", "select_account", "max_age", "0"},
		{"prompt", "login select_account"},
		{"prompt", "select_account login"},
		{"prompt", "select_account login sing"},
	} {
		w.clock.advance(5 * time.Minute)
		before := w.now().Unix()
		f := a.begin(params...)
		p := b.get(f.url()).choose(ada).at("/login")
		if _, fields := p.form(); fields.Get("username") != ada.Username || !strings.Contains(p.body, "readonly") {
			t.Errorf("%v: the page asks %q, want ada to confirm it is her", params, fields.Get("username"))
		}
		if sub, at := f.subject(p.pass(ada)); sub != ada.ID || int64(at) < before {
			t.Errorf("%v: code of %s with auth_time %v, want ada's, from now", params, sub, at)
		}
		if got := b.get("/login/accounts"); !strings.Contains(got.body, bob.Email) {
			t.Errorf("%v: proving it again signed bob out", params)
		}
	}
	f := a.begin("prompt", "consent select_account")
	p := b.get(f.url()).choose(ada).at("/consent")
	if sub, _ := f.subject(p.submit(map[string]string{"decision": "allow"}).answer()); sub != ada.ID {
		t.Errorf("consent select_account: code of %s", sub)
	}
	f = a.begin("prompt", "select_account", "max_age", "10000")
	if sub, _ := f.subject(b.get(f.url()).choose(ada).answer()); sub != ada.ID {
		t.Errorf("max_age that is kept: code of %s", sub)
	}
}

func TestPromptNoneStandsAlone(t *testing.T) { // conformance 45
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	for _, prompt := range []string{"none login", "none consent", "none select_account", "none create", "create none", "none sing", "login none consent"} {
		if got := b.get(a.begin("prompt", prompt).url()).answer().Get("error"); got != "invalid_request" {
			t.Errorf("prompt=%s: %q, want invalid_request", prompt, got)
		}
	}
	f := a.begin("prompt", "sing dance")
	if sub, _ := f.subject(b.get(f.url()).answer()); sub != ada.ID {
		t.Error("unknown values of prompt are not ignored")
	}
}

func TestTheHintedPersonAnswersThoughSomebodyElseIsPresent(t *testing.T) { // conformance 50
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	hint := tokens.text("id_token")
	_, first := claims(t, hint)
	w.clock.advance(time.Minute)
	b.signInAs(bob)
	a.signIn(b, bob)
	for _, params := range [][]string{
		{"prompt", "none", "id_token_hint", hint},
		{"id_token_hint", hint},
		{"login_hint", "ADA@example.test"},
		{"prompt", "none", "claims", `{"id_token":{"sub":{"value":"` + ada.ID + `"}}}`},
	} {
		f := a.begin(append(params, "max_age", "10000")...)
		_, id := claims(t, f.exchange(b.get(f.url()).answer().Get("code")).ok().text("id_token"))
		if id["sub"] != ada.ID || id["sid"] != first["sid"] || id["auth_time"] == nil {
			t.Errorf("%v: sub %v, sid %v; want those of ada, who stands aside", params, id["sub"], id["sid"])
		}
		if got := b.present(ada, bob); got != "bob" {
			t.Errorf("%v: %q is present afterwards, want bob as before", params, got)
		}
	}
	f := a.begin("login_hint", "nobody@example.test", "prompt", "none")
	if sub, _ := f.subject(b.get(f.url()).answer()); sub != bob.ID {
		t.Errorf("a hint at a stranger: code of %s, want that of who is present", sub)
	}
	w.clock.advance(10 * time.Minute)
	if got := b.get(a.begin("prompt", "none", "max_age", "60", "id_token_hint", hint).url()).answer().Get("error"); got != "login_required" {
		t.Errorf("a hinted session that is too old: %q, want login_required", got)
	}
	f = a.begin("max_age", "60", "id_token_hint", hint)
	p := b.get(f.url()).at("/login")
	if _, fields := p.form(); fields.Get("username") != ada.Username {
		t.Errorf("the page asks %q, want ada to confirm it is her", fields.Get("username"))
	}
	if sub, _ := f.subject(p.pass(ada)); sub != ada.ID {
		t.Errorf("code of %s, want that of ada", sub)
	}
	if got := b.get("/login/accounts"); !strings.Contains(got.body, bob.Email) {
		t.Error("proving it again signed bob out")
	}
}

func TestSomebodyWhoIsSignedOutIsOfferedAndAskedForThePassword(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	b.post("/logout", url.Values{"confirm": {"yes"}})
	b.signInAs(bob)
	p := b.get(a.begin("prompt", "select_account").url()).at("/login/accounts")
	_, text, ok := p.row(ada.Profile.Name)
	if !ok || strings.Contains(text, "Signed in") || strings.Contains(text, ada.Email) || !strings.Contains(text, "a•••") {
		t.Errorf("the row of ada is %q, want it signed out, its address masked", text)
	}
	f := a.begin("prompt", "select_account")
	p = b.get(f.url()).choose(ada).at("/login")
	if _, fields := p.form(); fields.Get("username") != ada.Username {
		t.Errorf("the name is %q, want it filled in", fields.Get("username"))
	}
	p = p.submit(map[string]string{"password": "not hers at all"}).at("/login")
	if sub, _ := f.subject(p.pass(ada)); sub != ada.ID {
		t.Errorf("code of %s, want that of ada", sub)
	}
	if got := b.get("/login/accounts"); strings.Count(got.body, "Signed in</span>") != 2 {
		t.Errorf("not both are signed in:\n%s", got.body)
	}
}

func TestAnAccountCanBeTakenOffTheDevice(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, bob, b := w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	b.signInAs(bob)
	p := b.get("/login/accounts?mode=remove")
	handle, _, _ := p.row(ada.Profile.Name)
	p = p.submit(map[string]string{"remove": handle}).at("/login/accounts")
	if strings.Contains(p.body, ada.Profile.Name) || !strings.Contains(p.body, bob.Profile.Name) {
		t.Errorf("ada is still there, or bob is gone:\n%s", p.body)
	}
	if got := w.events(t, ada.ID, "session.ended"); got != 1 {
		t.Errorf("%d of ada's sessions ended, want 1", got)
	}
	p.submit(map[string]string{"remove": handle}).at("/login/accounts") // sent twice
	handle, _, _ = p.row(bob.Profile.Name)
	p.submit(map[string]string{"remove": handle}).at("/login")
	if got := b.present(ada, bob); got != "" {
		t.Errorf("%s is still signed in", got)
	}
}

func TestAHandleIsGoodInOneBrowserOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	foreign, _, _ := b.get("/login/accounts").row(ada.Profile.Name)
	other := w.browser(t)
	other.signInAs(bob)
	p := other.get(a.begin("prompt", "select_account").url()).at("/login/accounts")
	for name, handle := range map[string]string{"another browser's": foreign, "none": "", "a user id": ada.ID, "nonsense": "x"} {
		got := p.submit(map[string]string{"account": handle})
		if got.left != nil || got.status != 422 || !strings.Contains(got.body, bob.Profile.Name) || strings.Contains(got.body, ada.Profile.Name) {
			t.Errorf("handle of %s: %d at %s, left %v; want to choose again", name, got.status, got.url, got.left)
		}
	}
	if got := other.get("/login?add=1&account=" + foreign); strings.Contains(got.body, ada.Username) {
		t.Error("a foreign handle fills in a name")
	}
}

func TestASessionThatEndedCannotBeChosen(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	b.signInAs(bob)
	a.signIn(b, bob)
	f := a.begin("prompt", "select_account")
	p := b.get(f.url()).at("/login/accounts")
	if _, err := w.db.RevokeUser(t.Context(), ada.ID, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	p = p.choose(ada).at("/login")
	if sub, _ := f.subject(p.pass(ada)); sub != ada.ID {
		t.Errorf("code of %s, want that of ada after her password", sub)
	}

	// Chosen first, ended then: nobody answers in her place.
	f = a.begin("prompt", "consent select_account")
	p = b.get(f.url()).choose(ada).at("/consent")
	b.get("/login/accounts").choose(bob)
	if _, err := w.db.RevokeUser(t.Context(), ada.ID, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	p.submit(map[string]string{"decision": "allow"}).at("/login/accounts")
}

func TestAChoiceSentTwiceNeverAnswersForSomebodyElse(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	b.signInAs(bob)
	a.signIn(b, bob)
	f := a.begin("prompt", "select_account")
	p := b.get(f.url()).at("/login/accounts")
	twin := b.clone() // the same cookies, as a second press sends them
	second := *p
	second.b = twin
	if sub, _ := f.subject(p.choose(ada).answer()); sub != ada.ID {
		t.Fatalf("code of %s, want that of ada", sub)
	}
	if got := second.choose(ada); got.left != nil {
		t.Errorf("the second press left with %v", got.left)
	}
	if got := p.choose(ada); got.left != nil || got.status != 400 { // with the new cookies: answered already
		t.Errorf("the third press: %d, left %v; want to hear that it was answered", got.status, got.left)
	}

	// Without select_account, a choice that did not happen must not be answered by who is present.
	p = b.get(a.begin("prompt", "consent").url()).at("/consent")
	p = b.get("/login?" + p.url.RawQuery + "&switch=1").at("/login/accounts")
	twin = b.clone()
	twin.get("/login/accounts").choose(bob) // bob's secret is another one now
	if got := p.choose(bob); got.left != nil || got.url.Path == "/consent" {
		t.Errorf("somebody else answers: at %s, left %v", got.url, got.left)
	}
}

func TestTwoTabsKeepTheirAccounts(t *testing.T) { // conformance 63
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	b.signInAs(bob)
	f1, f2 := a.begin("prompt", "select_account"), a.begin("prompt", "select_account")
	tab1, tab2 := b.get(f1.url()), b.get(f2.url())
	tab1, tab2 = tab1.choose(ada).at("/consent"), tab2.choose(bob).at("/consent")
	if !strings.Contains(tab1.body, ada.Email) || !strings.Contains(tab2.body, bob.Email) {
		t.Error("a consent page names somebody else")
	}
	sub1, _ := f1.subject(tab1.submit(map[string]string{"decision": "allow"}).answer())
	sub2, _ := f2.subject(tab2.submit(map[string]string{"decision": "allow"}).answer())
	if sub1 != ada.ID || sub2 != bob.ID {
		t.Errorf("codes of %s and %s, want those of ada and bob", sub1, sub2)
	}
	f := a.begin("prompt", "consent select_account")
	p := b.get(f.url()).choose(ada).at("/consent")
	back := b.get("/login/accounts?" + p.url.RawQuery).choose(bob).at("/consent") // Back, and another choice
	if !strings.Contains(back.body, bob.Email) {
		t.Error("the second choice does not count")
	}
	if got := p.submit(map[string]string{"decision": "allow"}).at("/consent"); !strings.Contains(got.body, bob.Email) {
		t.Error("the form of before the second choice was taken")
	}
}

func TestABrowserHoldsFivePeople(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser(t)
	var people []*person
	for _, name := range []string{"ada", "bob", "cleo", "dora", "emil", "fritz"} {
		p := w.person(t, name)
		people = append(people, p)
		b.signInAs(p)
	}
	p := b.get("/login/accounts")
	for i, who := range people {
		_, text, _ := p.row(who.Profile.Name)
		if got, want := strings.Contains(text, "Signed in"), i > 0; got != want {
			t.Errorf("%s is signed in: %v, want %v", who.Username, got, want)
		}
	}
	if n := len(strings.Split(b.cookies()["idp_accounts"], ".")); n != 4 {
		t.Errorf("%d sessions stand aside, want 4", n)
	}
	live, err := w.db.LiveSessions(t.Context(), people[0].ID, w.now())
	if err != nil || len(live) != 0 {
		t.Errorf("the oldest session is live still: %v, %v", live, err)
	}
	b.signInAs(people[3]) // again: goes on in the same row
	if live, err = w.db.LiveSessions(t.Context(), people[3].ID, w.now()); err != nil || len(live) != 1 {
		t.Errorf("somebody who signed in twice has %d sessions, %v; want 1", len(live), err)
	}
	for _, value := range []string{b.cookies()["idp_accounts"] + "." + b.cookies()["idp_sid"], b.cookies()["idp_accounts"] + ".", "x", strings.Repeat(b.cookies()["idp_sid"]+".", 3) + b.cookies()["idp_sid"]} {
		odd := b.clone()
		odd.plant("idp_accounts", value)
		if p := odd.get("/login/accounts"); strings.Count(p.body, "Signed in</span>") != 1 {
			t.Errorf("a cookie that is not ours, %q, holds accounts", value)
		}
	}
}

func TestNotYouEndsTheOtherSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	a.signIn(b, ada)
	p := b.get(a.begin("prompt", "login").url()).at("/login")
	p = b.get("/login?" + p.url.RawQuery + "&switch=1").at("/login")
	p.submit(map[string]string{"username": bob.Username, "password": bob.Password}).at("/consent")
	live, err := w.db.LiveSessions(t.Context(), ada.ID, w.now())
	if err != nil || len(live) != 0 {
		t.Errorf("ada's session is live still: %v, %v", live, err)
	}
}

func TestSigningOutOnOurPageSignsEverybodyOut(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, bob, b := w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	b.signInAs(bob)
	b.get("/logout").submit(nil).at("/logout/done")
	if b.cookies()["idp_sid"] != "" || b.cookies()["idp_accounts"] != "" {
		t.Error("a cookie is left")
	}
	for _, who := range []*person{ada, bob} {
		live, err := w.db.LiveSessions(t.Context(), who.ID, w.now())
		if err != nil || len(live) != 0 || w.events(t, who.ID, "session.ended") != 1 {
			t.Errorf("%s is signed in still: %v, %v", who.Username, live, err)
		}
	}
}

func TestSuspensionReachesAnAccountThatStandsAside(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	b.signInAs(bob)
	if _, err := w.db.SetUserState(t.Context(), ada.ID, storage.UserSuspended, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if got := b.get(a.begin("prompt", "none", "id_token_hint", tokens.text("id_token")).url()).answer().Get("error"); got != "login_required" {
		t.Errorf("a hint at a suspended person: %q, want login_required", got)
	}
	if p := b.get("/login/accounts"); strings.Contains(p.body, ada.Profile.Name) {
		t.Error("the chooser offers a suspended account")
	}
}

func TestAnAppThatNamesSomebodyElseEndsNoSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	_, tokens := a.signIn(w.browser(t), bob)
	for _, params := range [][]string{{"id_token_hint", tokens.text("id_token")}, {"login_hint", "bob", "prompt", "login"}} {
		b := b.clone()
		a.signIn(b, ada)
		f := a.begin(params...)
		p := b.get(f.url()).at("/login")
		if _, fields := p.form(); strings.Contains(p.body, "readonly") || fields.Get("username") == ada.Username {
			t.Errorf("%v: ada is asked to confirm it is her", params)
		}
		if sub, _ := f.subject(p.pass(bob)); sub != bob.ID {
			t.Errorf("%v: code of %s, want that of bob", params, sub)
		}
		if got := b.get("/login/accounts"); strings.Count(got.body, "Signed in</span>") != 2 {
			t.Errorf("%v: ada's session ended", params)
		}
	}
}

func TestNobodyButThePersonChooses(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.browser(t)
	b.signInAs(ada)
	b.signInAs(bob)
	a.signIn(b, bob)
	live, err := w.db.LiveSessions(t.Context(), bob.ID, w.now())
	if err != nil {
		t.Fatal(err)
	}
	// A client cannot say that somebody was chosen.
	for _, f := range []*flow{a.begin("prompt", "select_account", "chosen_session", live[0].ID.String()), a.begin("chosen_session", live[0].ID.String(), "prompt", "select_account", "hint_subject", bob.ID)} {
		p := b.get(f.url()).at("/login/accounts")
		b.get("/authorize?" + p.url.RawQuery).at("/login/accounts")
	}
	pushed := a.call("/par", a.begin("prompt", "select_account", "chosen_session", live[0].ID.String()).params)
	if pushed.status != 201 {
		t.Fatalf("push: %d %s", pushed.status, pushed.raw)
	}
	address := "/authorize?" + url.Values{"client_id": {a.ID}, "request_uri": {pushed.text("request_uri")}}.Encode()
	b.get(address).at("/login/accounts")
	p := b.get(address).at("/login/accounts") // loaded twice
	if got := p.choose(bob).answer(); got.Get("code") == "" {
		t.Errorf("a pushed request after the choice: %v", got)
	}

	// Neither can another site, by a form in its name.
	p = b.get(a.begin("prompt", "select_account").url()).at("/login/accounts")
	handle, _, _ := p.row(ada.Profile.Name)
	_, fields := p.form()
	for _, name := range []string{"account", "remove"} {
		form := url.Values{"request": fields["request"], name: {handle}}
		req := b.request(t, "POST", "/login/accounts", form)
		req.Header.Set("Origin", "https://evil.test")
		if got := b.follow(req); got.status != 403 {
			t.Errorf("%s by another site: %d, want 403", name, got.status)
		}
		lost := w.browser(t)
		lost.plant("idp_sid", b.cookies()["idp_sid"])
		if got := lost.post("/login/accounts", url.Values{name: {handle}}); got.status != 400 {
			t.Errorf("%s without the flow cookie: %d, want 400", name, got.status)
		}
		if got := lost.get("/login/accounts?" + p.url.RawQuery); got.status != 400 {
			t.Errorf("the chooser of another browser's request: %d, want 400", got.status)
		}
	}
	if got := b.present(ada, bob); got != "bob" {
		t.Errorf("%q is present, want bob as before", got)
	}
}
