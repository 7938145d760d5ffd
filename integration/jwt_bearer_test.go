package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"idp/storage"
)

const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// platform is where workloads run: it tells who they are, with keys at its discovery document.
type platform struct {
	*httptest.Server
	key     assertionKey
	fetched atomic.Int64 // key sets
	down    atomic.Bool
	set     atomic.Pointer[[]byte]
}

func (w *world) platform(t testing.TB) *platform {
	t.Helper()
	a, key := w.assertionApp(t) // for its pair of keys
	p := &platform{key: key}
	p.publish(a.JWKS)
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch {
		case p.down.Load():
			rw.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/.well-known/openid-configuration":
			json.NewEncoder(rw).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
		case r.URL.Path == "/keys":
			p.fetched.Add(1)
			rw.Write(*p.set.Load())
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *platform) publish(set []byte) { p.set.Store(&set) }

const pod = "system:serviceaccount:shop:api"

// tells makes an assertion about a workload for the provider; changes as in assertionKey.assertion.
func (p *platform) tells(t testing.TB, w *world, changes map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": p.URL, "sub": pod, "repository": "acme/shop", "run": 7}
	maps.Copy(all, changes)
	return p.key.assertion(t, p.URL, w.issuer, all)
}

// workload is a client without a secret, which platforms speak for.
func (w *world) workload(t testing.TB, change ...func(*storage.Client)) *app {
	t.Helper()
	return w.app(t, storage.ClientMachine, append([]func(*storage.Client){func(c *storage.Client) {
		c.AuthMethod, c.GrantTypes = "none", []string{jwtBearer}
	}}, change...)...)
}

// trust lets assertions of a platform stand for a client; change adapts it.
func (w *world) trust(t testing.TB, a *app, issuer string, change ...func(*storage.Trust)) storage.Trust {
	t.Helper()
	now := w.now()
	one := storage.Trust{ID: storage.NewID("trs_"), ClientID: a.ID, Issuer: issuer, Version: 1, CreatedAt: now, UpdatedAt: now,
		TrustPolicy: storage.TrustPolicy{Subject: pod, Scopes: []string{"api:read"}, TokenLife: 300}}
	for _, f := range change {
		f(&one)
	}
	if err := w.db.CreateTrust(context.Background(), one, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return one
}

func (a *app) bear(assertion string, more ...string) reply {
	a.t.Helper()
	form := url.Values{"grant_type": {jwtBearer}, "assertion": {assertion}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return a.token(form)
}

func TestAWorkloadSignsInWithoutASecret(t *testing.T) { // RFC 7523, 2.1
	t.Parallel()
	w := start(t)
	p, job, api := w.platform(t), w.workload(t), w.app(t, storage.ClientMachine, func(c *storage.Client) { c.IntrospectAll = true })
	trust := w.trust(t, job, p.URL)
	tokens := job.bear(p.tells(t, w, nil)).ok()
	if tokens.refresh() != "" || tokens.text("id_token") != "" || tokens.text("scope") != "api:read" || tokens.body["expires_in"] != float64(300) {
		t.Errorf("answer %s: want an access token alone, with the scope and the life of the trust", tokens.raw)
	}
	told := api.call("/introspect", url.Values{"token": {tokens.access()}}).ok()
	if told.body["active"] != true || told.text("sub") != job.ID || told.text("client_id") != job.ID || told.text("aud") != w.issuer {
		t.Errorf("introspection %s: want the client as the subject", told.raw)
	}
	w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").fails(401, "invalid_token") // there is no person
	events, err := w.db.Events(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(events, func(e storage.Event) bool { return e.Kind == "assertion.accepted" })
	if i < 0 || events[i].ClientID != job.ID || events[i].Details["subject"] != pod || events[i].Details["trust"] != trust.ID {
		t.Errorf("no event tells which workload it was: %+v", events)
	}
	if err := w.db.DeleteTrust(t.Context(), trust.ID, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	if api.active(tokens.access()) {
		t.Error("the token counts although nobody trusts its platform any more")
	}
	job.bear(p.tells(t, w, nil)).fails(400, "invalid_grant")
}

func TestOnlyAnAssertionThatFitsATrustCounts(t *testing.T) { // RFC 7521, 5.2; RFC 7523, 3
	t.Parallel()
	w := start(t)
	p, other, job := w.platform(t), w.platform(t), w.workload(t)
	w.trust(t, job, p.URL, func(t *storage.Trust) { t.Claims = map[string]string{"repository": "acme/shop", "run": "7"} })
	stranger := w.workload(t)
	now := float64(w.now().Unix())
	_, own := w.assertionApp(t)
	for name, changes := range map[string]map[string]any{
		"plain": nil, "typed": {"header:typ": "JWT"}, "an access token of theirs": {"header:typ": "at+jwt"}, "audience in an array": {"aud": []string{w.issuer}}, "for an hour": {"exp": now + 3600},
		"keys in its header": {"header:jku": "http://127.0.0.1:1/"},
	} {
		if r := job.bear(p.tells(t, w, changes)); r.status != 200 {
			t.Errorf("%s: %d %s, want 200", name, r.status, r.raw)
		}
	}
	good := p.tells(t, w, nil)
	before := w.grants(t)
	for name, s := range map[string]string{
		"another subject":     p.tells(t, w, map[string]any{"sub": pod + "2"}),
		"a subject in front":  p.tells(t, w, map[string]any{"sub": "x" + pod}),
		"no subject":          p.tells(t, w, map[string]any{"sub": nil}),
		"another repository":  p.tells(t, w, map[string]any{"repository": "evil/shop"}),
		"no repository":       p.tells(t, w, map[string]any{"repository": nil}),
		"a list":              p.tells(t, w, map[string]any{"repository": []string{"acme/shop"}}),
		"another run":         p.tells(t, w, map[string]any{"run": 8}),
		"another audience":    p.tells(t, w, map[string]any{"aud": "https://evil.test"}),
		"audience beside":     p.tells(t, w, map[string]any{"aud": []string{w.issuer, "https://evil.test"}}),
		"issuer with a slash": p.tells(t, w, map[string]any{"aud": w.issuer + "/"}),
		"token endpoint":      p.tells(t, w, map[string]any{"aud": w.issuer + "/token"}),
		"no audience":         p.tells(t, w, map[string]any{"aud": nil}),
		"no exp":              p.tells(t, w, map[string]any{"exp": nil}),
		"expired":             p.tells(t, w, map[string]any{"exp": now - 60}),
		"for two hours":       p.tells(t, w, map[string]any{"exp": now + 7200}),
		"from the future":     p.tells(t, w, map[string]any{"iat": now + 300}),
		"not yet":             p.tells(t, w, map[string]any{"nbf": now + 300}),
		"no jti":              p.tells(t, w, map[string]any{"jti": nil}),
		"a logout token":      p.tells(t, w, map[string]any{"header:typ": "logout+jwt"}),
		"another platform":    other.tells(t, w, nil),
		"in another's name":   other.tells(t, w, map[string]any{"iss": p.URL}),
		"in our own name":     p.tells(t, w, map[string]any{"iss": w.issuer}),
		"a client assertion":  own.assertion(t, job.ID, w.issuer, nil),
		"unsigned":            base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(good, ".")[1] + ".",
		"another spelling":    good + "=",
		"no JWT":              "x.y.z",
	} {
		if r := job.bear(s); r.status != 400 || r.text("error") != "invalid_grant" {
			t.Errorf("%s: %d %s, want 400 invalid_grant", name, r.status, r.raw)
		}
	}
	stranger.bear(good).fails(400, "invalid_grant") // the trust is for another client
	job.token(url.Values{"grant_type": {jwtBearer}}).fails(400, "invalid_request")
	job.bear(good, "scope", "api:write").fails(400, "invalid_scope") // of the client, not of the trust
	job.bear(good, "resource", "https://other.test").fails(400, "invalid_target")
	w.app(t, storage.ClientMachine).bear(good).fails(400, "unauthorized_client")
	if got := w.grants(t); got != before {
		t.Errorf("%d grants were made by what was refused", got-before)
	}
	job.bear(good).ok() // none of that has spent it
	job.bear(good).fails(400, "invalid_grant")
}

// grants counts all grants that there are.
func (w *world) grants(t testing.TB) (n int) {
	t.Helper()
	if err := w.db.Pool().QueryRow(context.Background(), `select count(*) from grants`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestATrustCanBeForManySubjectsAndForAssertionsThatComeAgain(t *testing.T) {
	t.Parallel()
	w := start(t)
	p, job := w.platform(t), w.workload(t, func(c *storage.Client) { c.Resources = []string{notes, calendar} })
	w.resource(t, notes, func(r *storage.Resource) { r.TokenFormat = "jwt" })
	w.trust(t, job, p.URL, func(t *storage.Trust) {
		t.Subject, t.Reusable, t.Resources = "repo:acme/*", true, []string{notes}
	})
	again := p.tells(t, w, map[string]any{"sub": "repo:acme/site", "jti": nil})
	job.bear(again).ok()
	token := job.bear(again).ok().access()
	header, told := claims(t, token)
	if header["typ"] != "at+jwt" || told["aud"] != notes || told["sub"] != job.ID || told["scope"] != "api:read" {
		t.Errorf("access token %v: want one for the resource of the trust, about the client", told)
	}
	job.bear(again, "resource", calendar).fails(400, "invalid_target") // of the client, not of the trust
	job.bear(p.tells(t, w, map[string]any{"sub": "repo:acme"})).fails(400, "invalid_grant")
	w.clock.advance(3 * time.Minute)
	job.bear(again).fails(400, "invalid_grant")
}

func TestKeysOfAPlatformAreFetchedAtMostOnceInAWhile(t *testing.T) {
	t.Parallel()
	w := start(t)
	p, job := w.platform(t), w.workload(t)
	w.trust(t, job, p.URL)
	for range 3 {
		job.bear(p.tells(t, w, nil)).ok()
	}
	if n := p.fetched.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times, want once", n)
	}
	// The platform has new keys, under a name that nobody knows.
	rotated := w.platform(t)
	set := strings.ReplaceAll(string(*rotated.set.Load()), `"k1"`, `"k2"`)
	p.publish([]byte(set))
	p.key = rotated.key
	renamed := map[string]any{"header:kid": "k2"}
	job.bear(p.tells(t, w, renamed)).ok()
	for range 5 {
		job.bear(p.tells(t, w, map[string]any{"header:kid": "k3"})).fails(400, "invalid_grant")
	}
	if n := p.fetched.Load(); n != 2 {
		t.Errorf("the keys were fetched %d times, want twice: whoever sends unknown keys must not make us ask", n)
	}
	// It is down: what is known counts for a day more.
	p.down.Store(true)
	w.clock.advance(30 * time.Minute)
	job.bear(p.tells(t, w, renamed)).ok()
	w.clock.advance(25 * time.Hour)
	assertion := p.tells(t, w, renamed)
	if r := job.bear(assertion).fails(503, "temporarily_unavailable"); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.down.Store(false)
	w.clock.advance(61 * time.Second)
	job.bear(assertion).ok() // it was not spent
}

func TestAnotherProviderIsAnIssuerOfAssertions(t *testing.T) {
	t.Parallel()
	w, elsewhere := start(t), start(t)
	there := elsewhere.app(t, storage.ClientMachine, func(c *storage.Client) { c.Resources = []string{w.issuer} })
	elsewhere.resource(t, w.issuer, func(r *storage.Resource) { r.TokenFormat = "jwt" })
	here := w.workload(t)
	w.trust(t, here, elsewhere.issuer, func(t *storage.Trust) { t.Subject = there.ID })
	theirs := there.token(clientCredentials).ok().access()
	here.bear(theirs).ok()
	here.bear(theirs).fails(400, "invalid_grant")
	forThem := elsewhere.app(t, storage.ClientMachine, func(c *storage.Client) { c.AccessTokenFormat = "jwt" }).token(clientCredentials).ok().access()
	here.bear(forThem).fails(400, "invalid_grant") // it is for the other provider
}

func TestOneAssertionGivesOneTokenOnAllReplicas(t *testing.T) {
	w := startProcesses(t, 2)
	p, job := w.platform(t), w.workload(t)
	w.trust(t, job, p.URL)
	replies := make([]reply, 12)
	w.atOnce(t, replies, url.Values{"grant_type": {jwtBearer}, "client_id": {job.ID}, "assertion": {p.tells(t, w, nil)}})
	given := 0
	for _, r := range replies {
		if r.status == 200 {
			given++
		} else {
			r.fails(400, "invalid_grant")
		}
	}
	if given != 1 || w.grants(t) != 1 {
		t.Errorf("%d tokens, %d grants; want one", given, w.grants(t))
	}
}

func TestTheCommandLineTrustsAPlatform(t *testing.T) {
	w := startProcesses(t, 1)
	p := w.platform(t)
	var made struct {
		ID string `json:"client_id"`
	}
	w.idp(t, &made, "client", "create", "--preset", "machine", "--name", "Job", "--auth-method", "none", "--grant-type", jwtBearer, "--scope", "api:read")
	var trust storage.Trust
	w.idp(t, &trust, "trust", "create", "--client", made.ID, "--iss", p.URL, "--subject", pod, "--claim", "repository=acme/shop", "--scope", "api:read")
	job := &app{t: t, w: w, Client: &storage.Client{ID: made.ID, ClientMetadata: storage.ClientMetadata{AuthMethod: "none"}}}
	job.bear(p.tells(t, w, nil)).ok()
	w.idp(t, &trust, "trust", "update", trust.ID, "--claim", "repository=acme/other")
	job.bear(p.tells(t, w, nil)).fails(400, "invalid_grant")
	w.idp(t, &map[string]string{}, "trust", "delete", trust.ID)
	job.bear(p.tells(t, w, map[string]any{"repository": "acme/other"})).fails(400, "invalid_grant")
}
