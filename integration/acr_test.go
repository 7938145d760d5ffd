package integration

import (
	"context"
	"testing"
	"time"

	"idp/oauth"
	"idp/storage"
)

// strengthen makes a person's sessions ones in which they proved more.
func (w *world) strengthen(t testing.TB, who *person, acr string, methods ...string) {
	t.Helper()
	if _, err := w.db.Pool().Exec(context.Background(), `update sessions set methods = $2, acr = $3 where user_id = $1`, who.ID, methods, acr); err != nil {
		t.Fatal(err)
	}
}

const (
	acr1fa = "urn:idp:acr:1fa"
	acrMFA = "urn:idp:acr:mfa"
	acrPHR = "urn:idp:acr:phr"
)

func TestAcrSaysWhatTheSignInReallyWas(t *testing.T) { // conformance 14, 42, 87, 89
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	acr := func(values string) any {
		t.Helper()
		f, tokens := a.signIn(b, ada, "acr_values", values)
		_, id := claims(t, tokens.text("id_token"))
		again := a.refresh(f.a.refresh(tokens.refresh()).ok().refresh()).ok()
		if _, later := claims(t, again.text("id_token")); later["acr"] != id["acr"] || later["auth_time"] != id["auth_time"] {
			t.Errorf("acr %v, auth_time %v after a refresh; want %v, %v", later["acr"], later["auth_time"], id["acr"], id["auth_time"])
		}
		return id["acr"]
	}
	for _, tc := range []struct{ asked, want string }{
		{"-", acr1fa}, {"1 2", acr1fa}, {"urn:nobody:knows", acr1fa}, {acr1fa, acr1fa}, {acrMFA + " " + acr1fa, acr1fa},
	} {
		if got := acr(tc.asked); got != tc.want {
			t.Errorf("password, asked for %q: %v, want %s", tc.asked, got, tc.want)
		}
	}
	w.strengthen(t, ada, acrMFA, "pwd", "otp")
	for _, tc := range []struct{ asked, want string }{
		{"-", acrMFA}, {acrMFA, acrMFA}, {acr1fa, acr1fa}, {acr1fa + " " + acrMFA, acr1fa},
		{"http://schemas.openid.net/pape/policies/2007/06/multi-factor", "http://schemas.openid.net/pape/policies/2007/06/multi-factor"},
	} {
		if got := acr(tc.asked); got != tc.want {
			t.Errorf("two factors, asked for %q: %v, want %s", tc.asked, got, tc.want)
		}
	}
	w.strengthen(t, ada, acrPHR, "swk", "user", "mfa")
	for _, asked := range []string{acrPHR, "phr", acrMFA} {
		if got := acr(asked); got != asked {
			t.Errorf("a passkey, asked for %q: %v", asked, got)
		}
	}
}

func TestALevelThatCannotBeReachedIsRefusedInsteadOfGivingLess(t *testing.T) { // RFC 9470, 5
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	b, nobody := w.browser(t), w.browser(t)
	a.signIn(b, ada)
	for _, values := range []string{acrMFA, acrPHR, "phr", acrMFA + " urn:nobody:knows"} {
		for name, browser := range map[string]*browser{"signed in": b, "nobody": nobody} {
			for _, prompt := range []string{"-", "none", "login"} {
				if answer := browser.get(a.begin("acr_values", values, "prompt", prompt).url()).answer(); answer.Get("error") != "unmet_authentication_requirements" {
					t.Errorf("%s, %s, prompt %s: %v, want unmet_authentication_requirements", name, values, prompt, answer)
				}
			}
		}
	}
	byDefault := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.DefaultACR = []string{acrMFA} })
	if answer := b.get(byDefault.begin().url()).answer(); answer.Get("error") != "unmet_authentication_requirements" {
		t.Errorf("by the client's default: %v", answer)
	}
	if _, tokens := byDefault.signIn(b, ada, "acr_values", acr1fa); tokens.text("id_token") == "" {
		t.Error("a request of its own does not win over the client's default")
	}
	w.strengthen(t, ada, acrMFA, "pwd", "otp")
	a.signIn(b, ada, "acr_values", acrMFA)
	byDefault.signIn(b, ada)
}

