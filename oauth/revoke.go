package oauth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"idp/storage"
)

// Revoke ends a token (RFC 7009). The answer is 200 whether there was anything to end or not;
// tokens of other clients stay as they are.
func (o *OAuth) Revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	if form.Get("token") == "" {
		return invalidRequest("The parameter token is missing.")
	}
	err = o.revoke(r.Context(), client, form.Get("token"))
	if errors.Is(err, errStale) {
		if client, err = o.refreshClient(w, r, form, client); err == nil {
			err = o.revoke(r.Context(), client, form.Get("token"))
		}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

func (o *OAuth) revoke(ctx context.Context, client *storage.Client, s string) error {
	if strings.HasPrefix(s, string(refreshToken)) {
		return o.revokeRefresh(ctx, client, s)
	}
	t, err := o.readAccessToken(ctx, s, client.ID)
	if err == nil && t != nil && t.CallerVersion != client.Version {
		return errStale
	}
	if err != nil || !t.live(o.now()) || t.ClientID != client.ID {
		return err
	}
	return o.DB.RevokeToken(ctx, t.ID, int64(t.number), t.expires)
}

// revokeRefresh ends the grant, and so every token from it. A refresh token that was rotated away
// counts too: whoever revokes it means the whole.
func (o *OAuth) revokeRefresh(ctx context.Context, client *storage.Client, s string) error {
	t, err := parseToken(refreshToken, s)
	if err != nil {
		return nil
	}
	g, err := o.readGrant(ctx, t, client.ID)
	if err == nil && g != nil && g.CallerVersion != client.Version {
		return errStale
	}
	if err != nil || g == nil || g.ClientID != client.ID {
		return err
	}
	return o.DB.RevokeGrant(ctx, &g.Grant, "revoked_by_client", false, o.now(), o.event(ctx, "token.revoked", &g.Grant))
}
