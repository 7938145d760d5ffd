package integration

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/oauth"
	"idp/storage"
)

const bye = "https://rp.test/bye"

// asks checks that a sign-out request leads to the question, and that nobody is signed out.
func (p *page) asks(name string) *page {
	p.b.t.Helper()
	if p.left != nil || p.url.Path != "/logout" || !strings.Contains(p.body, `id="sign-out"`) {
		p.b.t.Errorf("%s: at %s, left %v; want the question\n%s", name, p.url, p.left, p.body)
	}
	p.b.get("/account").at("/account")
	return p
}

// unsigned is a JWT with those claims that nobody has signed.
func unsigned(header map[string]any, payload map[string]any) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(header) + "." + part(payload) + "."
}

func TestAHintThatIsNoneOfOursSignsNobodyOut(t *testing.T) { // conformance 104; A-070
	t.Parallel()
	w := start(t)
	a, other, ada, b := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada)
	hint := tokens.text("id_token")
	header, payload := claims(t, hint)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(key any, kid string, change func(map[string]any)) string {
		claims := map[string]any{}
		for k, v := range payload {
			claims[k] = v
		}
		change(claims)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(claims)
		jws, err := signer.Sign(raw)
		if err != nil {
			t.Fatal(err)
		}
		s, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	parts := strings.Split(hint, ".")
	same := func(map[string]any) {}
	for name, bad := range map[string]string{
		"alg none":                   unsigned(map[string]any{"alg": "none", "typ": "JWT"}, payload),
		"alg none with our key's id": unsigned(map[string]any{"alg": "none", "typ": "JWT", "kid": header["kid"]}, payload),
		"signature taken off":        parts[0] + "." + parts[1] + ".",
		"foreign key":                signed(foreign, "theirs", same),
		"foreign key with our id":    signed(foreign, header["kid"].(string), same),
		"foreign issuer":             signed(foreign, "theirs", func(c map[string]any) { c["iss"] = "https://other.test" }),
		"modified claims":            parts[0] + "." + unsignedPart(payload, "aud", other.ID) + "." + parts[2],
		"modified signature":         parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"an access token":            tokens.access(),
		"a refresh token":            tokens.refresh(),
		"nonsense":                   "x.y.z",
		"too long":                   strings.Repeat("x", 10_000),
	} {
		for _, extra := range []url.Values{{}, {"client_id": {a.ID}}} {
			q := url.Values{"post_logout_redirect_uri": {bye}, "state": {"s"}, "id_token_hint": {bad}}
			for k, v := range extra {
				q[k] = v
			}
			p := b.get("/logout?" + q.Encode()).asks(name)
			if p = p.submit(map[string]string{"confirm": ""}); p.left != nil {
				t.Errorf("%s: left to %s", name, p.left)
			}
		}
	}
	// Even a person who agrees is not led away by it.
	p := b.get("/logout?" + url.Values{"post_logout_redirect_uri": {bye}, "client_id": {a.ID}, "id_token_hint": {signed(foreign, "theirs", same)}}.Encode()).asks("foreign key")
	p.submit(nil).at("/logout/done")
}

