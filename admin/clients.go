package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"idp/oauth"
	"idp/storage"
)

// ClientInput is a client to make.
type ClientInput struct {
	ID     string // "" makes one; never changes
	Preset string // "" means web
	Name   string
	// URL is where the app is, such as https://app.example.com. Without redirect URIs it gives
	// them: /callback below it.
	URL                    string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	Source                 string                        // "" means admin
	Secret                 string                        // "" makes one
	SecretLife             time.Duration                 // after which the secret ends; 0 is never
	Change                 func(*storage.ClientMetadata) // what differs from the preset; may be nil
}

var (
	clientID = regexp.MustCompile(`^[A-Za-z0-9._-]{3,64}$`)
	// A client that acts for itself is the subject of its tokens, so its id must not look like a
	// person's. Ids that are URLs belong to clients that describe themselves at that address.
	reservedID = regexp.MustCompile(`^(?i:usr_|https?:)`)
)

// CreateClient makes a client. The secret is given back this once and never again; it is "" for
// clients that need none.
func (a *Admin) CreateClient(ctx context.Context, in ClientInput) (storage.Client, string, error) {
	m, err := preset(cmp.Or(in.Preset, storage.ClientWeb))
	if err != nil {
		return storage.Client{}, "", err
	}
	now := a.now()
	c := storage.Client{
		ID: in.ID, Source: cmp.Or(in.Source, "admin"), Version: 1,
		CreatedAt: now, UpdatedAt: now, ClientMetadata: in.describe(m),
	}
	if c.ID == "" {
		c.ID = storage.NewID("cli_")
	}
	if reservedID.MatchString(c.ID) {
		return c, "", impossible("A client id cannot begin with usr_, http: or https:. Choose another one, or leave it out to get one.")
	}
	if !clientID.MatchString(c.ID) {
		return c, "", impossible("The client id %q is not possible. Use 3 to 64 letters, digits and . _ -, or leave it out to get one.", c.ID)
	}
	if err := a.settle(ctx, &c, &storage.Client{}); err != nil {
		return c, "", err
	}
	if err := checkSecretLife(in.SecretLife); err != nil {
		return c, "", err
	}
	secret := ""
	if needsSecret(&c.ClientMetadata) {
		secret = addSecret(&c, in.Secret, in.SecretLife, now)
	} else if in.SecretLife != 0 {
		return c, "", impossible("A client that authenticates with %s has no secret that could end. Leave the life of the secret out.", c.AuthMethod)
	}
	e := a.event("client.created")
	e.ClientID = c.ID
	err = a.DB.CreateClient(ctx, c, e)
	return c, secret, taken(fmt.Sprintf("There is a client %s already. Choose another id.", c.ID), err)
}

// settle checks a client, and finds out what rests on more than the client itself.
func (a *Admin) settle(ctx context.Context, c, old *storage.Client) (err error) {
	if !slices.Equal(c.AccessGroups, old.AccessGroups) {
		if c.AccessGroups, err = a.resolveGroups(ctx, c.AccessGroups); err != nil {
			return err
		}
	}
	if err := oauth.CheckClient(c); err != nil {
		return err
	}
	if err := oauth.SettleSector(ctx, c, old, a.Fetch); err != nil {
		return err
	}
	return a.settleResources(ctx, c, old)
}

// describe lays what was asked for over the preset.
func (in *ClientInput) describe(m storage.ClientMetadata) storage.ClientMetadata {
	m.Name = in.Name
	if base := strings.TrimSuffix(in.URL, "/"); base != "" {
		m.URI = base
		if m.Type == storage.ClientWeb || m.Type == storage.ClientSPA {
			m.RedirectURIs = []string{base + "/callback"}
			m.PostLogoutRedirectURIs = []string{base + "/"}
		}
	}
	if len(in.RedirectURIs) > 0 {
		m.RedirectURIs = in.RedirectURIs
	}
	if len(in.PostLogoutRedirectURIs) > 0 {
		m.PostLogoutRedirectURIs = in.PostLogoutRedirectURIs
	}
	if in.Change != nil {
		in.Change(&m)
	}
	return m
}

// Client finds a client by its id.
func (a *Admin) Client(ctx context.Context, id string) (storage.Client, error) {
	c, err := a.DB.Client(ctx, id)
	if err != nil {
		return storage.Client{}, noClient(id, err)
	}
	found := []storage.Client{*c}
	if err := a.DB.FindSecretUses(ctx, found); err != nil {
		return storage.Client{}, err
	}
	return found[0], nil
}

