package admin

import (
	"context"
	"fmt"

	"idp/oauth"
	"idp/storage"
)

// CreateTrust lets a client sign in with assertions of an issuer (RFC 7523). Client, issuer and policy
// are given.
func (a *Admin) CreateTrust(ctx context.Context, t storage.Trust) (storage.Trust, error) {
	t.ID, t.Version, t.CreatedAt = storage.NewID("trs_"), 1, a.now()
	t.UpdatedAt = t.CreatedAt
	if err := a.checkTrust(ctx, &t); err != nil {
		return t, err
	}
	err := a.DB.CreateTrust(ctx, t, a.trustEvent("trust.created", t))
	return t, missing("client", fmt.Sprintf("There is no client %s.", t.ClientID), taken(fmt.Sprintf("The client %s has %d trusts already, which is the most. Delete one that is not used any more.", t.ClientID, storage.MaxTrusts), err))
}

// checkTrust checks a trust against its client, and gives resources their registered spelling.
func (a *Admin) checkTrust(ctx context.Context, t *storage.Trust) error {
	c, err := a.DB.Client(ctx, t.ClientID)
	if err != nil {
		return noClient(t.ClientID, err)
	}
	catalog, err := a.DB.Catalog(ctx)
	if err != nil {
		return err
	}
	for i, uri := range t.Resources {
		if r := oauth.RegisteredResource(catalog, uri); r != nil {
			t.Resources[i] = r.URI
		}
	}
	return oauth.CheckTrust(t, c)
}

func (a *Admin) trustEvent(kind string, t storage.Trust) storage.Event {
	e := a.event(kind)
	e.ClientID = t.ClientID
	e.Details = map[string]any{"trust": t.ID, "issuer": t.Issuer, "subject": t.Subject}
	return e
}

// Trusts lists all trusts by id.
func (a *Admin) Trusts(ctx context.Context) ([]storage.Trust, error) {
	var all []storage.Trust
	for after := ""; ; {
		some, err := a.DB.Trusts(ctx, after, page)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < page {
			return all, nil
		}
		after = some[len(some)-1].ID
	}
}

// Trust finds a trust by its id.
func (a *Admin) Trust(ctx context.Context, id string) (storage.Trust, error) {
	t, err := a.DB.Trust(ctx, id)
	return t, noTrust(id, err)
}

func noTrust(id string, err error) error {
	err = missing("trust", fmt.Sprintf("There is no trust %s.", id), err)
	return taken(fmt.Sprintf("Somebody else changes the trust %s at the moment. Try again.", id), err)
}

// UpdateTrust changes what a trust accepts and gives; tokens that it gave end. Whom it is for, and
// whom it trusts, stays.
func (a *Admin) UpdateTrust(ctx context.Context, id string, change func(*storage.TrustPolicy)) (storage.Trust, error) {
	t, err := a.Trust(ctx, id)
	if err != nil {
		return t, err
	}
	change(&t.TrustPolicy)
	if err := a.checkTrust(ctx, &t); err != nil {
		return t, err
	}
	e := a.trustEvent("trust.updated", t)
	if err := a.DB.UpdateTrust(ctx, t, e.At, e); err != nil {
		return t, noTrust(id, err)
	}
	t.Version, t.UpdatedAt = t.Version+1, e.At
	return t, nil
}

// DeleteTrust removes a trust; tokens that it gave end.
func (a *Admin) DeleteTrust(ctx context.Context, id string) error {
	t, err := a.Trust(ctx, id)
	if err != nil {
		return err
	}
	e := a.trustEvent("trust.deleted", t)
	return noTrust(id, a.DB.DeleteTrust(ctx, id, e.At, e))
}
