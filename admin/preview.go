package admin

import (
	"context"
	"errors"

	"idp/oauth"
	"idp/web"
)

// PreviewInput says whose claims to preview for which client.
type PreviewInput struct {
	ClientID string
	User     string // id, user name or e-mail address
	Scope    string // "" means all scopes of the client
	Claims   string // a claims parameter; "" for none
	Issuer   string
}

// PreviewClaims tells what tokens of a client would hold of a person. It makes no token and writes
// nothing.
func (a *Admin) PreviewClaims(ctx context.Context, in PreviewInput) (oauth.Preview, error) {
	c, err := a.Client(ctx, in.ClientID)
	if err != nil {
		return oauth.Preview{}, err
	}
	u, err := a.User(ctx, in.User)
	if err != nil {
		return oauth.Preview{}, err
	}
	facts, groups, err := a.DB.PersonFacts(ctx, c.ID, u.ID)
	if err != nil {
		return oauth.Preview{}, noUser(in.User, err)
	}
	p, err := oauth.PreviewClaims(ctx, a.DB, in.Issuer, a.now(), oauth.PreviewRequest{
		Client: &c, Facts: facts, Groups: groups, Scope: in.Scope, Claims: in.Claims,
	})
	return p, possible(err)
}

// possible makes of a protocol error, which has no status of its own, one for an operator.
func possible(err error) error {
	if e, ok := errors.AsType[*web.Error](err); ok && e.Status == 0 {
		return impossible("%s", e.Message)
	}
	return err
}
