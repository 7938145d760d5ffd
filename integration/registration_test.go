package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/admin"
	"idp/storage"
)

// startRegistering is start, where clients register themselves: "open" or "token".
func startRegistering(t testing.TB, mode string) *world {
	t.Helper()
	return startWorld(t, 1, &world{clock: &clock{}, register: mode})
}

// metadata is what a client says of itself; overrides replace or (nil) remove members.
func metadata(t testing.TB, overrides ...any) string {
	t.Helper()
	m := map[string]any{"redirect_uris": []string{callback}, "client_name": "Héllo Helper", "grant_types": []string{"authorization_code", "refresh_token"}}
	for i := 0; i+1 < len(overrides); i += 2 {
		m[overrides[i].(string)] = overrides[i+1]
		if overrides[i+1] == nil {
			delete(m, overrides[i].(string))
		}
	}
	return mustJSON(t, m)
}

// register sends metadata to the registration endpoint, with an initial access token if it is not "".
func (w *world) registers(t testing.TB, body, token string) reply {
	t.Helper()
	return w.send(t, "POST", "/register", registrationHeader(token), body)
}

func registrationHeader(token string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// itself is the app that a registration made.
func (r reply) itself(w *world) *app {
	r.t.Helper()
	if r.status != 201 {
		r.t.Fatalf("the registration is answered %d %s", r.status, r.raw)
	}
	c, err := w.db.Client(context.Background(), r.text("client_id"))
	if err != nil {
		r.t.Fatal(err)
	}
	return &app{t: r.t, w: w, Client: c, secret: r.text("client_secret")}
}

func refusedWith(t testing.TB, what string, r reply, status int, code string) {
	t.Helper()
	if r.status != status || r.text("error") != code || len(r.text("error_description")) < 20 {
		t.Errorf("%s: %d %s, want %d %s", what, r.status, r.raw, status, code)
	}
}

func TestAClientRegistersItselfAndSignsPeopleIn(t *testing.T) { // RFC 7591, 3; conformance 18-21, 26, 30
	t.Parallel()
	w := startRegistering(t, "open")
	if doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok(); doc.text("registration_endpoint") != w.issuer+"/register" {
		t.Errorf("registration_endpoint = %q", doc.text("registration_endpoint"))
	}
	r := w.registers(t, metadata(t, "grant_types", nil, "policy_uri", "https://rp.test/policy", "logo_uri", "https://rp.test/logo.png",
		"contacts", []string{"ada@rp.test"}, "unheard_of", map[string]any{"a": 1}, "client_name#ja", "x", "scope", "openid email groups admin:all",
		"skip_consent", true, "introspect_all", true, "resources", []string{"https://api.test"}, "access_groups", []string{"g"}, "pkce_optional", true), "")
	a := r.itself(w)
	for name, want := range map[string]any{
		"client_name": "Héllo Helper", "token_endpoint_auth_method": "client_secret_basic", "id_token_signed_response_alg": "RS256", "application_type": "web",
		"scope": "openid email", "client_secret_expires_at": float64(0), "policy_uri": "https://rp.test/policy", "logo_uri": "https://rp.test/logo.png",
		"registration_client_uri": w.issuer + "/register/" + a.ID, "subject_type": "public",
	} {
		if r.body[name] != want {
			t.Errorf("%s = %v, want %v", name, r.body[name], want)
		}
	}
	for name, want := range map[string]string{"grant_types": `["authorization_code"]`, "response_types": `["code"]`, "redirect_uris": `["` + callback + `"]`} {
		if got := strings.TrimSpace(mustJSON(t, r.body[name])); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if r.header.Get("Cache-Control") != "no-store" || r.header.Get("Content-Type") != "application/json" || r.body["client_id_issued_at"] == nil || r.text("client_secret") == "" {
		t.Errorf("the answer: %v %s", r.header, r.raw)
	}
	if a.Source != "registration" || a.SkipConsent || a.IntrospectAll || a.PKCEOptional || len(a.Resources)+len(a.AccessGroups) > 0 {
		t.Errorf("the client has what it may not have: %+v", a.ClientMetadata)
	}

	ada, b := w.person(t, "ada"), w.browser(t)
	for range 2 { // it is asked every time: nobody knows who this is
		f := a.begin("scope", "openid email")
		p := b.get(f.url())
		if p.url.Path == "/login" {
			p = p.submit(map[string]string{"username": ada.Username, "password": ada.Password})
		}
		p = p.at("/consent")
		if !strings.Contains(p.body, "This app is unverified") || !strings.Contains(p.body, "Héllo Helper") || !strings.Contains(p.body, `href="https://rp.test/policy"`) {
			t.Errorf("the consent page:\n%s", p.body)
		}
		f.exchange(p.submit(map[string]string{"decision": "allow"}).answer().Get("code")).ok()
	}
	// prompt=none cannot get around it, and leads nowhere.
	if p := b.get(a.begin("scope", "openid", "prompt", "none").url()); p.status != 400 || !strings.Contains(p.body, "consent_required") {
		t.Errorf("prompt=none: %d\n%s", p.status, p.body)
	}
}

func TestWithoutASecretOrOnADeviceAClientIsWhatItSays(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	for _, tc := range []struct {
		what, kind, echoed string
		body               string
		secret             bool
	}{
		{"a page", storage.ClientSPA, "web", metadata(t, "token_endpoint_auth_method", "none"), false},
		{"a command line that does not say so", storage.ClientNative, "native", metadata(t, "token_endpoint_auth_method", "none", "redirect_uris", []string{"http://localhost:3334/callback"}), false},
		{"an editor with a page of its own", storage.ClientNative, "native", metadata(t, "token_endpoint_auth_method", "none", "redirect_uris", []string{"http://127.0.0.1/", "https://editor.test/redirect"}), false},
		{"a private-use scheme", storage.ClientNative, "native", metadata(t, "token_endpoint_auth_method", "none", "redirect_uris", []string{"com.example.app:/cb"}), false},
		{"a server", storage.ClientWeb, "web", metadata(t, "token_endpoint_auth_method", "client_secret_post"), true},
	} {
		r := w.registers(t, tc.body, "")
		a := r.itself(w)
		_, expires := r.body["client_secret_expires_at"]
		if a.Type != tc.kind || r.text("application_type") != tc.echoed || (r.text("client_secret") != "") != tc.secret || expires != tc.secret {
			t.Errorf("%s: %s %s", tc.what, a.Type, r.raw)
		}
	}
}

func TestWhatAClientCannotRegisterIsRefusedInRFC7591sWords(t *testing.T) { // conformance 22-28
	t.Parallel()
	w := startRegistering(t, "open")
	jwks := json.RawMessage(newRSAKey(t).public(t))
	many := slices.Repeat([]string{callback}, 500)
	for _, uri := range []string{
		"javascript:alert(1)", "JavaScript://x/%0aalert(1)", "data:text/html,x", "vbscript:x", "http://rp.test/cb", "myapp:/cb", "https://*.rp.test/cb", "https://rp.test/*",
		"/relative", callback + "#f", callback + "?code=x", callback + "?state=x", callback + "?error=x", callback + "?iss=x", callback + "?" + strings.Repeat("a", 5000), "https://a@rp.test/cb", "",
	} {
		refusedWith(t, uri[:min(len(uri), 60)], w.registers(t, metadata(t, "redirect_uris", []string{callback, uri}), ""), 400, "invalid_redirect_uri")
		refusedWith(t, "native "+uri[:min(len(uri), 60)], w.registers(t, metadata(t, "application_type", "native", "redirect_uris", []string{uri}), ""), 400, "invalid_redirect_uri")
	}
	refusedWith(t, "none", w.registers(t, metadata(t, "redirect_uris", nil), ""), 400, "invalid_redirect_uri")
	refusedWith(t, "500", w.registers(t, metadata(t, "redirect_uris", many), ""), 400, "invalid_redirect_uri")
	refusedWith(t, "loopback of a server", w.registers(t, metadata(t, "application_type", "web", "redirect_uris", []string{"http://localhost/cb"}), ""), 400, "invalid_redirect_uri")
	for what, body := range map[string]string{
		"both key members":               metadata(t, "jwks", jwks, "jwks_uri", "https://rp.test/jwks"),
		"private keys":                   metadata(t, "token_endpoint_auth_method", "private_key_jwt", "jwks", json.RawMessage(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)),
		"a secret key, though of no use": metadata(t, "jwks", json.RawMessage(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)),
		"no keys":                        metadata(t, "token_endpoint_auth_method", "private_key_jwt"),
		"unsigned ID tokens":             metadata(t, "id_token_signed_response_alg", "none"),
		"an algorithm of nobody's":       metadata(t, "id_token_signed_response_alg", "XS256"),
		"userinfo":                       metadata(t, "userinfo_signed_response_alg", "HS256"),
		"initiate_login_uri":             metadata(t, "initiate_login_uri", "http://rp.test/start"),
		"logo_uri":                       metadata(t, "logo_uri", "file:///etc/passwd"),
		"a page's secret":                metadata(t, "token_endpoint_auth_method", "tls_client_auth"),
		"response types":                 metadata(t, "response_types", []string{"token"}),
		"a machine":                      metadata(t, "grant_types", []string{"client_credentials"}),
		"scopes":                         metadata(t, "scope", "admin:all"),
		"a name of two directions":       metadata(t, "client_name", "Good\u202egnp.exe"),
		"a type":                         metadata(t, "application_type", "toaster"),
		"wrong JSON types":               metadata(t, "redirect_uris", callback),
		"an array":                       `[]`,
		"nothing":                        ``,
		"two values":                     metadata(t) + `{}`,
	} {
		refusedWith(t, what, w.registers(t, body, ""), 400, "invalid_client_metadata")
	}
	form := w.send(t, "POST", "/register", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "redirect_uris="+callback)
	refusedWith(t, "a form", form, 400, "invalid_client_metadata")
}

func TestAddressesOfAClientAreNeverCalledWhereTheyMayNotBe(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	called := 0
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	t.Cleanup(canary.Close)
	for _, name := range []string{"jwks_uri", "logo_uri", "backchannel_logout_uri", "initiate_login_uri"} {
		for _, uri := range []string{"http://169.254.169.254/latest", canary.URL, "file:///etc/passwd", "http://127.0.0.1:5432"} {
			refusedWith(t, name+" "+uri, w.registers(t, metadata(t, name, uri), ""), 400, "invalid_client_metadata")
		}
	}
	for _, uri := range []string{"http://169.254.169.254/latest", "file:///etc/passwd", "http://10.0.0.1", "https://[::1]", "https://10.0.0.1", "https://2130706433/", "https://169.254.169.254/"} {
		refusedWith(t, uri, w.registers(t, metadata(t, "sector_identifier_uri", uri), ""), 400, "invalid_client_metadata")
	}
	if called > 0 {
		t.Errorf("the canary was called %d times", called)
	}
}

func TestASectorDocumentListsAllRedirectURIs(t *testing.T) { // conformance 31, 32
	t.Parallel()
	w := startRegistering(t, "open")
	document := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Write([]byte(mustJSON(t, []string{callback, "https://other.test/cb"})))
	}))
	t.Cleanup(document.Close)
	for _, subjects := range []string{"public", "pairwise"} {
		good := w.registers(t, metadata(t, "subject_type", subjects, "sector_identifier_uri", document.URL, "redirect_uris", []string{callback, "https://other.test/cb"}), "")
		if a := good.itself(w); good.text("sector_identifier_uri") != document.URL || good.text("subject_type") != subjects || a.SectorURI != document.URL {
			t.Errorf("%s: %s", subjects, good.raw)
		}
		refusedWith(t, subjects, w.registers(t, metadata(t, "subject_type", subjects, "sector_identifier_uri", document.URL, "redirect_uris", []string{"https://third.test/cb"}), ""), 400, "invalid_client_metadata")
	}
	refusedWith(t, "two hosts and no document", w.registers(t, metadata(t, "subject_type", "pairwise", "redirect_uris", []string{callback, "https://other.test/cb"}), ""), 400, "invalid_client_metadata")
}

