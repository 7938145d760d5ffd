package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"idp/storage"
	"idp/web"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// credentials is how a client says who it is. Exactly one method may be used (RFC 6749, 2.3).
type credentials struct {
	clientID string
	method   string // client_secret_basic, client_secret_post, private_key_jwt or none
	secret   string // the secret or the assertion
}

func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	var found []credentials
	if header := r.Header.Get("Authorization"); header != "" {
		id, secret, ok := basic(header)
		if !ok || len(r.Header.Values("Authorization")) > 1 {
			return credentials{method: "client_secret_basic"}, errors.New("the Authorization header is not Basic, or not well-formed")
		}
		found = append(found, credentials{id, "client_secret_basic", secret})
	}
	if form.Has("client_secret") {
		found = append(found, credentials{form.Get("client_id"), "client_secret_post", form.Get("client_secret")})
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		if form.Get("client_assertion_type") != assertionType {
			return credentials{}, invalidRequest("The client_assertion_type is not one we know.")
		}
		id := assertionSubject(form.Get("client_assertion"))
		found = append(found, credentials{id, "private_key_jwt", form.Get("client_assertion")})
	}
	switch len(found) {
	case 0:
		if !form.Has("client_id") {
			return credentials{}, errors.New("no client credentials were sent")
		}
		return credentials{form.Get("client_id"), "none", ""}, nil
	case 1:
		if form.Has("client_id") && form.Get("client_id") != found[0].clientID {
			return found[0], errors.New("client_id is not the client that authenticates")
		}
		return found[0], nil
	}
	return credentials{}, invalidRequest("Only one method of client authentication may be used.")
}

// basic decodes a Basic header (RFC 6749, 2.3.1: both halves are form-encoded first).
func basic(header string) (id, secret string, ok bool) {
	scheme, value, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return "", "", false
	}
	id, secret, ok = strings.Cut(string(raw), ":")
	if !ok {
		return "", "", false
	}
	if id, err = url.QueryUnescape(id); err != nil {
		return "", "", false
	}
	if secret, err = url.QueryUnescape(secret); err != nil {
		return "", "", false
	}
	return id, secret, len(id) <= paramLimits["client_id"] && len(secret) <= paramLimits["client_secret"] && plainText(id)
}

// authenticate finds out which client asks, and makes sure it is that one. What a caller hears of
// a failure does not tell whether the client exists.
func (o *OAuth) authenticate(w http.ResponseWriter, r *http.Request, form url.Values) (*storage.Client, error) {
	ctx := r.Context()
	cred, err := readCredentials(r, form)
	var face *web.Error
	if errors.As(err, &face) {
		return nil, err
	}
	if err != nil {
		return nil, invalidClient(w, cred, err)
	}
	web.Note(ctx, "client_id", cred.clientID)
	client, err := o.DB.CachedClient(ctx, cred.clientID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, invalidClient(w, cred, err)
	}
	if err != nil {
		return nil, err
	}
	o.allowClientOrigin(w, r, client)
	key := client.ID + " " + web.ClientNetwork(ctx)
	if wait := o.failures.wait(key, o.Now()); wait > 0 && !client.Public() { // a public client has nothing to guess
		return nil, &web.Error{Status: http.StatusTooManyRequests, Code: "temporarily_unavailable", RetryAfter: wait,
			Message: "Too many failed attempts to authenticate this client from this address. Wait, then try again with the right credentials."}
	}
	problem := o.prove(ctx, client, cred, true)
	if problem != nil && !storage.Unavailable(problem) {
		// The cached client may be older than its newest secret or key.
		fresh, err := o.DB.Client(ctx, cred.clientID)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		if err == nil && fresh.Version != client.Version {
			client, problem = fresh, o.prove(ctx, fresh, cred, true)
		}
	}
	if _, fetching := keysUnavailable(problem); fetching || storage.Unavailable(problem) {
		return nil, problem
	}
	if problem != nil {
		if _, knows := errors.AsType[*otherMethod](problem); !knows {
			o.failures.add(key, o.Now())
		}
		return nil, invalidClient(w, cred, problem)
	}
	return client, nil
}

// refreshClient reads a client anew, after it has changed since it authenticated in this request. The
// same credentials must hold for it as it is now; an assertion is not spent a second time.
func (o *OAuth) refreshClient(w http.ResponseWriter, r *http.Request, form url.Values, old *storage.Client) (*storage.Client, error) {
	fresh, err := o.DB.Client(r.Context(), old.ID)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	cred, problem := readCredentials(r, form)
	if problem == nil {
		problem = err
	}
	if problem == nil {
		problem = o.prove(r.Context(), fresh, cred, false)
	}
	if _, fetching := keysUnavailable(problem); fetching {
		return nil, problem
	}
	if problem != nil {
		o.DB.ForgetClient(old.ID)
		return nil, invalidClient(w, cred, problem)
	}
	return fresh, nil
}

