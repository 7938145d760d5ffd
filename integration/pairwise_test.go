package integration

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

// pairwiseOn makes an app of a sector.
func (w *world) pairwiseOn(t testing.TB, host string, change ...func(*storage.Client)) *app {
	t.Helper()
	return w.app(t, storage.ClientWeb, append([]func(*storage.Client){func(c *storage.Client) {
		c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://" + host + "/cb"}
		c.PostLogoutRedirectURIs = nil
	}}, change...)...)
}

// subject is the sub of an ID token.
func subject(t testing.TB, tokens reply) string {
	t.Helper()
	_, c := claims(t, tokens.text("id_token"))
	sub, _ := c["sub"].(string)
	return sub
}

func TestTheClientsOfASectorKnowAPersonByOneName(t *testing.T) { // OpenID Connect Core, 8
	t.Parallel()
	w := start(t)
	ada, bob := w.person(t, "ada"), w.person(t, "bob")
	wiki, shop := w.pairwiseOn(t, "one.test"), w.pairwiseOn(t, "ONE.test:8443")
	other, public := w.pairwiseOn(t, "two.test"), w.app(t, storage.ClientWeb)
	b, bobs := w.browser(t), w.browser(t)
	sub := func(a *app, b *browser, who *person) string {
		t.Helper()
		_, tokens := a.signIn(b, who)
		w.verifyIDToken(t, a, tokens)
		return subject(t, tokens)
	}
	atWiki := sub(wiki, b, ada)
	if atWiki == "" || strings.Contains(atWiki, ada.ID) || strings.HasPrefix(atWiki, "usr_") {
		t.Errorf("sub %q tells who the person is", atWiki)
	}
	if got := sub(shop, b, ada); got != atWiki {
		t.Errorf("two clients of a sector: %q and %q", atWiki, got)
	}
	if got := sub(other, b, ada); got == atWiki || got == ada.ID {
		t.Errorf("another sector knows the person by %q, as the first does", got)
	}
	if got := sub(public, b, ada); got != ada.ID {
		t.Errorf("a public client: %q, want %q", got, ada.ID)
	}
	if got := sub(wiki, bobs, bob); got == atWiki {
		t.Error("two people have one name")
	}
}

func TestAPairwiseSubjectNeverChanges(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a := w.pairwiseOn(t, "one.test", func(c *storage.Client) { c.AccessTokenFormat = "jwt" })
	_, tokens := a.signIn(w.browser(t), ada)
	first := subject(t, tokens)
	agree := func(when string, tokens reply) {
		t.Helper()
		_, access := claims(t, tokens.access())
		for where, got := range map[string]any{
			"ID token": subject(t, tokens), "access token": access["sub"],
			"userinfo":                           w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().body["sub"],
			"introspection":                      a.call("/introspect", url.Values{"token": {tokens.access()}}).ok().body["sub"],
			"introspection of the refresh token": a.call("/introspect", url.Values{"token": {tokens.refresh()}}).ok().body["sub"],
		} {
			if got != first {
				t.Errorf("%s: sub of the %s is %v, want %s", when, where, got, first)
			}
		}
		for _, answer := range []string{tokens.raw, a.call("/introspect", url.Values{"token": {tokens.access()}}).raw, w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").raw} {
			if strings.Contains(answer, ada.ID) {
				t.Errorf("%s: the client is told the person's id in %s", when, answer)
			}
		}
	}
	agree("at first", tokens)
	tokens = a.refresh(tokens.refresh()).ok()
	agree("after a refresh", tokens)
	w.updateClient(t, a, func(c *storage.Client) {
		c.RedirectURIs = []string{"https://one.test/other", "https://one.test/cb"}
		c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret("idp_cs_new"), CreatedAt: w.now()}}
	})
	a.secret, a.RedirectURIs = "idp_cs_new", []string{"https://one.test/other"}
	_, tokens = a.signIn(w.browser(t), ada)
	agree("in another browser, with another redirect URI and another secret", tokens)
	w.updateClient(t, a, func(c *storage.Client) { c.AccessTokenFormat = "opaque" })
	if got := a.call("/introspect", url.Values{"token": {a.refresh(tokens.refresh()).ok().access()}}).ok().text("sub"); got != first {
		t.Errorf("of an opaque token: %q", got)
	}
}

func TestASubjectIsDrawnOnceHoweverManySignInsRace(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	ada := w.person(t, "ada")
	a := w.pairwiseOn(t, "one.test", func(c *storage.Client) { c.SkipConsent = true })
	b := w.browser(t)
	b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	subs := make([]string, 8)
	together(len(subs), func(i int) {
		f := a.begin()
		subs[i] = subject(t, f.exchange(b.get(f.url()).answer().Get("code")).ok())
	})
	for _, s := range subs {
		if s != subs[0] || s == "" {
			t.Fatalf("subjects %q, want one", subs)
		}
	}
	var rows int
	if err := w.db.Pool().QueryRow(context.Background(), `select count(*) from subjects`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d subjects are stored, %v; want 1", rows, err)
	}
}

