package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"idp/outbound"
	"idp/storage"
)

func TestResourcesAreRegisteredWithScopesOfTheirOwn(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	scope := func(name, text string) []storage.ResourceScope {
		return []storage.ResourceScope{{Name: name, Description: text}}
	}
	made, err := a.CreateResource(t.Context(), storage.Resource{URI: "https://notes.test", Name: "Notes", Scopes: scope("notes:read", "Read your notes"), TokenFormat: "jwt", TokenLife: 300})
	if err != nil || made.URI != "https://notes.test" || made.CreatedAt.IsZero() {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, tc := range []struct {
		r      storage.Resource
		status int
		says   string
	}{
		{storage.Resource{URI: "https://notes.test", Name: "Notes"}, 409, "idp resource update"},
		{storage.Resource{URI: "https://notes.test/", Name: "Notes"}, 422, "in spelling only"},
		{storage.Resource{URI: "HTTPS://NOTES.test", Name: "Notes"}, 422, "in spelling only"},
		{storage.Resource{URI: "notes", Name: "Notes"}, 422, "must be absolute"},
		{storage.Resource{URI: "https://a.test#x", Name: "Notes"}, 422, "must be absolute"},
		{storage.Resource{URI: "https://a.test?x=y", Name: "Notes"}, 422, "without a query"},
		{storage.Resource{URI: "https://me:secret@a.test", Name: "Notes"}, 422, "a password"},
		{storage.Resource{URI: "https://a.test"}, 422, "The name"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: scope("email", "Mail")}, 422, "a standard one"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: scope("groups", "Groups")}, 422, "a standard one"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: scope("a b", "Both")}, 422, "a character"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: scope("a", "")}, 422, "needs a description"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: scope("notes:read", "Read")}, 422, "belongs to https://notes.test"},
		{storage.Resource{URI: "https://a.test", Name: "A", Scopes: append(scope("a", "A"), scope("a", "A")...)}, 422, "stands twice"},
		{storage.Resource{URI: "https://a.test", Name: "A", TokenFormat: "paseto"}, 422, "opaque or jwt"},
		{storage.Resource{URI: "https://a.test", Name: "A", TokenLife: 1}, 422, "60 to 86400"},
	} {
		_, err := a.CreateResource(t.Context(), tc.r)
		if status(err) != tc.status || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v, want %d and a sentence with %q", tc.r, err, tc.status, tc.says)
		}
	}
	updated, err := a.UpdateResource(t.Context(), "https://NOTES.test/", func(r *storage.Resource) { r.Name, r.URI = "My notes", "https://elsewhere.test" })
	if err != nil || updated.Name != "My notes" || updated.URI != "https://notes.test" || len(updated.Scopes) != 1 {
		t.Errorf("updated: %+v, %v", updated, err)
	}
	if _, err := a.UpdateResource(t.Context(), "https://notes.test", func(r *storage.Resource) { r.Scopes = scope("openid", "x") }); status(err) != 422 {
		t.Errorf("an update to a standard scope: %v", err)
	}
	if uri, err := a.DeleteResource(t.Context(), "https://notes.test/"); err != nil || uri != "https://notes.test" {
		t.Errorf("deleted %q, %v", uri, err)
	}
	if _, err := a.Resource(t.Context(), "https://notes.test"); status(err) != 404 {
		t.Errorf("after deletion: %v", err)
	}
	if list, err := a.Resources(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
}

