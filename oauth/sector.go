package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/storage"
	"idp/web"
)

// A sector (OpenID Connect Core, 8.1) is the host that pairwise subjects are made for. It is settled
// when a client becomes pairwise and kept from then on: with another sector, the client would take
// everybody for somebody new.

// checkSubjects checks the settings of a client that pairwise subjects rest on.
func checkSubjects(c *storage.Client, say func(format string, args ...any)) {
	if !slices.Contains([]string{"", subjectPublic, subjectPairwise}, c.SubjectType) {
		say("The subject type %q is not known; use public or pairwise.", c.SubjectType)
	}
	if c.SectorURI == "" {
		return
	}
	if problem := checkAddress(c.SectorURI); problem != "" {
		say("The sector identifier URI %q must be an https URL: it %s.", c.SectorURI, problem)
	}
}

// SettleSector finds the sector of a pairwise client, and makes sure that its redirect URIs are
// within it. Old is the client as it was, empty for a new one. fetch, which gets a JSON document from
// an address that a stranger names, is asked only when something has changed that the document is
// about. Errors are sentences that name the mend.
func SettleSector(ctx context.Context, c, old *storage.Client, fetch func(ctx context.Context, address string) ([]byte, error)) error {
	c.Sector = old.Sector
	if !pairwise(c) {
		return nil // a sector from before is kept: pairwise again, it knows everybody again
	}
	sector, err := sectorOf(c)
	if err != nil {
		return err
	}
	if old.Sector != "" && sector != old.Sector {
		return wrongSector("The sector of this client is %s and cannot become %s: every person who signs in would look like somebody new to the app. Keep all redirect URIs on %s, or make another client.", old.Sector, sector, old.Sector)
	}
	changed := !pairwise(old) || c.SectorURI != old.SectorURI || !slices.Equal(c.RedirectURIs, old.RedirectURIs)
	if c.SectorURI != "" && changed {
		if err := listedInSector(ctx, c, fetch); err != nil {
			return err
		}
	}
	c.Sector = sector
	return nil
}

func wrongSector(format string, args ...any) error {
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_client_metadata", Message: fmt.Sprintf(format, args...)}
}

// sectorOf is the host of the sector identifier URI, or else that of all redirect URIs.
func sectorOf(c *storage.Client) (string, error) {
	if c.SectorURI != "" {
		return hostOf(c.SectorURI), nil
	}
	sector := ""
	for _, uri := range c.RedirectURIs {
		host := hostOf(uri)
		switch {
		case host == "" || c.Type == storage.ClientNative && isLoopbackHost(host):
			return "", wrongSector("The redirect URI %s has no host of the app's own, so it tells no sector for pairwise subjects. Give the app a sector identifier URI that lists all its redirect URIs.", uri)
		case sector != "" && host != sector:
			return "", wrongSector("The redirect URIs are on %s and on %s, so they tell no one sector for pairwise subjects. Use one host, or give the app a sector identifier URI that lists all its redirect URIs.", sector, host)
		}
		sector = host
	}
	if sector == "" {
		return "", wrongSector("Pairwise subjects need a redirect URI, whose host is the sector.")
	}
	return sector, nil
}

func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// listedInSector fetches the document of a sector and makes sure that it lists every redirect URI:
// whoever runs the sector says who belongs to it (OpenID Connect Registration, 5).
func listedInSector(ctx context.Context, c *storage.Client, fetch func(ctx context.Context, address string) ([]byte, error)) error {
	if fetch == nil {
		return wrongSector("The sector identifier URI cannot be fetched from here.")
	}
	body, err := fetch(ctx, c.SectorURI)
	if err != nil {
		// The cause as text only: a network that fails here is the sector's, and must not be taken for the
		// database's.
		return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_client_metadata", Err: errors.New(err.Error()),
			Message: fmt.Sprintf("The sector identifier URI %s cannot be fetched: %v.", c.SectorURI, err)}
	}
	var listed []string
	if err := decodeStrict(body, &listed); err != nil || listed == nil {
		return wrongSector("The document at %s is not a JSON array of redirect URIs.", c.SectorURI)
	}
	for _, uri := range c.RedirectURIs {
		if !slices.Contains(listed, uri) {
			return wrongSector("The document at %s does not list the redirect URI %s. Add it there first.", c.SectorURI, uri)
		}
	}
	return nil
}
