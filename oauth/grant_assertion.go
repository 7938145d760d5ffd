package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"idp/storage"
	"idp/web"
)

// grantJWTBearer is the grant by which a workload - a CI job, a pod - signs in with what its own
// platform says of it, and without a secret (RFC 7523, 2.1).
const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// assertionGrant is that grant. A client that lists it gets tokens for an assertion of an issuer that
// an operator trusts for this client, within what the trust allows, and never a refresh token (RFC
// 7521, 4.1). The tokens name no person and nothing of the assertion: their subject is the client.
type assertionGrant struct{ o *OAuth }

func (assertionGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool {
	return false
}

func (assertionGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantJWTBearer)
}

func (h assertionGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	return unitOf(ctx).giveAccessToken(h.o, r, resp)
}

// giveAccessToken answers with an access token alone.
func (u *unit) giveAccessToken(o *OAuth, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	token, err := u.makeAccessToken(o, r.GetGrantedScopes())
	resp.SetAccessToken(token)
	resp.SetTokenType("bearer")
	return err
}

func (h assertionGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	u, o := unitOf(ctx), h.o
	if !slices.Contains(u.client.GrantTypes, grantJWTBearer) {
		return refuse(400, "unauthorized_client", "This client may not use the jwt-bearer grant. An operator can allow it with --grant-type.", nil)
	}
	fresh, version, err := o.DB.ClientAndCatalog(ctx, u.client.ID)
	if err != nil {
		return err
	}
	if fresh.Version != u.client.Version {
		return errStale
	}
	catalog, err := o.DB.CatalogAt(ctx, version)
	if err != nil {
		return err
	}
	trust, a, err := o.trusted(ctx, u.client, u.form.Get("assertion"))
	if err != nil {
		return err
	}
	web.Note(ctx, "trust", trust.ID)
	return o.takeAssertion(ctx, u, r, trust, a, catalog)
}

// takeAssertion fills the unit from an assertion that was accepted.
func (o *OAuth) takeAssertion(ctx context.Context, u *unit, r fosite.AccessRequester, trust *storage.Trust, a workloadClaims, catalog *storage.Catalog) error {
	asked, ok := scopes(u.form.Get("scope"))
	allowed := slices.DeleteFunc(within(trust.Scopes, u.client.Scopes), personal)
	if !ok || !covers(allowed, asked) {
		return refuse(400, "invalid_scope", "The trust, or the client, may not have one of the scopes that were asked for.", nil)
	}
	list, resources, err := u.ownTarget(asked, allowed, within(trust.Resources, allowedResources(u.client, catalog)), catalog)
	if err != nil {
		return err
	}
	now := o.now()
	g, err := u.newGrant("assertion", now)
	if err != nil {
		return err
	}
	g.Subject, g.Scopes, g.Resources, g.State, g.RuleID = u.client.ID, list, resources, storage.GrantActive, trust.ID
	u.scopes = list
	if err := o.aim(u, catalog, resources); err != nil {
		return err
	}
	u.life = min(u.life, time.Duration(trust.TokenLife)*time.Second)
	g.ExpiresAt = now.Add(u.life).Add(time.Second)
	u.change, u.trust = changeTrusted, trust
	if !trust.Reusable {
		u.once = &storage.Assertion{Issuer: a.issuer, ID: a.id, ExpiresAt: a.expires.Add(clientClockSkew)}
	}
	u.told = o.event(ctx, "assertion.accepted", g)
	u.told.Details = map[string]any{"trust": trust.ID, "issuer": a.issuer, "subject": a.subject, "grant": g.ID.String()}
	for _, s := range list {
		r.GrantScope(s)
	}
	return nil
}

// workloadClaims are what counts of an assertion.
type workloadClaims struct {
	issuer, subject, id string
	expires             time.Time
	all                 map[string]json.RawMessage
}

// workloadLife is the longest that an assertion may be valid yet. Platforms give theirs an hour.
const workloadLife = time.Hour

// invalidAssertion is RFC 7521, 4.1.1. Unlike with codes, its caller is a developer who looks at a
// pipeline, and nothing that they learn helps to forge a signature.
func invalidAssertion(format string, args ...any) *web.Error {
	reason := fmt.Sprintf(format, args...)
	return refuse(http.StatusBadRequest, "invalid_grant", "The assertion is not accepted: "+reason+".", errors.New(reason))
}