func noClient(id string, err error) error {
	err = missing("client", fmt.Sprintf("There is no client %s.", id), err)
	return taken(fmt.Sprintf("Somebody else changes the client %s at the moment. Try again.", id), err)
}

// Clients lists all clients by id.
func (a *Admin) Clients(ctx context.Context) ([]storage.Client, error) {
	var all []storage.Client
	for after := ""; ; {
		some, err := a.DB.Clients(ctx, after, page)
		if err != nil {
			return nil, err
		}
		if err := a.DB.FindSecretUses(ctx, some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < page {
			return all, nil
		}
		after = some[len(some)-1].ID
	}
}

// UpdateClient changes a client: its metadata, its secrets, or whether it is disabled, which ends
// all it holds. A client that begins to need a secret gets one, given back this once.
func (a *Admin) UpdateClient(ctx context.Context, id string, change func(*storage.Client)) (storage.Client, string, error) {
	return a.updateClient(ctx, id, change, nil, nil)
}

// RotateSecret is UpdateClient with a new secret, given back this once. The old one counts for the
// overlap yet, so that the app can be changed over; without an overlap it ends at once. The new one
// ends after life, 0 is never; nil is the life that the old one had. change may be nil.
func (a *Admin) RotateSecret(ctx context.Context, id string, overlap time.Duration, life *time.Duration, change func(*storage.Client)) (storage.Client, string, error) {
	if change == nil {
		change = func(*storage.Client) {}
	}
	return a.updateClient(ctx, id, change, &overlap, life)
}

// updateClient reads, changes and writes, again when somebody else wrote in between. With an
// overlap the secret is rotated.
func (a *Admin) updateClient(ctx context.Context, id string, change func(*storage.Client), overlap, life *time.Duration) (storage.Client, string, error) {
	for try := 0; ; try++ {
		c, secret, err := a.tryUpdateClient(ctx, id, change, overlap, life)
		if err == nil || try == 3 || !errors.Is(err, storage.ErrConflict) {
			return c, secret, noClient(id, err)
		}
	}
}

func (a *Admin) tryUpdateClient(ctx context.Context, id string, change func(*storage.Client), overlap, life *time.Duration) (storage.Client, string, error) {
	old, err := a.DB.Client(ctx, id)
	if err != nil {
		return storage.Client{}, "", err
	}
	found := []storage.Client{*old}
	if err := a.DB.FindSecretUses(ctx, found); err != nil {
		return storage.Client{}, "", err
	}
	c := found[0]
	change(&c)
	c.ID, c.Version = old.ID, old.Version
	if err := a.settle(ctx, &c, old); err != nil {
		return c, "", err
	}
	e := a.event("client.updated")
	e.ClientID = id
	secret := ""
	switch {
	case overlap != nil:
		if secret, err = rotateSecret(&c, *overlap, life, e.At); err != nil {
			return c, "", err
		}
		e.Kind, e.Details = "client.secret_rotated", map[string]any{"overlap_seconds": int(overlap.Seconds())}
	case !needsSecret(&c.ClientMetadata):
		c.Secrets = nil
	case len(c.Secrets) == 0:
		secret = addSecret(&c, "", 0, e.At)
	}
	switch {
	case c.DisabledAt != nil && old.DisabledAt == nil:
		e.Kind = "client.disabled"
	case c.DisabledAt == nil && old.DisabledAt != nil:
		e.Kind = "client.enabled"
	}
	if err := a.DB.UpdateClient(ctx, c, e.At, e); err != nil {
		return c, "", err
	}
	c.Version, c.UpdatedAt = c.Version+1, e.At
	return c, secret, nil
}

// TryKeys fetches the keys that a client publishes, and tells what is wrong with them; nil for a client
// that publishes none. It is for somebody who has just said where they are: they need not be there yet.
func (a *Admin) TryKeys(ctx context.Context, c storage.Client) error {
	if c.JWKSURI == "" || a.Fetch == nil {
		return nil
	}
	body, err := a.Fetch(ctx, c.JWKSURI)
	if err != nil {
		return err
	}
	return oauth.CheckKeySet(body)
}

// DeleteClient removes a client and ends all it holds.
func (a *Admin) DeleteClient(ctx context.Context, id string) error {
	e := a.event("client.deleted")
	e.ClientID = id
	return noClient(id, a.DB.DeleteClient(ctx, id, e.At, e))
}