func TestAHintNamesAPersonAsItsClientKnowsThem(t *testing.T) { // id_token_hint with pairwise subjects
	t.Parallel()
	w := start(t)
	ada, bob := w.person(t, "ada"), w.person(t, "bob")
	a, sister, other := w.pairwiseOn(t, "one.test"), w.pairwiseOn(t, "one.test"), w.pairwiseOn(t, "two.test")
	public := w.app(t, storage.ClientWeb)
	b, bobs := w.browser(t), w.browser(t)
	hint := func(a *app, b *browser, who *person) string {
		t.Helper()
		_, tokens := a.signIn(b, who)
		return tokens.text("id_token")
	}
	adas, sisters, others, publics, notHers := hint(a, b, ada), hint(sister, b, ada), hint(other, b, ada), hint(public, b, ada), hint(a, bobs, bob)
	for _, tc := range []struct {
		name, hint string
		who        *app
		code       bool
	}{
		{"of the person who is signed in", adas, a, true},
		{"of another client of the sector", sisters, a, true},
		{"of somebody else", notHers, a, false},
		{"of another sector", others, a, false},
		{"of a public client", publics, a, false},
		{"none", "-", a, true},
		{"a public client's own", publics, public, true},
		{"a pairwise client's, at a public one", adas, public, false},
	} {
		got := b.get(tc.who.begin("prompt", "none", "id_token_hint", tc.hint).url()).answer()
		if (got.Get("code") != "") != tc.code || !tc.code && got.Get("error") != "login_required" {
			t.Errorf("hint %s: %v, want a code: %v", tc.name, got, tc.code)
		}
	}
	// The request that waits for the person knows whom it waits for, by an id that no client sees.
	fresh := w.browser(t)
	p := fresh.get(a.begin("id_token_hint", adas).url()).at("/login")
	kept, err := w.db.Request(context.Background(), p.url.Query().Get("request"))
	if err != nil || kept.Params.Get("hint_subject") != ada.ID || kept.Params.Has("id_token_hint") {
		t.Errorf("kept: %v, %v; want the person's id and no ID token", kept.Params, err)
	}
	if got := p.submit(map[string]string{"username": bob.Username, "password": bob.Password}).answer(); got.Get("error") != "login_required" {
		t.Errorf("somebody else signed in: %v", got)
	}
	// A client that was public once knows people by hints from then.
	w.updateClient(t, public, func(c *storage.Client) { c.SubjectType, c.Sector = "pairwise", "rp.test" })
	if got := b.get(public.begin("prompt", "none", "id_token_hint", publics).url()).answer(); got.Get("code") == "" {
		t.Errorf("hint from before the client was pairwise: %v", got)
	}
}

func TestTheClaimsParameterNamesAPersonAsItsClientKnowsThem(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a, other := w.pairwiseOn(t, "one.test"), w.pairwiseOn(t, "two.test")
	b := w.browser(t)
	_, tokens := a.signIn(b, ada)
	_, others := other.signIn(b, ada)
	for sub, code := range map[string]bool{subject(t, tokens): true, subject(t, others): false, ada.ID: false} {
		got := b.get(a.begin("prompt", "none", "claims", `{"id_token":{"sub":{"value":"`+sub+`"}}}`).url()).answer()
		if (got.Get("code") != "") != code {
			t.Errorf("sub %q: %v, want a code: %v", sub, got, code)
		}
	}
}

func TestTokensOfAPairwiseClientLiveOnWhenItsGrantIsOlder(t *testing.T) {
	t.Parallel()
	w := start(t)
	ada, a := w.person(t, "ada"), w.app(t, storage.ClientWeb)
	_, tokens := a.signIn(w.browser(t), ada)
	w.updateClient(t, a, func(c *storage.Client) { c.SubjectType, c.Sector = "pairwise", "rp.test" })
	w.clock.advance(time.Minute)
	tokens = a.refresh(tokens.refresh()).ok()
	if got := subject(t, tokens); got != ada.ID {
		t.Errorf("sub after a refresh is %q: it must be that of the first ID token (OpenID Connect Core, 12.2)", got)
	}
	if got := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok().text("sub"); got != ada.ID {
		t.Errorf("userinfo differs from the ID token: %q", got)
	}
}

func TestAPairwiseClientSignsOutAndIsToldByItsOwnName(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	p := w.party(t, storage.ClientWeb, func(c *storage.Client) { c.SubjectType = "pairwise" })
	_, tokens := p.signIn(b, ada)
	hint := url.Values{"id_token_hint": {tokens.text("id_token")}, "post_logout_redirect_uri": {"https://rp.test/bye"}}
	if left := b.get("/logout?" + hint.Encode()).left; left == nil || left.Host != "rp.test" { // without a question
		t.Errorf("after sign-out the browser is at %v, want to be back at the app", left)
	}
	deliver()
	token := p.one(t, "sign-out")
	p.verify(t, token, tokens.text("id_token")) // its sub is that of the ID token
	if _, all := claims(t, token); all["sub"] == ada.ID {
		t.Error("the logout token tells the person's id")
	}
}
