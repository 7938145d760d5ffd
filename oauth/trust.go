package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"idp/storage"
	"idp/web"
)

// Issuers that operators trust, and their keys. Those that are not fixed are remembered with those of
// clients (client_keys.go).

// verifyTrusted gives the payload of a JWT that a key of the trust's issuer verifies. A *web.Error
// says that the keys are not to be had, and nothing of the JWT.
func (o *OAuth) verifyTrusted(ctx context.Context, t *storage.Trust, jws *jose.JSONWebSignature) ([]byte, error) {
	if len(t.JWKS) == 0 {
		return o.keySets.verify(ctx, keySetID{issuer: t.Issuer, uri: t.JWKSURI}, jws)
	}
	keys, err := readKeySet(t.JWKS)
	if err != nil {
		return nil, fmt.Errorf("the keys of the trust: %w", err)
	}
	return verifyWith(jws, keys)
}

// discover finds out where the keys of an issuer are (OpenID Connect Discovery, 4.3).
func (s *keySets) discover(ctx context.Context, issuer string) (string, error) {
	a, err := s.call.Document(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", "application/json")
	if err != nil {
		return "", err
	}
	var doc map[string]json.RawMessage
	if err := decodeStrict(a.Body, &doc); err != nil {
		return "", fmt.Errorf("read discovery document: %w", err)
	}
	if got := text(doc["issuer"]); got != issuer {
		return "", fmt.Errorf("the discovery document is that of %.200q", got)
	}
	uri := text(doc["jwks_uri"])
	if uri == "" {
		return "", errors.New("the discovery document has no jwks_uri")
	}
	return uri, nil
}

// CheckTrust is the one validator of trusts, for creation and update. Its errors are sentences that
// name the mend.
func CheckTrust(t *storage.Trust, c *storage.Client) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if t.Issuer == "" || len(t.Issuer) > 512 || !plainText(t.Issuer) {
		say("The issuer must be text of 1 to 512 bytes: iss of the assertions, exactly.")
	}
	if at := strings.IndexByte(t.Subject, '*'); t.Subject == "" || t.Subject == "*" || len(t.Subject) > 512 || !plainText(t.Subject) || at >= 0 && at < len(t.Subject)-1 {
		say("The subject %q must be the whole sub of the assertions, or its beginning with a * at the end, such as repo:acme/site:ref:refs/heads/*.", t.Subject)
	}
	switch {
	case len(t.JWKS) > 0 && t.JWKSURI != "":
		say("Name the issuer's keys, or where they are, not both.")
	case len(t.JWKS) > 0:
		if _, err := readKeySet(t.JWKS); err != nil || len(t.JWKS) > 64<<10 {
			say("The issuer's keys must be a JWK set with public keys, of at most 64 KiB: %v.", err)
		}
	case t.JWKSURI != "":
		if problem := checkAddress(t.JWKSURI); problem != "" {
			say("The address of the keys %q %s.", t.JWKSURI, problem)
		}
	case checkAddress(t.Issuer) != "" || strings.Contains(t.Issuer, "?"):
		say("The issuer %q is no https URL that could tell where its keys are. Name them with --jwks, or their address with --jwks-uri.", t.Issuer)
	}
	if len(t.Claims) > 20 {
		say("At most 20 claims are possible.")
	}
	for name, v := range t.Claims {
		if name == "" || slices.Contains(jwtNames, name) || len(name)+len(v) > 1024 || !plainText(name) || !plainText(v) {
			say("The claim %q cannot be asked for: it must be one beside %s, of at most 1024 bytes with its value.", name, strings.Join(jwtNames, ", "))
		}
	}
	if t.TokenLife < 60 || t.TokenLife > 3600 {
		say("The token lifetime must be from 60 to 3600 seconds.")
	}
	if !slices.Contains(c.GrantTypes, grantJWTBearer) {
		say("The client %s does not use this grant. Allow it first: idp client update %s --grant-type %s", c.ID, c.ID, grantJWTBearer)
	}
	for _, s := range t.Scopes {
		if personal(s) || !slices.Contains(c.Scopes, s) {
			say("The scope %s is not one of the client %s, or it is about a person: there is none here.", s, c.ID)
		}
	}
	for _, r := range t.Resources {
		if !slices.Contains(c.Resources, r) {
			say("The resource %s is not one of the client %s. Add it first: idp client update %s --resource %s", r, c.ID, c.ID, r)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_request", Message: strings.Join(wrong, " ")}
}
