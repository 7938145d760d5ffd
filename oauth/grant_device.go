package oauth

import (
	"context"
	"errors"
	"slices"

	"github.com/ory/fosite"

	"idp/storage"
)

// grantDeviceCode is the grant type of RFC 8628, 3.4.
const grantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// deviceGrant is the device grant (RFC 8628, 3.4 and 3.5). fosite has no handler for it: this one
// issues all that there is.
type deviceGrant struct{ o *OAuth }

func (deviceGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (deviceGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantDeviceCode)
}

func (h deviceGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u := unitOf(ctx)
	if err := h.o.loadDevice(ctx, u); err != nil {
		return err
	}
	for _, s := range u.scopes {
		r.GrantScope(s)
	}
	return nil
}

func (h deviceGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	u, scopes := unitOf(ctx), r.GetGrantedScopes()
	if err := u.giveAccessToken(h.o, r, resp); err != nil {
		return err
	}
	if u.idleExpires != nil {
		refresh, err := u.deriveRefreshToken(ctx, h.o)
		if err != nil {
			return err
		}
		resp.SetExtra("refresh_token", refresh)
	}
	if slices.Contains(scopes, "openid") {
		idToken, err := u.makeIDToken(h.o, scopes)
		if err != nil {
			return err
		}
		resp.SetExtra("id_token", idToken)
	}
	return nil
}

// loadDevice says what became of a device's request. An approval has moved it to a grant; so the
// request is asked for first.
func (o *OAuth) loadDevice(ctx context.Context, u *unit) error {
	if !slices.Contains(u.client.GrantTypes, grantDeviceCode) {
		return refuseDevices()
	}
	if u.form.Get("device_code") == "" {
		return invalidRequest("The parameter device_code is missing.")
	}
	t, err := parseToken(deviceCode, u.form.Get("device_code"))
	if err != nil {
		return invalidDeviceCode("the device code is not one of ours")
	}
	waiting, err := o.DB.DeviceRequest(ctx, t.grant)
	if err == nil {
		err = o.pollDevice(ctx, u, t, &waiting)
	}
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return o.loadDeviceGrant(ctx, u, t)
}

// pollDevice is the answer to a device whose request nobody has approved; storage.ErrNotFound when
// somebody has in this moment.
func (o *OAuth) pollDevice(ctx context.Context, u *unit, t token, d *storage.DeviceRequest) error {
	genuine, err := o.genuine(ctx, t, d.Seed)
	if err != nil {
		return err
	}
	now := o.now()
	switch {
	case !genuine:
		return invalidDeviceCode("the device code is forged")
	case d.ClientID != u.client.ID:
		return invalidDeviceCode("the device code belongs to another client")
	case d.DeniedAt != nil:
		return refuse(400, "access_denied", "The person refused.", nil)
	case !now.Before(d.ExpiresAt):
		return expiredDeviceCode()
	}
	early, err := o.DB.PollDeviceRequest(ctx, d.ID, now)
	if err != nil {
		return err
	}
	if early {
		return refuse(400, "slow_down", "That was too soon. Wait five seconds longer between requests from now on.", nil)
	}
	return refuse(400, "authorization_pending", "The person has not answered yet. Ask again after the interval.", nil)
}

// loadDeviceGrant takes what a person approved. Whoever asks again once that was redeemed gets
// nothing, and ends nothing: a device code never was in a browser, so a second request with it is
// a repetition by the device.
func (o *OAuth) loadDeviceGrant(ctx context.Context, u *unit, t token) error {
	g, err := o.readGrant(ctx, t, "")
	if err != nil {
		return err
	}
	now := o.now()
	switch {
	case g == nil || g.Kind != "device":
		return invalidDeviceCode("the device code is forged, or what it was for is gone")
	case g.ClientID != u.client.ID:
		return invalidDeviceCode("the device code belongs to another client")
	case g.ClientVersion != u.client.Version && g.ClientVersion != 0:
		return errStale
	case g.State == storage.GrantIssued && !now.Before(*g.CodeExpiresAt):
		return expiredDeviceCode()
	case !g.Redeemable(now):
		return invalidDeviceCode("the device code was used, or its person, session or client is not live")
	}
	catalog, err := o.DB.CatalogAt(ctx, g.CatalogVersion)
	if err != nil {
		return err
	}
	u.grant, u.facts, u.firstID = &g.Grant, g, true
	u.scopes, u.change = within(g.Scopes, u.client.Scopes), changeRedeem
	if g.IdleExpiresAt != nil {
		u.idleExpires = idleExpiry(u.client, &g.Grant, now)
	}
	return o.aim(u, catalog, g.Resources)
}

func refuseDevices() error {
	return refuse(400, "unauthorized_client", "This client may not use the device grant: "+grantDeviceCode+" is not among its grant types.", nil)
}

// invalidDeviceCode is what a device hears of every code that does not count, whatever the reason.
func invalidDeviceCode(reason string) error {
	e := invalidGrant(reason)
	e.Message = "The device code is not valid: it is wrong, used, revoked, or belongs to another client. Begin anew."
	return e
}

func expiredDeviceCode() error {
	return refuse(400, "expired_token", "The person did not answer in time. Begin anew.", nil)
}