func TestAClientManagesItsRegistrationAndNobodyElses(t *testing.T) { // RFC 7592; conformance 20; A-077
	t.Parallel()
	w := startRegistering(t, "open")
	r, other := w.registers(t, metadata(t), ""), w.registers(t, metadata(t, "client_name", "Other"), "")
	a, token := r.itself(w), r.text("registration_access_token")
	made := w.app(t, storage.ClientWeb)
	at := func(id, method, token, body string) reply {
		return w.send(t, method, "/register/"+id, registrationHeader(token), body)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		for what, r := range map[string]reply{
			"another's token":  at(a.ID, method, other.text("registration_access_token"), metadata(t, "client_id", a.ID)),
			"no token":         at(a.ID, method, "", metadata(t, "client_id", a.ID)),
			"part of a token":  at(a.ID, method, token[:len(token)-1], metadata(t, "client_id", a.ID)),
			"a secret":         at(a.ID, method, a.secret, metadata(t, "client_id", a.ID)),
			"an operator's":    at(made.ID, method, token, metadata(t, "client_id", made.ID)),
			"no client at all": at("cli_nobody", method, token, metadata(t, "client_id", "cli_nobody")),
		} {
			if r.status != 401 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s with %s: %d %s", method, what, r.status, r.raw)
			}
		}
	}
	got := at(a.ID, "GET", token, "").ok()
	if got.text("client_id") != a.ID || got.text("registration_access_token") != token || got.text("client_name") != "Héllo Helper" || got.body["client_secret"] != nil || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("GET: %s", got.raw)
	}

	put := func(overrides ...any) reply {
		return at(a.ID, "PUT", token, metadata(t, append([]any{"client_id", a.ID}, overrides...)...))
	}
	refusedWith(t, "PUT of a bad redirect URI", put("redirect_uris", []string{"https://rp.test/cb?code=x"}), 400, "invalid_redirect_uri")
	refusedWith(t, "PUT without client_id", at(a.ID, "PUT", token, metadata(t)), 400, "invalid_client_metadata")
	refusedWith(t, "PUT of a secret of its choice", put("client_secret", "mine"), 400, "invalid_client_metadata")
	refusedWith(t, "PUT of what is ours", put("registration_access_token", token), 400, "invalid_client_metadata")

	// What an operator has given the client outlasts its own updates; what it took is not taken back.
	w.updateClient(t, a, func(c *storage.Client) {
		c.Scopes, c.Lifetimes.AccessToken = append(c.Scopes, "groups"), 120
	})
	changed := put("client_secret", a.secret, "client_name", "Renamed", "redirect_uris", []string{"https://rp.test/new"}, "tos_uri", "https://rp.test/terms", "skip_consent", true)
	now, err := w.db.Client(context.Background(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if changed.status != 200 || changed.text("client_name") != "Renamed" || changed.text("tos_uri") != "https://rp.test/terms" || changed.body["client_secret"] != nil ||
		now.Lifetimes.AccessToken != 120 || !slices.Contains(now.Scopes, "groups") || now.SkipConsent || !now.SecretIs(a.secret, w.now()) || !slices.Equal(now.RedirectURIs, []string{"https://rp.test/new"}) || !slices.Equal(now.Origins(), []string{"https://rp.test"}) {
		t.Errorf("PUT: %d %s\n%+v", changed.status, changed.raw, now)
	}
	if r := put("token_endpoint_auth_method", "none"); r.status != 200 || r.body["client_secret"] != nil {
		t.Errorf("PUT without a secret: %d %s", r.status, r.raw)
	}
	if r := put(); r.status != 200 || r.text("client_secret") == "" || r.text("client_secret") == a.secret {
		t.Errorf("PUT with a secret again: %d %s", r.status, r.raw)
	}

	if r := at(a.ID, "DELETE", token, ""); r.status != 204 || r.raw != "" {
		t.Errorf("DELETE: %d %s", r.status, r.raw)
	}
	if r := at(a.ID, "GET", token, ""); r.status != 401 {
		t.Errorf("GET of a deleted client: %d", r.status)
	}
	if p := w.browser(t).get(a.begin().url()); p.status != 400 {
		t.Errorf("a deleted client at /authorize: %d", p.status)
	}
	if _, err := w.db.Client(context.Background(), made.ID); err != nil {
		t.Errorf("the operator's client: %v", err)
	}
}

func TestAClientThatChangesItsFaceIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	r := w.registers(t, metadata(t), "")
	a, ada, b := r.itself(w), w.person(t, "ada"), w.browser(t)
	a.signIn(b, ada)
	remembered := func() bool { // the page says so
		t.Helper()
		return strings.Contains(b.get(a.begin().url()).at("/consent").body, "You have allowed this app before")
	}
	if !remembered() {
		t.Fatal("the consent is not remembered")
	}
	put := func(overrides ...any) {
		w.send(t, "PUT", "/register/"+a.ID, registrationHeader(r.text("registration_access_token")), metadata(t, append([]any{"client_id", a.ID}, overrides...)...)).ok()
	}
	if put("tos_uri", "https://rp.test/terms"); !remembered() {
		t.Error("terms alone made it forgotten")
	}
	if put("client_name", "Somebody else"); remembered() {
		t.Error("with another name it is remembered")
	}
}

