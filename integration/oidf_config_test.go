package integration

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/language"
)

// The plan oidcc-config-certification-test-plan with server_metadata=discovery and
// client_registration=static_client, and the modules of the logout plans that look at metadata.
//
// Not to be tested here: that the certificate is one that the world believes, and TLS versions.

func TestOIDFConfigPlan(t *testing.T) {
	runPlan(t, false, []oidfModule{
		{"oidcc-discovery-endpoint-verification", discoveryEndpointVerification},
		{"oidcc-rp-initiated-logout-discovery-endpoint-verification", logoutDiscovery()},
		{"oidcc-backchannel-logout-discovery-endpoint-verification", logoutDiscovery("backchannel_logout_supported", "backchannel_logout_session_supported")},
		{"oidcc-frontchannel-logout-discovery-endpoint-verification", logoutDiscovery("frontchannel_logout_supported", "frontchannel_logout_session_supported")},
	})
}

// The members that the suite knows: those of the registry "OAuth Authorization Server Metadata", and of
// OpenID Connect. Every other one costs a warning.
var registeredMetadata = strings.Fields(`
	issuer authorization_endpoint token_endpoint jwks_uri registration_endpoint scopes_supported response_types_supported
	response_modes_supported grant_types_supported token_endpoint_auth_methods_supported token_endpoint_auth_signing_alg_values_supported
	service_documentation ui_locales_supported op_policy_uri op_tos_uri revocation_endpoint revocation_endpoint_auth_methods_supported
	revocation_endpoint_auth_signing_alg_values_supported introspection_endpoint introspection_endpoint_auth_methods_supported
	introspection_endpoint_auth_signing_alg_values_supported code_challenge_methods_supported signed_metadata
	device_authorization_endpoint tls_client_certificate_bound_access_tokens mtls_endpoint_aliases
	userinfo_endpoint acr_values_supported subject_types_supported id_token_signing_alg_values_supported
	id_token_encryption_alg_values_supported id_token_encryption_enc_values_supported userinfo_signing_alg_values_supported
	userinfo_encryption_alg_values_supported userinfo_encryption_enc_values_supported request_object_signing_alg_values_supported
	request_object_encryption_alg_values_supported request_object_encryption_enc_values_supported display_values_supported
	claim_types_supported claims_supported claims_locales_supported claims_parameter_supported request_parameter_supported
	request_uri_parameter_supported require_request_uri_registration require_signed_request_object
	pushed_authorization_request_endpoint require_pushed_authorization_requests introspection_signing_alg_values_supported
	introspection_encryption_alg_values_supported introspection_encryption_enc_values_supported
	authorization_response_iss_parameter_supported check_session_iframe frontchannel_logout_supported
	backchannel_logout_supported backchannel_logout_session_supported frontchannel_logout_session_supported end_session_endpoint
	backchannel_token_delivery_modes_supported backchannel_authentication_endpoint
	backchannel_authentication_request_signing_alg_values_supported backchannel_user_code_parameter_supported
	authorization_details_types_supported dpop_signing_alg_values_supported client_registration_types_supported
	federation_registration_endpoint signed_jwks_uri jwks organization_name contacts logo_uri protected_resources
	authorization_signing_alg_values_supported prompt_values_supported client_id_metadata_document_supported`)

// draftMetadata are members of drafts that no registry has yet. A run of the suite names them in
// server.allow_unexpected_metadata_fields, which takes their warning away.
var draftMetadata = []string{
	"refresh_token_expiration_types_supported", // draft-ietf-oauth-refresh-token-expiration
}

