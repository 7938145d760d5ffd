package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// discoveryDocument puts the issuer in front of the endpoints of the file that says what we
// support, and drops what is switched off.
func discoveryDocument(file []byte, issuer string, signUp, registration bool) ([]byte, error) {
	var doc map[string]any
	if err := decodeStrict(file, &doc); err != nil {
		return nil, err
	}
	doc["issuer"] = issuer
	if doc["protected_resources"] != nil { // RFC 9728, 4: our own API; those of others are not ours to tell
		doc["protected_resources"] = []string{issuer}
	}
	for name, value := range doc {
		path, ok := value.(string)
		if !ok || name == "issuer" {
			continue
		}
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%s is not a path: %q", name, path)
		}
		doc[name] = issuer + path
	}
	if prompts, ok := doc["prompt_values_supported"].([]any); ok && !signUp {
		doc["prompt_values_supported"] = slices.DeleteFunc(prompts, func(p any) bool { return p == "create" })
	}
	if !registration {
		delete(doc, "registration_endpoint")
	}
	return json.MarshalIndent(doc, "", "  ")
}

func etagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// Discovery serves the metadata of OpenID Connect Discovery and RFC 8414: one document, at every
// place where clients look for it.
func (o *OAuth) Discovery(w http.ResponseWriter, r *http.Request) error {
	return public(w, r, o.discovery, o.etag, "public, max-age=300")
}

// JWKS serves the public keys (RFC 7517).
func (o *OAuth) JWKS(w http.ResponseWriter, r *http.Request) error {
	ring := o.keys.Load()
	if len(ring.verify) == 0 {
		return notReady(errNoKey)
	}
	return public(w, r, ring.jwks, ring.etag, "public, max-age=900, stale-while-revalidate=3600")
}

// public serves a document that everybody may read.
func public(w http.ResponseWriter, r *http.Request, body []byte, etag, cache string) error {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Cache-Control", cache)
	h.Set("ETag", etag)
	if hasETag(r.Header.Values("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	w.Write(body)
	return nil
}

// hasETag is the weak comparison of If-None-Match (RFC 9110, 13.1.2).
func hasETag(lines []string, etag string) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") { // ours have no comma
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}
