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
	fresh, version, err := o.DB.ClientAndCatalog(ctx, u.client.ID) // a disabled client gets nothing, on any replica
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
	list, ok := scopes(u.form.Get("scope"))
	allowed := slices.DeleteFunc(slices.Clone(u.client.Scopes), personal)
	if !ok || !covers(allowed, list) {
		return refuse(400, "invalid_scope", "The client may not have one of the scopes it asked for.", nil)
	}
	list, resources, err := u.ownTarget(list, allowed, allowedResources(u.client, catalog), catalog)
	if err != nil {
		return err
	}
	now := o.now()
	g, err := u.newGrant("client", now)
	if err != nil {
		return err
	}
	g.Subject, g.Scopes, g.Resources, g.State = u.client.ID, list, resources, storage.GrantActive
	u.scopes, u.change = list, changeInsert
	if err := o.aim(u, catalog, resources); err != nil {
		return err
	}
	g.ExpiresAt = now.Add(u.life).Add(time.Second)
	if err := h.ClientCredentialsGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	for _, s := range list {
		r.GrantScope(s)
	}
	return nil
}

// ownTarget finds what a client that acts for itself gets: the resources that it names, else those of
// the scopes that it names, else all that are its own; with the scopes that it names, else all of these
// resources.
func (u *unit) ownTarget(asked, allowed, mine []string, catalog *storage.Catalog) (scopes, resources []string, err error) {
	scopes = asked
	if len(asked) == 0 {
		scopes = allowed
	}
	if u.form.Has("resource") {
		resources, err = chooseResources(400, u.form["resource"], mine)
	} else if resources = owners(scopes, mine, catalog); len(resources) == 0 {
		resources = mine
	}
	if err != nil {
		return nil, nil, err
	}
	own := scopesFor(scopes, resources, catalog)
	if len(asked) > 0 && len(own) < len(asked) {
		return nil, nil, refuse(400, "invalid_scope", "A scope belongs to a resource that was not asked for, or that the client may not have.", nil)
	}
	return own, resources, nil
}

// personal scopes speak of a person, whom this grant has not.
func personal(scope string) bool {
	return slices.Contains([]string{"openid", "profile", "email", "address", "phone", "groups", "offline_access"}, scope)
}
