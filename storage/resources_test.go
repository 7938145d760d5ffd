package storage_test

import (
	"errors"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func addResource(t testing.TB, db *storage.DB, uri string, scopes ...string) {
	t.Helper()
	r := storage.Resource{URI: uri, Name: uri, CreatedAt: noon()}
	for _, s := range scopes {
		r.Scopes = append(r.Scopes, storage.ResourceScope{Name: s, Description: "Do " + s})
	}
	if err := db.CreateResource(t.Context(), r, nil, storage.Event{Kind: "resource.created"}); err != nil {
		t.Fatal(err)
	}
}

func TestTheCatalogSaysWhoseAScopeIs(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	before, err := db.Catalog(t.Context())
	if err != nil || len(before.Resources) != 0 || before.Version == 0 {
		t.Fatalf("an empty catalog: %+v, %v", before, err)
	}
	addResource(t, db, "https://b.test", "b:read")
	addResource(t, db, "https://a.test", "a:read", "a:write")
	c, err := db.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Resources) != 2 || c.Resources[0].URI != "https://a.test" || c.Version <= before.Version {
		t.Errorf("catalog %+v", c)
	}
	if r := c.Owner("a:write"); r == nil || r.URI != "https://a.test" || c.Describe("a:write") != "Do a:write" || c.Owner("openid") != nil || c.Describe("openid") != "" || c.Resource("https://a.test/") != nil {
		t.Errorf("owner of a:write: %+v", r)
	}
}

func TestEveryChangeOfResourcesIsNoticedByItsVersion(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	here, there := open(t, url, 2), open(t, url, 2)
	client := addClient(t, here)
	version := func() int64 { // as the statements that decide bring it along
		t.Helper()
		_, v, err := here.ClientAndCatalog(t.Context(), client.ID)
		if err != nil {
			t.Fatal(err)
		}
		f, err := here.AuthorizeFacts(t.Context(), client.ID, nil, noon())
		if err != nil || f.CatalogVersion != v {
			t.Fatalf("facts tell version %d, %v; the client's read told %d", f.CatalogVersion, err, v)
		}
		return v
	}
	if _, err := here.CachedCatalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := version()
	for name, change := range map[string]func() error{
		"create": func() error { addResource(t, there, "https://a.test"); return nil },
		"update": func() error {
			addResource(t, there, "https://u.test")
			_, err := there.UpdateResource(t.Context(), "https://u.test", func(r *storage.Resource, _ *storage.Catalog) error { r.Name = "A"; return nil }, noon(), storage.Event{})
			return err
		},
		"delete": func() error {
			addResource(t, there, "https://d.test")
			return there.DeleteResource(t.Context(), "https://d.test", storage.Event{})
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		now := version()
		if now <= last {
			t.Errorf("%s: the version is %d as before", name, now)
		}
		c, err := here.CatalogAt(t.Context(), now)
		if err != nil || c.Version != now {
			t.Errorf("%s: catalog of version %d, %v; want %d", name, c.Version, err, now)
		}
		last = now
	}
}

func TestARefusedChangeOfResourcesChangesNothing(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	addResource(t, db, "https://a.test", "read")
	addResource(t, db, "https://b.test")
	before, err := db.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	events := count(t, db, "events")
	no := errors.New("no")
	wantError(t, "the URI again", db.CreateResource(t.Context(), storage.Resource{URI: "https://a.test", CreatedAt: noon()}, nil, storage.Event{Kind: "x"}), storage.ErrConflict)
	wantError(t, "another's scope", db.CreateResource(t.Context(), storage.Resource{URI: "https://c.test", CreatedAt: noon(), Scopes: []storage.ResourceScope{{Name: "read"}}}, nil, storage.Event{Kind: "x"}), storage.ErrConflict)
	wantError(t, "a check that refuses", db.CreateResource(t.Context(), storage.Resource{URI: "https://c.test", CreatedAt: noon()}, func(*storage.Catalog) error { return no }, storage.Event{Kind: "x"}), no)
	_, err = db.UpdateResource(t.Context(), "https://b.test", func(r *storage.Resource, _ *storage.Catalog) error {
		r.Scopes = []storage.ResourceScope{{Name: "read"}}
		return nil
	}, noon(), storage.Event{Kind: "x"})
	wantError(t, "an update to another's scope", err, storage.ErrConflict)
	_, err = db.UpdateResource(t.Context(), "https://nobody.test", func(*storage.Resource, *storage.Catalog) error { return nil }, noon(), storage.Event{Kind: "x"})
	wantError(t, "an update of nothing", err, storage.ErrNotFound)
	wantError(t, "deletion of nothing", db.DeleteResource(t.Context(), "https://nobody.test", storage.Event{Kind: "x"}), storage.ErrNotFound)
	after, err := db.Catalog(t.Context())
	if err != nil || after.Version != before.Version || len(after.Resources) != 2 || count(t, db, "events") != events {
		t.Errorf("version %d and %d resources with %d events, %v; want %d, 2 and %d", after.Version, len(after.Resources), count(t, db, "events"), err, before.Version, events)
	}
}

func TestOfTwoResourcesWithOneScopeOneIsRefused(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	uris := []string{"https://a.test", "https://b.test", "https://c.test", "https://d.test"}
	wantOneWinner(t, race(len(uris), func(i int) error {
		return db.CreateResource(t.Context(), storage.Resource{URI: uris[i], CreatedAt: noon(), Scopes: []storage.ResourceScope{{Name: "read", Description: "Read"}}}, nil, storage.Event{})
	}))
}

func TestASectorKnowsAPersonByOneSubject(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	subjects := make([]string, 8)
	for _, err := range race(len(subjects), func(i int) (err error) {
		subjects[i], err = db.Subject(t.Context(), "one.test", ada.ID, noon())
		return err
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range subjects {
		if s != subjects[0] || s == "" {
			t.Fatalf("subjects %q, want one", subjects)
		}
	}
	other, err := db.Subject(t.Context(), "two.test", ada.ID, noon())
	if err != nil || other == subjects[0] {
		t.Errorf("another sector: %q, %v", other, err)
	}
	if user, err := db.SubjectUser(t.Context(), "one.test", subjects[0]); err != nil || user != ada.ID {
		t.Errorf("the subject is %q's, %v", user, err)
	}
	for _, tc := range [][2]string{{"two.test", subjects[0]}, {"one.test", ada.ID}, {"one.test", "sub_\x00"}, {"", subjects[0]}} {
		_, err := db.SubjectUser(t.Context(), tc[0], tc[1])
		wantError(t, tc[0]+" "+tc[1], err, storage.ErrNotFound)
	}
}
