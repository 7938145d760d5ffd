package storage_test

import (
	"slices"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestOriginsAreWrittenAsBrowsersDo(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"https://rp.test/cb":          "https://rp.test",
		"HTTPS://RP.test:443/cb?x#y":  "https://rp.test",
		"https://rp.test:8443":        "https://rp.test:8443",
		"http://localhost:80/cb":      "http://localhost",
		"http://[::1]:3000/cb":        "http://[::1]:3000",
		"http://rp.test:443/":         "http://rp.test:443",
		"com.example.app:/cb":         "",
		"com.example.app://host/cb":   "",
		"null":                        "",
		"":                            "",
		"https://":                    "",
		"https://a b.test":            "",
		"javascript:alert(1)//x.test": "",
	} {
		if got := storage.Origin(uri); got != want {
			t.Errorf("Origin(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestAnOriginIsKnownWhileAClientHasIt(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	c := addClient(t, db)
	origins := func(want ...string) {
		t.Helper()
		for _, o := range []string{"https://a.test", "https://b.test:8443", "https://app.test", ""} {
			got, err := db.OriginRegistered(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got != slices.Contains(want, o) {
				t.Errorf("OriginRegistered(%q) = %v", o, got)
			}
		}
	}
	update := func(change func(*storage.Client)) {
		t.Helper()
		c = read(t, db, c.ID)
		change(&c)
		if err := db.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	origins()
	update(func(c *storage.Client) {
		c.RedirectURIs = []string{"https://a.test/cb", "https://a.test:443/other", "https://b.test:8443/cb", "com.app:/cb"}
	})
	origins("https://a.test", "https://b.test:8443")
	update(func(c *storage.Client) { c.AllowedOrigins = []string{"https://app.test"} })
	origins("https://app.test")
	update(func(c *storage.Client) { c.AllowedOrigins, c.DisabledAt = nil, ptr(noon()) })
	origins("https://a.test", "https://b.test:8443")
	if err := db.DeleteClient(t.Context(), c.ID, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	origins()
}
