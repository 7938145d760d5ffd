package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/storage"
)

// discoveryDocument puts the issuer in front of the endpoints of the file that says what we
// support.
func discoveryDocument(file []byte, issuer string) ([]byte, error) {
	var doc map[string]any
	if err := decodeStrict(file, &doc); err != nil {
		return nil, err
	}
	doc["issuer"] = issuer
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

// public serves a document that everybody may read, scripts of any origin included.
func public(w http.ResponseWriter, r *http.Request, body []byte, etag, cache string) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Cache-Control", cache)
	h.Set("ETag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	w.Write(body)
	return nil
}

// Preflight answers the CORS preflight of every endpoint that scripts may call: any origin, without
// credentials. Which origin may read the answer is decided when the client is known.
func (o *OAuth) Preflight(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, MCP-Protocol-Version")
	h.Set("Access-Control-Max-Age", "7200")
	h.Set("Vary", "Origin")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// allowOrigin lets scripts of the client's own origins read the answer, errors included. The client
// is the one that the request names; it need not have authenticated yet.
func (o *OAuth) allowOrigin(w http.ResponseWriter, r *http.Request, form url.Values) {
	if r.Header.Get("Origin") == "" {
		return
	}
	id := form.Get("client_id")
	if id == "" {
		id, _, _ = basic(r.Header.Get("Authorization"))
	}
	client, err := o.DB.CachedClient(r.Context(), id)
	if err == nil {
		o.allowClientOrigin(w, r, client)
	}
}

func (o *OAuth) allowClientOrigin(w http.ResponseWriter, r *http.Request, c *storage.Client) {
	w.Header().Add("Vary", "Origin")
	asked := r.Header.Get("Origin")
	if asked == "" || !slices.Contains(origins(c), asked) {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", asked)
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce, Retry-After")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// origins are those that may read answers to a client: the registered ones, else those of its
// redirect URIs.
func origins(c *storage.Client) []string {
	if len(c.AllowedOrigins) > 0 {
		return c.AllowedOrigins
	}
	var list []string
	for _, uri := range c.RedirectURIs {
		if o := origin(uri); o != "" {
			list = append(list, o)
		}
	}
	return list
}
