package main

import (
	"strings"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestSecretsThatEndOrThatNobodyUsesStandOut(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type view struct {
		Secrets []struct {
			ExpiresAt  *time.Time `json:"expires_at"`
			LastUsedAt *time.Time `json:"last_used_at"`
		}
	}
	shows := func(args string, want ...string) {
		t.Helper()
		code, out, errs := o.run("", strings.Fields(args)...)
		for _, text := range want {
			if code != 0 || !strings.Contains(out, text) {
				t.Errorf("idp %s: %d, want %q in\n%s%s", args, code, text, out, errs)
			}
		}
	}
	shows("client create --preset machine --id job --name Job --secret-life 48h", "counts until", "idp client rotate-secret job")
	var made view
	o.json(&made, "", "client", "show", "job")
	if len(made.Secrets) != 1 || made.Secrets[0].ExpiresAt == nil || made.Secrets[0].LastUsedAt != nil {
		t.Errorf("made: %+v", made)
	}
	shows("client show job", "NO USE NOTED", "The last secret of this client ends on", "idp client rotate-secret job")
	shows("client list", "NO USE NOTED (ends ")
	shows("client rotate-secret job --secret-life 0s", "counts until", "NO USE NOTED")
	var rotated view
	o.json(&rotated, "", "client", "show", "job")
	if len(rotated.Secrets) != 2 || rotated.Secrets[0].ExpiresAt != nil || !rotated.Secrets[1].ExpiresAt.Equal(*made.Secrets[0].ExpiresAt) {
		t.Errorf("rotated: %+v", rotated)
	}
	if code, _, errs := o.run("", "client", "update", "job", "--secret-life", "48h"); code != exitUsage || !strings.Contains(errs, "--rotate-secret") {
		t.Errorf("a life without a new secret: %d %s", code, errs)
	}
	shows("client create --preset native --id app --name App")
	shows("client list", "-\n")
}

func TestWhatIsSaidOfSecrets(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) *time.Time { at := now.Add(d); return &at }
	const day = 24 * time.Hour
	secret := func(made, used, ends time.Duration) storage.ClientSecret {
		s := storage.ClientSecret{CreatedAt: now.Add(made)}
		if used != 0 {
			s.LastUsedAt = in(used)
		}
		if ends != 0 {
			s.ExpiresAt = in(ends)
		}
		return s
	}
	for _, tc := range []struct {
		name    string
		secrets []storage.ClientSecret
		short   string
		mind    []string // a part of each sentence
	}{
		{"in use", []storage.ClientSecret{secret(-day, -time.Hour, 0)}, "last used 2026-11-25", nil},
		{"made just now", []storage.ClientSecret{secret(-time.Minute, 0, 0)}, "NO USE NOTED", nil},
		{"forgotten", []storage.ClientSecret{secret(-400*day, -100*day, 0)}, "NOT USED since 2026-08-17", nil},
		{"ending", []storage.ClientSecret{secret(-day, -time.Hour, 5*day)}, "last used 2026-11-25 (ends 2026-11-30)", []string{"The last secret of this client ends on 2026-11-30"}},
		{"ending one day", []storage.ClientSecret{secret(-day, -time.Hour, 300*day)}, "last used 2026-11-25 (ends 2027-09-21)", nil},
		{"ended", []storage.ClientSecret{secret(-9*day, -day, -time.Hour)}, "ENDED", []string{"No secret of this client counts any more"}},
		{"none", nil, "ENDED", []string{"No secret of this client counts any more"}},
		{"the old one is still in use", []storage.ClientSecret{secret(-2*day, 0, 0), secret(-90*day, -time.Hour, 5*day)},
			"NO USE NOTED; last used 2026-11-25 (ends 2026-11-30)", []string{"somebody still used it on 2026-11-25T11:00:00Z"}},
		{"the old one is out of use", []storage.ClientSecret{secret(-2*day, -time.Hour, 0), secret(-90*day, -3*day, 5*day)},
			"last used 2026-11-25; last used 2026-11-22 (ends 2026-11-30)", nil},
	} {
		c := &storage.Client{ID: "job", Secrets: tc.secrets}
		c.AuthMethod = "client_secret_basic"
		if got := secretsInShort(c, now); got != tc.short {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.short)
		}
		got := secretsMind(c, now)
		if len(got) != len(tc.mind) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.mind)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tc.mind[i]) {
				t.Errorf("%s: %q, want %q", tc.name, got[i], tc.mind[i])
			}
		}
		c.AuthMethod = "none"
		if secretsInShort(c, now) != "-" || secretsMind(c, now) != nil {
			t.Errorf("%s: a client without secrets has something said of them", tc.name)
		}
	}
}