func TestRegistrationIsForHoldersOfATokenOrForNobody(t *testing.T) {
	t.Parallel()
	off := start(t)
	if doc := off.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok(); doc.body["registration_endpoint"] != nil {
		t.Errorf("registration is off, and advertised: %v", doc.body["registration_endpoint"])
	}
	for _, path := range []string{"/register", "/register/cli_x"} {
		method := map[bool]string{true: "POST", false: "GET"}[path == "/register"]
		if r := off.send(t, method, path, registrationHeader("x"), metadata(t)); r.status != 404 {
			t.Errorf("%s %s where registration is off: %d %s", method, path, r.status, r.raw)
		}
	}

	w := startRegistering(t, "token")
	operator := admin.New(admin.Config{DB: w.db, Now: w.clock.now})
	issue := func(uses int, life time.Duration) (storage.RegistrationToken, string) {
		token, secret, err := operator.CreateRegistrationToken(context.Background(), uses, life)
		if err != nil {
			t.Fatal(err)
		}
		return token, secret
	}
	_, two := issue(2, time.Hour)
	revoked, gone := issue(5, time.Hour)
	_, short := issue(5, time.Minute)
	if err := operator.RevokeRegistrationToken(context.Background(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{"none": "", "nonsense": "x", "a revoked one": gone, "another spelling": strings.ToUpper(two)} {
		if r := w.registers(t, metadata(t), token); r.status != 401 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %d %s", what, r.status, r.raw)
		}
	}
	refusedWith(t, "bad metadata", w.registers(t, metadata(t, "redirect_uris", nil), two), 400, "invalid_redirect_uri") // takes no use
	w.registers(t, metadata(t), two).itself(w)
	w.registers(t, metadata(t), two).itself(w)
	refusedWith(t, "a third use", w.registers(t, metadata(t), two), 401, "invalid_token")
	w.clock.advance(2 * time.Minute)
	refusedWith(t, "an expired one", w.registers(t, metadata(t), short), 401, "invalid_token")
}

func TestAnInitialAccessTokenIsNotUsedMoreOftenByManyAtOnce(t *testing.T) {
	t.Parallel()
	w := startWorld(t, 2, &world{clock: &clock{}, register: "token"})
	_, secret, err := admin.New(admin.Config{DB: w.db, Now: w.clock.now}).CreateRegistrationToken(context.Background(), 3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	replies, made := make([]reply, 12), 0
	together(len(replies), func(i int) { replies[i] = w.registers(t, metadata(t), secret) })
	for _, r := range replies {
		switch r.status {
		case 201:
			made++
		case 401:
		default:
			t.Errorf("%d %s", r.status, r.raw)
		}
	}
	if made != 3 {
		t.Errorf("%d registered, want 3", made)
	}
}

func TestRegistrationsOfANetworkAreBounded(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	for i := range 61 {
		r := w.registers(t, metadata(t), "")
		if want := map[bool]int{true: 201, false: 429}[i < 60]; r.status != want {
			t.Fatalf("registration %d: %d %s", i+1, r.status, r.raw)
		}
	}
	w.clock.advance(time.Hour)
	w.registers(t, metadata(t), "").itself(w)
}

func TestClientsThatNobodyUsesAreSweptAndNoOthers(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	unused, used, made := w.registers(t, metadata(t), "").itself(w), w.registers(t, metadata(t), "").itself(w), w.app(t, storage.ClientWeb)
	used.signIn(w.browser(t), w.person(t, "ada"))
	sweep := func() (there []string) {
		if err := w.servers[0].RunJobs(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, a := range []*app{unused, used, made} {
			if _, err := w.db.Client(context.Background(), a.ID); err == nil {
				there = append(there, a.ID)
			}
		}
		return there
	}
	w.clock.advance(71 * time.Hour)
	if there := sweep(); len(there) != 3 {
		t.Errorf("before its time is over: %v", there)
	}
	w.clock.advance(2 * time.Hour)
	if there := sweep(); !slices.Equal(there, []string{used.ID, made.ID}) {
		t.Errorf("swept to %v, want %v", there, []string{used.ID, made.ID})
	}
	events, err := w.db.Events(context.Background(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, e := range events {
		kinds[e.Kind] += e.ClientID + " "
	}
	if kinds["client.expired"] != unused.ID+" " || !strings.Contains(kinds["client.registered"], used.ID) {
		t.Errorf("events: %v", kinds)
	}
}

func TestAnErrorLeadsNobodyStraightToAnUnverifiedApp(t *testing.T) { // A-024; RFC 9700, 4.11.2
	t.Parallel()
	w := startRegistering(t, "open")
	a := w.registers(t, metadata(t, "redirect_uris", []string{"https://evil1.test/cb"}), "").itself(w)
	for what, f := range map[string]*flow{"a scope": a.begin("scope", "nope"), "prompt=none": a.begin("prompt", "none"), "a response type": a.begin("response_type", "token")} {
		p := w.browser(t).get(f.url())
		if p.status != 400 || p.left != nil || !strings.Contains(p.body, "This app is unverified") || !strings.Contains(p.body, "<b>evil1.test</b>") {
			t.Errorf("%s: %d to %v\n%s", what, p.status, p.left, p.body)
		}
		q := url.Values{"state": f.params["state"], "iss": {w.issuer}}.Encode()
		for pair := range strings.SplitSeq(q, "&") {
			if !strings.Contains(p.body, pair) {
				t.Errorf("%s: the way on lacks %s", what, pair)
			}
		}
	}
	// A page of the app's own that loads us inside itself leads nobody anywhere.
	frame := w.send(t, "GET", "/authorize?"+a.begin("prompt", "none").params.Encode(), http.Header{"Sec-Fetch-Dest": {"iframe"}}, "")
	if to := frame.header.Get("Location"); frame.status != 303 || !strings.HasPrefix(to, "https://evil1.test/cb?error=login_required") {
		t.Errorf("in a frame: %d to %q", frame.status, to)
	}
	// Whoever saw a page and says no goes back by redirect, as ever.
	back := w.browser(t).get(a.begin().url()).at("/login")
	if got := back.b.get("/authorize?cancel=1&request=" + back.url.Query().Get("request")).answer(); got.Get("error") != "access_denied" {
		t.Errorf("cancelled on the page: %v", got)
	}
}

func TestScriptsOfARegisteredClientReadItsAnswers(t *testing.T) {
	t.Parallel()
	w := startRegistering(t, "open")
	h := registrationHeader("")
	h.Set("Origin", "https://rp.test")
	r := w.send(t, "POST", "/register", h, metadata(t))
	if r.status != 201 || r.header.Get("Access-Control-Allow-Origin") != "https://rp.test" {
		t.Errorf("its own origin: %d %v", r.status, r.header)
	}
	h = registrationHeader(r.text("registration_access_token"))
	for origin, want := range map[string]string{"https://rp.test": "https://rp.test", "https://evil.test": ""} {
		h.Set("Origin", origin)
		if got := w.send(t, "GET", "/register/"+r.text("client_id"), h, "").ok(); got.header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s may read: %q", origin, got.header.Get("Access-Control-Allow-Origin"))
		}
	}
}

func TestARegistrationIsEchoed(t *testing.T) { // conformance 25, 28, 29
	t.Parallel()
	w := startRegistering(t, "open")
	want := map[string]any{
		"initiate_login_uri": "https://rp.test/start", "userinfo_signed_response_alg": "RS256", "post_logout_redirect_uris": []any{"https://rp.test/bye"},
		"backchannel_logout_uri": "https://rp.test/back", "backchannel_logout_session_required": true, "frontchannel_logout_uri": "https://rp.test/front",
		"frontchannel_logout_session_required": true, "default_max_age": float64(3600), "require_auth_time": true, "tos_uri": "https://rp.test/terms", "client_uri": "https://rp.test/",
		"token_endpoint_auth_method": "private_key_jwt", "require_pushed_authorization_requests": false,
	}
	overrides := []any{"jwks", json.RawMessage(newRSAKey(t).public(t))}
	for name, value := range want {
		overrides = append(overrides, name, value)
	}
	r := w.registers(t, metadata(t, overrides...), "")
	r.itself(w)
	delete(want, "require_pushed_authorization_requests") // said to be off by not being there
	for name, value := range want {
		if mustJSON(t, r.body[name]) != mustJSON(t, value) {
			t.Errorf("%s = %v, want %v", name, r.body[name], value)
		}
	}
	if by := w.registers(t, metadata(t, "token_endpoint_auth_method", "private_key_jwt", "jwks_uri", "https://rp.test/keys"), ""); by.text("jwks_uri") != "https://rp.test/keys" || by.itself(w).JWKSURI != "https://rp.test/keys" {
		t.Errorf("jwks_uri: %s", by.raw)
	}
	if r.body["jwks"] == nil || r.body["client_secret"] != nil || r.body["client_secret_expires_at"] != nil {
		t.Errorf("%s", r.raw)
	}
}