func TestAResourceServerLearnsHowThePersonSignedIn(t *testing.T) { // RFC 9470, 6
	t.Parallel()
	w := start(t)
	a, ada, b := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AccessTokenFormat = "jwt" }), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	_, access := claims(t, tokens.access())
	told := a.call("/introspect", map[string][]string{"token": {tokens.access()}}).ok()
	if access["acr"] != acr1fa || told.body["acr"] != acr1fa || access["auth_time"] == nil || told.body["auth_time"] != access["auth_time"] {
		t.Errorf("token: %v, introspection: %v", access, told.body)
	}
	// The API asks for a fresher sign-in: the client repeats its request with max_age, and gets one.
	w.clock.advance(10 * time.Minute)
	_, again := a.signIn(b, ada, "max_age", "300")
	if _, fresh := claims(t, again.access()); fresh["auth_time"].(float64) <= access["auth_time"].(float64) {
		t.Errorf("auth_time %v after step-up, want later than %v", fresh["auth_time"], access["auth_time"])
	}
}

func TestAHintByARetiredKeyStillNamesThePerson(t *testing.T) { // OpenID Connect RP-Initiated Logout, 2
	t.Parallel()
	w := start(t)
	a, ada, bob := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	b, other := w.browser(t), w.browser(t)
	_, tokens := a.signIn(b, ada, "scope", "openid")
	a.signIn(other, bob, "scope", "openid")
	hint := tokens.text("id_token")
	header, _ := claims(t, hint)
	rotate := func() {
		t.Helper()
		if _, err := oauth.RotateKeys(context.Background(), w.db, oauth.RotateOptions{Alg: "RS256", Emergency: true, Now: w.now()}); err != nil {
			t.Fatal(err)
		}
		w.servers[0].RunJobs(context.Background())
	}
	for _, when := range []string{"fresh", "retired", "no longer published"} {
		if code := b.get(a.begin("scope", "openid", "prompt", "none", "id_token_hint", hint).url()).answer(); code.Get("code") == "" {
			t.Errorf("%s: %v, want a code for ada", when, code)
		}
		if code := other.get(a.begin("scope", "openid", "prompt", "none", "id_token_hint", hint).url()).answer(); code.Get("error") != "login_required" {
			t.Errorf("%s: bob's browser got %v, want login_required", when, code)
		}
		if when == "retired" {
			for range 5 { // sessions end sooner than keys: keep the browsers in use
				w.clock.advance(7 * 24 * time.Hour)
			}
			a.signIn(b, ada, "scope", "openid", "prompt", "login")
			a.signIn(other, bob, "scope", "openid", "prompt", "login")
		}
		rotate()
	}
	if err := w.db.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.RevokeKey(context.Background(), header["kid"].(string), w.now(), storage.Event{}); err == nil {
		t.Error("a key that was erased could be revoked")
	}
}

func TestAHintByARevokedKeyNamesNobody(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, bob := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	_, tokens := a.signIn(w.browser(t), ada, "scope", "openid")
	other := w.browser(t)
	a.signIn(other, bob, "scope", "openid")
	header, _ := claims(t, tokens.text("id_token"))
	hinted := a.begin("scope", "openid", "prompt", "none", "id_token_hint", tokens.text("id_token")).url()
	if answer := other.get(hinted).answer(); answer.Get("error") != "login_required" {
		t.Fatalf("before: %v, want login_required", answer)
	}
	if _, err := w.db.RevokeKey(context.Background(), header["kid"].(string), w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	w.servers[0].RunJobs(context.Background())
	if answer := other.get(hinted).answer(); answer.Get("code") == "" { // whoever holds the key can write any hint: it says nothing
		t.Errorf("after: %v, want the hint ignored", answer)
	}
}
