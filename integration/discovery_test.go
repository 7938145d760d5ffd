package integration

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
)

func TestDiscoveryTellsTheTruth(t *testing.T) { // conformance 1-14; A-065
	t.Parallel()
	w := start(t)
	paths := []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}
	doc := w.send(t, "GET", paths[0], nil, "").ok()
	if other := w.send(t, "GET", paths[1], nil, "").ok(); other.raw != doc.raw {
		t.Error("the two metadata documents differ")
	}
	if doc.text("issuer") != w.issuer || doc.header.Get("Content-Type") != "application/json" || !strings.Contains(doc.header.Get("Cache-Control"), "max-age") {
		t.Errorf("issuer %q, %v", doc.text("issuer"), doc.header)
	}
	for name, value := range doc.body {
		address, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
			continue
		}
		path, ok := strings.CutPrefix(address, w.issuer)
		if !ok {
			t.Errorf("%s = %q is not under the issuer", name, address)
			continue
		}
		if r := w.send(t, "GET", path, nil, ""); r.status == 404 || r.status >= 500 {
			t.Errorf("%s: GET gives %d", name, r.status)
		}
	}
	list := func(name string) []string {
		var out []string
		for _, v := range doc.body[name].([]any) {
			out = append(out, v.(string))
		}
		return out
	}
	for name, never := range map[string][]string{
		"response_types_supported": {"token", "id_token"}, "code_challenge_methods_supported": {"plain"}, "grant_types_supported": {"password", "implicit"},
		"id_token_signing_alg_values_supported": {"none", "HS256"}, "token_endpoint_auth_signing_alg_values_supported": {"none", "HS256"},
	} {
		for _, n := range never {
			if slices.Contains(list(name), n) {
				t.Errorf("%s lists %s", name, n)
			}
		}
	}
	ada := w.person(t, "ada")
	for _, alg := range list("id_token_signing_alg_values_supported") {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.IDTokenAlg = alg })
		_, tokens := a.signIn(w.browser(t), ada)
		w.verifyIDToken(t, a, tokens)
	}
	for _, kind := range list("subject_types_supported") {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.SubjectType = kind })
		_, tokens := a.signIn(w.browser(t), ada)
		if _, id := claims(t, tokens.text("id_token")); (id["sub"] == ada.ID) != (kind == "public") {
			t.Errorf("subject type %s: sub %v", kind, id["sub"])
		}
	}
	all := w.app(t, storage.ClientWeb)
	f, tokens := all.signIn(w.browser(t), ada, "scope", strings.Join(list("scopes_supported"), " "))
	if tokens.text("scope") != f.params.Get("scope") || tokens.refresh() == "" {
		t.Errorf("scope = %q, want every advertised one: %q", tokens.text("scope"), f.params.Get("scope"))
	}
	info := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	_, id := claims(t, tokens.text("id_token"))
	advertised := list("claims_supported")
	for _, c := range advertised {
		if info.body[c] == nil && id[c] == nil {
			t.Errorf("the claim %s is advertised and never given", c)
		}
	}
	for _, c := range append(names(info.body), names(id)...) {
		if !slices.Contains(advertised, c) {
			t.Errorf("the claim %s is given and not advertised", c)
		}
	}
	if !slices.Contains(list("acr_values_supported"), id["acr"].(string)) {
		t.Errorf("acr %v is not advertised", id["acr"])
	}
}

func TestTheKeySetIsPublicAndWellFormed(t *testing.T) { // conformance 15-17; A-067
	t.Parallel()
	w := start(t)
	r := w.send(t, "GET", "/jwks", nil, "").ok()
	if alias := w.send(t, "GET", "/.well-known/jwks.json", nil, "").ok(); alias.raw != r.raw {
		t.Error("the alias differs")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(r.raw), &set); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, k := range set.Keys {
		if !k.IsPublic() || !k.Valid() || k.KeyID == "" || k.Use != "sig" || k.Algorithm == "" || seen[k.KeyID] {
			t.Errorf("key %q %s: public %v, use %q", k.KeyID, k.Algorithm, k.IsPublic(), k.Use)
		}
		seen[k.KeyID] = true
	}
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"k"`} {
		if strings.Contains(r.raw, private+":") {
			t.Errorf("the key set has the private member %s", private)
		}
	}
}

func TestOtherWellKnownDocuments(t *testing.T) {
	t.Parallel()
	w := start(t)
	if r := w.send(t, "GET", "/.well-known/change-password", nil, ""); r.status != 302 || r.header.Get("Location") != w.issuer+"/account/security#password" {
		t.Errorf("change-password: %d to %q", r.status, r.header.Get("Location"))
	}
	if r := w.send(t, "GET", "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200", nil, ""); r.status != 404 {
		t.Errorf("the probe for reliable status codes: %d, want 404", r.status)
	}
	if r := w.send(t, "GET", "/.well-known/security.txt", nil, ""); r.status != 404 {
		t.Errorf("security.txt without a contact: %d, want 404", r.status)
	}
}

func TestMetadataAndKeysAreCached(t *testing.T) { // RFC 9110, 13.1.2 and 15.4.5
	t.Parallel()
	w := start(t)
	for path, life := range map[string]string{
		"/.well-known/openid-configuration": "max-age=300", "/.well-known/oauth-authorization-server": "max-age=300",
		"/jwks": "max-age=900", "/.well-known/jwks.json": "max-age=900", "/.well-known/oauth-protected-resource": "max-age=300",
	} {
		full := w.send(t, "GET", path, nil, "").ok()
		etag := full.header.Get("ETag")
		for _, tc := range []struct {
			method, condition string
			status            int
		}{
			{"GET", etag, 304}, {"GET", "W/" + etag, 304}, {"GET", "*", 304}, {"GET", `"other", W/"more", ` + etag, 304}, {"HEAD", etag, 304},
			{"GET", `"other"`, 200}, {"GET", strings.Trim(etag, `"`), 200}, {"HEAD", `"other"`, 200}, {"HEAD", "", 200},
		} {
			header := http.Header{}
			if tc.condition != "" {
				header.Set("If-None-Match", tc.condition)
			}
			r := w.send(t, tc.method, path, header, "")
			if r.status != tc.status || (r.status == 304 || tc.method == "HEAD") != (r.raw == "") {
				t.Errorf("%s %s with %s: %d with %d bytes, want %d", tc.method, path, tc.condition, r.status, len(r.raw), tc.status)
			}
			for _, name := range []string{"ETag", "Cache-Control", "Access-Control-Allow-Origin", "Cross-Origin-Resource-Policy"} {
				if r.header.Get(name) != full.header.Get(name) {
					t.Errorf("%s %s with %s: %s = %q, want %q", tc.method, path, tc.condition, name, r.header.Get(name), full.header.Get(name))
				}
			}
		}
		if got := full.header.Get("Cache-Control"); !strings.Contains(got, "public") || !strings.Contains(got, life) || full.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: Cache-Control %q, %s", path, got, full.header.Get("Content-Type"))
		}
	}
}
