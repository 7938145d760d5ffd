package oauth

import (
	"context"
	"slices"

	"github.com/ory/fosite"
	foauth "github.com/ory/fosite/handler/oauth2"

	"idp/storage"
)

// refreshGrant is the refresh_token grant (RFC 6749, 6; rotation as in RFC 9700, 4.14).
type refreshGrant struct {
	o *OAuth
	*foauth.RefreshTokenGrantHandler
}

func (h *refreshGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u := unitOf(ctx)
	if err := h.o.loadRefresh(ctx, u); err != nil {
		return err
	}
	return h.RefreshTokenGrantHandler.HandleTokenEndpointRequest(ctx, r)
}

// loadRefresh reads the grant of a refresh token and gives the verdict on its generation. The
// present generation is refreshed. Its direct predecessor, within the grace window, gets the same
// successor again: a lost response or a second tab costs nobody their session. Anything older is
// theft: somebody holds a copy, so the grant ends.
func (o *OAuth) loadRefresh(ctx context.Context, u *unit) error {
	if !slices.Contains(u.client.GrantTypes, "refresh_token") {
		return refuse(400, "unauthorized_client", "This client may not use the refresh_token grant.", nil)
	}
	if u.form.Get("refresh_token") == "" {
		return invalidRequest("The parameter refresh_token is missing.")
	}
	t, err := parseToken(refreshToken, u.form.Get("refresh_token"))
	if err != nil {
		return invalidGrant("the refresh token is not one of ours")
	}
	g, err := o.readGrant(ctx, t, "")
	if err != nil {
		return err
	}
	now := o.now()
	switch {
	case g == nil:
		return invalidGrant("the refresh token is forged, or its grant is gone")
	case g.ClientID != u.client.ID:
		return invalidGrant("the refresh token belongs to another client")
	case g.ClientVersion != u.client.Version && g.ClientVersion != 0:
		return errStale
	case !g.Alive(now):
		return invalidGrant("the grant is revoked or expired, or its person, session or client is")
	case g.IdleExpiresAt == nil || !now.Before(*g.IdleExpiresAt):
		return invalidGrant("the refresh token lay unused for too long")
	case int64(t.number) > int64(g.Generation) || t.number == 0:
		return invalidGrant("the refresh token has a generation that was never given out")
	}
	switch age := g.Generation - int(t.number); {
	case age == 0:
	case age == 1 && g.RotatedAt != nil && now.Sub(*g.RotatedAt) <= o.Grace:
		u.successor = true
	default:
		return o.refreshStolen(ctx, u, g)
	}
	catalog, err := o.DB.CatalogAt(ctx, g.CatalogVersion)
	if err != nil {
		return err
	}
	return u.takeRefresh(o, g, catalog)
}

// takeRefresh fills the unit from a grant whose refresh token was accepted.
func (u *unit) takeRefresh(o *OAuth, g *storage.GrantFacts, catalog *storage.Catalog) error {
	u.scopes = within(g.Scopes, u.client.Scopes) // what the client may no longer have is dropped
	if asked := u.form.Get("scope"); asked != "" {
		list, ok := scopes(asked)
		if !ok || !covers(g.Scopes, list) {
			return refuse(400, "invalid_scope", "A refresh may narrow the scope, not widen it.", nil)
		}
		u.scopes = within(u.scopes, list)
	}
	u.grant, u.facts = &g.Grant, g
	if err := o.aim(u, catalog, g.Resources); err != nil {
		return err
	}
	u.idleExpires = idleExpiry(u.client, &g.Grant, o.now())
	if u.successor { // nothing is written: the row has it
		u.idleExpires = g.IdleExpiresAt
	}
	return nil
}

// refreshStolen ends the grant of a refresh token that was rotated away, and for first-party
// clients the session too.
func (o *OAuth) refreshStolen(ctx context.Context, u *unit, g *storage.GrantFacts) error {
	err := o.DB.RevokeGrant(ctx, &g.Grant, "refresh_token_reused", u.client.SkipConsent, o.now(), o.event(ctx, "token.reuse_detected", &g.Grant))
	if err != nil {
		return err
	}
	return invalidGrant("the refresh token was rotated away before; its grant is revoked")
}
