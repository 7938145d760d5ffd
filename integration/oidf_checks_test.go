package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What the conformance suite checks of every message, by kind of message. Where the suite warns, these
// checks fail. Missing here: everything about TLS versions and cipher suites (the servers of tests are
// not those of production; see server_test.go), and about encrypted tokens, which we do not have.

// checkRedirect takes the answer out of a redirect: to that URI, its own query untouched, nothing in
// the fragment.
func checkRedirect(t testing.TB, redirect, to *url.URL) url.Values {
	t.Helper()
	if to.Scheme != redirect.Scheme || to.Host != redirect.Host || to.Path != redirect.Path {
		t.Errorf("the answer went to %s, want %s", to, redirect)
	}
	if to.Fragment != "" {
		t.Errorf("there is a fragment: %q", to.Fragment)
	}
	answer := to.Query()
	for name, values := range redirect.Query() {
		if !slices.Equal(answer[name], values) {
			t.Errorf("the query of the redirect URI is changed: %s is %v, want %v", name, answer[name], values)
		}
		answer.Del(name)
	}
	return answer
}

// checkFormPost takes the answer out of a form (OAuth 2.0 Form Post Response Mode): it is posted as
// application/x-www-form-urlencoded, to the redirect URI as it is, by itself.
func checkFormPost(t testing.TB, redirect *url.URL, p *page) url.Values {
	t.Helper()
	form, fields := formOf(t, p)
	if p.status != 200 || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") {
		t.Errorf("form_post: %d %s, want a page", p.status, p.header.Get("Content-Type"))
	}
	if !strings.EqualFold(form["method"], "post") || form["action"] != redirect.String() {
		t.Errorf("the form goes by %s to %s, want POST to %s", form["method"], form["action"], redirect)
	}
	if e := form["enctype"]; e != "" && e != "application/x-www-form-urlencoded" {
		t.Errorf("the form has enctype %q", e)
	}
	if !strings.Contains(p.header.Get("Cache-Control"), "no-store") {
		t.Errorf("the page may be stored: %q", p.header.Get("Cache-Control"))
	}
	if !regexp.MustCompile(`<script src="[^"]+"></script>`).MatchString(p.body) {
		t.Errorf("nothing submits the form:\n%s", p.body)
	}
	return fields
}

// checkSuccess checks a successful authorization response: state, iss (RFC 9207), a code that nobody
// guesses, and nothing else.
func checkSuccess(t testing.TB, issuer string, request, answer url.Values) {
	t.Helper()
	if answer.Has("error") {
		t.Fatalf("an error: %v", answer)
	}
	onlyMembers(t, "the authorization response", answer, "code", "state", "iss", "session_state")
	checkStateAndIssuer(t, issuer, request, answer)
	checkEntropy(t, "code", answer.Get("code"))
}

// checkError checks an error response: state, iss, nothing but what the protocol has, in characters
// that it allows (RFC 6749, 4.1.2.1).
func checkError(t testing.TB, issuer string, request, answer url.Values) {
	t.Helper()
	onlyMembers(t, "the error response", answer, "error", "error_description", "error_uri", "state", "session_state", "iss")
	checkStateAndIssuer(t, issuer, request, answer)
	checkErrorText(t, answer.Get("error"), answer.Get("error_description"), answer.Get("error_uri"))
}

func checkStateAndIssuer(t testing.TB, issuer string, request, answer url.Values) {
	t.Helper()
	for name, want := range map[string][]string{"state": request["state"], "iss": {issuer}} {
		if !slices.Equal(answer[name], want) {
			t.Errorf("%s is %q, want %q", name, answer[name], want)
		}
	}
}