// prove checks the credentials against one version of the client, and spends an assertion.
func (o *OAuth) prove(ctx context.Context, c *storage.Client, cred credentials, spend bool) error {
	if c.DisabledAt != nil {
		return errors.New("the client is disabled")
	}
	if c.AuthMethod != cred.method {
		err := fmt.Errorf("the client used %s, registered is %s", cred.method, c.AuthMethod)
		if strings.HasPrefix(cred.method, "client_secret_") && strings.HasPrefix(c.AuthMethod, "client_secret_") && c.SecretIs(cred.secret, o.Now()) {
			err = &otherMethod{err}
		}
		return err
	}
	switch cred.method {
	case "none":
		return nil
	case "private_key_jwt":
		claims, err := o.readAssertion(ctx, c, cred.secret)
		if err != nil || !spend {
			return err
		}
		return o.spendAssertion(ctx, c, claims)
	}
	now := o.Now()
	live := c.LiveSecret(cred.secret, now)
	if live == nil {
		return errors.New("the secret is wrong, or it has ended")
	}
	o.secretUses.note(c.ID, live.Hash, now)
	return nil
}

// otherMethod is a failure of a client that knows its secret. Some libraries find out by trying which
// way the secret is sent, in each process anew (x/oauth2), so it counts as no attempt to guess. The
// caller hears what everybody hears.
type otherMethod struct{ error }

// invalidClient answers RFC 6749, 5.2: 401, with a challenge when the client used the header.
func invalidClient(w http.ResponseWriter, cred credentials, cause error) error {
	if cred.method == "client_secret_basic" {
		w.Header().Set("WWW-Authenticate", `Basic realm="token endpoint", charset="UTF-8"`)
	}
	return refuse(http.StatusUnauthorized, "invalid_client",
		"The client is not known, or its credentials are wrong, or it used another method than the registered one.", cause)
}

// assertionSubject reads whose assertion it claims to be, unverified, to find the keys.
func assertionSubject(s string) string {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c clientJWTClaims
	if json.Unmarshal(payload, &c) != nil || len(c.Subject) > paramLimits["client_id"] || !plainText(c.Subject) {
		return ""
	}
	return c.Subject
}

// assertionLife is the longest an assertion may be valid.
const assertionLife = 5 * time.Minute

// readAssertion verifies an assertion of the client and gives its claims.
func (o *OAuth) readAssertion(ctx context.Context, c *storage.Client, assertion string) (clientJWTClaims, error) {
	var claims clientJWTClaims
	payload, err := o.verifyJWT(ctx, c, assertion, c.AuthSigningAlg, "client-authentication+jwt")
	if err != nil {
		return claims, err
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return claims, fmt.Errorf("read assertion claims: %w", err)
	}
	return claims, o.checkAssertion(c, claims)
}

// spendAssertion makes sure that an assertion is accepted once (RFC 7523, 3: jti).
func (o *OAuth) spendAssertion(ctx context.Context, c *storage.Client, claims clientJWTClaims) error {
	expires := time.Unix(int64(*claims.Expires), 0).Add(clientClockSkew)
	first, err := o.DB.SpendAssertion(ctx, c.ID, claims.ID, expires)
	if err == nil && !first {
		err = errors.New("the assertion was used before")
	}
	return err
}

func (o *OAuth) checkAssertion(c *storage.Client, a clientJWTClaims) error {
	switch {
	case a.Issuer != c.ID || a.Subject != c.ID:
		return errors.New("iss and sub of the assertion must be the client_id")
	case !o.assertionAudience(c, a.Audience):
		return errors.New("aud of the assertion must be the issuer, and nothing else")
	case a.ID == "" || len(a.ID) > 512:
		return errors.New("the assertion has no jti, or a long one")
	}
	return a.checkTimes(assertionLife, o.Now())
}

// assertionAudience: our issuer as the sole value (RFC 10070). With the client's legacy switch,
// the token endpoint and that for pushed requests may stand there too (RFC 9126, 2).
func (o *OAuth) assertionAudience(c *storage.Client, raw json.RawMessage) bool {
	list := audienceList(raw)
	if !c.LegacyAssertionAudience {
		return len(list) == 1 && list[0] == o.Issuer
	}
	return len(list) > 0 && covers([]string{o.Issuer, o.Issuer + "/token", o.Issuer + "/par"}, list)
}
