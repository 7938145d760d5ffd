package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"idp/storage"
)

// The attack cases, one file for each area. Every case runs against two server
// processes behind a balancer, and first shows that the same fixture works when nobody attacks: a
// refusal proves nothing where everything is refused.

// arena is a provider under attack and the people in it.
type arena struct {
	*world
	b                   *balancer
	alice, bob, mallory *person
}

func newArena(t *testing.T) *arena {
	t.Helper()
	w, b := balance(t, 2)
	a := &arena{world: b.from(t, w, nextAddress()), b: b}
	a.alice, a.bob, a.mallory = a.person(t, "alice"), a.person(t, "bob"), a.person(t, "mallory")
	return a
}

// attack is one case.
type attack struct {
	name string // its id, and what is tried
	run  func(s *scene)
}

// play runs each case with an address and clients of its own.
func (a *arena) play(t *testing.T, attacks []attack) {
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(&scene{T: t, world: a.b.from(t, a.world, nextAddress()), arena: a})
		})
	}
}

// scene is what one case plays in.
type scene struct {
	*testing.T
	*world
	arena   *arena
	clients []string
}

// client registers one of the case's clients, whose answers go to that address.
func (s *scene) client(kind, redirect string, change ...func(*storage.Client)) *app {
	s.Helper()
	change = append([]func(*storage.Client){func(c *storage.Client) {
		if redirect != "" {
			c.RedirectURIs = []string{redirect}
		}
	}}, change...)
	a := s.app(s.T, kind, change...)
	s.clients = append(s.clients, a.ID)
	return a
}

func (s *scene) web1() *app { return s.client(storage.ClientWeb, "https://rp1.test/cb") }

func (s *scene) web2() *app { return s.client(storage.ClientWeb, "https://rp2.test/cb") }

func (s *scene) spa1() *app { return s.client(storage.ClientSPA, "https://spa1.test/cb") }

func (s *scene) nat1() *app {
	return s.client(storage.ClientNative, "http://127.0.0.1/cb", func(c *storage.Client) { c.RedirectURIs = append(c.RedirectURIs, "com.test.nat1:/cb") })
}

func (s *scene) m2m1() *app { return s.client(storage.ClientMachine, "") }

// jwt1 authenticates with a key, and also signs people in.
func (s *scene) jwt1() (*app, assertionKey) {
	a, key := s.assertionApp(s.T, func(c *storage.Client) {
		c.Type, c.RedirectURIs = storage.ClientWeb, []string{"https://jwt1.test/cb"}
		c.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials", deviceGrantType}
		c.Scopes = []string{"openid", "profile", "email", "offline_access", "api:read"}
	})
	a.key = &key
	s.clients = append(s.clients, a.ID)
	return a, key
}

// evil1 is the attacker's own client, which registered itself.
func (s *scene) evil1() *app {
	return s.client(storage.ClientSPA, "https://evil1.test/cb", func(c *storage.Client) { c.Source = "registration" })
}

// works is the control: somebody signs in with the app, and the app gets its tokens.
func (s *scene) works(a *app, b *browser, who *person, overrides ...string) (*flow, reply) {
	s.Helper()
	return a.signIn(b, who, overrides...)
}

// issued sums up what the case's clients were ever given.
func (s *scene) issued() (sum string) {
	s.Helper()
	var grants, generations int
	err := s.db.Pool().QueryRow(context.Background(), `
		select count(*), coalesce(sum(generation), 0)
		from grants
		where client_id = any($1)`, s.clients).Scan(&grants, &generations)
	if err != nil {
		s.Fatal(err)
	}
	return fmt.Sprintf("%d grants, %d generations", grants, generations)
}

// nothing fails the case when something was issued meanwhile.
func (s *scene) nothing(attempts func()) {
	s.Helper()
	before := s.issued()
	attempts()
	if after := s.issued(); after != before {
		s.Errorf("issued before: %s, after: %s; want nothing issued", before, after)
	}
}

// refusedPage wants an error page of ours: 400, no redirect, and the input in no place where it could
// be more than text.
func (s *scene) refusedPage(name string, p *page, input ...string) {
	s.Helper()
	if p.status != 400 || p.left != nil || p.header.Get("Location") != "" || !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") || !strings.Contains(p.body, `id="error"`) {
		s.Errorf("%s: %d %s at %s, left to %v; want our error page", name, p.status, p.header.Get("Content-Type"), p.url.Path, p.left)
		return
	}
	s.onlyText(name, p, append(input, "evil1", "alert(1)")...)
}

// onlyText wants none of these in an attribute or a script of the page.
func (s *scene) onlyText(name string, p *page, input ...string) {
	s.Helper()
	doc, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		s.Fatal(err)
	}
	for n := range doc.Descendants() {
		var places []string
		for _, a := range n.Attr {
			if n.Data == "input" && a.Key == "value" {
				continue
			}
			places = append(places, a.Key, a.Val)
		}
		if n.Type == html.TextNode && (n.Parent.Data == "script" || n.Parent.Data == "style") {
			places = append(places, n.Data)
		}
		for _, place := range places {
			for _, in := range input {
				if strings.Contains(place, in) {
					s.Errorf("%s: the page has %q in <%s>: %.200s", name, in, n.Data, place)
				}
			}
		}
	}
}

// sentBack wants the client to be told of the error, at its own address, and of nothing more.
func (s *scene) sentBack(name string, p *page, f *flow, codes ...string) {
	s.Helper()
	if p.left == nil {
		s.Errorf("%s: still at %s (%d), want to be back with %s", name, p.url.Path, p.status, codes)
		return
	}
	to, _, _ := strings.Cut(p.left.String(), "?")
	answer := p.left.Query()
	known := false
	for _, code := range codes {
		known = known || answer.Get("error") == code
	}
	if p.status != http.StatusSeeOther || to != f.params.Get("redirect_uri") || !known || answer.Get("state") != f.params.Get("state") || answer.Get("iss") != s.issuer || p.left.Fragment != "" {
		s.Errorf("%s: %d to %s; want 303 to %s with %s, state and iss", name, p.status, p.left, f.params.Get("redirect_uri"), codes)
	}
	for _, never := range []string{"code", "access_token", "id_token", "token_type"} {
		if answer.Has(never) {
			s.Errorf("%s: the answer has %s", name, never)
		}
	}
}

// refused wants an error of a machine endpoint: JSON that nobody keeps, and no token in it.
func (s *scene) refused(name string, r reply, status int, codes ...string) {
	s.Helper()
	known := false
	for _, code := range codes {
		known = known || r.text("error") == code
	}
	if r.status != status || !known || r.header.Get("Cache-Control") != "no-store" {
		s.Errorf("%s: %d %s (Cache-Control %q); want %d %s", name, r.status, r.raw, r.header.Get("Cache-Control"), status, codes)
	}
	for _, never := range []string{"access_token", "refresh_token", "id_token"} {
		if r.body[never] != nil {
			s.Errorf("%s: a refusal has %s", name, never)
		}
	}
}

// raw makes an authorization request of parameters that are not all well-formed or single.
func (f *flow) raw(more string) string { return f.url() + more }

// as is the same flow in the hands of another client.
func (f *flow) as(a *app) *flow { stolen := *f; stolen.a = a; return &stolen }

// basicHeader is the Authorization header of a client with a secret.
func (a *app) basicHeader() http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(a.ID), url.QueryEscape(a.secret))
	return r.Header
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
