package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

const (
	notes    = "https://notes.test"
	calendar = "https://calendar.test/v1"
)

// withAPIs registers two APIs, and gives an app that may use both.
func (w *world) withAPIs(t testing.TB, change ...func(*storage.Client)) *app {
	t.Helper()
	w.resource(t, notes, func(r *storage.Resource) {
		r.Name, r.Scopes = "Acme Notes", []storage.ResourceScope{{Name: "notes:read", Description: "Read your notes"}, {Name: "notes:write", Description: "Change your notes"}}
	})
	w.resource(t, calendar, func(r *storage.Resource) {
		r.Name, r.Scopes = "Acme Calendar", []storage.ResourceScope{{Name: "calendar:read", Description: "See your appointments"}}
	})
	return w.app(t, storage.ClientWeb, append([]func(*storage.Client){func(c *storage.Client) {
		c.Resources = []string{notes, calendar}
		c.Scopes = append(c.Scopes, "notes:read", "notes:write", "calendar:read", "own")
	}}, change...)...)
}

// grantFor runs a request for those resources, and gives its flow and its code.
func (a *app) grantFor(b *browser, who *person, scope string, resources ...string) (*flow, string) {
	a.t.Helper()
	f := a.begin("scope", scope)
	f.params["resource"] = resources
	answer := b.get(f.url()).pass(who)
	if answer.Get("code") == "" {
		a.t.Fatalf("scope %q, resources %v: %v", scope, resources, answer)
	}
	return f, answer.Get("code")
}

// audience is what introspection says a token is for.
func (a *app) audience(token string) string {
	a.t.Helper()
	return fmt.Sprint(a.call("/introspect", url.Values{"token": {token}}).ok().body["aud"])
}

func TestAResourceIsRegisteredAndInTheClientsList(t *testing.T) { // conformance 59, 114
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	w.resource(t, "https://other.test") // registered, but not for this client
	for name, asked := range map[string]string{
		"unknown": "https://nowhere.test", "another client's": "https://other.test", "with a fragment": notes + "#x", "relative": "/v1",
		"a prefix": "https://calendar.test", "without a scheme": "notes.test", "empty after the scheme": "https://",
	} {
		if got := b.get(a.begin("resource", asked).url()).answer(); got.Get("error") != "invalid_target" || got.Get("state") == "" {
			t.Errorf("%s: %v, want invalid_target", name, got)
		}
	}
	for _, asked := range []string{notes, notes + "/", "HTTPS://NOTES.test", "https://Notes.TEST/"} {
		f, code := a.grantFor(b, ada, "notes:read", asked)
		if aud := a.audience(f.exchange(code).ok().access()); aud != notes {
			t.Errorf("asked for %q: aud %s, want the registered spelling %s", asked, aud, notes)
		}
	}
}

func TestAScopeImpliesItsResource(t *testing.T) { // for clients that send no resource
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	f, code := a.grantFor(b, ada, "openid email own notes:read")
	tokens := f.exchange(code).ok()
	if aud := a.audience(tokens.access()); aud != fmt.Sprint([]string{notes, w.issuer}) || tokens.text("scope") != "openid email own notes:read" {
		t.Errorf("aud %s, scope %q", aud, tokens.text("scope"))
	}
	w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	f, code = a.grantFor(b, ada, "own email")
	if aud := a.audience(f.exchange(code).ok().access()); aud != w.issuer {
		t.Errorf("a scope of no resource: aud %s, want the provider alone", aud)
	}
	stranger := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.Scopes = append(c.Scopes, "notes:read") })
	f, code = stranger.grantFor(b, ada, "openid notes:read")
	if got := f.exchange(code).ok().text("scope"); got != "openid" {
		t.Errorf("a client without the resource got %q", got)
	}
}

func TestAScopeGoesWithItsResourceAlone(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	f, code := a.grantFor(b, ada, "own notes:read calendar:read", calendar)
	tokens := f.exchange(code).ok()
	if tokens.text("scope") != "own calendar:read" || a.audience(tokens.access()) != calendar {
		t.Errorf("scope %q for %s", tokens.text("scope"), a.audience(tokens.access()))
	}
	if got := b.get(a.begin("scope", "notes:read", "resource", calendar).url()).answer(); got.Get("error") != "invalid_scope" {
		t.Errorf("nothing but another resource's scope: %v, want invalid_scope", got)
	}
	// The provider itself is a resource for whoever may have openid.
	f, code = a.grantFor(b, ada, "openid notes:read", w.issuer+"/")
	tokens = f.exchange(code).ok()
	if tokens.text("scope") != "openid" || a.audience(tokens.access()) != w.issuer {
		t.Errorf("for the provider alone: scope %q for %s", tokens.text("scope"), a.audience(tokens.access()))
	}
	if got := b.get(a.begin("scope", "own", "resource", w.issuer).url()).answer(); got.Get("error") != "invalid_target" {
		t.Errorf("the provider without openid: %v, want invalid_target", got)
	}
}

