package integration

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
)

// signingApp is a web client with a key of its own for request objects.
func (w *world) signingApp(t testing.TB, change ...func(*storage.Client)) (*app, assertionKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := jwks(t, jose.JSONWebKey{Key: private.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"})
	change = append([]func(*storage.Client){func(c *storage.Client) { c.JWKS = set }}, change...)
	return w.app(t, storage.ClientWeb, change...), assertionKey{private, w.now}
}

func jwks(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// object signs the parameters of a flow as a request object; changes as in assertion.
func (k assertionKey) object(t testing.TB, f *flow, changes map[string]any) string {
	t.Helper()
	all := map[string]any{"sub": nil, "header:typ": "oauth-authz-req+jwt"}
	for name, values := range f.params {
		all[name] = values[0]
	}
	for name, value := range changes {
		all[name] = value
	}
	return k.assertion(t, f.a.ID, f.a.w.issuer, all)
}

func TestOnlyWhatARequestObjectHoldsCounts(t *testing.T) { // conformance 56, 57; RFC 9101, 6.3
	t.Parallel()
	w := start(t)
	a, key := w.signingApp(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	f := a.begin("scope", "openid email", "max_age", "600")
	outer := url.Values{
		"client_id": {a.ID}, "request": {key.object(t, f, map[string]any{"max_age": 600})},
		"redirect_uri": {"https://evil.test/cb"}, "state": {"outer"}, "nonce": {"outer"}, "scope": {"openid profile"}, "response_type": {"token"},
	}
	answer := b.get("/authorize?" + outer.Encode()).pass(ada)
	if answer.Get("state") != f.params.Get("state") {
		t.Errorf("state %q, want the inner one", answer.Get("state"))
	}
	tokens := f.exchange(answer.Get("code")).ok()
	_, id := claims(t, tokens.text("id_token"))
	if id["nonce"] != f.params.Get("nonce") || tokens.text("scope") != "openid email" {
		t.Errorf("nonce %v, scope %q; want the inner ones", id["nonce"], tokens.text("scope"))
	}
	// Pushed, it is the same.
	f = a.begin()
	r := a.call("/par", url.Values{"request": {key.object(t, f, nil)}, "scope": {"openid profile email phone"}})
	if r.status != 201 {
		t.Fatalf("push: %d %s", r.status, r.raw)
	}
	answer = b.get("/authorize?" + url.Values{"client_id": {a.ID}, "request_uri": {r.text("request_uri")}}.Encode()).pass(ada)
	f.exchange(answer.Get("code")).ok()
}

func TestARequestObjectMustBeTheClientsOwn(t *testing.T) { // A-020; trap F14
	t.Parallel()
	w := start(t)
	a, key := w.signingApp(t, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://rp.test/other") })
	_, other := w.signingApp(t)
	plain := w.app(t, storage.ClientWeb)
	b := w.browser(t)
	none := func(f *flow) string {
		encode := base64.RawURLEncoding.EncodeToString
		body, _ := json.Marshal(map[string]any{"iss": a.ID, "aud": w.issuer, "client_id": a.ID, "redirect_uri": "https://evil.test/cb", "scope": "openid"})
		return encode([]byte(`{"alg":"none"}`)) + "." + encode(body) + "."
	}
	good := key.object(t, a.begin(), nil)
	for _, tc := range []struct {
		name, object, code string
	}{
		{"unsigned", none(a.begin()), "request_not_supported"},
		{"signed by another client", other.object(t, a.begin(), nil), "invalid_request_object"},
		{"of another client", key.object(t, a.begin(), map[string]any{"client_id": plain.ID}), "invalid_request_object"},
		{"without client_id", key.object(t, a.begin(), map[string]any{"client_id": nil}), "invalid_request_object"},
		{"issued by another", key.object(t, a.begin(), map[string]any{"iss": plain.ID}), "invalid_request_object"},
		{"for another provider", key.object(t, a.begin(), map[string]any{"aud": "https://other.test"}), "invalid_request_object"},
		{"without audience", key.object(t, a.begin(), map[string]any{"aud": nil}), "invalid_request_object"},
		{"without exp", key.object(t, a.begin(), map[string]any{"exp": nil}), "invalid_request_object"},
		{"expired", key.object(t, a.begin(), map[string]any{"exp": w.now().Unix() - 60}), "invalid_request_object"},
		{"valid for a day", key.object(t, a.begin(), map[string]any{"exp": w.now().Unix() + 86400}), "invalid_request_object"},
		{"from the future", key.object(t, a.begin(), map[string]any{"nbf": w.now().Unix() + 300}), "invalid_request_object"},
		{"another one inside", key.object(t, a.begin(), map[string]any{"request": good}), "invalid_request_object"},
		{"a request_uri inside", key.object(t, a.begin(), map[string]any{"request_uri": "https://evil.test/"}), "invalid_request_object"},
		{"a client assertion", key.assertion(t, a.ID, w.issuer, nil), "invalid_request_object"},
		{"an assertion that names the client", key.assertion(t, a.ID, w.issuer, map[string]any{"client_id": a.ID}), "invalid_request_object"},
		{"of another type", key.object(t, a.begin(), map[string]any{"header:typ": "at+jwt"}), "invalid_request_object"},
		{"a list where one value belongs", key.object(t, a.begin(), map[string]any{"scope": []string{"openid"}}), "invalid_request_object"},
		{"a number for a state", key.object(t, a.begin(), map[string]any{"state": 12345678}), "invalid_request_object"},
		{"changed", good[:len(good)-8] + "AAAAAAAA", "invalid_request_object"},
		{"nonsense", "nonsense", "invalid_request_object"},
	} {
		f := a.begin("request", tc.object, "prompt", "none")
		answer := b.get(f.url()).answer()
		if answer.Get("error") != tc.code || answer.Get("state") != f.params.Get("state") {
			t.Errorf("%s: %v, want %s", tc.name, answer, tc.code)
		}
		// Without a known return address there is none to trust.
		q := url.Values{"client_id": {a.ID}, "request": {tc.object}}
		if p := b.get("/authorize?" + q.Encode()); p.left != nil || p.status != 400 {
			t.Errorf("%s: without a return address: %d, left to %v", tc.name, p.status, p.left)
		}
	}
	f := plain.begin()
	f.params.Set("request", key.object(t, f, nil))
	if answer := b.get(f.url()).answer(); answer.Get("error") != "invalid_request_object" {
		t.Errorf("a client without keys: %v", answer)
	}
	// An object with an unregistered return address is signed all the same: a page.
	f = a.begin()
	f.params = url.Values{"client_id": {a.ID}, "request": {key.object(t, a.begin("redirect_uri", "https://evil.test/cb"), nil)}, "redirect_uri": {callback}}
	if p := b.get(f.url()); p.left != nil || p.status != 400 {
		t.Errorf("unregistered inner return address: %d, left to %v", p.status, p.left)
	}
	// A request object is no assertion either.
	a.w.post(t, "/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_assertion": {good},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}).fails(401, "invalid_client")
}

func TestAClientThatMustSignItsRequestsCannotDoWithout(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, key := w.signingApp(t, func(c *storage.Client) { c.RequireSignedRequest, c.RequestObjectAlg = true, "ES256" })
	ada, b := w.person(t, "ada"), w.browser(t)
	for _, address := range []string{a.begin().url(), a.begin().url() + "&signed=1"} {
		if answer := b.get(address).answer(); answer.Get("error") != "invalid_request" {
			t.Errorf("plain parameters: %v, want invalid_request", answer)
		}
	}
	a.call("/par", a.begin().params).fails(400, "invalid_request")
	f := a.begin()
	answer := b.get("/authorize?" + url.Values{"client_id": {a.ID}, "request": {key.object(t, f, nil)}}.Encode()).pass(ada)
	f.exchange(answer.Get("code")).ok()
}

// ed25519Signer signs under the name of RFC 9864, which go-jose does not know.
func signEd25519(t testing.TB, private ed25519.PrivateKey, claims map[string]any) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	input := encode([]byte(`{"alg":"Ed25519"}`)) + "." + encode(payload)
	return input + "." + encode(ed25519.Sign(private, []byte(input)))
}

func TestClientsMaySignUnderTheNewNameOfEd25519(t *testing.T) { // RFC 9864
	t.Parallel()
	w := start(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"", "EdDSA"} {
		a := w.app(t, storage.ClientMachine, func(c *storage.Client) {
			c.AuthMethod, c.JWKS = "private_key_jwt", jwks(t, jose.JSONWebKey{Key: public, KeyID: "k", Algorithm: alg, Use: "sig"})
		})
		now := w.now().Unix()
		form := func(aud string) url.Values {
			return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion": {signEd25519(t, private, map[string]any{"iss": a.ID, "sub": a.ID, "aud": aud, "jti": randomText(16), "exp": now + 60})}}
		}
		good := form(w.issuer)
		bad := form(w.issuer)
		parts := strings.Split(bad.Get("client_assertion"), ".")
		parts[1] = strings.Split(form(w.issuer).Get("client_assertion"), ".")[1] // another payload under the signature
		bad.Set("client_assertion", strings.Join(parts, "."))
		w.post(t, "/token", nil, bad).fails(401, "invalid_client")
		w.post(t, "/token", nil, good).ok()
	}
}

func TestARequestObjectSpeaksForTheClientThatSignedItAlone(t *testing.T) { // RFC 9101, 10.8; ASVS 1.5.3
	t.Parallel()
	w := start(t)
	a, key := w.signingApp(t)
	strict, _ := w.signingApp(t, func(c *storage.Client) {
		c.RedirectURIs, c.RequirePushed, c.RequireSignedRequest = []string{"https://strict.test/cb"}, true, true
	})
	ada := w.person(t, "ada")
	f := a.begin("scope", "profile", "redirect_uri", "-", "client_id", "-", "nonce", "-")
	object := func(first, second string) string {
		payload := mustJSON(t, map[string]any{"iss": a.ID, "aud": w.issuer, "exp": w.now().Unix() + 60, "response_type": "code", "scope": "profile",
			"state": "s", "code_challenge": f.params.Get("code_challenge"), "code_challenge_method": "S256"})
		return key.sign(t, []byte("{"+first+","+second+","+payload[1:]), nil)
	}
	// Two spellings of one name, of which a lax reader takes the one for the other.
	own, others := `"client_id":"`+a.ID+`"`, `"client_id":"`+strict.ID+`"`
	for _, pair := range [][2]string{
		{others, strings.ToUpper(own[:12]) + own[12:]}, {strings.ToUpper(own[:12]) + own[12:], others},
		{own, strings.ToUpper(others[:12]) + others[12:]}, {own, `"AUD":"x"`}, {own, `"Iss":"` + a.ID + `"`}, {own, `"Scope":"openid"`},
	} {
		q := url.Values{"client_id": {a.ID}, "request": {object(pair[0], pair[1])}}
		if r := a.call("/par", q); r.status != 400 || r.text("error") != "invalid_request_object" {
			t.Errorf("%s: pushed: %d %s, want invalid_request_object", pair, r.status, r.raw)
			b := w.browser(t)
			p := b.get("/authorize?" + url.Values{"client_id": {a.ID}, "request_uri": {r.text("request_uri")}}.Encode())
			t.Errorf("%s: the answer is %v", pair, p.pass(ada))
		}
		if p := w.browser(t).get("/authorize?" + q.Encode()); p.left != nil && p.left.Host == "strict.test" || p.url.Path == "/login" {
			t.Errorf("%s: %d at %s, left to %v; want a refusal", pair, p.status, p.url, p.left)
		}
	}
	q := url.Values{"client_id": {a.ID}, "request": {object(own, `"CLIENT":"x"`)}}
	if r := a.call("/par", q); r.status != 201 {
		t.Errorf("the control: %d %s", r.status, r.raw)
	}
}

func TestARequestObjectThatEndsTooEarlyIsItsClientsMistake(t *testing.T) { // and no trouble of the database
	t.Parallel()
	w := start(t)
	a, key := w.signingApp(t)
	for _, payload := range []string{``, `{`, `{"client_id":"` + a.ID, `{"client_id":"` + a.ID + `",`, `{"claims":{"userinfo":`} {
		f := a.begin("request", key.sign(t, []byte(payload), nil))
		if answer := w.browser(t).get(f.url()).answer(); answer.Get("error") != "invalid_request_object" {
			t.Errorf("%q: %v, want invalid_request_object", payload, answer)
		}
		if r := a.call("/par", f.params); r.status != 400 || r.text("error") != "invalid_request_object" {
			t.Errorf("%q: pushed: %d %s, want invalid_request_object", payload, r.status, r.raw)
		}
	}
}
