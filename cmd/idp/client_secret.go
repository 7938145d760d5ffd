package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"idp/admin"
	"idp/storage"
)

const (
	secretSoon = 30 * 24 * time.Hour // a secret that ends within it is spoken of
	secretIdle = 90 * 24 * time.Hour // one that nobody used for so long looks forgotten
)

// describeSecrets writes, row by row, the secrets of a client that count. Of a client that was just
// given its only one, that says nothing but its end.
func describeSecrets(row func(name string, values ...string), c *storage.Client, justMade bool, now time.Time) {
	live := admin.LiveSecrets(c, now)
	for i, s := range live {
		text := "made " + s.CreatedAt.Format(time.RFC3339)
		if s.ExpiresAt != nil {
			text += ", counts until " + s.ExpiresAt.Format(time.RFC3339)
		}
		if justMade && i == 0 && len(live) == 1 && s.ExpiresAt == nil {
			return
		}
		if !justMade || i > 0 {
			text += ", " + secretUse(s, now, time.RFC3339)
		}
		row("Secret", text)
	}
}

// secretUse tells when a secret was last used. What is not noted may be older than the notes.
func secretUse(s storage.ClientSecret, now time.Time, layout string) string {
	switch {
	case s.LastUsedAt == nil:
		return "NO USE NOTED"
	case now.Sub(*s.LastUsedAt) > secretIdle:
		return "NOT USED since " + s.LastUsedAt.UTC().Format(time.DateOnly)
	}
	return "last used " + s.LastUsedAt.UTC().Format(layout)
}

// secretsInShort is the secrets of a client in one cell of a table.
func secretsInShort(c *storage.Client, now time.Time) string {
	if !strings.HasPrefix(c.AuthMethod, "client_secret_") {
		return "-"
	}
	var parts []string
	for _, s := range admin.LiveSecrets(c, now) {
		text := secretUse(s, now, time.DateOnly)
		if s.ExpiresAt != nil {
			text += " (ends " + s.ExpiresAt.Format(time.DateOnly) + ")"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "ENDED"
	}
	return strings.Join(parts, "; ")
}

// secretsMind are sentences about secrets that end soon, or have ended.
func secretsMind(c *storage.Client, now time.Time) []string {
	if !strings.HasPrefix(c.AuthMethod, "client_secret_") {
		return nil
	}
	live := admin.LiveSecrets(c, now)
	if len(live) == 0 {
		return []string{fmt.Sprintf("No secret of this client counts any more, so it cannot authenticate. Make a new one: idp client rotate-secret %s", c.ID)}
	}
	var list []string
	last := slices.MaxFunc(live, func(a, b storage.ClientSecret) int {
		switch {
		case a.ExpiresAt == nil && b.ExpiresAt == nil:
			return 0
		case a.ExpiresAt == nil:
			return 1
		case b.ExpiresAt == nil:
			return -1
		}
		return a.ExpiresAt.Compare(*b.ExpiresAt)
	})
	if last.ExpiresAt != nil && last.ExpiresAt.Sub(now) < secretSoon {
		list = append(list, fmt.Sprintf("The last secret of this client ends on %s. From then on the client cannot authenticate. Make a new one: idp client rotate-secret %s",
			last.ExpiresAt.Format(time.RFC3339), c.ID))
	}
	for _, s := range live[1:] {
		if s.LastUsedAt != nil && s.LastUsedAt.After(live[0].CreatedAt) && s.ExpiresAt != nil && s.ExpiresAt.Sub(now) < secretSoon {
			list = append(list, fmt.Sprintf("The secret of %s ends on %s, and somebody still used it on %s. Give them the new one before.",
				s.CreatedAt.Format(time.DateOnly), s.ExpiresAt.Format(time.RFC3339), s.LastUsedAt.UTC().Format(time.RFC3339)))
		}
	}
	return list
}
