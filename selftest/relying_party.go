package selftest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// RelyingParty is a strict client of a provider: it knows the issuer and its own registration, and
// believes nothing that it has not checked. HTTP must not follow redirects with credentials; nil is
// a client with a timeout.
type RelyingParty struct {
	Issuer      string
	ClientID    string
	Secret      string
	AuthMethod  string // client_secret_basic, client_secret_post or none; "" is basic with a secret, else none
	RedirectURI string
	Scopes      []string // nil is openid, profile, email
	HTTP        *http.Client
}

// Finding is one check of a relying party.
type Finding struct {
	Check   string `json:"check"`
	Promise string `json:"promise"`
	Passed  bool   `json:"passed"`
	Why     string `json:"why,omitempty"` // when it did not
}

// Outcome is what a relying party got, and what it found out about it.
type Outcome struct {
	Findings    []Finding      `json:"findings"`
	Error       string         `json:"error,omitempty"` // of the provider's answer
	Description string         `json:"error_description,omitempty"`
	Scope       string         `json:"scope,omitempty"`
	ExpiresIn   any            `json:"expires_in,omitempty"`
	Refresh     bool           `json:"refresh_token"` // whether one came
	IDToken     *Decoded       `json:"id_token,omitempty"`
	AccessToken *Decoded       `json:"access_token,omitempty"`
	UserInfo    map[string]any `json:"userinfo,omitempty"`

	rawIDToken string
}

// Decoded is a token for people to read. Opaque ones have neither header nor claims; nothing in it
// lets anybody use the token.
type Decoded struct {
	Format string         `json:"format"` // jwt or opaque
	Header map[string]any `json:"header,omitempty"`
	Claims map[string]any `json:"claims,omitempty"`
}

// Failed lists what a strict relying party refuses.
func (o *Outcome) Failed() []Finding {
	return slices.DeleteFunc(slices.Clone(o.Findings), func(f Finding) bool { return f.Passed })
}

// IDTokenHint is the ID token for a sign-out request.
func (o *Outcome) IDTokenHint() string { return o.rawIDToken }

// check adds a finding; err says why it is none to be happy about. It gives back whether it is.
func (o *Outcome) check(id, promise string, err error) bool {
	f := Finding{Check: id, Promise: promise, Passed: err == nil}
	if err != nil {
		f.Why = err.Error()
	}
	o.Findings = append(o.Findings, f)
	return err == nil
}

// provider is what discovery told.
type provider struct {
	oidc *oidc.Provider
	meta struct {
		Token      string   `json:"token_endpoint"`
		Authorize  string   `json:"authorization_endpoint"`
		UserInfo   string   `json:"userinfo_endpoint"`
		EndSession string   `json:"end_session_endpoint"`
		Device     string   `json:"device_authorization_endpoint"`
		JWKS       string   `json:"jwks_uri"`
		Algs       []string `json:"id_token_signing_alg_values_supported"`
		SendsIss   bool     `json:"authorization_response_iss_parameter_supported"`
	}
}

func (rp *RelyingParty) http() *http.Client {
	if rp.HTTP != nil {
		return rp.HTTP
	}
	return &http.Client{Timeout: patience, CheckRedirect: stay}
}

func (rp *RelyingParty) discover(ctx context.Context) (*provider, error) {
	var p provider
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, rp.http()), rp.Issuer) // compares the issuer letter by letter
	if err != nil {
		return nil, fmt.Errorf("the discovery document cannot be used: %w", err)
	}
	p.oidc = found
	if err := found.Claims(&p.meta); err != nil {
		return nil, fmt.Errorf("the discovery document cannot be read: %w", err)
	}
	return &p, nil
}

// SignIn is one authorization request with its secrets.
type SignIn struct {
	URL string // where the browser goes

	rp                     *RelyingParty
	p                      *provider
	state, nonce, verifier string
}

// Begin makes an authorization request with PKCE, state and nonce. More parameters go along as they
// are.
func (rp *RelyingParty) Begin(ctx context.Context, more url.Values) (*SignIn, error) {
	p, err := rp.discover(ctx)
	if err != nil {
		return nil, err
	}
	s := &SignIn{rp: rp, p: p, state: rand.Text(), nonce: rand.Text(), verifier: rand.Text() + rand.Text()}
	q := url.Values{
		"client_id": {rp.ClientID}, "redirect_uri": {rp.RedirectURI}, "response_type": {"code"}, "state": {s.state}, "nonce": {s.nonce},
		"scope":          {strings.Join(rp.scopes(), " ")},
		"code_challenge": {challenge(s.verifier)}, "code_challenge_method": {"S256"},
	}
	for name, values := range more {
		q[name] = values
	}
	s.URL = p.meta.Authorize + "?" + q.Encode()
	return s, nil
}

