package idp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"idp/admin"
	"idp/demo"
	"idp/login"
	"idp/storage"
	"idp/web"
)

// Ids of the clients of idp dev.
const (
	demoWeb     = "demo-web"
	demoSPA     = "demo-spa"
	demoNative  = "demo-native"
	demoMachine = "demo-machine"
)

// demoNotes is the API of idp dev, with its scopes.
const demoNotes = "https://notes.example.test"

var demoScopes = [...]string{"notes:read", "notes:write"}

// scriptRedirects are return addresses at which nobody listens, for scripts that read the answer
// from the redirect.
var scriptRedirects = [...]string{"http://localhost:9999/cb", "http://127.0.0.1:9999/cb"}

// seed brings the demo people and clients into the state that the world tells of, and leaves alone
// what somebody changed about them. lastDemo is where the demo app was the last time.
func seed(ctx context.Context, db *storage.DB, world *DevWorld, state *devState, lastDemo string) error {
	a := admin.New(admin.Config{DB: db, HashPassword: login.New(login.Config{DB: db}).HashPassword})
	if err := refuseForeign(ctx, a, world.DatabaseURL); err != nil {
		return err
	}
	fresh := state.Password == ""
	if fresh {
		state.Password = demoPassword()
	}
	for _, in := range demoPeople(state.Password) {
		if err := seedPerson(ctx, a, in, fresh); err != nil {
			return fmt.Errorf("make demo person %s: %w", in.Username, err)
		}
		world.People = append(world.People, DevPerson{in.Username, state.Password, in.Email})
	}
	if state.Secrets == nil {
		state.Secrets = map[string]string{}
	}
	if err := seedResource(ctx, a); err != nil {
		return fmt.Errorf("make demo resource: %w", err)
	}
	for _, in := range demoClients(world.DemoURL) {
		c, err := seedClient(ctx, a, in, state, lastDemo)
		if err != nil {
			return fmt.Errorf("make demo client %s: %w", in.ID, err)
		}
		world.Clients = append(world.Clients, DevClient{c.ID, state.Secrets[c.ID], noneForNil(c.RedirectURIs), c.Type})
	}
	return nil
}

func noneForNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// refuseForeign keeps demo accounts, whose passwords everybody may know, out of a database that is
// somebody's real one.
func refuseForeign(ctx context.Context, a *admin.Admin, url string) error {
	_, err := a.DB.Client(ctx, demoWeb)
	if err == nil || !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	clients, err := a.DB.Clients(ctx, "", 1)
	if err != nil {
		return err
	}
	users, err := a.DB.Users(ctx, "", 1)
	if err != nil {
		return err
	}
	if len(clients)+len(users) > 0 {
		return configErrorf("The database has clients or people that idp dev did not make, so nothing was added to it. Give idp dev a database of its own with --database-url, or none to run a private one.")
	}
	return nil
}

func seedPerson(ctx context.Context, a *admin.Admin, in admin.UserInput, newPassword bool) error {
	_, err := a.DB.UserByIdentifier(ctx, in.Username)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		_, err = a.CreateUser(ctx, in)
	case err == nil && newPassword:
		_, err = a.SetPassword(ctx, in.Username, in.Password)
	}
	return err
}

// seedResource registers an API that nobody answers for: it is there to be asked tokens for.
func seedResource(ctx context.Context, a *admin.Admin) error {
	r := storage.Resource{URI: demoNotes, Name: "Demo notes API", Scopes: []storage.ResourceScope{
		{Name: demoScopes[0], Description: "Read your notes"}, {Name: demoScopes[1], Description: "Write and delete your notes"},
	}}
	_, err := a.Resource(ctx, r.URI)
	if e, ok := errors.AsType[*web.Error](err); ok && e.Status == http.StatusNotFound {
		_, err = a.CreateResource(ctx, r)
	}
	return err
}

func seedClient(ctx context.Context, a *admin.Admin, in admin.ClientInput, state *devState, lastDemo string) (storage.Client, error) {
	c, err := a.DB.Client(ctx, in.ID)
	if errors.Is(err, storage.ErrNotFound) {
		in.Secret = state.Secrets[in.ID]
		made, secret, err := a.CreateClient(ctx, in)
		if secret != "" {
			state.Secrets[in.ID] = secret
		}
		return made, err
	}
	if err != nil {
		return storage.Client{}, err
	}
	old := *c
	adapted := old
	adapt(&adapted, in, lastDemo)
	known := len(old.Secrets) == 0 || old.SecretIs(state.Secrets[in.ID], time.Now())
	if known && reflect.DeepEqual(old, adapted) {
		return old, nil
	}
	c2, secret, err := a.UpdateClient(ctx, in.ID, func(c *storage.Client) {
		adapt(c, in, lastDemo)
		if !known {
			c.Secrets = nil // a new one is made
		}
	})
	if secret != "" {
		state.Secrets[in.ID] = secret
	}
	return c2, err
}

