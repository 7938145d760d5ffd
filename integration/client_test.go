package integration

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"idp/oauth"
	"idp/storage"
)

// app is a client of somebody's, registered for one test.
type app struct {
	t testing.TB
	w *world
	*storage.Client
	secret string
	key    *assertionKey // of a client that authenticates with assertions
}

const callback = "https://rp.test/cb"

// app registers a client of that kind with the defaults of its preset; change adapts it.
func (w *world) app(t testing.TB, kind string, change ...func(*storage.Client)) *app {
	t.Helper()
	now := w.now()
	c := &storage.Client{ID: storage.NewID("cli_"), Source: "admin", CreatedAt: now, ClientMetadata: storage.ClientMetadata{
		Name: "Acme Wiki", Type: kind, AuthMethod: "client_secret_basic", IDTokenAlg: "RS256", AccessTokenFormat: "opaque",
		RedirectURIs: []string{callback}, PostLogoutRedirectURIs: []string{"https://rp.test/bye"},
		GrantTypes: []string{"authorization_code", "refresh_token"},
		Scopes:     []string{"openid", "profile", "email", "address", "phone", "groups", "offline_access"},
	}}
	switch kind {
	case storage.ClientSPA:
		c.AuthMethod = "none"
	case storage.ClientNative:
		c.AuthMethod, c.RedirectURIs = "none", []string{"http://127.0.0.1/cb", "http://localhost/cb", "com.test.app:/cb"}
	case storage.ClientMachine:
		c.GrantTypes, c.RedirectURIs, c.Scopes = []string{"client_credentials"}, nil, []string{"api:read", "api:write"}
	}
	a := &app{t: t, w: w, Client: c}
	for _, f := range change {
		f(c)
	}
	if c.AuthMethod == "client_secret_basic" || c.AuthMethod == "client_secret_post" {
		a.secret = storage.NewSecret("idp_cs_")
		c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret(a.secret), CreatedAt: now}}
	}
	if err := oauth.CheckClient(c); err != nil {
		t.Fatal(err)
	}
	if err := oauth.SettleSector(context.Background(), c, &storage.Client{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, uri := range append(slices.Clone(c.Resources), c.Audience...) {
		w.resource(t, uri)
	}
	if err := w.db.CreateClient(context.Background(), *c, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	c.Version = 1
	return a
}

// flow is one authorization request of an app, with its secrets.
type flow struct {
	a        *app
	verifier string
	params   url.Values
}

// begin makes an authorization request; overrides replace or ("-") remove parameters.
func (a *app) begin(overrides ...string) *flow {
	f := &flow{a: a, verifier: randomText(48)}
	sum := sha256.Sum256([]byte(f.verifier))
	f.params = url.Values{
		"client_id": {a.ID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid profile email offline_access"},
		"state": {randomText(16)}, "nonce": {randomText(16)},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	if len(a.RedirectURIs) > 0 {
		f.params.Set("redirect_uri", a.RedirectURIs[0])
	}
	for i := 0; i+1 < len(overrides); i += 2 {
		if overrides[i+1] == "-" {
			f.params.Del(overrides[i])
		} else {
			f.params.Set(overrides[i], overrides[i+1])
		}
	}
	return f
}

func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

func (f *flow) url() string { return f.a.w.issuer + "/authorize?" + f.params.Encode() }

// exchange redeems the code of an answer; overrides as in begin.
func (f *flow) exchange(code string, overrides ...string) reply {
	f.a.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}}
	if uri := f.params.Get("redirect_uri"); uri != "" {
		form.Set("redirect_uri", uri)
	}
	for i := 0; i+1 < len(overrides); i += 2 {
		if overrides[i+1] == "-" {
			form.Del(overrides[i])
		} else {
			form.Set(overrides[i], overrides[i+1])
		}
	}
	return f.a.token(form)
}

// reply is what a machine endpoint answered.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (r reply) text(name string) string { s, _ := r.body[name].(string); return s }
func (r reply) refresh() string         { return r.text("refresh_token") }
func (r reply) access() string          { return r.text("access_token") }

// ok fails the test unless the answer is 200.
func (r reply) ok() reply {
	r.t.Helper()
	if r.status != 200 {
		r.t.Fatalf("status %d: %s; want 200", r.status, r.raw)
	}
	return r
}

// fails fails the test unless the answer is that error.
func (r reply) fails(status int, code string) reply {
	r.t.Helper()
	if r.status != status || r.text("error") != code {
		r.t.Fatalf("status %d: %s; want %d %s", r.status, r.raw, status, code)
	}
	return r
}

// call posts a form to a machine endpoint, with the app's credentials.
func (a *app) call(path string, form url.Values) reply {
	a.t.Helper()
	form = maps.Clone(form)
	header := http.Header{}
	switch a.AuthMethod {
	case "client_secret_basic":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(a.ID)+":"+url.QueryEscape(a.secret))))
	case "client_secret_post":
		form.Set("client_id", a.ID)
		form.Set("client_secret", a.secret)
	case "private_key_jwt":
		if a.key != nil {
			form.Set("client_assertion", a.key.assertion(a.t, a.ID, a.w.issuer, nil))
			form.Set("client_assertion_type", assertionForm("").Get("client_assertion_type"))
		}
	case "none":
		form.Set("client_id", a.ID)
	}
	return a.w.post(a.t, path, header, form)
}

func (a *app) token(form url.Values) reply { a.t.Helper(); return a.call("/token", form) }

func (a *app) refresh(token string, overrides ...string) reply {
	a.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for i := 0; i+1 < len(overrides); i += 2 {
		form.Set(overrides[i], overrides[i+1])
	}
	return a.token(form)
}

// introspect asks whether a token counts.
func (a *app) active(token string) bool {
	a.t.Helper()
	active, _ := a.call("/introspect", url.Values{"token": {token}}).ok().body["active"].(bool)
	return active
}

// post sends a form to a machine endpoint.
func (w *world) post(t testing.TB, path string, header http.Header, form url.Values) reply {
	t.Helper()
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return w.send(t, http.MethodPost, path, header, form.Encode())
}

// send sends any request.
func (w *world) send(t testing.TB, method, path string, header http.Header, body string) reply {
	t.Helper()
	req, err := http.NewRequest(method, w.issuer+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	client := &http.Client{Transport: w.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{t, resp.StatusCode, resp.Header, string(raw), map[string]any{}}
	if method != http.MethodHead && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &r.body); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return r
}

// signIn runs the whole flow and gives the tokens.
func (a *app) signIn(b *browser, who *person, overrides ...string) (*flow, reply) {
	a.t.Helper()
	f := a.begin(overrides...)
	return f, f.exchange(b.get(f.url()).pass(who).Get("code")).ok()
}

// claims decodes a JWT without judging it.
func claims(t testing.TB, token string) (header, payload map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	for i, into := range []*map[string]any{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func names(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func decode(raw []byte) map[string]any {
	m := map[string]any{}
	json.Unmarshal(raw, &m) // an answer that is no JSON has no members
	return m
}

// verifies checks the signature of a JWT with the published keys.
func (w *world) verifies(t testing.TB, token string) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(w.send(t, "GET", "/jwks", nil, "").ok().raw), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(set); err != nil {
		t.Errorf("the signature of %v does not verify: %v", jws.Signatures[0].Header, err)
	}
}
