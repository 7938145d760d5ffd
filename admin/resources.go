package admin

import (
	"context"
	"fmt"
	"slices"

	"idp/oauth"
	"idp/storage"
)

// CreateResource registers an API that tokens may be asked for.
func (a *Admin) CreateResource(ctx context.Context, r storage.Resource) (storage.Resource, error) {
	r.CreatedAt = a.now()
	r.UpdatedAt = r.CreatedAt
	r.Scopes = someScopes(r.Scopes)
	check := func(others *storage.Catalog) error {
		if len(others.Resources) >= storage.MaxResources {
			return impossible("There are %d resources already, which is the most. Delete one that is not used any more.", storage.MaxResources)
		}
		return oauth.CheckResource(&r, others)
	}
	e := a.event("resource.created")
	e.Details = map[string]any{"uri": r.URI}
	err := a.DB.CreateResource(ctx, r, check, e)
	return r, taken(fmt.Sprintf("There is a resource %s already. To change it: idp resource update %s", r.URI, r.URI), err)
}

func someScopes(list []storage.ResourceScope) []storage.ResourceScope {
	if list == nil {
		return []storage.ResourceScope{}
	}
	return list
}

// Resources lists all resources by URI.
func (a *Admin) Resources(ctx context.Context) ([]storage.Resource, error) {
	c, err := a.DB.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	return c.Resources, nil
}

// Resource finds a resource by its URI, in any spelling that a client may use.
func (a *Admin) Resource(ctx context.Context, uri string) (storage.Resource, error) {
	c, err := a.DB.Catalog(ctx)
	if err != nil {
		return storage.Resource{}, err
	}
	if r := oauth.RegisteredResource(c, uri); r != nil {
		return *r, nil
	}
	return storage.Resource{}, noResource(uri, storage.ErrNotFound)
}

func noResource(uri string, err error) error {
	err = missing("resource", fmt.Sprintf("There is no resource %s.", uri), err)
	return taken(fmt.Sprintf("Somebody else changes the resource %s at the moment. Try again.", uri), err)
}

// UpdateResource changes a resource. Its URI stays: tokens and clients name it by that.
func (a *Admin) UpdateResource(ctx context.Context, uri string, change func(*storage.Resource)) (storage.Resource, error) {
	found, err := a.Resource(ctx, uri)
	if err != nil {
		return found, err
	}
	e := a.event("resource.updated")
	e.Details = map[string]any{"uri": found.URI}
	r, err := a.DB.UpdateResource(ctx, found.URI, func(r *storage.Resource, others *storage.Catalog) error {
		change(r)
		r.URI, r.Scopes = found.URI, someScopes(r.Scopes)
		return oauth.CheckResource(r, others)
	}, e.At, e)
	return r, noResource(found.URI, err)
}

// DeleteResource removes a resource: nobody gets tokens for it any more. Those that are out count
// until they expire. It gives the URI that was deleted.
func (a *Admin) DeleteResource(ctx context.Context, uri string) (string, error) {
	found, err := a.Resource(ctx, uri)
	if err != nil {
		return "", err
	}
	e := a.event("resource.deleted")
	e.Details = map[string]any{"uri": found.URI}
	return found.URI, noResource(found.URI, a.DB.DeleteResource(ctx, found.URI, e))
}

// settleResources gives the resources of a client their registered spelling. What the client did not
// have before must be registered; what was deleted since may stay in its list, and means nothing.
func (a *Admin) settleResources(ctx context.Context, c, old *storage.Client) error {
	had := slices.Concat(old.Resources, old.Audience)
	if len(c.Resources)+len(c.Audience) == 0 {
		return nil
	}
	catalog, err := a.DB.Catalog(ctx)
	if err != nil {
		return err
	}
	var missing []error
	settle := func(list []string) []string {
		var settled []string
		for _, uri := range list {
			r := oauth.RegisteredResource(catalog, uri)
			switch {
			case r != nil:
				uri = r.URI
			case !slices.Contains(had, uri):
				missing = append(missing, impossible("The resource %s is not registered. Register it first: idp resource create --uri %s --name \"My API\"", uri, uri))
			}
			if !slices.Contains(settled, uri) {
				settled = append(settled, uri)
			}
		}
		return settled
	}
	c.Resources, c.Audience = settle(c.Resources), settle(c.Audience)
	if len(missing) > 0 {
		return missing[0]
	}
	return nil
}
