package oauth

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"

	"idp/storage"
)

// unit is the unit of work of one authorization or token request: the grant, read once; what is to
// be issued; and the one change that is written after everything else has succeeded.
type unit struct {
	client      *storage.Client
	ring        *keyring // all tokens of one request come from the same keys
	form        url.Values
	arrived     time.Time // when the request began: what was settled after that was a race, not a replay
	redirectURI string    // authorization: as matched
	requestID   string    // authorization: the kept request this spends

	grant     *storage.Grant
	facts     *storage.GrantFacts // of a grant that was read; nil for a new one
	scopes    []string            // granted now, after narrowing
	resources []string            // what the access token is for, the provider itself included
	format    string              // of the access token: opaque or jwt
	life      time.Duration       // of the access token
	successor bool                // a grace replay: the successor of the presented refresh token is given again
	firstID   bool                // the ID token is that of the code exchange

	change      change
	touch       storage.Touch
	trust       *storage.Trust     // of a grant that an assertion gives
	once        *storage.Assertion // which is spent with that; nil when it may come again
	told        storage.Event      // goes with the change
	idleExpires *time.Time
	accessToken string
	expiresIn   time.Duration
}

type change int

const (
	changeNone change = iota
	changeInsert
	changeRedeem
	changeRotate
	changeTouch
	changeTrusted
	changeExchanged
)

type unitKey struct{}

func withUnit(ctx context.Context, u *unit) context.Context {
	return context.WithValue(ctx, unitKey{}, u)
}

func unitOf(ctx context.Context) *unit { return ctx.Value(unitKey{}).(*unit) }

func (u *unit) clientView() *clientView {
	v := &clientView{client: u.client, redirectURI: u.redirectURI, grantTypes: u.client.GrantTypes}
	if u.grant != nil && u.grant.IdleExpiresAt == nil {
		v.grantTypes = slices.DeleteFunc(slices.Clone(v.grantTypes), func(g string) bool { return g == "refresh_token" })
	}
	return v
}

// account is what tokens with these scopes are composed of. A new grant that is not read is that of
// a client acting for itself.
func (u *unit) account(scopes []string) account {
	if u.facts == nil {
		return account{client: u.client, scopes: scopes}
	}
	return accountOf(u.client, u.facts, scopes)
}

// ends is when everything derived from the grant ends at the latest.
func (u *unit) ends() time.Time {
	if u.facts == nil {
		return u.grant.ExpiresAt
	}
	return u.facts.Ends()
}

// requester shows the grant to fosite.
func (u *unit) requester(s fosite.Session) fosite.Requester {
	own := s.(*session)
	own.claims.Subject = u.grant.Subject
	return &fosite.Request{
		ID: u.grant.ID.String(), RequestedAt: u.grant.CreatedAt, Client: u.clientView(),
		RequestedScope: u.scopes, GrantedScope: u.scopes,
		Form: url.Values{"redirect_uri": u.form["redirect_uri"]}, Session: own,
	}
}

// flush writes the unit's change. storage.ErrConflict means that another request was first.
func (u *unit) flush(ctx context.Context, o *OAuth) error {
	g, now := u.grant, o.now()
	switch u.change {
	case changeInsert:
		return o.DB.InsertGrant(ctx, g, u.requestID, u.touch)
	case changeRedeem:
		return o.DB.RedeemCode(ctx, g.ID, g.TokenKey, now, u.idleExpires)
	case changeRotate:
		return o.DB.RotateRefresh(ctx, g.ID, g.Generation, u.ring.current, now, *u.idleExpires)
	case changeTouch:
		idle, _ := refreshLife(u.client)
		if u.idleExpires.Sub(*g.IdleExpiresAt) < min(time.Hour, idle/10) {
			u.idleExpires = g.IdleExpiresAt // near enough, and no write
			return nil
		}
		return o.DB.TouchRefresh(ctx, g.ID, *u.idleExpires)
	case changeTrusted:
		spent, err := o.DB.InsertTrustedGrant(ctx, g, u.trust, u.client.Version, u.once, u.told)
		if err == nil && spent {
			return invalidAssertion("it was used before")
		}
		return err
	case changeExchanged:
		allowed, err := o.DB.InsertExchangedGrant(ctx, g, u.client.Version, u.told)
		if err == nil && !allowed {
			return invalidSubject("its person may not use this client")
		}
		return err
	}
	return nil
}

// newGrant starts a grant; the row is written by flush.
func (u *unit) newGrant(kind string, now time.Time) (*storage.Grant, error) {
	if u.ring.derive[u.ring.current] == nil {
		return nil, errNoKey
	}
	u.grant = &storage.Grant{
		ID: storage.NewRowID(), Kind: kind, ClientID: u.client.ID, Seed: storage.RandomBytes(16),
		TokenKey: u.ring.current, CreatedAt: now,
	}
	return u.grant, nil
}
