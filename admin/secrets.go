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

// needsSecret says that the client authenticates itself with a secret.
func needsSecret(m *storage.ClientMetadata) bool {
	return slices.Contains([]string{"client_secret_basic", "client_secret_post"}, m.AuthMethod)
}

// addSecret gives the client one secret, made here if it is "", in place of what it had.
func addSecret(c *storage.Client, secret string, now time.Time) string {
	secret = cmp.Or(secret, storage.NewSecret("idp_cs_"))
	c.Secrets = []storage.ClientSecret{{Hash: storage.HashSecret(secret), CreatedAt: now}}
	return secret
}

// rotateSecret gives the client a new secret; the one it had ends after the overlap. Two live
// secrets are the most: a third would mean that one in use ends unasked.
func rotateSecret(c *storage.Client, overlap time.Duration, now time.Time) (string, error) {
	if !needsSecret(&c.ClientMetadata) {
		return "", impossible("The client %s has no secret: its authentication method is %s.", c.ID, c.AuthMethod)
	}
	if overlap < 0 || overlap > MaxSecretOverlap {
		return "", impossible("The overlap must be from 0s to %.0fh (30 days).", MaxSecretOverlap.Hours())
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
		end := now.Add(overlap)
		old[i].ExpiresAt = &end
	}
	secret := addSecret(c, "", now)
	c.Secrets = append(c.Secrets, old...)
	return secret, nil
}

// LiveSecrets are the secrets of a client that still count, the newest first.
func LiveSecrets(c *storage.Client, now time.Time) []storage.ClientSecret {
	live := slices.DeleteFunc(slices.Clone(c.Secrets), func(s storage.ClientSecret) bool { return s.ExpiresAt != nil && !s.ExpiresAt.After(now) })
	slices.SortStableFunc(live, func(a, b storage.ClientSecret) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return live
}
