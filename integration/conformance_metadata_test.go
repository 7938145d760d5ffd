package integration

import (
	"encoding/base64"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metadata is the discovery document, and a reader of its lists.
func (w *world) metadata(t testing.TB) (doc reply, list func(name string) []string) {
	t.Helper()
	doc = w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	return doc, func(name string) []string {
		t.Helper()
		values, ok := doc.body[name].([]any)
		if !ok {
			t.Errorf("%s is %v, want a list", name, doc.body[name])
		}
		var out []string
		for _, v := range values {
			out = append(out, v.(string))
		}
		return out
	}
}

func TestMetadataAndKeysAreWhatClientsRelyOn(t *testing.T) { // conformance 2, 3, 5, 7-12, 15, 16
	t.Parallel()
	w := start(t)
	for _, promise := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"the metadata names all endpoints by whole addresses", metadataNamesAllEndpointsByWholeAddresses},
		{"the metadata offers the code flow with S256 alone", metadataOffersTheCodeFlowWithS256Alone},
		{"the metadata lists algorithms that clients have", metadataListsAlgorithmsThatClientsHave},
		{"the metadata says yes or no explicitly", metadataSaysYesOrNoExplicitly},
		{"the metadata speaks of languages by their tags", metadataSpeaksOfLanguagesByTheirTags},
		{"keys are strong and of known kinds", metadataKeysAreStrongAndOfKnownKinds},
	} {
		t.Run(promise.name, func(t *testing.T) { promise.test(t, w) })
	}
}

func metadataNamesAllEndpointsByWholeAddresses(t *testing.T, w *world) { // conformance 2
	doc, _ := w.metadata(t)
	for _, name := range []string{
		"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint", "revocation_endpoint", "introspection_endpoint", "pushed_authorization_request_endpoint", "device_authorization_endpoint",
	} {
		if path, ok := strings.CutPrefix(doc.text(name), w.issuer+"/"); !ok || strings.ContainsAny(path, "?#") {
			t.Errorf("%s = %q, want an address under the issuer", name, doc.text(name))
		}
	}
}

func metadataOffersTheCodeFlowWithS256Alone(t *testing.T, w *world) { // conformance 3, 11, 115
	_, list := w.metadata(t)
	for name, want := range map[string][]string{
		"response_types_supported": {"code"}, "code_challenge_methods_supported": {"S256"}, "grant_types_supported": {"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", deviceGrantType},
	} {
		if got := list(name); !slices.Equal(got, want) {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	for _, mode := range []string{"query", "fragment", "form_post"} {
		if !slices.Contains(list("response_modes_supported"), mode) {
			t.Errorf("response_modes_supported has no %s", mode)
		}
	}
}

func metadataListsAlgorithmsThatClientsHave(t *testing.T, w *world) { // conformance 5, 9, 10
	doc, list := w.metadata(t)
	for name := range doc.body {
		if !strings.HasSuffix(name, "_alg_values_supported") {
			continue
		}
		algs := list(name)
		if !slices.Contains(algs, "RS256") || !slices.Contains(algs, "ES256") {
			t.Errorf("%s = %v, want RS256 and ES256 among them", name, algs)
		}
		for _, alg := range algs {
			if alg == "none" || strings.HasPrefix(alg, "HS") || alg == "RS1" {
				t.Errorf("%s lists %s", name, alg)
			}
		}
	}
	for _, name := range []string{"id_token_signing_alg_values_supported", "request_object_signing_alg_values_supported", "token_endpoint_auth_signing_alg_values_supported", "userinfo_signing_alg_values_supported"} {
		if doc.body[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for _, endpoint := range []string{"token", "revocation"} {
		if got := list(endpoint + "_endpoint_auth_methods_supported"); !slices.Equal(got, []string{"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}) {
			t.Errorf("%s: methods %v", endpoint, got)
		}
	}
}

func metadataSaysYesOrNoExplicitly(t *testing.T, w *world) { // conformance 8, 12
	doc, _ := w.metadata(t)
	for name, want := range map[string]bool{
		"request_parameter_supported": true, "request_uri_parameter_supported": false, "claims_parameter_supported": true, "require_pushed_authorization_requests": false,
		"authorization_response_iss_parameter_supported": true, "backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
	} {
		if got, ok := doc.body[name].(bool); !ok || got != want {
			t.Errorf("%s = %v, want %v", name, doc.body[name], want)
		}
	}
}

func metadataSpeaksOfLanguagesByTheirTags(t *testing.T, w *world) { // conformance 7
	doc, list := w.metadata(t)
	tag := regexp.MustCompile(`^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2}|-[0-9]{3})?$`)
	for _, name := range []string{"ui_locales_supported", "claims_locales_supported"} {
		if doc.body[name] == nil && name == "claims_locales_supported" {
			continue // claims have no languages here
		}
		for _, locale := range list(name) {
			if !tag.MatchString(locale) {
				t.Errorf("%s has %q, want a language tag (BCP 47) in its usual case", name, locale)
			}
		}
	}
	if len(list("claims_supported")) == 0 {
		t.Error("claims_supported is empty")
	}
}

func metadataKeysAreStrongAndOfKnownKinds(t *testing.T, w *world) { // conformance 15, 16
	decode := func(key map[string]any, name string) []byte {
		t.Helper()
		s, _ := key[name].(string)
		raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || len(raw) == 0 {
			t.Errorf("%s of %v is %q, want base64url without padding", name, key["kid"], s)
		}
		return raw
	}
	kinds := map[string]bool{}
	for _, k := range w.send(t, "GET", "/jwks", nil, "").ok().body["keys"].([]any) {
		key := k.(map[string]any)
		alg, _ := key["alg"].(string)
		kinds[alg] = true
		switch key["kty"] {
		case "RSA":
			n := new(big.Int).SetBytes(decode(key, "n"))
			if n.BitLen() < 2048 || alg != "RS256" && alg != "PS256" {
				t.Errorf("an RSA key for %s has %d bits", alg, n.BitLen())
			}
			decode(key, "e")
		case "EC":
			if key["crv"] != "P-256" || alg != "ES256" || len(decode(key, "x")) != 32 || len(decode(key, "y")) != 32 {
				t.Errorf("an EC key: %v", key)
			}
		case "OKP":
			if key["crv"] != "Ed25519" || alg != "EdDSA" || len(decode(key, "x")) != 32 {
				t.Errorf("an OKP key: %v", key)
			}
		default:
			t.Errorf("a key of the kind %v", key["kty"])
		}
	}
	_, list := w.metadata(t)
	for _, alg := range list("id_token_signing_alg_values_supported") {
		if !kinds[alg] {
			t.Errorf("there is no key for %s", alg)
		}
	}
}