// adapt moves the client's addresses from where the demo app was to where it is.
func adapt(c *storage.Client, in admin.ClientInput, lastDemo string) {
	move := func(have, want []string) []string {
		list := slices.Clone(want)
		for _, uri := range have {
			if !slices.Contains(list, uri) && (lastDemo == "" || !strings.HasPrefix(uri, lastDemo+"/")) {
				list = append(list, uri)
			}
		}
		return list
	}
	c.RedirectURIs = move(c.RedirectURIs, in.RedirectURIs)
	c.PostLogoutRedirectURIs = move(c.PostLogoutRedirectURIs, in.PostLogoutRedirectURIs)
	if lastDemo != "" && c.URI == lastDemo {
		c.URI = in.URL
	}
	var fresh storage.ClientMetadata
	if in.Change != nil {
		in.Change(&fresh)
	}
	if old := c.BackchannelLogoutURI; old == "" || lastDemo != "" && strings.HasPrefix(old, lastDemo+"/") {
		c.BackchannelLogoutURI = fresh.BackchannelLogoutURI
	}
	if old := c.InitiateLoginURI; old == "" || lastDemo != "" && strings.HasPrefix(old, lastDemo+"/") {
		c.InitiateLoginURI = fresh.InitiateLoginURI
	}
}

// demoClients are one client of each kind.
func demoClients(demoURL string) []admin.ClientInput {
	web, spa, postLogout := demo.RedirectURIs(demoURL)
	wide := func(m *storage.ClientMetadata) {
		m.Scopes = append([]string{"openid", "profile", "email", "address", "phone", "offline_access"}, demoScopes[:]...)
		m.Resources = []string{demoNotes}
	}
	shop := func(m *storage.ClientMetadata) {
		wide(m)
		m.BackchannelLogoutURI = demo.LogoutURI(demoURL)
		m.InitiateLoginURI = demoURL + "/login"
	}
	return []admin.ClientInput{
		{ID: demoWeb, Preset: storage.ClientWeb, Source: "preset", Name: "Demo shop", URL: demoURL, Change: shop,
			RedirectURIs: append(web, scriptRedirects[:]...), PostLogoutRedirectURIs: postLogout},
		{ID: demoSPA, Preset: storage.ClientSPA, Source: "preset", Name: "Demo shop in the browser", URL: demoURL,
			Change:       func(m *storage.ClientMetadata) { m.Scopes = []string{"openid", "profile", "email", "address", "phone"} },
			RedirectURIs: append(spa, scriptRedirects[:]...), PostLogoutRedirectURIs: append(postLogout, demoURL+"/spa")},
		{ID: demoNative, Preset: storage.ClientNative, Source: "preset", Name: "Demo command line", Change: wide,
			RedirectURIs: []string{"http://127.0.0.1/callback", "http://localhost/callback"}},
		{ID: demoMachine, Preset: storage.ClientMachine, Source: "preset", Name: "Demo machine",
			Change: func(m *storage.ClientMetadata) { m.Scopes = []string{"api:read", "api:write"} }},
	}
}

// demoPeople are one person of whom every standard claim is known, and one of whom little is.
func demoPeople(password string) []admin.UserInput {
	return []admin.UserInput{
		{Username: "ada", Email: "ada@example.test", EmailVerified: true, Password: password, Profile: storage.Profile{
			Name: "Ada King Lovelace", GivenName: "Ada", FamilyName: "Lovelace", MiddleName: "King", Nickname: "Ada",
			ProfileURL: "https://example.test/people/ada", Picture: "https://example.test/people/ada.jpg", Website: "https://ada.example.test",
			Gender: "female", Birthdate: "1815-12-10", Zoneinfo: "Europe/London", Locale: "en-GB",
			PhoneNumber: "+44 20 7946 0018", PhoneNumberVerified: true,
			Address: &storage.Address{
				Formatted: "12 St James's Square\nLondon\nSW1Y 4JH\nUnited Kingdom", StreetAddress: "12 St James's Square",
				Locality: "London", Region: "England", PostalCode: "SW1Y 4JH", Country: "United Kingdom",
			},
		}},
		{Username: "bob", Email: "bob@example.test", Password: password, Profile: storage.Profile{Name: "Bob Example"}},
	}
}

// demoPassword is easy to type, and only as good as a loopback address needs.
func demoPassword() string {
	words := [...]string{
		"amber", "apple", "aspen", "badger", "basil", "beacon", "birch", "bison", "breeze", "canyon", "cedar", "cherry", "clover", "cobalt",
		"comet", "copper", "coral", "cotton", "crane", "cricket", "dahlia", "delta", "ember", "falcon", "fern", "finch", "garnet", "ginger",
		"glacier", "harbor", "hazel", "heron", "indigo", "island", "ivory", "jasper", "juniper", "kestrel", "lagoon", "lemon", "linden", "lotus",
		"lynx", "maple", "marble", "meadow", "mint", "nectar", "olive", "orchid", "otter", "pebble", "pepper", "pine", "plum", "poppy",
		"quartz", "raven", "river", "saffron", "sparrow", "tulip", "walnut", "willow",
	}
	pick := func(n int) int {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
		if err != nil {
			panic(err) // crypto/rand does not fail on supported systems
		}
		return int(i.Int64())
	}
	return fmt.Sprintf("%s-%s-%02d", words[pick(len(words))], words[pick(len(words))], 10+pick(90))
}
