package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"idp/storage"
	"idp/web"
)

// Token exchange (RFC 8693): an API that was sent an access token gets one for another API, to act
// there for the same person. Without a rule nobody may.

const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"

	// maxDelegation is how many clients can act one for the other.
	maxDelegation = 4
)

// exchangeGrant is that grant. The new token says in act who acts for its subject, can do no more
// than the old one, does not outlive it, and ends with everything that it hangs on.
type exchangeGrant struct{ o *OAuth }

func (exchangeGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (exchangeGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantExchange)
}

func (h exchangeGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	return unitOf(ctx).giveAccessToken(h.o, r, resp)
}

// invalidSubject is RFC 8693, 2.2.2.
func invalidSubject(reason string) *web.Error {
	return refuse(http.StatusBadRequest, "invalid_request",
		"The subject_token cannot be exchanged: it must be a valid access token of this provider, for an API that this client is, of a person who may use this client.", errors.New(reason))
}

func (h exchangeGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	u, o := unitOf(ctx), h.o
	if !slices.Contains(u.client.GrantTypes, grantExchange) || u.client.Public() {
		return refuse(400, "unauthorized_client", "This client may not exchange tokens. An operator can allow it with --grant-type, and what it may exchange with: idp exchange allow.", nil)
	}
	if err := checkExchangeForm(u); err != nil {
		return err
	}
	t, err := o.readAccessToken(ctx, u.form.Get("subject_token"), u.client.ID)
	switch {
	case err != nil:
		return err
	case t != nil && t.CallerVersion != u.client.Version:
		return errStale
	case !t.live(o.now()):
		return invalidSubject("it is not one of ours, or it is expired or revoked")
	case len(t.Parents)+1 >= maxDelegation:
		return invalidSubject("it was exchanged too often already")
	}
	mine := within(t.resources, u.client.Audience)
	if len(mine) == 0 {
		return invalidSubject("it is for another API")
	}
	catalog, err := o.DB.CatalogAt(ctx, t.CatalogVersion)
	if err != nil {
		return err
	}
	rules, err := o.DB.ExchangesOf(ctx, u.client.ID)
	if err != nil {
		return err
	}
	return o.exchange(ctx, u, r, t, mine, rules, catalog)
}

// checkExchangeForm refuses what the request may not ask for (RFC 8693, 2.1).
func checkExchangeForm(u *unit) error {
	switch {
	case !u.form.Has("subject_token"):
		return invalidRequest("The parameter subject_token is missing.")
	case u.form.Get("subject_token_type") != accessTokenType:
		return invalidRequest("The subject_token_type must be " + accessTokenType + ".")
	case u.form.Has("actor_token") || u.form.Has("actor_token_type"):
		return invalidRequest("An actor_token is not accepted: the client that asks is the actor.")
	case u.form.Has("requested_token_type") && u.form.Get("requested_token_type") != accessTokenType:
		return invalidRequest("The requested_token_type can only be " + accessTokenType + ".")
	case len(u.form["resource"])+len(u.form["audience"]) != 1:
		return refuse(400, "invalid_target", "Name the one API that the new token is for, as resource or as audience.", nil)
	}
	return nil
}

// exchange fills the unit: the first rule that fits the token and the target says what is possible.
func (o *OAuth) exchange(ctx context.Context, u *unit, r fosite.AccessRequester, t *presented, mine []string, rules []storage.Exchange, catalog *storage.Catalog) error {
	asked, ok := scopes(u.form.Get("scope"))
	if !ok {
		return refuse(400, "invalid_scope", "The scope is not well-formed.", nil)
	}
	target := append(u.form["resource"], u.form["audience"]...)[0]
	refusal := refuse(400, "invalid_target", "Nobody has allowed this client to exchange this token for one of that API. An operator can: idp exchange allow.", nil)
	for _, rule := range rules {
		if !sameResource(rule.Target, target) || !slices.Contains(mine, rule.Source) || rule.SubjectClient != "" && rule.SubjectClient != t.ClientID {
			continue
		}
		resources := slices.DeleteFunc([]string{rule.Target}, func(s string) bool { return s == o.Issuer })
		list := scopesFor(within(within(t.scopes, rule.Scopes), u.client.Scopes), resources, catalog)
		if len(asked) > 0 {
			if !covers(list, asked) {
				list = nil
			} else {
				list = asked
			}
		}
		if len(list) == 0 || len(resources) == 0 && !slices.Contains(list, "openid") {
			refusal = refuse(400, "invalid_scope", "The token has not the scopes that were asked for, or they may not be had by exchange, or that API has none of them.", nil)
			continue
		}
		return o.takeExchange(ctx, u, r, t, rule, list, resources, catalog)
	}
	return refusal
}