func (rp *RelyingParty) scopes() []string {
	if len(rp.Scopes) == 0 {
		return []string{"openid", "profile", "email"}
	}
	return rp.Scopes
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Finish takes the parameters with which the browser came back, redeems the code, and checks
// everything that a strict relying party checks. It goes on after a finding where that is possible.
func (s *SignIn) Finish(ctx context.Context, answer url.Values) *Outcome {
	o := &Outcome{Error: answer.Get("error"), Description: answer.Get("error_description")}
	o.check("answer.once", "Every parameter of the answer comes once (RFC 6749, 3.1).", once(answer))
	o.check("answer.state", "The answer carries the state of the request (RFC 6749, 4.1.2).", same("state", answer.Get("state"), s.state))
	iss := same("iss", answer.Get("iss"), s.rp.Issuer)
	if !answer.Has("iss") && !s.p.meta.SendsIss {
		iss = nil
	}
	o.check("answer.iss", "The answer names its issuer (RFC 9207, 2.4).", iss)
	code := answer.Get("code")
	var refused error
	if o.Error != "" {
		refused = fmt.Errorf("it is the error %s: %s", o.Error, o.Description)
	} else if code == "" {
		refused = errors.New("it has no code")
	}
	if !o.check("answer.code", "The answer has a code.", refused) {
		return o
	}
	r, err := s.rp.token(ctx, s.p, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.rp.RedirectURI}, "code_verifier": {s.verifier}})
	if !s.tokens(o, r, err) {
		return o
	}
	s.idToken(ctx, o, r)
	s.userInfo(ctx, o, r.text("access_token"))
	return o
}

// ClientCredentials asks for a token for the client itself (RFC 6749, 4.4). No scope asks for all
// that the client may have.
func (rp *RelyingParty) ClientCredentials(ctx context.Context, scope string) (*Outcome, error) {
	p, err := rp.discover(ctx)
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	o := &Outcome{}
	r, err := rp.token(ctx, p, form)
	if !(&SignIn{rp: rp, p: p}).tokens(o, r, err) {
		return o, nil
	}
	var more error
	if r.text("refresh_token") != "" || r.text("id_token") != "" {
		more = errors.New("a refresh token or an ID token came with it")
	}
	o.check("token.alone", "A client that acts for itself gets an access token only (RFC 6749, 4.4.3).", more)
	return o, nil
}

// EndSessionURL is where the browser goes to sign out (OpenID Connect RP-Initiated Logout 1.0, 2).
// Without back, the provider shows a page of its own.
func (s *SignIn) EndSessionURL(hint, back, state string) (string, error) {
	if s.p.meta.EndSession == "" {
		return "", errors.New("the provider has no end_session_endpoint")
	}
	q := url.Values{"id_token_hint": {hint}, "client_id": {s.rp.ClientID}}
	if back != "" {
		q.Set("post_logout_redirect_uri", back)
		q.Set("state", state)
	}
	return s.p.meta.EndSession + "?" + q.Encode(), nil
}

// tokens checks the token response as such.
func (s *SignIn) tokens(o *Outcome, r *reply, err error) bool {
	if err == nil && r.status != http.StatusOK {
		o.Error, o.Description = r.text("error"), r.text("error_description")
		err = r.unlike("200")
	}
	if !o.check("token.answer", "The token endpoint gives tokens.", err) {
		return false
	}
	var kind, store, lives, access error
	if !strings.EqualFold(r.text("token_type"), "Bearer") {
		kind = fmt.Errorf("it is %q", r.text("token_type"))
	}
	if !strings.Contains(r.header.Get("Cache-Control"), "no-store") {
		store = fmt.Errorf("Cache-Control is %q", r.header.Get("Cache-Control"))
	}
	if n, ok := r.body["expires_in"].(float64); !ok || n <= 0 {
		lives = fmt.Errorf("expires_in is %v", r.body["expires_in"])
	}
	if r.text("access_token") == "" {
		access = errors.New("there is none")
	}
	o.check("token.access", "There is an access token (RFC 6749, 5.1).", access)
	o.check("token.type", "token_type is Bearer (RFC 6750, 4).", kind)
	o.check("token.store", "Nobody keeps a copy of the answer (RFC 6749, 5.1).", store)
	o.check("token.lifetime", "expires_in is a number of seconds (RFC 6749, 5.1).", lives)
	o.Scope, o.ExpiresIn, o.Refresh = r.text("scope"), r.body["expires_in"], r.text("refresh_token") != ""
	o.AccessToken = decoded(r.text("access_token"))
	return access == nil
}

