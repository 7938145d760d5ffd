package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"idp/storage"
	"idp/web"
)

// How long an old secret counts beside a new one.
const (
	DefaultSecretOverlap = 7 * 24 * time.Hour
	MaxSecretOverlap     = 30 * 24 * time.Hour
)

// How long a secret can live that does not live for ever.
const (
	minSecretLife = time.Hour
	maxSecretLife = 10 * 365 * 24 * time.Hour
)

// needsSecret says that the client authenticates itself with a secret.
func needsSecret(m *storage.ClientMetadata) bool {
	return slices.Contains([]string{"client_secret_basic", "client_secret_post"}, m.AuthMethod)
}

// addSecret gives the client one secret, made here if it is "", in place of what it had. It ends
// after life; 0 is never.
func addSecret(c *storage.Client, secret string, life time.Duration, now time.Time) string {
	secret = cmp.Or(secret, storage.NewSecret("idp_cs_"))
	made := storage.ClientSecret{Hash: storage.HashSecret(secret), CreatedAt: now}
	if life > 0 {
		end := now.Add(life)
		made.ExpiresAt = &end
	}
	c.Secrets = []storage.ClientSecret{made}
	return secret
}

func checkSecretLife(life time.Duration) error {
	if life != 0 && (life < minSecretLife || life > maxSecretLife) {
		return impossible("A secret lives from %.0fh to %.0fh (ten years), or 0s for ever.", minSecretLife.Hours(), maxSecretLife.Hours())
	}
	return nil
}

// rotateSecret gives the client a new secret; the one it had ends after the overlap. Two live
// secrets are the most: a third would mean that one in use ends unasked.
//
// The new one lives as long as the one before was to live, unless life says otherwise: who gave it an
// end wants the next one to have one too.
func rotateSecret(c *storage.Client, overlap time.Duration, life *time.Duration, now time.Time) (string, error) {
	if !needsSecret(&c.ClientMetadata) {
		return "", impossible("The client %s has no secret: its authentication method is %s.", c.ID, c.AuthMethod)
	}
	if overlap < 0 || overlap > MaxSecretOverlap {
		return "", impossible("The overlap must be from 0s to %.0fh (30 days).", MaxSecretOverlap.Hours())
	}
	if life == nil {
		life = new(lifeOfNewest(c))
	}
	if err := checkSecretLife(*life); err != nil {
		return "", err
	}
	var old []storage.ClientSecret
	if overlap > 0 {
		old = LiveSecrets(c, now)
	}
	if len(old) > 1 {
		return "", &web.Error{Status: http.StatusConflict, Code: "conflict",
			Message: fmt.Sprintf("The client %s has two secrets already, since it was given a new one lately. Wait until the older one has ended, or end both at once with --overlap 0s.", c.ID)}
	}
	for i := range old {
		if end := now.Add(overlap); old[i].ExpiresAt == nil || old[i].ExpiresAt.After(end) {
			old[i].ExpiresAt = &end
		}
	}
	secret := addSecret(c, "", *life, now)
	c.Secrets = append(c.Secrets, old...)
	return secret, nil
}

// lifeOfNewest is how long the client's newest secret was to live when it was made; 0 is for ever.
func lifeOfNewest(c *storage.Client) time.Duration {
	if len(c.Secrets) == 0 {
		return 0
	}
	newest := slices.MaxFunc(c.Secrets, func(a, b storage.ClientSecret) int { return a.CreatedAt.Compare(b.CreatedAt) })
	if newest.ExpiresAt == nil {
		return 0
	}
	return newest.ExpiresAt.Sub(newest.CreatedAt)
}

// LiveSecrets are the secrets of a client that still count, the newest first.
func LiveSecrets(c *storage.Client, now time.Time) []storage.ClientSecret {
	live := slices.DeleteFunc(slices.Clone(c.Secrets), func(s storage.ClientSecret) bool { return s.ExpiresAt != nil && !s.ExpiresAt.After(now) })
	slices.SortStableFunc(live, func(a, b storage.ClientSecret) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return live
}