func unsignedPart(payload map[string]any, name string, value any) string {
	changed := map[string]any{}
	for k, v := range payload {
		changed[k] = v
	}
	changed[name] = value
	raw, _ := json.Marshal(changed)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func TestALogoutTokenIsNoHint(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	p, ada, there, here := w.party(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t), w.browser(t)
	p.signIn(there, ada)
	there.get("/logout").submit(nil)
	deliver()
	token := p.one(t, "sign-out")
	p.signIn(here, ada)
	here.get("/logout?" + url.Values{"id_token_hint": {token}}.Encode()).asks("a logout token")
}

func TestAHintOfAnotherSessionAsksFirst(t *testing.T) { // security: CSRF logout
	t.Parallel()
	w := start(t)
	a, other, ada, bob := w.app(t, storage.ClientWeb), w.app(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob")
	here, elsewhere := w.browser(t), w.browser(t)
	_, mine := a.signIn(here, ada)
	_, bobs := a.signIn(elsewhere, bob)
	third := w.browser(t)
	_, again := a.signIn(third, ada) // the same person in another browser
	for name, hint := range map[string]string{"somebody else's": bobs.text("id_token"), "another session of the same person": again.text("id_token")} {
		p := here.get("/logout?" + url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {bye}, "state": {"s"}}.Encode()).asks(name)
		if !strings.Contains(p.body, ada.Email) {
			t.Errorf("%s: the question does not say who is signed in", name)
		}
	}
	for name, q := range map[string]url.Values{
		"client_id of another app": {"id_token_hint": {mine.text("id_token")}, "client_id": {other.ID}},
		"client_id of nobody":      {"id_token_hint": {mine.text("id_token")}, "client_id": {"cli_nobody"}},
	} {
		q.Set("post_logout_redirect_uri", bye)
		here.get("/logout?" + q.Encode()).asks(name).submit(map[string]string{"confirm": ""})
	}
	// Whoever agrees goes back to the app that the hint is of.
	p := here.get("/logout?" + url.Values{"id_token_hint": {bobs.text("id_token")}, "post_logout_redirect_uri": {bye}, "state": {"s"}}.Encode()).asks("bob's")
	if p = p.submit(nil); p.left == nil || p.left.String() != bye+"?state=s" {
		t.Errorf("after agreeing: left to %v, want the app", p.left)
	}
	elsewhere.get("/account").at("/account")
	third.get("/account").at("/account")
}

func TestAHintEndsItsSessionAloneAmongSeveralPeople(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	p, ada, bob, eve := w.party(t, storage.ClientWeb), w.person(t, "ada"), w.person(t, "bob"), w.person(t, "eve")
	b, bobs, eves := w.browser(t), w.browser(t), w.browser(t)
	_, hers := p.signIn(b, ada)
	_, his := p.signIn(bobs, bob)
	_, third := p.signIn(eves, eve)
	// Bob and eve are put aside in ada's browser.
	issuer, _ := url.Parse(w.issuer)
	var secrets []string
	for _, other := range []*browser{bobs, eves} {
		for _, c := range other.jar.Cookies(issuer) {
			if c.Name == "idp_sid" {
				secrets = append(secrets, c.Value)
			}
		}
	}
	b.jar.SetCookies(issuer, []*http.Cookie{{Name: "idp_accounts", Value: strings.Join(secrets, "."), Path: "/"}})

	done := b.get("/logout?" + url.Values{"id_token_hint": {his.text("id_token")}}.Encode()).at("/logout/done")
	if !strings.Contains(done.body, ada.Email) || !strings.Contains(done.body, eve.Email) || strings.Contains(done.body, bob.Email) {
		t.Errorf("the page does not say who is still signed in:\n%s", done.body)
	}
	deliver()
	p.verify(t, p.one(t, "bob's sign-out"), his.text("id_token"))
	bobs.get("/account").at("/login")
	b.get("/account").at("/account")

	ask := b.get("/logout").asks("plain")
	if !strings.Contains(ask.body, ada.Email) || !strings.Contains(ask.body, eve.Email) {
		t.Errorf("the question does not say who is signed out:\n%s", ask.body)
	}
	ask.submit(nil).at("/logout/done")
	deliver()
	told := map[any]bool{}
	for _, token := range p.got() {
		_, all := claims(t, token)
		told[all["sid"]] = true
	}
	for _, tokens := range []reply{hers, third} {
		if _, id := claims(t, tokens.text("id_token")); !told[id["sid"]] {
			t.Error("a session ended, and its app was not told")
		}
	}
	b.get("/account").at("/login")
	eves.get("/account").at("/login")
}

func TestHintsOutliveTheirKeyAndTheirTime(t *testing.T) { // conformance 102
	t.Parallel()
	w, maintain := startWithJobs(t)
	a, ada, b := w.app(t, storage.ClientWeb), w.person(t, "ada"), w.browser(t)
	b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	_, tokens := a.signIn(b, ada)
	if _, err := oauth.RotateKeys(context.Background(), w.db, oauth.RotateOptions{Alg: "RS256", Emergency: true, Now: w.now()}); err != nil {
		t.Fatal(err)
	}
	maintain()
	w.clock.advance(2 * time.Hour)
	p := b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {bye}, "state": {"a b&c=d"}}.Encode())
	if p.left == nil || p.left.Query().Get("state") != "a b&c=d" || len(p.left.Query()) != 1 {
		t.Errorf("left to %v, want the app with exactly the state", p.left)
	}
	b.get("/account").at("/login")
}

func TestTheFormsOfASignOutRequestAreEqual(t *testing.T) { // conformance 102, 103, 108
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	for name, send := range map[string]func(b *browser, q url.Values) *page{
		"GET":  func(b *browser, q url.Values) *page { return b.get("/logout?" + q.Encode()) },
		"POST": func(b *browser, q url.Values) *page { return b.post("/logout", q) },
	} {
		for what, tc := range map[string]struct {
			q    url.Values
			want string // where it leads to
		}{
			"everything":         {url.Values{"post_logout_redirect_uri": {bye}, "state": {"s"}, "client_id": {a.ID}, "logout_hint": {"ada"}, "ui_locales": {"de fr"}}, bye + "?state=s"},
			"no state":           {url.Values{"post_logout_redirect_uri": {bye}}, bye},
			"no address":         {url.Values{"state": {"s"}}, "/logout/done"},
			"unknown parameters": {url.Values{"x": {"y"}, "post_logout_redirect_uri": {bye}}, bye},
			"unregistered":       {url.Values{"post_logout_redirect_uri": {"https://evil.test/"}, "state": {"s"}}, "/logout/done"},
		} {
			b := w.browser(t)
			_, tokens := a.signIn(b, ada)
			tc.q.Set("id_token_hint", tokens.text("id_token"))
			for _, when := range []string{"signed in", "signed out before"} {
				p := send(b, tc.q)
				got := p.url.Path
				if p.left != nil {
					got = p.left.String()
				}
				if got != tc.want {
					t.Errorf("%s, %s, %s: at %s, want %s", name, what, when, got, tc.want)
				}
				b.get("/account").at("/login")
			}
		}
		b := w.browser(t)
		a.signIn(b, ada)
		send(b, url.Values{"logout_hint": {"ada"}, "ui_locales": {"xx"}, "state": {"s"}}).asks(name + " without a hint").submit(nil).at("/logout/done")
	}
}