// idToken checks the ID token (OpenID Connect Core, 3.1.3.7).
func (s *SignIn) idToken(ctx context.Context, o *Outcome, r *reply) {
	raw := r.text("id_token")
	if raw == "" {
		var missing error
		if slices.Contains(s.rp.scopes(), "openid") {
			missing = errors.New("there is none, though openid was asked for")
		}
		o.check("id_token.present", "There is an ID token where openid is asked for.", missing)
		return
	}
	o.rawIDToken, o.IDToken = raw, decoded(raw)
	ctx = oidc.ClientContext(ctx, s.rp.http())
	verified, err := s.p.oidc.Verifier(&oidc.Config{ClientID: s.rp.ClientID, SupportedSigningAlgs: s.p.meta.Algs}).Verify(ctx, raw)
	o.check("id_token.verified", "Signature, issuer, audience and expiry of the ID token are right.", err)
	o.check("id_token.key", "The ID token names a key of the key set, of the algorithm that it is signed with.", s.named(ctx, raw))
	if err != nil {
		return
	}
	var nonce, hash, when, party, subject error
	nonce = same("nonce", verified.Nonce, s.nonce)
	if verified.AccessTokenHash == "" {
		hash = errors.New("there is no at_hash")
	} else {
		hash = verified.VerifyAccessToken(r.text("access_token"))
	}
	if age := time.Since(verified.IssuedAt); age < -time.Minute || age > 5*time.Minute {
		when = fmt.Errorf("it says it was made %s, and it is %s here", verified.IssuedAt.UTC().Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
	}
	if azp, ok := o.IDToken.Claims["azp"]; ok && azp != s.rp.ClientID || len(verified.Audience) > 1 {
		party = fmt.Errorf("aud is %v, azp is %v", verified.Audience, azp)
	}
	if n := len(verified.Subject); n == 0 || n > 255 || strings.ContainsFunc(verified.Subject, func(c rune) bool { return c > 127 }) {
		subject = fmt.Errorf("it is %.300q", verified.Subject)
	}
	o.check("id_token.nonce", "The ID token carries the nonce of the request.", nonce)
	o.check("id_token.at_hash", "The ID token is bound to the access token (at_hash).", hash)
	o.check("id_token.iat", "The ID token was made just now; the clocks go alike.", when)
	o.check("id_token.party", "The ID token is for this client alone.", party)
	o.check("id_token.sub", "sub is 1 to 255 ASCII characters (OpenID Connect Core, 2).", subject)
}

// named looks for the key of a token by its id, and verifies with that key alone.
func (s *SignIn) named(ctx context.Context, raw string) error {
	var algs []jose.SignatureAlgorithm
	for _, alg := range s.p.meta.Algs {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	signed, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return err
	}
	r, err := fetch(ctx, s.rp.http(), http.MethodGet, s.p.meta.JWKS, nil, "")
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(r.raw, &set); err != nil {
		return fmt.Errorf("the key set cannot be read: %w", err)
	}
	header := signed.Signatures[0].Header
	keys := set.Key(header.KeyID)
	switch {
	case header.KeyID == "":
		return errors.New("the token names no key")
	case len(keys) != 1:
		return fmt.Errorf("the key set has %d keys named %s", len(keys), header.KeyID)
	case keys[0].Algorithm != "" && keys[0].Algorithm != header.Algorithm:
		return fmt.Errorf("the key %s is for %s, the token is signed with %s", header.KeyID, keys[0].Algorithm, header.Algorithm)
	}
	_, err = signed.Verify(keys[0])
	return err
}

func (s *SignIn) userInfo(ctx context.Context, o *Outcome, access string) {
	if s.p.meta.UserInfo == "" || o.IDToken == nil {
		return
	}
	r, err := fetch(ctx, s.rp.http(), http.MethodGet, s.p.meta.UserInfo, http.Header{"Authorization": {"Bearer " + access}}, "")
	if err == nil && r.status != http.StatusOK {
		err = r.unlike("200")
	}
	if !o.check("userinfo.answer", "Userinfo answers with the access token.", err) {
		return
	}
	if strings.HasPrefix(r.header.Get("Content-Type"), "application/jwt") {
		o.UserInfo = cmp.Or(decoded(string(r.raw)), &Decoded{}).Claims
	} else {
		o.UserInfo = r.body
	}
	sub, _ := o.UserInfo["sub"].(string)
	want, _ := o.IDToken.Claims["sub"].(string)
	o.check("userinfo.sub", "Userinfo speaks of the person of the ID token (OpenID Connect Core, 5.3.2).", same("sub", sub, want))
}

// token sends a form to the token endpoint with the client's credentials (RFC 6749, 2.3.1).
func (rp *RelyingParty) token(ctx context.Context, p *provider, form url.Values) (*reply, error) {
	return fetchAs(ctx, rp.http(), p.meta.Token, credentials{rp.ClientID, rp.Secret, rp.AuthMethod}, nil, form)
}

type credentials struct{ id, secret, method string }

// fetchAs posts a form with a client's credentials.
func fetchAs(ctx context.Context, client *http.Client, address string, c credentials, header http.Header, form url.Values) (*reply, error) {
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	method := c.method
	if method == "" && c.secret != "" {
		method = "client_secret_basic"
	}
	switch method {
	case "client_secret_basic":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.id)+":"+url.QueryEscape(c.secret))))
	case "client_secret_post":
		form = with(form, "client_id", c.id, "client_secret", c.secret)
	default:
		if c.id != "" {
			form = with(form, "client_id", c.id)
		}
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return fetch(ctx, client, http.MethodPost, address, header, form.Encode())
}

