package storage_test

import (
	"regexp"
	"testing"

	"idp/storage"
)

func TestIDsArePrefixedReadableAndNeverRepeat(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^usr_[0-9a-hjkmnp-tv-z]{26}$`)
	seen := map[string]bool{}
	for range 10_000 {
		id := storage.NewID("usr_")
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("NewID = %q (seen before: %v), want %v", id, seen[id], form)
		}
		seen[id] = true
	}
}

func TestSecretsKeepTheirMeaningInFormEncoding(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^idp_cs_[0-9A-Za-z]{43}$`)
	letters := map[rune]bool{}
	for range 1000 {
		secret := storage.NewSecret("idp_cs_")
		if !form.MatchString(secret) {
			t.Fatalf("NewSecret = %q, want %v", secret, form)
		}
		for _, c := range secret[len("idp_cs_"):] {
			letters[c] = true
		}
	}
	if len(letters) != 62 {
		t.Errorf("1000 secrets use %d letters, want all 62", len(letters))
	}
}

func TestRowIDsFollowTime(t *testing.T) {
	t.Parallel()
	last := ""
	for range 1000 {
		id := storage.NewRowID().String()
		if id <= last {
			t.Fatalf("row id %s came after %s", id, last)
		}
		last = id
	}
}
