package main

import (
	"context"
	"errors"
	"slices"

	"idp/oauth"
	"idp/storage"
)

// describeTold writes, row by row, what a client is told of people, how, and who may use it. The
// access groups have their names by now.
func describeTold(row func(name string, values ...string), c *storage.Client) {
	for _, r := range c.ClaimRules {
		row("Claim", writeClaimRule(r))
	}
	row("Userinfo", c.UserInfoAlg)
	row("Introspection", c.IntrospectionAlg)
	for _, g := range c.AccessGroups {
		row("Only for group", g)
	}
}

// noteFrame says so when the sign-out page of a client is one that the provider does not load.
func noteFrame(c *console, db *opened, cl *storage.Client) {
	if uri := cl.FrontchannelLogoutURI; uri != "" && db.Issuer != "" && !oauth.FrameLoads(uri, db.Issuer) {
		c.note("%s is not of the site of %s, so browsers keep the app's cookies from it and it is not loaded. Use --backchannel-logout-uri.", uri, db.Issuer)
	}
}

// noteKeys says so when the keys of a client are not at the address that was given for them.
func noteKeys(c *console, db *opened, cl storage.Client) {
	if err := db.admin.TryKeys(c.ctx, cl); err != nil {
		c.note("No keys could be read at %s: %v. Until the provider can read them there, requests that the client signs get temporarily_unavailable.", cl.JWKSURI, err)
	}
}

// nameAccessGroups gives the client with the names of its access groups instead of their ids, for
// people to read. A group that is gone keeps its id: nobody is in it.
func nameAccessGroups(ctx context.Context, db *opened, c storage.Client) (storage.Client, error) {
	c.AccessGroups = slices.Clone(c.AccessGroups)
	for i, id := range c.AccessGroups {
		g, err := db.Group(ctx, id)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return c, err
		}
		c.AccessGroups[i] = g.Name
	}
	return c, nil
}