// trusted finds the trust that an assertion fits: the oldest whose keys, subject and claims it
// fulfils.
func (o *OAuth) trusted(ctx context.Context, c *storage.Client, assertion string) (*storage.Trust, workloadClaims, error) {
	var none workloadClaims
	if assertion == "" {
		return nil, none, invalidRequest("The parameter assertion is missing.")
	}
	issuer, ok := assertionIssuer(assertion)
	if !ok {
		return nil, none, invalidAssertion("it is not a signed JWT with an iss, in its compact form")
	}
	if issuer == o.Issuer {
		return nil, none, invalidAssertion("its issuer is this provider, whose own tokens are no assertions")
	}
	trusts, err := o.DB.TrustsOf(ctx, c.ID, issuer)
	if err != nil {
		return nil, none, err
	}
	refusal := invalidAssertion("nobody trusts its issuer for this client; an operator can: idp trust create")
	for i := range trusts {
		t := &trusts[i]
		payload, err := o.verifyWorkload(ctx, assertion, t)
		var face *web.Error
		if errors.As(err, &face) || storage.Unavailable(err) {
			return nil, none, err
		}
		if err != nil {
			refusal = invalidAssertion("no key of its issuer verifies it, or its algorithm or type is none that counts")
			refusal.Err = err
			continue
		}
		a, err := o.readWorkload(payload, issuer)
		if err != nil {
			return nil, none, invalidAssertion("%v", err)
		}
		if problem := fits(t, a); problem != nil {
			refusal = problem
			continue
		}
		return t, a, nil
	}
	return nil, none, refusal
}

// assertionIssuer reads by whom an assertion claims to be, unverified, to find the keys.
func assertionIssuer(s string) (string, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(s) > maxJWT || !oneSpelling(s) {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", false
	}
	var all map[string]json.RawMessage
	if decodeStrict(payload, &all) != nil {
		return "", false
	}
	issuer := text(all["iss"])
	return issuer, issuer != "" && len(issuer) <= 512 && plainText(issuer)
}

// workloadTypes are what the header of an assertion may call it. Other providers have access tokens
// only to give (RFC 9068); they are for us when we are their audience.
var workloadTypes = []string{"", "jwt", "jose", "at+jwt"}

// verifyWorkload gives the payload of an assertion that a key of the trust verifies. The keys are
// those of the trust: what the header says of others (jwk, jku, x5u) is not looked at.
func (o *OAuth) verifyWorkload(ctx context.Context, s string, t *storage.Trust) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(s, clientAlgs)
	if err != nil {
		return nil, fmt.Errorf("read assertion: %w", err)
	}
	h := jws.Signatures[0].Protected
	typ, _ := h.ExtraHeaders[jose.HeaderType].(string)
	if !slices.Contains(workloadTypes, strings.TrimPrefix(strings.ToLower(typ), "application/")) {
		return nil, fmt.Errorf("the assertion has the type %.64q", typ)
	}
	return o.verifyTrusted(ctx, t, jws)
}

// readWorkload reads a verified payload and checks what holds for every assertion (RFC 7523, 3).
func (o *OAuth) readWorkload(payload []byte, issuer string) (workloadClaims, error) {
	a := workloadClaims{issuer: issuer}
	if err := decodeStrict(payload, &a.all); err != nil {
		return a, errors.New("its claims cannot be read")
	}
	now := o.now()
	at := func(name string) (time.Time, bool) {
		var seconds *float64
		if json.Unmarshal(a.all[name], &seconds) != nil || seconds == nil || *seconds < 0 || *seconds > 1e11 {
			return time.Time{}, false
		}
		return time.Unix(int64(*seconds), 0), true
	}
	var ok bool
	if a.expires, ok = at("exp"); !ok {
		return a, errors.New("it has no exp")
	}
	a.subject, a.id = text(a.all["sub"]), text(a.all["jti"])
	aud := audienceList(a.all["aud"])
	switch {
	case a.subject == "" || len(a.subject) > 512 || !plainText(a.subject):
		return a, errors.New("it has no sub, or a long one")
	case len(aud) != 1 || aud[0] != o.Issuer:
		return a, fmt.Errorf("its aud must be %s, and nothing else", o.Issuer)
	case !now.Before(a.expires.Add(clientJWTLate)):
		return a, errors.New("it has expired")
	case a.expires.After(now.Add(workloadLife + clientClockSkew)):
		return a, errors.New("it is valid for longer than an hour")
	}
	for _, name := range []string{"iat", "nbf"} {
		if a.all[name] == nil {
			continue
		}
		if when, ok := at(name); !ok || when.After(now.Add(clientClockSkew)) {
			return a, fmt.Errorf("its %s is in the future, or no time", name)
		}
	}
	return a, nil
}

// fits says why a trust does not cover an assertion; nil when it does.
func fits(t *storage.Trust, a workloadClaims) *web.Error {
	prefix, open := strings.CutSuffix(t.Subject, "*")
	if a.subject != t.Subject && !(open && strings.HasPrefix(a.subject, prefix)) {
		return invalidAssertion("its sub is none that is trusted for this client")
	}
	for name, want := range t.Claims {
		raw, has := a.all[name]
		got := string(raw) // numbers and truth values as they are written
		if has && raw[0] == '"' {
			got = text(raw)
		}
		if !has || got != want {
			return invalidAssertion("its claim %s is not what the trust asks for", name)
		}
	}
	if !t.Reusable && (a.id == "" || len(a.id) > 512) {
		return invalidAssertion("it has no jti, or a long one, and the trust accepts an assertion once only")
	}
	return nil
}

// text reads a JSON string; "" when it is none.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
