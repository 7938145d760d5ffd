package admin

import (
	"context"
	"fmt"
	"time"

	"idp/storage"
)

// Initial access tokens: how often and how long one counts.
const (
	DefaultRegistrationLife = 24 * time.Hour
	MaxRegistrationLife     = 365 * 24 * time.Hour
	MaxRegistrationUses     = 1000
)

// CreateRegistrationToken makes an initial access token, with which so many clients can register
// themselves. The secret is given back this once and never again.
func (a *Admin) CreateRegistrationToken(ctx context.Context, uses int, life time.Duration) (storage.RegistrationToken, string, error) {
	if uses < 1 || uses > MaxRegistrationUses {
		return storage.RegistrationToken{}, "", impossible("A token can count for 1 to %d clients.", MaxRegistrationUses)
	}
	if life < time.Minute || life > MaxRegistrationLife {
		return storage.RegistrationToken{}, "", impossible("A token can count from 1m to %.0fh (365 days).", MaxRegistrationLife.Hours())
	}
	e := a.event("registration_token.created")
	t := storage.RegistrationToken{ID: storage.NewID("rgt_"), Uses: uses, CreatedAt: e.At, ExpiresAt: e.At.Add(life)}
	e.Details = map[string]any{"token": t.ID, "uses": uses}
	secret := storage.NewSecret("idp_iat_")
	return t, secret, a.DB.CreateRegistrationToken(ctx, t, storage.HashSecret(secret), e)
}

// RegistrationTokens lists initial access tokens, newest first.
func (a *Admin) RegistrationTokens(ctx context.Context) ([]storage.RegistrationToken, error) {
	return a.DB.RegistrationTokens(ctx, 10_000)
}

// RevokeRegistrationToken ends an initial access token. Clients that it registered stay.
func (a *Admin) RevokeRegistrationToken(ctx context.Context, id string) error {
	e := a.event("registration_token.revoked")
	e.Details = map[string]any{"token": id}
	return missing("registration token", fmt.Sprintf("There is no registration token %s.", id), a.DB.DeleteRegistrationToken(ctx, id, e))
}