// with is a copy of the form with these names and values.
func with(form url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Set(pairs[i], pairs[i+1])
	}
	return out
}

// decoded reads a token without judging it; nil when there is none.
func decoded(token string) *Decoded {
	parts := strings.Split(token, ".")
	d := &Decoded{Format: "jwt"}
	if token == "" {
		return nil
	}
	if len(parts) != 3 || !readPart(parts[0], &d.Header) || !readPart(parts[1], &d.Claims) {
		return &Decoded{Format: "opaque"}
	}
	return d
}

func readPart(part string, into *map[string]any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(raw, into) == nil
}

func once(params url.Values) error {
	for name, values := range params {
		if len(values) > 1 {
			return fmt.Errorf("%s comes %d times", name, len(values))
		}
	}
	return nil
}

func same(name, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %.300q, want %q", name, got, want)
	}
	return nil
}

// reply is what an endpoint answered.
type reply struct {
	method, address string
	status          int
	header          http.Header
	raw             []byte
	body            map[string]any // nil when it is no JSON object
}

const (
	patience = 10 * time.Second // for one answer
	maxReply = 1 << 20
)

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// fetch sends one request and reads its answer.
func fetch(ctx context.Context, client *http.Client, method, address string, header http.Header, body string) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := &reply{method: method, address: address, status: resp.StatusCode, header: resp.Header}
	if r.raw, err = io.ReadAll(io.LimitReader(resp.Body, maxReply)); err != nil {
		return nil, err
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		json.Unmarshal(r.raw, &r.body) // nil tells that it is none
	}
	return r, nil
}

func (r *reply) text(name string) string { s, _ := r.body[name].(string); return s }

// unlike is the error of an answer that is not the one wanted. It quotes errors only: other answers
// may have tokens in them.
func (r *reply) unlike(want string) error {
	u, err := url.Parse(r.address)
	path := r.address
	if err == nil {
		path = u.Path
	}
	got := fmt.Sprintf("%s %s answered %d", r.method, path, r.status)
	switch {
	case r.text("error") != "":
		got += " " + r.text("error") + " (" + r.text("error_description") + ")"
	case r.header.Get("Location") != "":
		got += " to " + withoutQuery(r.header.Get("Location"))
	default:
		got += " as " + cmp.Or(r.header.Get("Content-Type"), "nothing")
	}
	return errors.New(got + ", want " + want)
}

func withoutQuery(address string) string {
	address, _, _ = strings.Cut(address, "?")
	address, _, _ = strings.Cut(address, "#")
	return address
}