func TestTheQuestionNamesTheAppsAndTheAnswerWhatGoesOn(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	told := w.party(t, storage.ClientWeb, func(c *storage.Client) { c.Name = "Loud Wiki" })
	quiet := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Name = "Quiet Shop" })
	told.signIn(b, ada, "scope", "openid")
	quiet.signIn(b, ada, "scope", "openid")
	p := b.get("/logout").asks("plain")
	if !strings.Contains(p.body, "Loud Wiki") || strings.Contains(p.body, "Quiet Shop") {
		t.Errorf("the question names other apps than those that are told:\n%s", p.body)
	}
	p = p.submit(nil).at("/logout/done")
	if strings.Contains(p.body, `id="kept"`) || !strings.Contains(p.body, "1 app has no way to be told") || !strings.Contains(p.body, "being told now") {
		t.Errorf("nobody has offline access, and one app is about to be told:\n%s", p.body)
	}
	deliver()
	if p = b.get("/logout/done"); !strings.Contains(p.body, "1 app was told") || strings.Contains(p.body, `id="untold"`) {
		t.Errorf("one app was told:\n%s", p.body)
	}
	w.clock.advance(11 * time.Minute)
	if p = b.get("/logout/done"); strings.Contains(p.body, "told") {
		t.Errorf("the page remembers for longer than it should:\n%s", p.body)
	}
	quiet.signIn(b, ada, "scope", "openid offline_access")
	if p = b.get("/logout").submit(nil).at("/logout/done"); !strings.Contains(p.body, `id="kept"`) {
		t.Errorf("an app keeps access, and the page does not say so:\n%s", p.body)
	}
	if p = w.browser(t).get("/logout/done").at("/logout/done"); strings.Contains(p.body, "told") || strings.Contains(p.body, `id="kept"`) {
		t.Errorf("another browser learns of it:\n%s", p.body)
	}
}

func TestFramesTellTheAppsOfOurOwnSite(t *testing.T) { // conformance 107
	t.Parallel()
	w := start(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	const home = "http://127.0.0.1:9998"
	near := w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.Name, c.RedirectURIs, c.FrontchannelLogoutURI, c.PostLogoutRedirectURIs = "Near", []string{home + "/cb"}, home+"/front?x=1", []string{home + "/bye"}
	})
	far := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.FrontchannelLogoutURI = "https://rp.test/front" })
	_, tokens := near.signIn(b, ada)
	far.signIn(b, ada)
	if p := b.get("/logout").asks("plain"); !strings.Contains(p.body, "Near") || strings.Contains(p.body, far.Name) {
		t.Errorf("the question names other apps than those that are told:\n%s", p.body)
	}
	p := b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {home + "/bye"}, "state": {"s"}}.Encode())
	if p.left != nil || p.status != 200 {
		t.Fatalf("left to %v", p.left)
	}
	_, id := claims(t, tokens.text("id_token"))
	frame := strings.ReplaceAll(home+"/front?x=1&"+url.Values{"iss": {w.issuer}, "sid": {id["sid"].(string)}}.Encode(), "&", "&amp;")
	if !strings.Contains(p.body, `<iframe src="`+frame+`"`) || strings.Count(p.body, "<iframe") != 1 {
		t.Errorf("want one frame with %s:\n%s", frame, p.body)
	}
	if !strings.Contains(p.body, `id="continue" class="button" href="`+home+`/bye?state=s"`) || p.header.Get("Refresh") != "2; url="+home+"/bye?state=s" {
		t.Errorf("no way on: Refresh %q\n%s", p.header.Get("Refresh"), p.body)
	}
	if csp := p.header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "; frame-src "+home) {
		t.Errorf("policy %q", csp)
	}
	b.get("/account").at("/login")
	// Without a target, it goes on to the signed-out page; without such apps, there is no page.
	near.signIn(b, ada)
	if p := b.get("/logout").submit(nil); p.header.Get("Refresh") != "2; url="+w.issuer+"/logout/done" {
		t.Errorf("Refresh %q", p.header.Get("Refresh"))
	}
	far.signIn(b, ada)
	if p := b.get("/logout").submit(nil).at("/logout/done"); strings.Contains(p.body, "<iframe") || strings.Contains(p.header.Get("Content-Security-Policy"), "frame-src") {
		t.Error("a page with frames for an app of another site")
	}
}
