package oauth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/storage"
	"idp/web"
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
		if resources, err = chooseResources(0, a.params["resource"], allowed); err != nil {
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
// Its refusal has that status; 0 is for answers by redirect.
func chooseResources(status int, asked, allowed []string) ([]string, error) {
	var list []string
	for _, a := range asked {
		i := slices.IndexFunc(allowed, func(r string) bool { return sameResource(a, r) })
		if !isResource(a) || i < 0 {
			return nil, refuse(status, "invalid_target", "The resource is not known, or not allowed for this client, or the grant does not cover it.", fmt.Errorf("resource %.200q", a))
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
		if u.resources, err = chooseResources(400, u.form["resource"], covered); err != nil {
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

// CheckResource is the one validator of resources, for creation and update. Others are those that
// there are. Its errors are sentences that name the mend.
func CheckResource(r *storage.Resource, others *storage.Catalog) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if u, err := url.Parse(r.URI); !isResource(r.URI) || len(r.URI) > 512 || err != nil || u.User != nil || u.RawQuery != "" || !plainText(r.URI) {
		say("The URI %q must be absolute, such as https://api.example.com, of at most 512 bytes, without a query, a fragment or a password.", r.URI)
	}
	if r.Name == "" || len(r.Name) > 128 || !plainText(r.Name) {
		say("The name must be text of 1 to 128 bytes: people see it when they are asked for consent.")
	}
	if !slices.Contains([]string{"", "opaque", "jwt"}, r.TokenFormat) {
		say("The token format %q is not known; use opaque or jwt, or nothing to have it as the client has it.", r.TokenFormat)
	}
	if r.TokenLife != 0 && (r.TokenLife < 60 || r.TokenLife > 86400) {
		say("The token lifetime must be from 60 to 86400 seconds.")
	}
	if len(r.Scopes) > maxScopes {
		say("At most %d scopes are possible.", maxScopes)
	}
	seen := map[string]bool{}
	for _, s := range r.Scopes {
		switch owner := others.Owner(s.Name); {
		case !scopeToken(s.Name):
			say("The scope %q has a character that scopes cannot have.", s.Name)
		case personal(s.Name):
			say("The scope %s is a standard one: it cannot be a resource's own.", s.Name)
		case seen[s.Name]:
			say("The scope %s stands twice.", s.Name)
		case owner != nil && owner.URI != r.URI:
			say("The scope %s belongs to %s already. Choose another name, such as one with the resource's name in front.", s.Name, owner.URI)
		}
		if s.Description == "" || len(s.Description) > 256 || !plainText(s.Description) {
			say("The scope %s needs a description of 1 to 256 bytes that completes “This lets the app”, such as --scope '%s=Read your notes'.", s.Name, s.Name)
		}
		seen[s.Name] = true
	}
	for _, other := range others.Resources {
		if other.URI != r.URI && sameResource(other.URI, r.URI) {
			say("The URI %q differs from that of %s in spelling only: clients would mix them up.", r.URI, other.URI)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_request", Message: strings.Join(wrong, " ")}
}

// RegisteredResource finds a resource by an identifier as a client may spell it; nil when there is
// none.
func RegisteredResource(catalog *storage.Catalog, uri string) *storage.Resource {
	if r := catalog.Resource(uri); r != nil {
		return r
	}
	i := slices.IndexFunc(catalog.Resources, func(r storage.Resource) bool { return sameResource(r.URI, uri) })
	if i < 0 {
		return nil
	}
	return &catalog.Resources[i]
}
