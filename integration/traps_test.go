package integration

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"idp/storage"
)

// What client libraries in the wild stumble over. Each test says which.

func TestProbingForTheAuthenticationMethodLocksNobodyOut(t *testing.T) { // x/oauth2 tries Basic, then the body, once in every process
	t.Parallel()
	w := start(t)
	ada := w.person(t, "ada")
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AuthMethod = "client_secret_post" })
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: w.transport})
	_, tokens := a.signIn(w.browser(t), ada)
	refresh := tokens.refresh()
	for i := range 25 {
		config := oauth2.Config{ClientID: a.ID, ClientSecret: a.secret, Endpoint: oauth2.Endpoint{TokenURL: w.issuer + "/token"}}
		fresh, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
		if err != nil {
			t.Fatalf("process %d: %v", i, err)
		}
		refresh = fresh.RefreshToken
	}
	// Guesses are counted whatever the method.
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(a.ID+":guess"))}}
	for range 20 {
		w.post(t, "/token", basic, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}).fails(401, "invalid_client")
	}
	if r := w.post(t, "/token", basic, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}); r.status != 429 {
		t.Errorf("the 21st guess: %d, want 429", r.status)
	}
}

func TestOnlyAFailedHeaderIsChallengedAtTheTokenEndpoint(t *testing.T) { // oauth4webapi reads any challenge before the body
	t.Parallel()
	w := start(t)
	post := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.AuthMethod = "client_secret_post" })
	spa := w.app(t, storage.ClientSPA)
	web := w.app(t, storage.ClientWeb)
	form := func(id, secret string) url.Values {
		v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {id}}
		if secret != "" {
			v.Set("client_secret", secret)
		}
		return v
	}
	for name, r := range map[string]reply{
		"wrong secret in the body": w.post(t, "/token", nil, form(post.ID, "wrong")),
		"unknown client":           w.post(t, "/token", nil, form("nobody", "")),
		"bad grant":                spa.refresh("x"),
		"bad grant with Basic":     web.refresh("x"),
	} {
		if got := r.header.Get("WWW-Authenticate"); got != "" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d, WWW-Authenticate %q, %s", name, r.status, got, r.header.Get("Content-Type"))
		}
	}
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(web.ID+":wrong"))}}
	r := w.post(t, "/token", basic, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}).fails(401, "invalid_client")
	if got := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic ") {
		t.Errorf("a failed header: WWW-Authenticate %q, want Basic", got)
	}
}

func TestCredentialsAreTheSameEncodedAndNot(t *testing.T) { // the MCP SDK and others do not encode before base64
	t.Parallel()
	w := start(t)
	plain := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	for range 20 {
		a := w.app(t, storage.ClientWeb)
		if !plain.MatchString(a.ID) || !plain.MatchString(a.secret) {
			t.Fatalf("id %q, secret %q", a.ID, a.secret)
		}
	}
}

func TestMetadataHasNothingThatLibrariesRefuse(t *testing.T) { // zod: no nulls, URLs that parse; the issuer equal as a string
	t.Parallel()
	w := start(t)
	doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	if issuer := doc.text("issuer"); issuer != w.issuer || strings.HasSuffix(issuer, "/") {
		t.Errorf("issuer %q", issuer)
	}
	for name, value := range doc.body {
		switch v := value.(type) {
		case nil:
			t.Errorf("%s is null", name)
		case string:
			if u, err := url.Parse(v); err != nil || !u.IsAbs() || u.Host == "" || u.Fragment != "" || u.RawQuery != "" {
				t.Errorf("%s = %q", name, v)
			}
		case []any:
			if len(v) == 0 {
				t.Errorf("%s is empty", name)
			}
			for _, one := range v {
				if _, ok := one.(string); !ok {
					t.Errorf("%s has %v", name, one)
				}
			}
		case bool:
		default:
			t.Errorf("%s is a %T", name, value)
		}
	}
	for _, required := range []string{ // of Auth.js, Spring, mod_auth_openidc and the MCP SDK
		"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint", "response_types_supported", "response_modes_supported",
		"grant_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported", "code_challenge_methods_supported",
		"token_endpoint_auth_methods_supported", "request_uri_parameter_supported", "request_parameter_supported",
	} {
		if doc.body[required] == nil {
			t.Errorf("%s is missing", required)
		}
	}
	if _, there := doc.body["check_session_iframe"]; there {
		t.Error("check_session_iframe starts a watch that third-party cookies are needed for")
	}
}

func TestAnAnswerHasNoStateThatNobodySent(t *testing.T) { // the MCP SDK sends none unless its host adds one
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	answer := w.browser(t).get(a.begin("state", "-").url()).pass(ada)
	if answer.Has("state") || answer.Get("code") == "" || answer.Get("iss") != w.issuer {
		t.Errorf("answer %v", answer)
	}
}

func TestARefreshedIDTokenHasTheMembersOfTheFirst(t *testing.T) { // oidc-client-ts compares sub, auth_time and azp
	t.Parallel()
	w := start(t)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	_, first := claims(t, tokens.text("id_token"))
	_, second := claims(t, a.refresh(tokens.refresh()).ok().text("id_token"))
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "azp", "sid", "acr"} {
		if first[name] != second[name] {
			t.Errorf("%s = %v after a refresh, %v before", name, second[name], first[name])
		}
	}
	if first["auth_time"] == nil {
		t.Error("no auth_time")
	}
}

func TestMachinesGetJSONWhateverTheyAccept(t *testing.T) { // oidc-client-ts and oauth4webapi look at the content type first
	t.Parallel()
	w := start(t)
	for _, accept := range []string{"", "*/*", "text/html", "application/json;charset=utf-8", "text/html,application/xhtml+xml"} {
		for _, path := range append(scriptEndpoints, "/jwks", "/.well-known/openid-configuration") {
			for _, method := range []string{"GET", "POST", "DELETE", "PATCH"} {
				r := w.send(t, method, path, http.Header{"Accept": {accept}}, "")
				if got := r.header.Get("Content-Type"); got != "application/json" || r.header.Get("Cache-Control") == "" {
					t.Errorf("%s %s with Accept %q: %d, %s, Cache-Control %q", method, path, accept, r.status, got, r.header.Get("Cache-Control"))
				}
			}
		}
	}
}