func TestTheCatalogIsBounded(t *testing.T) { // every process keeps all of it in memory
	t.Parallel()
	a := testAdmin(t)
	if _, err := a.DB.Pool().Exec(t.Context(), `
		insert into resources (uri, name, created_at, updated_at)
		select 'https://' || n || '.test', 'A', now(), now() from generate_series(1, $1) as n`, storage.MaxResources); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateResource(t.Context(), storage.Resource{URI: "https://more.test", Name: "A"}); status(err) != 422 || !strings.Contains(err.Error(), "Delete one") {
		t.Errorf("one more than the most: %v", err)
	}
	if _, err := a.DeleteResource(t.Context(), "https://1.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CreateResource(t.Context(), storage.Resource{URI: "https://more.test", Name: "A"}); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}

func TestAClientNamesRegisteredResourcesOnly(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	in := func(id string, resources, audience []string) ClientInput {
		return ClientInput{ID: id, Name: "Wiki", URL: "https://wiki.test", Change: func(m *storage.ClientMetadata) { m.Resources, m.Audience = resources, audience }}
	}
	const uri = "https://notes.test/v1"
	for _, lists := range [][2][]string{{{uri}, nil}, {nil, {uri}}} {
		_, _, err := a.CreateClient(t.Context(), in("wiki", lists[0], lists[1]))
		if status(err) != 422 || !strings.Contains(err.Error(), "idp resource create --uri "+uri) {
			t.Errorf("%v: %v, want a sentence that names the command", lists, err)
		}
	}
	if _, err := a.CreateResource(t.Context(), storage.Resource{URI: uri, Name: "Notes"}); err != nil {
		t.Fatal(err)
	}
	c, _, err := a.CreateClient(t.Context(), in("wiki", []string{"HTTPS://Notes.test/v1/"}, []string{uri}))
	if err != nil || c.Resources[0] != uri || len(c.Resources) != 1 {
		t.Fatalf("resources %q, %v; want the registered spelling", c.Resources, err)
	}
	if _, err := a.DeleteResource(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	// A client that names a deleted one can be changed, and gets no other one that is not there.
	if c, _, err = a.UpdateClient(t.Context(), "wiki", func(c *storage.Client) { c.Name = "New wiki" }); err != nil || c.Name != "New wiki" {
		t.Errorf("update: %v", err)
	}
	if _, _, err = a.UpdateClient(t.Context(), "wiki", func(c *storage.Client) { c.Resources = append(c.Resources, "https://other.test") }); status(err) != 422 {
		t.Errorf("another unregistered one: %v", err)
	}
}

func TestASectorIsSettledOnce(t *testing.T) { // OpenID Connect Core, 8.1; conformance 31, 32
	t.Parallel()
	listed := `["https://a.test/cb", "https://b.test/cb"]`
	kind, asked := "application/json", 0
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", kind)
		w.Write([]byte(listed))
	}))
	t.Cleanup(site.Close)
	allow, err := outbound.ParseAllow([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	a := testAdmin(t)
	a.Fetch = outbound.New(allow).JSON
	create := func(sectorURI string, redirects ...string) (storage.Client, error) {
		c, _, err := a.CreateClient(t.Context(), ClientInput{Name: "App", RedirectURIs: redirects, Change: func(m *storage.ClientMetadata) {
			m.SubjectType, m.SectorURI, m.Sector = "pairwise", sectorURI, "chosen.test"
		}})
		return c, err
	}
	change := func(c storage.Client, f func(*storage.Client)) error {
		_, _, err := a.UpdateClient(t.Context(), c.ID, f)
		return err
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		if status(err) != 422 || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a refusal with %q", what, err, says)
		}
	}

	one, err := create("", "https://A.test/cb", "https://a.test:8443/cb")
	if err != nil || one.Sector != "a.test" {
		t.Fatalf("sector %q, %v; want the host of the redirect URIs", one.Sector, err)
	}
	_, err = create("", "https://a.test/cb", "https://b.test/cb")
	refused("two hosts", err, "sector identifier URI")
	refused("a redirect URI elsewhere", change(one, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://b.test/cb") }), "sector identifier URI")
	refused("a move", change(one, func(c *storage.Client) { c.RedirectURIs = []string{"https://b.test/cb"} }), "somebody new")
	refused("a sector document elsewhere", change(one, func(c *storage.Client) { c.SectorURI = "https://b.test/sector.json" }), "somebody new")
	if err := change(one, func(c *storage.Client) { c.RedirectURIs, c.Sector = []string{"https://a.test/other"}, "x" }); err != nil {
		t.Errorf("another redirect URI of the sector: %v", err)
	}
	if err := change(one, func(c *storage.Client) { c.SubjectType = "public" }); err != nil {
		t.Error(err)
	}
	refused("pairwise again, elsewhere", change(one, func(c *storage.Client) { c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://b.test/cb"} }), "somebody new")

	both, err := create(site.URL+"/sector.json", "https://a.test/cb", "https://b.test/cb")
	if err != nil || both.Sector != "127.0.0.1" {
		t.Fatalf("sector %q, %v; want the host of the sector identifier URI", both.Sector, err)
	}
	_, err = create(site.URL+"/sector.json", "https://a.test/cb", "https://c.test/cb")
	refused("one redirect URI is not listed", err, "does not list the redirect URI https://c.test/cb")
	refused("a new one is not listed", change(both, func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://c.test/cb") }), "does not list")
	before := asked
	listed = `[]`
	if err := change(both, func(c *storage.Client) { c.Name = "Other name" }); err != nil || asked != before {
		t.Errorf("a change of something else: %v, the document was fetched %d times", err, asked-before)
	}
	for _, bad := range []string{`{"a": 1}`, `null`, `["https://a.test/cb", 1]`, `["https://a.test/cb", "https://b.test/cb"] x`, ``} {
		listed = bad
		_, err = create(site.URL+"/sector.json", "https://a.test/cb")
		refused("the document "+bad, err, "not a JSON array")
	}
	listed, kind = `["https://a.test/cb"]`, "text/html"
	_, err = create(site.URL+"/sector.json", "https://a.test/cb")
	refused("a document that is no JSON", err, "cannot be fetched")
	_, err = create("http://a.test/sector.json", "https://a.test/cb")
	refused("plain http", err, "must be an https URL")
	a.Fetch = outbound.New(outbound.Allow{}).JSON // as everybody but developers has it
	before = asked
	_, err = create(site.URL+"/sector.json", "https://a.test/cb")
	if refused("an address of this machine", err, "cannot be fetched"); asked != before {
		t.Error("it was called all the same")
	}
	_, _, err = a.CreateClient(t.Context(), ClientInput{Preset: "native", Name: "App", Change: func(m *storage.ClientMetadata) { m.SubjectType = "pairwise" }})
	refused("a native app on loopback", err, "no host of the app's own")
	_, _, err = a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "App", Change: func(m *storage.ClientMetadata) { m.SubjectType = "pairwise" }})
	refused("a machine", err, "need a redirect URI")
}