func checkErrorText(t testing.TB, code, description, uri string) {
	t.Helper()
	legal := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]*$`)
	if code == "" || !legal.MatchString(code) || !legal.MatchString(description) {
		t.Errorf("error %q, error_description %q: characters that RFC 6749 does not allow", code, description)
	}
	if u, err := url.Parse(uri); err != nil || uri != "" && !u.IsAbs() {
		t.Errorf("error_uri %q", uri)
	}
}

// checkTokenAnswer checks a token response (RFC 6749, 5.1).
func checkTokenAnswer(t testing.TB, w *wire, scopes []string) {
	t.Helper()
	checkJSON(t, w, 200)
	var m map[string]any
	if err := json.Unmarshal(w.body, &m); err != nil {
		t.Fatal(err)
	}
	onlyMembers(t, "the token response", m, "access_token", "token_type", "expires_in", "scope", "id_token", "refresh_token", "refresh_token_timeout", "authorization_expires_in")
	if m["token_type"] != "Bearer" {
		t.Errorf("token_type %v, want Bearer", m["token_type"])
	}
	if life, ok := m["expires_in"].(float64); !ok || life != math.Trunc(life) || life < 1 || life > 86400 {
		t.Errorf("expires_in %v, want a number of seconds", m["expires_in"])
	}
	granted, _ := m["scope"].(string)
	if !slices.Equal(slices.Sorted(slices.Values(scopeList(granted))), slices.Sorted(slices.Values(scopes))) {
		t.Errorf("scope %q, want %q", granted, scopes)
	}
	_, refresh := m["refresh_token"]
	if refresh != slices.Contains(scopes, "offline_access") {
		t.Errorf("a refresh token: %v, for %v", refresh, scopes)
	}
	for _, name := range []string{"access_token", "refresh_token"} {
		if m[name] != nil {
			checkEntropy(t, name, fmt.Sprint(m[name]))
		}
	}
}

// checkTokenError checks an error of the token endpoint (RFC 6749, 5.2).
func checkTokenError(t testing.TB, w *wire, status int, code string) {
	t.Helper()
	checkJSON(t, w, status)
	var m map[string]any
	if err := json.Unmarshal(w.body, &m); err != nil {
		t.Fatal(err)
	}
	onlyMembers(t, "the error response", m, "error", "error_description", "error_uri", "reference") // the last is ours, for the log; the suite minds no member here
	got, _ := m["error"].(string)
	description, _ := m["error_description"].(string)
	uri, _ := m["error_uri"].(string)
	checkErrorText(t, got, description, uri)
	if got != code {
		t.Errorf("error %q, want %q", got, code)
	}
}

func checkJSON(t testing.TB, w *wire, status int) {
	t.Helper()
	if w.status != status || w.header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %s, want %d application/json: %s", w.status, w.header.Get("Content-Type"), status, w.body)
	}
	if !strings.Contains(w.header.Get("Cache-Control"), "no-store") {
		t.Errorf("the answer may be stored: %q", w.header.Get("Cache-Control"))
	}
}

// checkEntropy refuses what is shorter than 128 bits or not random enough, by Shannon's measure, with
// the suite's allowance for that measure; and characters that RFC 6749, appendix A, does not allow.
func checkEntropy(t testing.TB, name, value string) {
	t.Helper()
	if !regexp.MustCompile(`^[\x20-\x7e]+$`).MatchString(value) {
		t.Errorf("%s has characters that are not printable", name)
	}
	count := map[rune]float64{}
	for _, c := range value {
		count[c]++
	}
	bits := 0.0
	for _, n := range count {
		bits -= n * math.Log2(n/float64(len(value)))
	}
	if len(value)*8 < 128 || bits <= 96 {
		t.Errorf("%s has %d characters and %.0f bits of entropy", name, len(value), bits)
	}
}

// checkSignature finds the one key that the header names, and verifies with that one.
func checkSignature(t testing.TB, keys jose.JSONWebKeySet, token string) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256, jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	head := jws.Signatures[0].Header
	named := keys.Key(head.KeyID)
	if head.KeyID == "" || len(named) != 1 {
		t.Fatalf("kid %q names %d keys of the key set", head.KeyID, len(named))
	}
	if named[0].Algorithm != head.Algorithm {
		t.Errorf("alg %s, the key is for %s", head.Algorithm, named[0].Algorithm)
	}
	if _, err := jws.Verify(named[0].Key); err != nil {
		t.Errorf("signature: %v", err)
	}
}

// idTokenClaims may stand in an ID token that was asked for nothing more.
var idTokenClaims = []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "nbf", "jti", "sid", "s_hash"}

// checkIDToken checks the claims of an ID token (OpenID Connect Core, 2 and 3.1.3.7).
func checkIDToken(t testing.TB, metadata map[string]any, clientID string, now time.Time, id map[string]any, asked []string) {
	t.Helper()
	onlyMembers(t, "the ID token", id, append(slices.Clone(idTokenClaims), asked...)...)
	if id["iss"] != metadata["issuer"] {
		t.Errorf("iss %v, want %v", id["iss"], metadata["issuer"])
	}
	if list, ok := id["aud"].([]any); id["aud"] != clientID && !(ok && len(list) == 1 && list[0] == clientID) {
		t.Errorf("aud %v, want %s", id["aud"], clientID)
	}
	if azp, ok := id["azp"]; ok && azp != clientID {
		t.Errorf("azp %v, want none or %s", azp, clientID)
	}
	sub, _ := id["sub"].(string)
	if !regexp.MustCompile(`^[\x20-\x7e]{1,255}$`).MatchString(sub) {
		t.Errorf("sub %q, want up to 255 ASCII characters", id["sub"])
	}
	const skew = 5 * time.Minute
	checkTime(t, id, "iat", now.Add(-skew), now.Add(skew))
	checkTime(t, id, "exp", now, now.AddDate(50, 0, 0))
	if _, ok := id["auth_time"]; ok {
		checkTime(t, id, "auth_time", now.AddDate(-1, 0, 0), now.Add(skew))
	}
	if acr, ok := id["acr"]; ok {
		supported, _ := metadata["acr_values_supported"].([]any)
		if text, _ := acr.(string); text == "" || !slices.Contains(supported, acr) {
			t.Errorf("acr %v, want a string of %v", acr, supported)
		}
	}
	checkStandardClaims(t, id, now)
}

func checkTime(t testing.TB, m map[string]any, name string, from, to time.Time) {
	t.Helper()
	seconds, ok := m[name].(float64)
	if at := time.Unix(int64(seconds), 0); !ok || seconds != math.Trunc(seconds) || at.Before(from.Truncate(time.Second)) || at.After(to) {
		t.Errorf("%s is %v (%v), want seconds from %v to %v", name, m[name], at.UTC(), from, to)
	}
}

func checkNonce(t testing.TB, id map[string]any, sent string) {
	t.Helper()
	nonce, there := id["nonce"]
	if there != (sent != "") || there && nonce != sent {
		t.Errorf("nonce %v, want %q", nonce, sent)
	}
}

// scopeClaims are those of OpenID Connect Core, 5.4.
var scopeClaims = map[string][]string{
	"openid":  {"sub"},
	"profile": {"name", "given_name", "family_name", "middle_name", "nickname", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at", "preferred_username"},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

// checkUserInfo checks a userinfo answer: every claim of the scopes and of the claims parameter, with
// its right type, and no other.
func checkUserInfo(t testing.TB, info map[string]any, now time.Time, scopes, asked []string) {
	t.Helper()
	want := slices.Clone(asked)
	for _, s := range scopes {
		want = append(want, scopeClaims[s]...)
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(info)); !slices.Equal(got, slices.Compact(want)) {
		t.Errorf("userinfo has %v, want %v", got, want)
	}
	checkStandardClaims(t, info, now)
}

// checkStandardClaims checks the types of OpenID Connect Core, 5.1: what is not there is left out,
// never null or "".
func checkStandardClaims(t testing.TB, m map[string]any, now time.Time) {
	t.Helper()
	for name, value := range m {
		ok := true
		switch text, isText := value.(string); name {
		case "sub", "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "email", "gender", "zoneinfo", "locale", "phone_number":
			ok = isText && strings.TrimSpace(text) != "" && !strings.EqualFold(text, "null")
		case "birthdate":
			ok = isText && regexp.MustCompile(`^(\d{4}|\d{4}-\d{2}-\d{2})$`).MatchString(text)
		case "email_verified", "phone_number_verified":
			_, ok = value.(bool)
		case "updated_at":
			checkTime(t, m, name, time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), now.Add(5*time.Minute))
		case "address":
			parts, isObject := value.(map[string]any)
			onlyMembers(t, "address", parts, "formatted", "street_address", "locality", "region", "postal_code", "country")
			ok = isObject && len(parts) > 0
			for _, part := range parts {
				line, isText := part.(string)
				ok = ok && isText && strings.TrimSpace(line) != ""
			}
		}
		if !ok {
			t.Errorf("the claim %s is %v (%T)", name, value, value)
		}
	}
}

// checkSameSignIn checks two ID tokens of one sign-in: whose, and when it was.
func checkSameSignIn(t testing.TB, first, second map[string]any) {
	t.Helper()
	if first["sub"] != second["sub"] || first["auth_time"] == nil || first["auth_time"] != second["auth_time"] {
		t.Errorf("sub %v at %v, and %v at %v; want the same", first["sub"], first["auth_time"], second["sub"], second["auth_time"])
	}
}

// checkLaterSignIn checks two ID tokens of which the second needed a new sign-in.
func checkLaterSignIn(t testing.TB, first, second map[string]any) {
	t.Helper()
	a, _ := first["auth_time"].(float64)
	b, _ := second["auth_time"].(float64)
	if first["sub"] != second["sub"] || a == 0 || b <= a {
		t.Errorf("sub %v at %v, then %v at %v; want a later time", first["sub"], first["auth_time"], second["sub"], second["auth_time"])
	}
}

// checkRefreshedIDToken checks the ID token of a refresh against the first one (OpenID Connect Core,
// 12.2).
func checkRefreshedIDToken(t testing.TB, first, second map[string]any) {
	t.Helper()
	for _, name := range []string{"iss", "sub", "aud", "auth_time", "azp"} {
		if fmt.Sprint(first[name]) != fmt.Sprint(second[name]) {
			t.Errorf("%s was %v and is %v after the refresh", name, first[name], second[name])
		}
	}
	a, _ := first["iat"].(float64)
	b, _ := second["iat"].(float64)
	if b <= a {
		t.Errorf("iat was %v and is %v after the refresh, want later", first["iat"], second["iat"])
	}
	if nonce, ok := second["nonce"]; ok && nonce != first["nonce"] {
		t.Errorf("nonce %v after the refresh", nonce)
	}
}

// checkChallenge checks the refusal of a protected resource (RFC 6750, 3).
func checkChallenge(t testing.TB, w *wire, status int, code string) {
	t.Helper()
	challenge := w.header.Get("WWW-Authenticate")
	if w.status != status || !strings.HasPrefix(challenge, "Bearer") || code != "" && !strings.Contains(challenge, `error="`+code+`"`) {
		t.Errorf("status %d, WWW-Authenticate %q, want %d with %q", w.status, challenge, status, code)
	}
	if code == "" && strings.Contains(challenge, "error=") {
		t.Errorf("an error without any token: %q", challenge)
	}
}

// onlyMembers fails for everything that is not in the list: extensions are what the suite warns about.
func onlyMembers[V any, M ~map[string]V](t testing.TB, what string, m M, allowed ...string) {
	t.Helper()
	for name := range m {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s has %s, which nobody asked for", what, name)
		}
	}
}

func oidfForm() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
}