func TestTheTokenEndpointNarrowsTheAudience(t *testing.T) { // conformance 85, 114; A-064
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	f, code := a.grantFor(b, ada, "openid offline_access own notes:read calendar:read", notes, calendar)
	f.exchange(code, "resource", "https://other.test").fails(400, "invalid_target")
	f.exchange(code, "resource", notes+"#x").fails(400, "invalid_target")
	tokens := f.exchange(code, "resource", notes+"/").ok() // a refused attempt consumed nothing
	if a.audience(tokens.access()) != notes || tokens.text("scope") != "openid offline_access own notes:read" {
		t.Errorf("for notes: %s with %q", a.audience(tokens.access()), tokens.text("scope"))
	}
	w.verifyIDToken(t, a, tokens)
	if r := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), ""); r.status != 401 || !strings.Contains(r.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("userinfo with a token for another API: %d, %q", r.status, r.header.Get("WWW-Authenticate"))
	}
	for _, tc := range []struct{ resource, aud, scope string }{
		{calendar, calendar, "openid offline_access own calendar:read"},
		{w.issuer, w.issuer, "openid offline_access own"},
		{"", fmt.Sprint([]string{notes, calendar, w.issuer}), "openid offline_access own notes:read calendar:read"},
	} {
		overrides := []string{}
		if tc.resource != "" {
			overrides = []string{"resource", tc.resource}
		}
		tokens = a.refresh(tokens.refresh(), overrides...).ok()
		if aud := a.audience(tokens.access()); aud != tc.aud || tokens.text("scope") != tc.scope {
			t.Errorf("refresh for %q: %s with %q, want %s with %q", tc.resource, aud, tokens.text("scope"), tc.aud, tc.scope)
		}
	}
	a.refresh(tokens.refresh(), "resource", "https://other.test").fails(400, "invalid_target")
	only := a.refresh(tokens.refresh(), "scope", "notes:read").ok()
	if only.text("scope") != "notes:read" {
		t.Errorf("narrowed scope = %q", only.text("scope"))
	}
}

func TestATokenForOneResourceIsNotValidAtAnother(t *testing.T) { // conformance 110, 114; A-060
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	api := func(uri string) *app {
		return w.app(t, storage.ClientMachine, func(c *storage.Client) { c.Audience = []string{uri} })
	}
	f, code := a.grantFor(b, ada, "openid notes:read", notes)
	tokens := f.exchange(code, "resource", notes).ok()
	if !api(notes).active(tokens.access()) {
		t.Error("the token's own API is told that it is not active")
	}
	if r := api(calendar).call("/introspect", url.Values{"token": {tokens.access()}}).ok(); strings.TrimSpace(r.raw) != `{"active":false}` {
		t.Errorf("another API is told %s", r.raw)
	}
	f, code = a.grantFor(b, ada, "openid own notes:read calendar:read")
	tokens = f.exchange(code).ok() // for both, and each hears of its own scopes
	for uri, want := range map[string]string{notes: "openid own notes:read", calendar: "openid own calendar:read"} {
		if got := api(uri).call("/introspect", url.Values{"token": {tokens.access()}}).ok().text("scope"); got != want {
			t.Errorf("%s is told of %q, want %q", uri, got, want)
		}
	}
}

