package selftest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"crypto/rand"

	"github.com/go-jose/go-jose/v4"
)

// issued are the checks that nearly all others rest on.
var issued = []string{"discovery.issuer", "discovery.endpoints"}

func needs(ids ...string) []string { return slices.Concat(issued, ids) }

const wellKnown = "/.well-known/openid-configuration"

var discoveryChecks = []Check{
	{"discovery.document", "The discovery document is where apps look for it.", "GET " + wellKnown + " below the issuer, past all caches.",
		"Have the proxy pass all paths of the host to the provider, with the Host header as the browser sent it; compare the issuer with IDP_ISSUER of the server.", nil,
		func(r *run) (err error) {
			// A name that nobody asked for before is in no cache.
			r.docReply, err = r.get(r.issuer+wellKnown+"?selftest="+rand.Text(), http.Header{"Cache-Control": {"no-cache"}})
			if err != nil {
				return err
			}
			r.doc = r.docReply.body
			if r.doc == nil {
				return r.docReply.unlike("200 with JSON")
			}
			return r.docReply.want(http.StatusOK, "")
		}},
	{"discovery.issuer", "The issuer in it is the one that apps were given, letter by letter.", "Compare issuer with the address that was asked.",
		"Give apps the issuer as IDP_ISSUER has it: scheme, host, port and path, no slash at the end. If the scheme differs, nothing between may rewrite the body of answers.",
		[]string{"discovery.document"}, func(r *run) error { return same("issuer", r.endpoint("issuer"), r.issuer) }},
	{"discovery.endpoints", "All endpoints are below the issuer.", "Compare the beginning of every *_endpoint and jwks_uri.",
		"Nothing between may rewrite the body of answers; switch off substitution (sub_filter, mod_substitute) for this host.",
		[]string{"discovery.issuer"}, func(r *run) error {
			for name := range r.doc {
				if (strings.HasSuffix(name, "_endpoint") || name == "jwks_uri") && !strings.HasPrefix(r.endpoint(name), r.issuer+"/") {
					return fmt.Errorf("%s is %q", name, r.endpoint(name))
				}
			}
			for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint", "revocation_endpoint", "introspection_endpoint", "pushed_authorization_request_endpoint"} {
				if r.endpoint(name) == "" {
					return fmt.Errorf("there is no %s", name)
				}
			}
			return nil
		}},
	{"discovery.strict", "It advertises nothing that is unsafe.", "Look for implicit responses, plain PKCE, and none or HMAC signatures.",
		"Run a released version of the provider: this document is its own.", issued, func(r *run) error {
			for name, never := range map[string][]string{
				"response_types_supported": {"token", "id_token", "id_token token"}, "code_challenge_methods_supported": {"plain"},
				"grant_types_supported": {"password", "implicit"}, "id_token_signing_alg_values_supported": {"none", "HS256"},
			} {
				if len(r.list(name)) == 0 {
					return fmt.Errorf("%s is missing", name)
				}
				for _, value := range never {
					if slices.Contains(r.list(name), value) {
						return fmt.Errorf("%s has %s", name, value)
					}
				}
			}
			return nil
		}},
	{"discovery.oauth", "Apps that follow RFC 8414 find the same document.", "GET /.well-known/oauth-authorization-server, before the path of the issuer.",
		"Have the proxy pass /.well-known/ of the host to the provider, also where the issuer has a path.", issued, func(r *run) error {
			address := r.site.Scheme + "://" + r.site.Host + "/.well-known/oauth-authorization-server" + r.site.Path + "?selftest=" + rand.Text()
			other, err := r.get(address, nil)
			if err != nil {
				return err
			}
			if string(other.raw) != string(r.docReply.raw) {
				return fmt.Errorf("it differs (status %d)", other.status)
			}
			return nil
		}},
	{"discovery.fresh", "Caches on the way give the present document.", "Compare what a cache may answer with what the provider answers, and look at its Age.",
		"Empty the cache of the proxy or CDN for /.well-known/, and let it follow Cache-Control.", issued, func(r *run) error {
			kept, err := r.get(r.issuer+wellKnown, nil)
			if err != nil {
				return err
			}
			if string(kept.raw) != string(r.docReply.raw) {
				return errors.New("a cache on the way gives another document than the provider")
			}
			if age, err := strconv.Atoi(kept.header.Get("Age")); err == nil && age > 3600 {
				return fmt.Errorf("a cache on the way keeps it for %s already", time.Duration(age)*time.Second)
			}
			return nil
		}},
	{"discovery.cache", "Apps may keep the documents for some minutes.", "Look at Cache-Control of discovery document and keys.",
		"Do not set or remove Cache-Control in the proxy.", issued, func(r *run) error {
			for _, address := range []string{r.issuer + wellKnown, r.endpoint("jwks_uri")} {
				doc, err := r.get(address, nil)
				if err != nil {
					return err
				}
				if c := doc.header.Get("Cache-Control"); !strings.Contains(c, "max-age=") || strings.Contains(c, "no-store") {
					return fmt.Errorf("Cache-Control of %s is %q", withoutQuery(address), c)
				}
			}
			return nil
		}},
	{"discovery.etag", "Apps that have the document already are told so.", "Ask again with the ETag of the first answer.",
		"Let ETag and If-None-Match through; compression in the proxy should not remove the tag.", issued, func(r *run) error {
			first, err := r.get(r.issuer+wellKnown, nil)
			if err != nil {
				return err
			}
			again, err := r.get(r.issuer+wellKnown, http.Header{"If-None-Match": {first.header.Get("ETag")}})
			if err != nil {
				return err
			}
			return again.want(http.StatusNotModified, "")
		}},
	{"discovery.clock", "The clocks here and there go alike.", "Compare the Date of the answer with the time here.",
		"Run NTP on both machines: apps refuse tokens from the future.", issued, func(r *run) error {
			date, err := http.ParseTime(r.docReply.header.Get("Date"))
			if err != nil {
				return skip("the answer has no Date")
			}
			if off := time.Since(date).Abs(); off > time.Minute {
				return fmt.Errorf("they differ by %s", off.Round(time.Second))
			}
			return nil
		}},
	{"keys.forms", "The key set has public keys only, each with its own id.", "Read jwks_uri and every key in it.",
		"Have the proxy pass the path of jwks_uri to the provider; if it does, run idp keys list.", issued, func(r *run) error {
			set, answer, err := r.keys()
			if err != nil {
				return err
			}
			seen := map[string]bool{}
			for _, k := range set.Keys {
				if !k.Valid() || !k.IsPublic() || k.KeyID == "" || seen[k.KeyID] || k.Use != "sig" || k.Algorithm == "" {
					return fmt.Errorf("the key %q is private, unnamed, named twice or without use or alg", k.KeyID)
				}
				seen[k.KeyID] = true
			}
			if len(set.Keys) == 0 {
				return answer.unlike("keys")
			}
			return nil
		}},
	{"keys.algorithms", "There is a key for each advertised algorithm.", "Compare id_token_signing_alg_values_supported with the keys.",
		"Run idp keys list; a revoked key without a successor is replaced by idp keys rotate.", needs("keys.forms"), func(r *run) error {
			set, _, err := r.keys()
			if err != nil {
				return err
			}
			for _, alg := range r.list("id_token_signing_alg_values_supported") {
				if !slices.ContainsFunc(set.Keys, func(k jose.JSONWebKey) bool { return k.Algorithm == alg }) {
					return fmt.Errorf("there is none for %s", alg)
				}
			}
			return nil
		}},
}

func (r *run) keys() (set jose.JSONWebKeySet, answer *reply, err error) {
	if answer, err = r.get(r.endpoint("jwks_uri"), nil); err != nil {
		return set, answer, err
	}
	if err := json.Unmarshal(answer.raw, &set); err != nil {
		return set, answer, answer.unlike("a key set")
	}
	return set, answer, nil
}
