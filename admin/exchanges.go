package admin

import (
	"context"
	"fmt"

	"idp/oauth"
	"idp/storage"
)

// AllowExchange lets a client exchange tokens that it was sent (RFC 8693). Own is the issuer, which
// can be a target; "" when it is not known.
func (a *Admin) AllowExchange(ctx context.Context, x storage.Exchange, own string) (storage.Exchange, error) {
	x.ID, x.CreatedAt = storage.NewID("exc_"), a.now()
	c, err := a.DB.Client(ctx, x.ClientID)
	if err != nil {
		return x, noClient(x.ClientID, err)
	}
	if x.SubjectClient != "" {
		if _, err := a.Client(ctx, x.SubjectClient); err != nil {
			return x, err
		}
	}
	catalog, err := a.DB.Catalog(ctx)
	if err != nil {
		return x, err
	}
	for _, uri := range []*string{&x.Source, &x.Target} {
		if r := oauth.RegisteredResource(catalog, *uri); r != nil {
			*uri = r.URI
		}
	}
	if err := oauth.CheckExchange(&x, c, own); err != nil {
		return x, err
	}
	err = a.DB.CreateExchange(ctx, x, a.exchangeEvent("exchange.allowed", x))
	return x, missing("client", fmt.Sprintf("There is no client %s.", x.ClientID), taken(fmt.Sprintf("The client %s may do that already, or has the most rules there can be (%d). To see them: idp exchange list. To change one, revoke it and allow it anew.", x.ClientID, storage.MaxExchanges), err))
}

func (a *Admin) exchangeEvent(kind string, x storage.Exchange) storage.Event {
	e := a.event(kind)
	e.ClientID = x.ClientID
	e.Details = map[string]any{"rule": x.ID, "source": x.Source, "of": x.SubjectClient, "target": x.Target, "scopes": x.Scopes}
	return e
}

// Exchanges lists all rules by id.
func (a *Admin) Exchanges(ctx context.Context) ([]storage.Exchange, error) {
	var all []storage.Exchange
	for after := ""; ; {
		some, err := a.DB.Exchanges(ctx, after, page)
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

// RevokeExchange removes a rule; tokens that it gave end.
func (a *Admin) RevokeExchange(ctx context.Context, id string) error {
	e := a.event("exchange.revoked")
	e.Details = map[string]any{"rule": id}
	return missing("exchange", fmt.Sprintf("There is no exchange rule %s.", id), a.DB.DeleteExchange(ctx, id, e.At, e))
}
