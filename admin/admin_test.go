package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"idp/storage"
	"idp/storage/storagetest"
	"idp/web"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// testAdmin hashes nothing, as these tests sign nobody in.
func testAdmin(t *testing.T) *Admin {
	return New(Config{
		DB:           storagetest.New(t),
		HashPassword: func(_ context.Context, password string) (string, error) { return "hash of " + password, nil },
	})
}

func status(err error) int {
	if e, ok := errors.AsType[*web.Error](err); ok {
		return e.Status
	}
	return 0
}

func TestPresetsAreWhatEachKindOfClientNeeds(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	for _, tc := range []struct {
		in       ClientInput
		method   string
		grants   []string
		scopes   string
		redirect string
		secret   bool
	}{
		{ClientInput{Name: "Wiki", URL: "https://wiki.test/"}, "client_secret_basic", []string{"authorization_code", "refresh_token"}, "openid profile email offline_access", "https://wiki.test/callback", true},
		{ClientInput{Preset: "web", Name: "Wiki", RedirectURIs: []string{"https://wiki.test/cb"}}, "client_secret_basic", []string{"authorization_code", "refresh_token"}, "openid profile email offline_access", "https://wiki.test/cb", true},
		{ClientInput{Preset: "spa", Name: "Page", URL: "https://page.test"}, "none", []string{"authorization_code", "refresh_token"}, "openid profile email", "https://page.test/callback", false},
		{ClientInput{Preset: "native", Name: "App"}, "none", []string{"authorization_code", "refresh_token"}, "openid profile email offline_access", "http://127.0.0.1/callback http://localhost/callback", false},
		{ClientInput{Preset: "machine", Name: "Job"}, "client_secret_basic", []string{"client_credentials"}, "", "", true},
	} {
		c, secret, err := a.CreateClient(t.Context(), tc.in)
		if err != nil {
			t.Errorf("%+v: %v", tc.in, err)
			continue
		}
		if c.AuthMethod != tc.method || !slices.Equal(c.GrantTypes, tc.grants) || strings.Join(c.Scopes, " ") != tc.scopes || strings.Join(c.RedirectURIs, " ") != tc.redirect {
			t.Errorf("%s: %+v, want %+v", c.Type, c.ClientMetadata, tc)
		}
		if (secret != "") != tc.secret || tc.secret != strings.HasPrefix(secret, "idp_cs_") {
			t.Errorf("%s: secret %q, want one: %v", c.Type, secret, tc.secret)
		}
		stored, err := a.Client(t.Context(), c.ID)
		if err != nil {
			t.Errorf("%s: %v", c.Type, err)
		}
		if diff := cmp.Diff(c, stored, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s is stored differently (-returned +stored):\n%s", c.Type, diff)
		}
		if tc.secret && !stored.SecretIs(secret, time.Now()) {
			t.Errorf("%s: the secret that was given out does not fit", c.Type)
		}
	}
	if spa, _, err := a.CreateClient(t.Context(), ClientInput{Preset: "spa", Name: "P", URL: "https://p.test"}); err != nil || !spa.SessionRefresh || spa.Lifetimes.RefreshMax != 86400 {
		t.Errorf("spa = %+v, %v; want refresh tokens that end with the session, after a day at most", spa.ClientMetadata, err)
	}
}

func TestImpossibleClientsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	if _, _, err := a.CreateClient(t.Context(), ClientInput{ID: "taken", Name: "A", Preset: "machine"}); err != nil {
		t.Fatal(err)
	}
	for want, tc := range map[string]struct {
		in     ClientInput
		status int
	}{
		"There is no preset":    {ClientInput{Preset: "toaster", Name: "A"}, 422},
		"redirect URI":          {ClientInput{Name: "A"}, 422},
		"uses http":             {ClientInput{Name: "A", URL: "http://wiki.test"}, 422},
		"The name":              {ClientInput{URL: "https://wiki.test"}, 422},
		"The client id":         {ClientInput{ID: "a b", Name: "A", Preset: "machine"}, 422},
		"taken already. Choose": {ClientInput{ID: "taken", Name: "A", Preset: "machine"}, 409},
	} {
		_, _, err := a.CreateClient(t.Context(), tc.in)
		if err == nil || status(err) != tc.status || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %d with %q", tc.in, err, tc.status, want)
		}
	}
}

func TestAClientThatBeginsToNeedASecretGetsOne(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	c, _, err := a.CreateClient(t.Context(), ClientInput{Preset: "native", Name: "App"})
	if err != nil {
		t.Fatal(err)
	}
	change := func(method string) (storage.Client, string) {
		c, secret, err := a.UpdateClient(t.Context(), c.ID, func(c *storage.Client) { c.AuthMethod = method })
		if err != nil {
			t.Fatal(err)
		}
		return c, secret
	}
	c, secret := change("client_secret_post")
	if !c.SecretIs(secret, time.Now()) {
		t.Errorf("the secret %q does not fit", secret)
	}
	if c, again := change("client_secret_basic"); again != "" || !c.SecretIs(secret, time.Now()) {
		t.Errorf("another method changed the secret: %q", again)
	}
	if c, _ := change("none"); len(c.Secrets) != 0 {
		t.Errorf("a public client has %d secrets", len(c.Secrets))
	}
}

