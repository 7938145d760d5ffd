package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/login"
	"idp/storage"
)

// Request objects (RFC 9101): an authorization request as a JWT that its client has signed. They come
// by value only. Only what stands inside counts; the client_id outside says whose keys to use.

const (
	requestObjectLife = time.Hour // the longest one may be valid
	requestObjectType = "oauth-authz-req+jwt"
)

// openRequestObject replaces the parameters by those of a request object, where one was sent.
func (o *OAuth) openRequestObject(ctx context.Context, a *authorization) error {
	object := a.sent.Get("request")
	if object == "" {
		return nil
	}
	if a.sent.Has("request_uri") {
		return refuse(0, "invalid_request", "Send request or request_uri, not both.", nil)
	}
	if unsigned(object) {
		return refuse(0, "request_not_supported", "Request objects must be signed with a key that is registered for the client.", nil)
	}
	params, err := o.readRequestObject(ctx, a.client, object)
	if e, fetching := keysUnavailable(err); fetching {
		told := *e
		told.Status = 0
		return &told
	}
	if err != nil {
		return refuse(0, "invalid_request_object", "The request object is not signed with a key of this client, has expired, is not for us, or holds a parameter that cannot be.", err)
	}
	params.Set(login.KeptSigned, "1")
	if a.sent.Has(login.KeptPushed) {
		params.Set(login.KeptPushed, "1")
	}
	a.params = params
	return nil
}

// unsigned says that a JWT claims to need no signature.
func unsigned(object string) bool {
	head, _, _ := strings.Cut(object, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var h struct {
		Alg string `json:"alg"`
	}
	return err == nil && json.Unmarshal(raw, &h) == nil && strings.EqualFold(h.Alg, "none")
}

func (o *OAuth) readRequestObject(ctx context.Context, c *storage.Client, object string) (url.Values, error) {
	payload, err := o.verifyJWT(ctx, c, object, c.RequestObjectAlg, requestObjectType)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := decodeStrict(payload, &all); err != nil {
		return nil, fmt.Errorf("read request object: %w", err)
	}
	if err := checkSpelling(all); err != nil {
		return nil, err
	}
	if err := o.checkRequestObject(c, payload, all); err != nil {
		return nil, err
	}
	params := url.Values{}
	for name, value := range all {
		if list := paramValues(name, value); list != nil {
			params[name] = list
		} else if string(value) != "null" && slices.Contains(authorizationNames, name) {
			return nil, fmt.Errorf("the parameter %s has a form that it cannot have", name)
		}
	}
	params = authorizationParams(params)
	return params, clean(params)
}

// jwtNames are the registered names that a request object has beside its parameters.
var jwtNames = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti"}

// checkSpelling refuses members whose names differ from those that we read in their case only. Go reads
// them into the same field of a struct, and not into the same entry of a map: what was checked would
// not be what counts, and a client could sign for another one.
func checkSpelling(all map[string]json.RawMessage) error {
	for name := range all {
		for _, known := range slices.Concat(jwtNames, authorizationNames) {
			if name != known && strings.EqualFold(name, known) {
				return fmt.Errorf("the member %.64q must be written %s", name, known)
			}
		}
	}
	return nil
}

// paramValues gives a parameter the form that it has in a query: numbers as digits, JSON as it is
// written (RFC 9101, 4); nil when it can have none.
func paramValues(name string, raw json.RawMessage) []string {
	var one string
	var number json.Number
	var list []string
	switch {
	case json.Unmarshal(raw, &one) == nil && raw[0] == '"':
		return []string{one}
	case name == "max_age" && json.Unmarshal(raw, &number) == nil && string(raw) != "null":
		return []string{string(raw)}
	case name == "resource" && json.Unmarshal(raw, &list) == nil && len(list) > 0:
		return list
	case name == "claims" && len(raw) > 0 && raw[0] == '{':
		return []string{string(raw)}
	}
	return nil
}

// checkRequestObject checks what makes the object one for us, by this client, for now. Other JWTs of
// the client, such as its assertions, name themselves in sub and no client_id, so neither passes for
// the other (RFC 9101, 10.8).
func (o *OAuth) checkRequestObject(c *storage.Client, payload []byte, all map[string]json.RawMessage) error {
	var claims struct {
		clientJWTClaims
		ClientID string `json:"client_id"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return fmt.Errorf("read request object claims: %w", err)
	}
	switch {
	case claims.ClientID != c.ID || claims.Issuer != c.ID:
		return errors.New("iss and client_id of the request object must be the client_id")
	case claims.Subject == c.ID:
		return errors.New("sub of the request object is the client: that is an assertion")
	case !slices.Contains(audienceList(claims.Audience), o.Issuer):
		return errors.New("aud of the request object must be the issuer")
	case all["request"] != nil || all["request_uri"] != nil:
		return errors.New("a request object cannot hold another one")
	}
	return claims.checkTimes(requestObjectLife, o.Now())
}

// checkRequestSettings checks what a client's metadata says of its authorization requests.
func checkRequestSettings(c *storage.Client, say func(format string, args ...any)) {
	if alg := c.RequestObjectAlg; alg != "" && !slices.Contains(clientAlgNames(), alg) {
		say("The request object algorithm %q is not known; use one of %s.", alg, strings.Join(clientAlgNames(), ", "))
	}
	for _, acr := range c.DefaultACR {
		if !login.KnownACR(acr) {
			say("The level of sign-in %q is not known.", acr)
		}
	}
}