func TestResourcesSayTheFormatAndLifetimeOfTheirTokens(t *testing.T) { // RFC 9068
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t, func(c *storage.Client) { c.Lifetimes.AccessToken = 900 }), w.person(t, "ada"), w.browser(t)
	w.resource(t, notes, func(r *storage.Resource) { r.TokenFormat, r.TokenLife = "jwt", 3600 })
	w.resource(t, calendar, func(r *storage.Resource) { r.TokenFormat, r.TokenLife = "opaque", 120 })
	f, code := a.grantFor(b, ada, "notes:read calendar:read")
	if r := f.exchange(code).fails(400, "invalid_target"); !strings.Contains(r.text("error_description"), "one at a time") {
		t.Errorf("mixed formats: %q does not say what to do", r.text("error_description"))
	}
	signed := f.exchange(code, "resource", notes).ok()
	header, c := claims(t, signed.access())
	if header["typ"] != "at+jwt" || c["aud"] != notes || c["scope"] != "notes:read" || c["sub"] != ada.ID || signed.body["expires_in"] != 3600.0 {
		t.Errorf("for notes: %v %v, expires_in %v", header, c, signed.body["expires_in"])
	}
	opaque := a.refresh(signed.refresh(), "resource", calendar).ok()
	if !strings.HasPrefix(opaque.access(), "idp_at_") || opaque.body["expires_in"] != 120.0 {
		t.Errorf("for the calendar: %q, expires_in %v", opaque.access(), opaque.body["expires_in"])
	}
	w.resource(t, notes, func(r *storage.Resource) { r.TokenFormat = "" }) // as the client has it: opaque
	both := a.refresh(opaque.refresh()).ok()
	if both.body["expires_in"] != 120.0 {
		t.Errorf("for both: expires_in %v, want the shortest", both.body["expires_in"])
	}
	f, code = a.grantFor(b, ada, "own")
	if got := f.exchange(code).ok().body["expires_in"]; got != 900.0 {
		t.Errorf("for no resource: expires_in %v, want the client's", got)
	}
	// A grant without a refresh token lives as long as the longest of its access tokens.
	once := w.withAPIs(t, func(c *storage.Client) { c.GrantTypes = []string{"authorization_code"} })
	f, code = once.grantFor(b, ada, "notes:read")
	tokens := f.exchange(code).ok()
	if w.clock.advance(59 * time.Minute); !once.active(tokens.access()) {
		t.Error("the token of a resource ended before its time")
	}
	if w.clock.advance(2 * time.Minute); once.active(tokens.access()) {
		t.Error("the token of a resource outlived its time")
	}
}

func TestAClientActingForItselfGetsItsResourcesOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.withAPIs(t)
	job := w.app(t, storage.ClientMachine, func(c *storage.Client) {
		c.Resources, c.Scopes = []string{notes}, []string{"notes:read", "calendar:read", "own"}
	})
	ask := func(pairs ...string) reply {
		t.Helper()
		form := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		return job.token(form)
	}
	for _, form := range [][]string{{}, {"scope", "notes:read own"}, {"resource", notes + "/"}} {
		r := ask(form...).ok()
		if aud := job.audience(r.access()); aud != notes || r.text("scope") != "notes:read own" {
			t.Errorf("%v: %s with %q", form, aud, r.text("scope"))
		}
	}
	ask("scope", "calendar:read").fails(400, "invalid_scope")
	ask("scope", "notes:read calendar:read").fails(400, "invalid_scope")
	ask("scope", "notes:write").fails(400, "invalid_scope")
	ask("resource", calendar).fails(400, "invalid_target")
	ask("resource", w.issuer).fails(400, "invalid_target")
	ask("resource", notes+"#x").fails(400, "invalid_target")
}

func TestADeletedResourceGetsNoTokensAtOnce(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2) // requests go to them in turn, so each has the catalog of before
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	f, pending := a.grantFor(b, ada, "notes:read offline_access", notes)
	_, plain := a.signIn(b, ada, "scope", "notes:read offline_access")
	_, known := a.signIn(b, ada, "scope", "openid notes:read offline_access")
	for range 2 {
		plain, known = a.refresh(plain.refresh()).ok(), a.refresh(known.refresh()).ok()
	}
	if err := w.db.DeleteResource(context.Background(), notes, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.exchange(pending).fails(400, "invalid_target")
		a.refresh(plain.refresh()).fails(400, "invalid_target")
		if known = a.refresh(known.refresh()).ok(); a.audience(known.access()) != w.issuer {
			t.Errorf("aud %s, want what is left: the provider", a.audience(known.access()))
		}
		if got := b.get(a.begin("scope", "notes:read", "resource", notes).url()).answer(); got.Get("error") != "invalid_target" {
			t.Errorf("asked for: %v, want invalid_target", got)
		}
		job := url.Values{"grant_type": {"client_credentials"}, "resource": {notes}}
		w.app(t, storage.ClientMachine).token(job).fails(400, "invalid_target")
	}
	w.resource(t, notes) // and it counts again at once
	for range 2 {
		plain = a.refresh(plain.refresh()).ok()
	}
}

func TestAScopeThatChangesHandsIsNotGivenForTheOldResource(t *testing.T) {
	t.Parallel()
	w := startReplicas(t, 2)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	_, tokens := a.signIn(b, ada, "scope", "own notes:read offline_access", "resource", notes)
	for range 2 {
		tokens = a.refresh(tokens.refresh()).ok()
	}
	w.resource(t, notes, func(r *storage.Resource) { r.Scopes = nil })
	w.resource(t, calendar, func(r *storage.Resource) {
		r.Scopes = []storage.ResourceScope{{Name: "notes:read", Description: "Read notes in the calendar"}}
	})
	for range 2 {
		if tokens = a.refresh(tokens.refresh()).ok(); tokens.text("scope") != "own offline_access" {
			t.Errorf("scope %q, want what belongs to the grant's resource or to none", tokens.text("scope"))
		}
	}
	if p := b.get(a.begin("scope", "own notes:read").url()); p.url.Path != "/consent" || !strings.Contains(p.body, "Read notes in the calendar") {
		t.Errorf("the person is not asked for the new resource: %s\n%s", p.url, p.body)
	}
}