func discoveryEndpointVerification(t *testing.T, s *oidf) {
	s.fetch(t, "GET", s.w.issuer+"/.well-known/openid-configuration", http.Header{"Origin": {"https://spa.test"}}, "")
	if s.wire.status != 200 || s.wire.header.Get("Content-Type") != "application/json" || s.wire.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d, %v", s.wire.status, s.wire.header)
	}
	doc := s.json(t)
	checkIssuer(t, s.w.issuer, doc["issuer"])
	onlyMembers(t, "the metadata", doc, append(slices.Clone(registeredMetadata), draftMetadata...)...)
	checkEndpoints(t, doc)
	for name, value := range doc { // the structure that the suite's schema asks for
		ok := true
		switch {
		case strings.HasSuffix(name, "_parameter_supported"), strings.HasSuffix(name, "logout_supported"), strings.HasSuffix(name, "session_supported"), strings.HasPrefix(name, "require_"), strings.HasSuffix(name, "document_supported"):
			_, ok = value.(bool)
		case strings.HasSuffix(name, "_supported"):
			ok = len(metadataList(t, doc, name)) > 0
		}
		if !ok {
			t.Errorf("%s is %v (%T)", name, value, value)
		}
	}
	for name, want := range map[string][]string{
		"response_types_supported": {"code"}, "subject_types_supported": {"public"}, "id_token_signing_alg_values_supported": {"RS256"},
		"request_object_signing_alg_values_supported": {"RS256"}, "scopes_supported": {"openid"}, "claims_supported": {"sub"},
		"grant_types_supported": {"authorization_code", "refresh_token"}, "code_challenge_methods_supported": {"S256"},
		"token_endpoint_auth_methods_supported":            {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
		"token_endpoint_auth_signing_alg_values_supported": {"RS256"}, "response_modes_supported": {"query", "form_post"},
	} {
		for _, value := range want {
			if !slices.Contains(metadataList(t, doc, name), value) {
				t.Errorf("%s lacks %s", name, value)
			}
		}
	}
	for _, name := range []string{"request_parameter_supported", "request_uri_parameter_supported", "claims_parameter_supported", "authorization_response_iss_parameter_supported"} {
		if _, ok := doc[name].(bool); !ok { // some of their defaults surprise clients
			t.Errorf("%s is not said", name)
		}
	}
	for _, scope := range metadataList(t, doc, "scopes_supported") {
		if !regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`).MatchString(scope) {
			t.Errorf("scope %q is none (RFC 6749, 3.3)", scope)
		}
	}
	for _, name := range []string{"ui_locales_supported", "claims_locales_supported"} {
		if doc[name] == nil {
			continue
		}
		for _, locale := range metadataList(t, doc, name) {
			if tag, err := language.Parse(locale); err != nil || tag.String() != locale {
				t.Errorf("%s: %q is written %q (%v)", name, locale, tag, err)
			}
		}
	}
	checkKeySet(t, s)
}

// checkIssuer: where the document was found, an https URL without query, fragment and user name, and no
// slash at its end that the ID token's iss has not.
func checkIssuer(t testing.TB, found string, issuer any) {
	t.Helper()
	text, _ := issuer.(string)
	u, err := url.Parse(text)
	if text != found || err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		t.Errorf("issuer %v, found at %s", issuer, found)
	}
}

// checkEndpoints: every address is absolute and https.
func checkEndpoints(t testing.TB, doc map[string]any) {
	t.Helper()
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint"} {
		if doc[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	for name, value := range doc {
		if !strings.HasSuffix(name, "_endpoint") && !strings.HasSuffix(name, "_uri") && !strings.HasSuffix(name, "_iframe") {
			continue
		}
		text, _ := value.(string)
		if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
			t.Errorf("%s is %v, want an https address", name, value)
		}
	}
}

func metadataList(t testing.TB, doc map[string]any, name string) []string {
	t.Helper()
	list, ok := doc[name].([]any)
	if !ok {
		t.Errorf("%s is %v, want an array", name, doc[name])
	}
	var out []string
	for _, v := range list {
		text, ok := v.(string)
		if !ok || slices.Contains(out, text) {
			t.Errorf("%s has %v (%T), twice or not as a string", name, v, v)
		}
		out = append(out, text)
	}
	return out
}

// checkKeySet: public keys only, each for itself usable, told apart by kid, in base64url without padding.
func checkKeySet(t testing.TB, s *oidf) {
	t.Helper()
	s.fetch(t, "GET", s.endpoint(t, "jwks_uri"), http.Header{"Origin": {"https://spa.test"}}, "")
	if s.wire.status != 200 || !strings.HasPrefix(s.wire.header.Get("Content-Type"), "application/") || s.wire.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("jwks_uri: %d, %v", s.wire.status, s.wire.header)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(s.wire.body, &set); err != nil {
		t.Fatal(err)
	}
	required := map[string][]string{"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
	seen := map[any]bool{}
	for _, key := range set.Keys {
		kind, _ := key["kty"].(string)
		onlyMembers(t, "a public key", key, append([]string{"kty", "kid", "use", "alg", "x5c", "x5t", "x5u", "x5t#S256", "key_ops"}, required[kind]...)...)
		if required[kind] == nil || key["use"] != "sig" || key["alg"] == nil || key["kid"] == nil || key["kid"] == "" || seen[key["kid"]] {
			t.Errorf("kty %v, use %v, alg %v, kid %v", key["kty"], key["use"], key["alg"], key["kid"])
		}
		seen[key["kid"]] = true
		for _, name := range required[kind] {
			text, _ := key[name].(string)
			if _, err := base64.RawURLEncoding.Strict().DecodeString(text); name != "crv" && (text == "" || err != nil) {
				t.Errorf("%s of key %v is %q: %v", name, key["kid"], text, err)
			}
		}
	}
	s.fetchKeys(t) // as a JOSE library takes them
	algs := map[string]bool{}
	for _, key := range s.keys.Keys {
		if !key.Valid() || !key.IsPublic() {
			t.Errorf("key %s is not a valid public key", key.KeyID)
		}
		switch k := key.Key.(type) {
		case *rsa.PublicKey:
			if k.N.BitLen() < 2048 || k.E < 3 {
				t.Errorf("key %s has %d bits", key.KeyID, k.N.BitLen())
			}
		case *ecdsa.PublicKey:
			if k.Curve.Params().BitSize < 256 {
				t.Errorf("key %s is on %s", key.KeyID, k.Curve.Params().Name)
			}
		case ed25519.PublicKey:
		default:
			t.Errorf("key %s is a %T", key.KeyID, key.Key)
		}
		algs[key.Algorithm] = true
	}
	for _, alg := range metadataList(t, s.metadata, "id_token_signing_alg_values_supported") {
		if !algs[alg] {
			t.Errorf("no key for %s, which is advertised", alg)
		}
	}
}

// logoutDiscovery checks the metadata of a logout plan: those members are true.
func logoutDiscovery(members ...string) func(t *testing.T, s *oidf) {
	return func(t *testing.T, s *oidf) {
		checkEndpoints(t, s.metadata)
		for _, name := range members {
			if s.metadata[name] != true {
				t.Errorf("%s is %v", name, s.metadata[name])
			}
		}
	}
}
