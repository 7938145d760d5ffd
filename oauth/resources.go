package oauth

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/storage"
)

// Resource indicators (RFC 8707). A client gets tokens for the resources that are registered and in
// its list. What a grant covers is settled at the authorization endpoint; each access token is for
// all of it, or for less if the token request says so. The provider itself is a resource too: its
// identifier is the issuer, and openid is what gives access to it.

// checkResources settles what an authorization request is for. A refusal is made on the resources as
// they are; that what is allowed still holds, facts makes sure of.
func (o *OAuth) checkResources(ctx context.Context, a *authorization) error {
	catalog, err := o.DB.CachedCatalog(ctx)
	if err != nil {
		return err
	}
	scopes, resources, refusal := o.target(a, catalog)
	if refusal != nil {
		cached := catalog.Version
		if catalog, err = o.DB.Catalog(ctx); err != nil {
			return err
		}
		if catalog.Version != cached {
			scopes, resources, refusal = o.target(a, catalog)
		}
	}
	if refusal != nil {
		return refusal
	}
	a.scopes, a.resources, a.catalog = scopes, resources, catalog
	return nil
}

// target finds the resources of a request, and which of its scopes go with them. A scope of a
// resource implies it when the request names none: many clients do not know the parameter.
func (o *OAuth) target(a *authorization, catalog *storage.Catalog) (scopes, resources []string, err error) {
	allowed := allowedResources(a.client, catalog)
	if !a.params.Has("resource") {
		resources = owners(a.scopes, allowed, catalog)
	} else {
		if slices.Contains(a.scopes, "openid") {
			allowed = append(allowed, o.Issuer)
		}
		if resources, err = chooseResources(a.params["resource"], allowed); err != nil {
			return nil, nil, err
		}
		resources = slices.DeleteFunc(resources, func(r string) bool { return r == o.Issuer })
	}
	scopes = scopesFor(a.scopes, resources, catalog)
	if len(scopes) == 0 {
		return nil, nil, refuse(0, "invalid_scope", "None of the scopes belongs to a resource that the request is for.", nil)
	}
	return scopes, resources, nil
}

// allowedResources are those that a client may have tokens for now.
func allowedResources(c *storage.Client, catalog *storage.Catalog) []string {
	return slices.DeleteFunc(slices.Clone(c.Resources), func(r string) bool { return catalog.Resource(r) == nil })
}

// owners are the resources among allowed that scopes belong to.
func owners(scopes, allowed []string, catalog *storage.Catalog) []string {
	var list []string
	for _, s := range scopes {
		if r := catalog.Owner(s); r != nil && slices.Contains(allowed, r.URI) && !slices.Contains(list, r.URI) {
			list = append(list, r.URI)
		}
	}
	return list
}

// scopesFor keeps the scopes that belong to one of the resources, or to none at all.
func scopesFor(scopes, resources []string, catalog *storage.Catalog) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool {
		owner := catalog.Owner(s)
		return owner != nil && !slices.Contains(resources, owner.URI)
	})
}

// chooseResources finds what a request names among the resources that it may have, in their spelling.
func chooseResources(asked, allowed []string) ([]string, error) {
	var list []string
	for _, a := range asked {
		i := slices.IndexFunc(allowed, func(r string) bool { return sameResource(a, r) })
		if !isResource(a) || i < 0 {
			return nil, refuse(400, "invalid_target", "The resource is not known, or not allowed for this client, or the grant does not cover it.", fmt.Errorf("resource %.200q", a))
		}
		if !slices.Contains(list, allowed[i]) {
			list = append(list, allowed[i])
		}
	}
	return list, nil
}

// sameResource compares resource indicators as clients send them: scheme and host in any case, one
// trailing slash more or less (RFC 8707 leaves it open; several libraries add the slash).
func sameResource(a, b string) bool { return plainResource(a) == plainResource(b) }

func plainResource(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return strings.TrimSuffix(u.String(), "/")
}

// aim settles what the access token of a unit is for, of the resources that its grant covers and
// that its client may still have: those that the token request names, else all. With that it settles
// the scopes, format and lifetime. The unit's scopes are those granted, as the request narrowed them.
func (o *OAuth) aim(u *unit, catalog *storage.Catalog, granted []string) error {
	covered := within(granted, allowedResources(u.client, catalog))
	if len(granted) == 0 || slices.Contains(u.scopes, "openid") {
		covered = append(covered, o.Issuer)
	}
	u.resources = covered
	if u.form.Has("resource") {
		var err error
		if u.resources, err = chooseResources(u.form["resource"], covered); err != nil {
			return err
		}
	}
	if len(u.resources) == 0 {
		return refuse(400, "invalid_target", "The API that access was given for is not there any more, or this client may not use it now. Ask the person again, for what the client may have.", nil)
	}
	u.scopes = scopesFor(u.scopes, u.resources, catalog)
	u.format, u.life = "", 0
	for _, uri := range u.resources {
		r := catalog.Resource(uri)
		if r == nil {
			continue // ourselves: we take what there is
		}
		format := r.TokenFormat
		if format == "" {
			format = u.client.AccessTokenFormat
		}
		if u.format != "" && u.format != format {
			return refuse(400, "invalid_target", "These APIs take access tokens of different formats. Ask for one at a time: name one of them as resource in the token request, and the other in another one.", nil)
		}
		u.format = format
		if l := life(r.TokenLife, 0); l > 0 && (u.life == 0 || l < u.life) {
			u.life = l
		}
	}
	if u.format == "" {
		u.format = u.client.AccessTokenFormat
	}
	u.life = or(u.life, life(u.client.Lifetimes.AccessToken, accessTokenLife))
	return nil
}

// longestLife is how long an access token for any of the resources can live.
func longestLife(c *storage.Client, catalog *storage.Catalog, resources []string) time.Duration {
	longest := life(c.Lifetimes.AccessToken, accessTokenLife)
	for _, uri := range resources {
		if r := catalog.Resource(uri); r != nil {
			longest = max(longest, life(r.TokenLife, 0))
		}
	}
	return longest
}