// takeExchange makes the grant of the new token. It has the person of the old one, not its session:
// the client takes no part in that, and is not told of its end. Parents makes it end nevertheless.
func (o *OAuth) takeExchange(ctx context.Context, u *unit, r fosite.AccessRequester, t *presented, rule storage.Exchange, list, resources []string, catalog *storage.Catalog) error {
	now := o.now()
	g, err := u.newGrant("exchange", now)
	if err != nil {
		return err
	}
	g.UserID, g.Subject, g.AuthTime, g.ACR, g.AMR = t.UserID, t.Subject, t.AuthTime, t.ACR, t.AMR
	g.Scopes, g.Resources, g.State, g.RuleID = list, resources, storage.GrantActive, rule.ID
	g.Parents, g.ParentTokens = append(slices.Clone(t.Parents), t.ID), append(slices.Clone(t.ParentTokens), int64(t.number))
	act := map[string]any{"sub": u.client.ID}
	if t.Actor != nil {
		act["act"] = t.Actor
	}
	g.Actor = mustJSON(act)
	if t.User != nil { // each sector knows people by its own names
		if g.Subject, err = o.subject(ctx, u.client, storage.Facts{User: t.User}); err != nil {
			return err
		}
	}
	u.scopes = list
	u.form = maps.Clone(u.form)
	u.form["resource"] = []string{rule.Target}
	if err := o.aim(u, catalog, resources); err != nil {
		return err
	}
	u.life = min(u.life, t.expires.Sub(now))
	if g.ExpiresAt = now.Add(u.life).Add(time.Second); g.ExpiresAt.After(t.expires) {
		g.ExpiresAt = t.expires
	}
	groups := t.Groups
	if t.User != nil && groups == nil && len(u.client.ClaimRules) > 0 { // the old token's client had no use for them
		if groups, err = o.groupsOf(ctx, t.UserID); err != nil {
			return err
		}
	}
	u.facts = &storage.GrantFacts{Grant: *g, User: t.User, Groups: groups}
	u.change, u.told = changeExchanged, o.event(ctx, "token.exchanged", g)
	u.told.Details = map[string]any{"rule": rule.ID, "grant": g.ID.String(), "parent": t.ID.String(), "token": tokenID(t.ID, t.number), "of": t.ClientID, "target": rule.Target, "scope": joinScopes(list)}
	for _, s := range list {
		r.GrantScope(s)
	}
	return nil
}

func (o *OAuth) groupsOf(ctx context.Context, userID string) ([]string, error) {
	all, err := o.DB.UserGroups(ctx, userID)
	values := []string{}
	for _, g := range all {
		values = append(values, g.ClaimValue)
	}
	slices.Sort(values)
	return slices.Compact(values), err
}

// CheckExchange is the one validator of exchange rules. Own is our issuer, which can be a target; ""
// when it is not known. Its errors are sentences that name the mend.
func CheckExchange(x *storage.Exchange, c *storage.Client, own string) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.Public() || !slices.Contains(c.GrantTypes, grantExchange) {
		say("The client %s does not use this grant, or cannot authenticate. Allow it first: idp client update %s --grant-type %s", c.ID, c.ID, grantExchange)
	}
	if !slices.Contains(c.Audience, x.Source) {
		say("The client %s is not the API %s: it may exchange only what is sent to itself. Say so first: idp client update %s --audience %s", c.ID, x.Source, c.ID, x.Source)
	}
	switch {
	case x.Target == own && own != "":
		if !slices.Contains(x.Scopes, "openid") {
			say("Tokens for the provider itself need the scope openid.")
		}
	case !slices.Contains(c.Resources, x.Target):
		say("The resource %s is not one that the client %s may have tokens for. Add it first: idp client update %s --resource %s", x.Target, c.ID, c.ID, x.Target)
	}
	if len(x.Scopes) == 0 {
		say("Name the scopes that may be had, with --scope.")
	}
	for _, s := range x.Scopes {
		if s == "offline_access" || !slices.Contains(c.Scopes, s) {
			say("The scope %s is not one of the client %s, or it cannot be had by exchange.", s, c.ID)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_request", Message: strings.Join(wrong, " ")}
}
