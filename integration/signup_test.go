package integration

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

const chosenPassword = "ferns beside nine lamps"

func (p *page) signUp(name, username, password string) *page {
	p.b.t.Helper()
	return p.at("/signup").submit(map[string]string{"name": name, "username": username, "new_password": password})
}

func TestANewAccountGoesStraightBackToTheApp(t *testing.T) { // Initiating User Registration via OpenID Connect 1.0
	t.Parallel()
	w := startOpen(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	for _, prompt := range []string{"create", "select_account create", "create login", "create consent sing"} {
		username := "cleo" + strings.ReplaceAll(prompt, " ", "-")
		f := a.begin("prompt", prompt)
		p := b.get(f.url()).signUp("Cleo Vane", username, chosenPassword).at("/consent")
		answer := p.submit(map[string]string{"decision": "allow"}).answer()
		tokens := f.exchange(answer.Get("code")).ok()
		info := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
		if info.text("preferred_username") != username || info.text("name") != "Cleo Vane" || info.body["email"] != nil {
			t.Errorf("prompt=%s: userinfo = %s, want the new account", prompt, info.raw)
		}
		u, err := w.db.UserByIdentifier(t.Context(), username)
		if err != nil {
			t.Fatal(err)
		}
		if w.events(t, u.ID, "account.created") != 1 || w.events(t, u.ID, "login.succeeded") != 1 {
			t.Errorf("prompt=%s: the account's events are not its making and its sign-in", prompt)
		}
	}
	if got := b.get("/login/accounts"); strings.Count(got.body, "Signed in</span>") != 4 {
		t.Errorf("who made an account before is not signed in any more:\n%s", got.body)
	}
}

func TestPromptCreateShowsTheSignUpPageToSomebodySignedIn(t *testing.T) {
	t.Parallel()
	w := startOpen(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	f := a.begin("prompt", "create")
	p := b.get(f.url()).at("/signup")
	p = b.get("/login/accounts?" + p.url.RawQuery).choose(ada) // "Sign in" instead
	if sub, _ := f.subject(p.answer()); sub != ada.ID {
		t.Errorf("code of %s, want that of ada, who signed in instead", sub)
	}
	p = b.get(a.begin("prompt", "create").url()).signUp("Bob Stone", "bob", chosenPassword).at("/consent")
	if !strings.Contains(p.body, "bob") || !strings.Contains(b.get("/login/accounts").body, ada.Email) {
		t.Error("the new account is not asked, or ada's session ended")
	}
	nobody := w.browser(t)
	f = a.begin("prompt", "create")
	p = nobody.get(f.url()).at("/signup")
	p = nobody.get("/login/accounts?" + p.url.RawQuery).at("/login")
	if sub, _ := f.subject(p.pass(ada)); sub != ada.ID {
		t.Errorf("code of %s, want that of ada", sub)
	}
}

func TestASignUpFormThatIsSentTwiceMakesOneAccount(t *testing.T) {
	t.Parallel()
	w := startOpen(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	p := b.get(a.begin("prompt", "create").url()).at("/signup")
	twin := *p
	twin.b = b.clone()
	p.signUp("Cleo Vane", "cleo", chosenPassword).at("/consent")
	twin.signUp("Cleo Vane", "CLEO", chosenPassword).at("/consent")
	u, err := w.db.UserByIdentifier(t.Context(), "cleo")
	if err != nil || w.events(t, u.ID, "account.created") != 1 {
		t.Errorf("the account was made %d times, %v", w.events(t, u.ID, "account.created"), err)
	}
}

func TestWhatCannotBeAnAccountIsSaidSo(t *testing.T) {
	t.Parallel()
	w := startOpen(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	b.get("/signup").at("/signup")
	for name, tc := range map[string]struct{ name, username, password, says string }{
		"no name":                {"", "cleo", chosenPassword, "Enter your name."},
		"long name":              {strings.Repeat("x", 129), "cleo", chosenPassword, "at most 128 characters"},
		"control characters":     {"Cleo\x07Vane", "cleo", chosenPassword, "at most 128 characters"},
		"no user name":           {"Cleo", " ", chosenPassword, "Choose a user name."},
		"short user name":        {"Cleo", "c", chosenPassword, "2 to 64"},
		"an address":             {"Cleo", "ada@example.test", chosenPassword, "letters, digits, dots"},
		"an unknown address":     {"Cleo", "cleo@example.test", chosenPassword, "letters, digits, dots"},
		"words":                  {"Cleo", "cleo vane", chosenPassword, "letters, digits, dots"},
		"two scripts":            {"Cleo", "\u0430da", chosenPassword, "letters of one script"},
		"signs alone":            {"Cleo", "..", chosenPassword, "letters of one script"},
		"marks alone":            {"Cleo", "\u0301\u0301", chosenPassword, "letters of one script"},
		"a name that turns text": {"Cleo\u202eenaV", "cleo", chosenPassword, "at most 128 characters"},
		"a name that is unseen":  {"\u200b\u200b", "cleo", chosenPassword, "Enter your name."},
		"an id":                  {"Cleo", "USR_1", chosenPassword, "cannot begin with usr_"},
		"taken":                  {"Cleo", "ada", chosenPassword, "Somebody has this user name already"},
		"taken in other letters": {"Cleo", "ＡＤＡ", chosenPassword, "Somebody has this user name already"},
		"short password":         {"Cleo", "cleo", "ferns", "at least 15 characters"},
		"common password":        {"Cleo", "cleo", "passwordpassword", "guessed early"},
		"password of the name":   {"Cleopatra Vane", "cleopatra", "cleopatra-vane-1", "guessed early"},
		"password of the brand":  {"Cleo", "cleo", "Example ID Example ID 1", "guessed early"},
	} {
		p := b.get("/signup").signUp(tc.name, tc.username, tc.password).at("/signup")
		if p.status != 422 || !strings.Contains(p.body, tc.says) || !strings.Contains(p.body, `aria-invalid="true"`) || strings.Contains(p.body, tc.password) {
			t.Errorf("%s: %d, want 422 with %q at a field:\n%s", name, p.status, tc.says, p.body)
		}
		if _, fields := p.form(); !strings.Contains(tc.name, "\x07") && fields.Get("name") != tc.name {
			t.Errorf("%s: the name is %q now", name, fields.Get("name"))
		}
	}
	if got := b.present(ada); got != "" {
		t.Errorf("signed in as %s", got)
	}
	b.post("/signup", url.Values{"name": {"Eve"}, "username": {"eve"}, "new_password": {chosenPassword}}).at("/account")
	stranger := w.browser(t)
	if p := stranger.post("/signup", url.Values{"name": {"Eve"}, "username": {"eve2"}, "new_password": {chosenPassword}}); p.status != 400 {
		t.Errorf("a form without our cookie: %d, want 400", p.status)
	}
	req := b.request(t, "POST", "/signup", url.Values{"name": {"Eve"}, "username": {"eve3"}, "new_password": {chosenPassword}})
	req.Header.Set("Origin", "https://evil.test")
	if p := b.follow(req); p.status != 403 {
		t.Errorf("a form of another site: %d, want 403", p.status)
	}
}

func TestANetworkMakesAFewAccountsOnly(t *testing.T) {
	t.Parallel()
	w := startOpen(t)
	w.person(t, "ada")
	try := func(username string) *page {
		return w.browser(t).get("/signup").signUp("Eve", username, chosenPassword)
	}
	for i := range 10 { // each costs one try: an account that is made, and a user name that is found out to be taken
		try(fmt.Sprint("eve", i)).at("/account")
		if p := try(fmt.Sprint("eve", i, "@")).at("/signup"); p.status != 422 {
			t.Fatalf("an impossible user name: %d, want 422, for nothing", p.status)
		}
	}
	for i := range 10 {
		if p := try(fmt.Sprint("EVE", i)).at("/account"); p.status != 200 {
			t.Fatalf("the same form again: %d", p.status)
		}
	}
	for _, username := range []string{"eve20", "ada"} { // the answer tells nothing of the name
		if p := try(username).at("/signup"); p.status != 429 || p.header.Get("Retry-After") == "" || strings.Contains(p.body, "Somebody has") {
			t.Errorf("the twenty-first try, %s: %d, Retry-After %q, want 429:\n%s", username, p.status, p.header.Get("Retry-After"), p.body)
		}
	}
	if _, err := w.db.UserByIdentifier(t.Context(), "eve20"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the account that was refused: %v, want that there is none", err)
	}
	w.clock.advance(2 * time.Minute)
	try("eve20").at("/account")
}

func TestSignUpThatIsOffIsNowhere(t *testing.T) {
	t.Parallel()
	w, open := start(t), startOpen(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	advertised := func(w *world) bool {
		doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
		return slices.Contains(doc.body["prompt_values_supported"].([]any), any("create"))
	}
	if advertised(w) || !advertised(open) {
		t.Error("create is advertised where sign-up is off, or not where it is open")
	}
	p := b.get(a.begin("prompt", "create").url()).at("/login")
	if !strings.Contains(p.body, "made by an administrator") || strings.Contains(p.body, "/signup") {
		t.Errorf("the sign-in page does not say who makes accounts:\n%s", p.body)
	}
	if p := open.browser(t).get("/login"); !strings.Contains(p.body, `href="/signup"`) || !strings.Contains(p.body, "New here?") {
		t.Error("the sign-in page does not lead to sign-up where that is open")
	}
	if got := b.get("/signup"); got.status != 404 {
		t.Errorf("GET /signup: %d, want 404", got.status)
	}
	if got := b.post("/signup", url.Values{"name": {"Eve"}, "username": {"eve"}, "new_password": {chosenPassword}}); got.status != 404 {
		t.Errorf("POST /signup: %d, want 404", got.status)
	}
	if _, err := w.db.UserByIdentifier(t.Context(), "eve"); err == nil {
		t.Error("an account was made")
	}
	p.pass(ada)
	f := a.begin("prompt", "create")
	if sub, _ := f.subject(b.get(f.url()).answer()); sub != ada.ID {
		t.Error("prompt=create is not ignored where sign-up is off")
	}
}

func TestASignUpThatTookLongGoesOn(t *testing.T) {
	t.Parallel()
	w := startOpen(t)
	a, b := w.app(t, storage.ClientWeb), w.browser(t)
	f := a.begin("prompt", "create")
	p := b.get(f.url()).at("/signup")
	w.clock.advance(31 * time.Minute)
	p = p.signUp("Cleo Vane", "cleo", chosenPassword).at("/signup")
	if p.status != 422 || !strings.Contains(p.body, "open for a while") {
		t.Errorf("a late form: %d:\n%s", p.status, p.body)
	}
	p.signUp("Cleo Vane", "cleo", chosenPassword).at("/consent")
}

func TestEveryCombinationOfPromptsShowsThePageThatItAsksFor(t *testing.T) { // conformance 44-47, 51
	t.Parallel()
	w := startOpen(t)
	a, ada, bob := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	one, several := w.browser(t), w.browser(t)
	a.signIn(one, ada)
	several.signInAs(bob)
	several.signInAs(ada)
	const login, consent, choose, create, code = "/login", "/consent", "/login/accounts", "/signup", "code"
	for _, tc := range []struct{ prompt, nobody, one, several string }{
		{"-", login, code, code},
		{"login", login, login, login},
		{"consent", login, consent, consent},
		{"select_account", login, choose, choose},
		{"create", create, create, create},
		{"login consent", login, login, login},
		{"consent login", login, login, login},
		{"login select_account", login, choose, choose},
		{"consent select_account", login, choose, choose},
		{"login consent select_account", login, choose, choose},
		{"select_account create", create, create, create},
		{"login create", create, create, create},
		{"consent create", create, create, create},
		{"sing", login, code, code},
		{"login sing", login, login, login},
		{"sing select_account", login, choose, choose},
		{"LOGIN", login, code, code}, // values are compared letter by letter
		{"none", "login_required", code, code},
		{"none none", "invalid_request", "invalid_request", "invalid_request"},
	} {
		for state, want := range map[string]struct {
			b    *browser
			page string
		}{"nobody": {w.browser(t), tc.nobody}, "one": {one, tc.one}, "several": {several, tc.several}} {
			p := want.b.get(a.begin("prompt", tc.prompt).url())
			got := p.url.Path
			if p.left != nil {
				got = p.answer().Get("error")
				if p.answer().Get("code") != "" {
					got = code
				}
			}
			if got != want.page {
				t.Errorf("prompt=%q with %s signed in: %s, want %s", tc.prompt, state, got, want.page)
			}
		}
	}
}