func TestChangesAtTheSameTimeAllCount(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	c, _, err := a.CreateClient(t.Context(), ClientInput{Preset: "machine", Name: "Job"})
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for _, scope := range []string{"a", "b", "c"} {
		both.Go(func() {
			_, _, err := a.UpdateClient(t.Context(), c.ID, func(c *storage.Client) { c.Scopes = append(slices.Clone(c.Scopes), scope) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	got, err := a.Client(t.Context(), c.ID)
	if slices.Sort(got.Scopes); err != nil || !slices.Equal(got.Scopes, []string{"a", "b", "c"}) {
		t.Errorf("scopes = %v, %v; want all three", got.Scopes, err)
	}
}

func TestWhatIsNotThereIsSaidSo(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	ctx := t.Context()
	_, clientErr := a.Client(ctx, "cli_x")
	_, _, updateErr := a.UpdateClient(ctx, "cli_x", func(*storage.Client) {})
	_, userErr := a.User(ctx, "nobody")
	_, passwordErr := a.SetPassword(ctx, "nobody", "x")
	_, _, suspendErr := a.Suspend(ctx, "nobody")
	for what, err := range map[string]error{
		"client": clientErr, "update": updateErr, "delete client": a.DeleteClient(ctx, "cli_x"),
		"user": userErr, "password": passwordErr, "suspend": suspendErr,
	} {
		if status(err) != 404 || !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v, want 404", what, err)
		}
	}
}

func TestListsAreWhole(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	if _, err := a.DB.Pool().Exec(t.Context(), `
		insert into users (id, username, created_at, updated_at)
		select 'usr_' || i, 'user' || i, '2026-01-01', '2026-01-01' from generate_series(1, 1001) i`); err != nil {
		t.Fatal(err)
	}
	if _, err := a.DB.Pool().Exec(t.Context(), `
		insert into clients (id, metadata, source, created_at, updated_at)
		select 'cli_' || i, '{}', 'admin', '2026-01-01', '2026-01-01' from generate_series(1, 1000) i`); err != nil {
		t.Fatal(err)
	}
	users, err := a.Users(t.Context())
	if err != nil || len(users) != 1001 {
		t.Errorf("%d users, %v; want 1001", len(users), err)
	}
	clients, err := a.Clients(t.Context())
	if err != nil || len(clients) != 1000 {
		t.Errorf("%d clients, %v; want 1000", len(clients), err)
	}
}

func TestAPersonIsFoundByEveryNameTheyHave(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	ada, err := a.CreateUser(t.Context(), UserInput{Username: "Ada", Email: "ada@example.test", EmailVerified: true, Password: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ada.ID, "ada", "ADA", "Ada@Example.test"} {
		if u, err := a.User(t.Context(), name); err != nil || u.ID != ada.ID || u.EmailVerifiedAt == nil {
			t.Errorf("User(%q) = %+v, %v", name, u, err)
		}
	}
	for _, in := range []UserInput{{Username: "ada"}, {Username: "ada@example.test"}, {Username: "eve", Email: "ADA@example.test"}} {
		if _, err := a.CreateUser(t.Context(), in); status(err) != 409 {
			t.Errorf("CreateUser(%+v) = %v, want 409", in, err)
		}
	}
	for _, in := range []UserInput{{}, {Username: " "}, {Username: "usr_ada"}, {Username: "a\x00b"}, {Username: "eve", Email: "eve"}, {Username: "eve", Email: "Eve <eve@example.test>"}} {
		if _, err := a.CreateUser(t.Context(), in); status(err) != 422 {
			t.Errorf("CreateUser(%+v) = %v, want 422", in, err)
		}
	}
}

func TestThePasswordPolicyKnowsThePerson(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	var words []string
	a.CheckPassword = func(_ string, context ...string) error {
		words = context
		return &web.Error{Status: 422, Message: "weak"}
	}
	_, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Email: "ada@example.test", Profile: storage.Profile{Name: "Ada King"}, Password: "x"})
	if status(err) != 422 || !slices.Equal(words, []string{"ada", "ada@example.test", "Ada King"}) {
		t.Errorf("CreateUser() = %v, with the words %q", err, words)
	}
	if _, err := a.User(t.Context(), "ada"); status(err) != 404 {
		t.Errorf("the account was made all the same: %v", err)
	}
}

func TestSuspendedActivatedAndDeleted(t *testing.T) {
	t.Parallel()
	a := testAdmin(t)
	ada, err := a.CreateUser(t.Context(), UserInput{Username: "ada", Password: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do    func(context.Context, string) (storage.User, storage.Ended, error)
		state string
	}{{a.Suspend, storage.UserSuspended}, {a.Activate, storage.UserActive}, {a.DeleteUser, storage.UserDeleted}} {
		if u, _, err := step.do(t.Context(), "ada"); err != nil || u.State != step.state {
			t.Errorf("state = %s, %v; want %s", u.State, err, step.state)
		}
	}
	if _, err := a.CreateUser(t.Context(), UserInput{Username: "ada"}); err != nil {
		t.Errorf("the name of a deleted account stays taken: %v", err)
	}
	events, err := a.DB.Events(t.Context(), ada.ID, 10)
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	if want := []string{"user.deleted", "user.activated", "user.suspended", "user.created"}; err != nil || !slices.Equal(kinds, want) {
		t.Errorf("events = %v, %v; want %v", kinds, err, want)
	}
}