func TestTheConsentPageGroupsScopesByResource(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, ada, b := w.withAPIs(t), w.person(t, "ada"), w.browser(t)
	b.get("/login").submit(map[string]string{"username": ada.Username, "password": ada.Password})
	f := a.begin("scope", "openid email own notes:read calendar:read")
	p := b.get(f.url()).at("/consent")
	at := 0
	for _, text := range []string{"See your email address", "Use “own” in your name", "Acme Notes", notes, "Read your notes", "Acme Calendar", calendar, "See your appointments"} {
		i := strings.Index(p.body[at:], text)
		if i < 0 {
			t.Fatalf("the page does not show %q after what comes before it\n%s", text, p.body)
		}
		at += i
	}
	w.resource(t, notes, func(r *storage.Resource) { r.Scopes[0].Description = "Read and copy your notes" })
	p = p.submit(map[string]string{"decision": "allow"}).at("/consent") // not what the page had shown
	if !strings.Contains(p.body, "Read and copy your notes") {
		t.Error("the page does not show the new description")
	}
	if p.submit(map[string]string{"decision": "allow"}).answer().Get("code") == "" {
		t.Error("no code after the second Allow")
	}
	if b.get(f.url()).answer().Get("code") == "" {
		t.Error("asked again for the same")
	}
	b.get(a.begin("scope", "openid notes:write").url()).at("/consent")
	if apps := b.get("/account/apps"); !strings.Contains(apps.body, "Read and copy your notes") || strings.Contains(apps.body, "notes:read") {
		t.Errorf("the list of apps does not tell API scopes in words\n%s", apps.body)
	}
}

func TestOurOwnAPIDescribesItself(t *testing.T) { // RFC 9728
	t.Parallel()
	w := start(t)
	const path = "/.well-known/oauth-protected-resource"
	r := w.send(t, "GET", path, http.Header{"Origin": {"https://anywhere.test"}}, "").ok()
	if r.text("resource") != w.issuer || fmt.Sprint(r.body["authorization_servers"]) != fmt.Sprint([]string{w.issuer}) || fmt.Sprint(r.body["bearer_methods_supported"]) != "[header body]" || r.text("resource_name") != "Example ID" {
		t.Errorf("metadata = %s", r.raw)
	}
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(r.header.Get("Cache-Control"), "max-age") {
		t.Errorf("headers = %v", r.header)
	}
	if again := w.send(t, "GET", path, http.Header{"If-None-Match": {r.header.Get("ETag")}}, ""); again.status != 304 {
		t.Errorf("with its ETag: %d, want 304", again.status)
	}
	doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	if fmt.Sprint(doc.body["protected_resources"]) != fmt.Sprint([]string{w.issuer}) {
		t.Errorf("protected_resources = %v", doc.body["protected_resources"])
	}
	// Whoever follows the document gets a token for the API, and nobody else does.
	a, ada := w.app(t, storage.ClientWeb), w.person(t, "ada")
	var scopes []string
	for _, s := range r.body["scopes_supported"].([]any) {
		if s == "offline_access" {
			t.Error("offline_access is no scope of an API")
		}
		scopes = append(scopes, s.(string))
	}
	f := a.begin("scope", strings.Join(scopes, " "), "resource", r.text("resource"))
	tokens := f.exchange(w.browser(t).get(f.url()).pass(ada).Get("code"), "resource", r.text("resource")).ok()
	w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	w.post(t, "/userinfo", nil, url.Values{"access_token": {tokens.access()}}).ok()
	_, without := a.signIn(w.browser(t), ada, "scope", "email")
	for name, header := range map[string]http.Header{"no token": nil, "a wrong one": bearerHeader("x"), "one without openid": bearerHeader(without.access())} {
		if r := w.send(t, "GET", "/userinfo", header, ""); r.status/100 != 4 || !strings.Contains(r.header.Get("WWW-Authenticate"), `resource_metadata="`+w.issuer+path+`"`) {
			t.Errorf("%s: %d, WWW-Authenticate %q", name, r.status, r.header.Get("WWW-Authenticate"))
		}
	}
}
