package demo

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is a small identity provider: real enough for the libraries to
// verify what it signs, and obedient enough to misbehave when a test asks.
type issuer struct {
	*httptest.Server
	key    *rsa.PrivateKey
	client Client
	down   atomic.Bool

	mu        sync.Mutex
	codes     map[string]url.Values // code to the authorize request it answers
	refresh   string                // the refresh token that is good now
	scope     string
	nonce     string            // put into the ID token instead of the right one
	refuse    map[string]string // answer of the token endpoint, if set
	userinfos int
}

func newIssuer(t *testing.T, client Client) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key, client: client, codes: make(map[string]url.Values)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"userinfo_endpoint": i.URL + "/userinfo", "jwks_uri": i.URL + "/jwks", "end_session_endpoint": i.URL + "/logout",
			"id_token_signing_alg_values_supported":          []string{"RS256"},
			"authorization_response_iss_parameter_supported": true,
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		i.userinfos++
		i.mu.Unlock()
		writeJSON(w, 200, map[string]any{"sub": "usr_1", "email": "ada@example.org", "email_verified": true, "name": `Ada <b>Lovelace</b>`})
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

// approve answers an authorize request with a code.
func (i *issuer) approve(request url.Values) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	code := rand.Text()
	i.codes[code] = request
	return code
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.refuse != nil {
		writeJSON(w, 400, i.refuse)
		return
	}
	// RFC 6749, 2.3.1: both halves are form-encoded first.
	id, encoded, _ := r.BasicAuth()
	if secret, err := url.QueryUnescape(encoded); err != nil || id != i.client.ID || secret != i.client.Secret {
		writeJSON(w, 401, map[string]string{"error": "invalid_client"})
		return
	}
	nonce := ""
	switch r.FormValue("grant_type") {
	case "authorization_code":
		request, ok := i.codes[r.FormValue("code")]
		delete(i.codes, r.FormValue("code"))
		challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if !ok || request.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) || request.Get("redirect_uri") != r.FormValue("redirect_uri") {
			writeJSON(w, 400, map[string]string{"error": "invalid_grant"})
			return
		}
		nonce, i.scope = request.Get("nonce"), request.Get("scope")
	case "refresh_token":
		if i.refresh == "" || r.FormValue("refresh_token") != i.refresh {
			writeJSON(w, 400, map[string]string{"error": "invalid_grant", "error_description": "The refresh token is no longer good."})
			return
		}
	}
	if i.nonce != "" {
		nonce = i.nonce
	}
	access := "at_" + rand.Text()
	hash := sha256.Sum256([]byte(access))
	now := time.Now()
	body := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 600, "scope": i.scope,
		"id_token": i.sign(map[string]any{
			"iss": i.URL, "sub": "usr_1", "aud": i.client.ID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"auth_time": now.Unix(), "nonce": nonce, "sid": "sid-1", "at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
		}),
	}
	i.refresh = "rt_" + rand.Text()
	body["refresh_token"] = i.refresh
	writeJSON(w, 200, body)
}

func (i *issuer) sign(claims map[string]any) string { return i.signAs("JWT", claims) }

func (i *issuer) signAs(typ string, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
