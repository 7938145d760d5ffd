package oauth

import (
	"context"
	"slices"
	"time"

	"github.com/ory/fosite"
	foauth "github.com/ory/fosite/handler/oauth2"

	"idp/storage"
)

// clientGrant is the client_credentials grant (RFC 6749, 4.4): a client acts for itself.
type clientGrant struct {
	o *OAuth
	*foauth.ClientCredentialsGrantHandler
}

func (h *clientGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	u, o := unitOf(ctx), h.o
	if !slices.Contains(u.client.GrantTypes, "client_credentials") || u.client.Public() {
		return refuse(400, "unauthorized_client", "This client may not use the client_credentials grant.", nil)
	}
	fresh, err := o.DB.Client(ctx, u.client.ID) // a disabled client gets nothing, on any replica
	if err != nil {
		return err
	}
	if fresh.Version != u.client.Version {
		return errStale
	}
	list, ok := scopes(u.form.Get("scope"))
	allowed := slices.DeleteFunc(slices.Clone(u.client.Scopes), personal)
	if !ok || !covers(allowed, list) {
		return refuse(400, "invalid_scope", "The client may not have one of the scopes it asked for.", nil)
	}
	if len(list) == 0 {
		list = allowed
	}
	resources, err := narrowResources(u.form["resource"], u.client.Resources)
	if err != nil {
		return err
	}
	now := o.now()
	g, err := u.newGrant("client", now)
	if err != nil {
		return err
	}
	g.Subject, g.Scopes, g.Resources, g.State = u.client.ID, list, resources, storage.GrantActive
	g.ExpiresAt = now.Add(life(u.client.Lifetimes.AccessToken, accessTokenLife)).Add(time.Second)
	u.scopes, u.resources, u.change = list, resources, changeInsert
	if err := h.ClientCredentialsGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	for _, s := range list {
		r.GrantScope(s)
	}
	return nil
}

// personal scopes speak of a person, whom this grant has not.
func personal(scope string) bool {
	return slices.Contains([]string{"openid", "profile", "email", "address", "phone", "offline_access"}, scope)
}
