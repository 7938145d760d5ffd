package oauth

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"idp/login"
	"idp/storage"
)

// PreviewRequest says what a preview of claims is about.
type PreviewRequest struct {
	Client *storage.Client
	Facts  storage.Facts // of the person and the client
	Groups []string      // claim values of the person's groups
	Scope  string        // as a client asks for it; "" means all that it is registered for
	Claims string        // a claims parameter; "" for none
}

// Preview is what tokens of a client would tell of a person who signs in now. Times, identifiers and
// the session are examples.
type Preview struct {
	Scope             string         `json:"scope"`
	MayUse            bool           `json:"may_use"` // whether the person would get anything at all
	Problems          []string       `json:"problems,omitempty"`
	ConsentScopes     []string       `json:"consent_scopes,omitempty"` // that the person would be asked about
	IDToken           map[string]any `json:"id_token,omitempty"`
	UserInfo          map[string]any `json:"userinfo,omitempty"`
	AccessTokenFormat string         `json:"access_token_format,omitempty"`
	AccessToken       map[string]any `json:"access_token,omitempty"` // of an opaque one: what introspection tells
}

// PreviewClaims composes what tokens would hold, by the functions that make them, and makes none.
// Nothing is written. What would keep the client from its tokens is among the problems.
func PreviewClaims(ctx context.Context, db *storage.DB, issuer string, now time.Time, req PreviewRequest) (Preview, error) {
	o := &OAuth{Config: Config{DB: db, Issuer: issuer, Now: func() time.Time { return now }}}
	c, f := req.Client, req.Facts
	p := Preview{MayUse: f.MayUse && f.User.State == storage.UserActive && c.DisabledAt == nil}
	say := func(format string, args ...any) { p.Problems = append(p.Problems, fmt.Sprintf(format, args...)) }
	switch {
	case c.DisabledAt != nil:
		say("The client is disabled: it gets nothing.")
	case f.User.State != storage.UserActive:
		say("The account is %s: nobody gets anything of it.", f.User.State)
	case !f.MayUse:
		say("The person may not use this client: they are in none of its groups. The client would hear access_denied.")
	}
	for _, problem := range checkTold(c) {
		say("%s", problem)
	}
	if !slices.Contains(c.GrantTypes, "authorization_code") {
		say("The client has no authorization_code grant: people do not sign in to it.")
	}
	a := &authorization{client: c, params: url.Values{"scope": {req.Scope}}, arrived: now}
	if req.Scope == "" {
		a.params.Set("scope", joinScopes(c.Scopes))
	}
	if req.Claims != "" {
		a.params.Set("claims", req.Claims)
	}
	if dropped := slices.DeleteFunc(words(req.Scope), func(s string) bool { return slices.Contains(c.Scopes, s) }); len(dropped) > 0 {
		say("The client is not registered for %s: it would be left out.", strings.Join(dropped, ", "))
	}
	for _, check := range []func(*authorization) error{checkScope, checkClaims, func(a *authorization) error { return o.checkResources(ctx, a) }} {
		if err := check(a); err != nil {
			return p, err
		}
	}
	if !a.claims.answeredBy(c, f) {
		say("The claims parameter names another sub: this person may not answer.")
	}
	if pairwise(c) && f.Subject == "" {
		f.Subject = storage.PairwisePrefix + "(drawn when the person first signs in)"
	}
	f.Session = &storage.Session{ID: uuid.Nil, AuthTime: now, Methods: []string{"pwd"}, ACR: login.ACR([]string{"pwd"})}
	u := &unit{client: c, form: url.Values{}, scopes: a.scopes, firstID: true, grant: &storage.Grant{ClientID: c.ID}}
	if err := o.describe(ctx, u.grant, a, f, now, codeEnd(a.client, now)); err != nil {
		return p, err
	}
	u.facts = &storage.GrantFacts{Grant: *u.grant, User: f.User, Groups: req.Groups}
	if err := o.aim(u, a.catalog, u.grant.Resources); err != nil {
		return p, err
	}
	p.compose(o, u, now)
	p.ConsentScopes = a.consentScopes()
	return p, nil
}

func (p *Preview) compose(o *OAuth, u *unit, now time.Time) {
	p.Scope, p.AccessTokenFormat = joinScopes(u.scopes), u.format
	access := o.accessTokenClaims(u, 0, now, now.Add(u.life))
	p.AccessToken = with(u.account(u.scopes).accessToken(), access)
	delete(p.AccessToken, "jti") // each token has another
	if !slices.Contains(u.scopes, "openid") {
		return
	}
	id := o.idTokenClaims(u)
	id.AtHash, id.SID, id.Nonce = "", "", ""
	p.IDToken = with(u.account(u.scopes).idToken(), id)
	p.UserInfo = with(u.account(u.scopes).userInfo(), o.userInfoClaims(u.client, u.grant.Subject))
}
