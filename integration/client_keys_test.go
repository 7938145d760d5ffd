package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/oauth"
	"idp/storage"
)

// keyServer is where a client publishes its keys.
type keyServer struct {
	*httptest.Server
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t testing.TB, answer http.HandlerFunc) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.answers(answer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) answers(h http.HandlerFunc) { s.answer.Store(&h) }

func (s *keyServer) wasAsked(t testing.TB, want int32, when string) {
	t.Helper()
	if got := s.asked.Load(); got != want {
		t.Errorf("%s: the key server was asked %d times, want %d", when, got, want)
	}
}

// publishing answers with the public halves of keys, named k1 and so on as they are here.
func publishing(t testing.TB, cacheControl string, keys map[string]assertionKey) http.HandlerFunc {
	t.Helper()
	var list []jose.JSONWebKey
	for kid, k := range keys {
		list = append(list, jose.JSONWebKey{Key: k.private.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"})
	}
	set := jwks(t, list...)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		w.Write(set)
	}
}

func (w *world) newKey(t testing.TB) assertionKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return assertionKey{private, w.now}
}

// publisher is a client whose keys are at an address.
func (w *world) publisher(t testing.TB, kind, uri string) *app {
	t.Helper()
	return w.app(t, kind, func(c *storage.Client) { c.AuthMethod, c.JWKSURI = "private_key_jwt", uri })
}

// asserted asks for a token with an assertion that is signed with the key of that name.
func (a *app) asserted(key assertionKey, kid string) reply {
	a.t.Helper()
	return a.w.post(a.t, "/token", nil, assertionForm(key.assertion(a.t, a.ID, a.w.issuer, map[string]any{"header:kid": kid})))
}

func TestPublishedKeysCountLikeRegisteredOnes(t *testing.T) { // conformance 22; RFC 7591, 2
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	server := newKeyServer(t, publishing(t, "", map[string]assertionKey{"k1": key}))
	a := w.publisher(t, storage.ClientWeb, server.URL)
	a.key = &key
	ada, b := w.person(t, "ada"), w.browser(t)

	_, tokens := a.signIn(b, ada)
	if !a.active(tokens.access()) {
		t.Error("introspection with a published key: not active")
	}
	b.get(a.begin().push()).answer()
	f := a.begin()
	answer := b.get(a.begin("request", key.object(t, f, nil)).url()).answer()
	f.exchange(answer.Get("code")).ok()
	a.call("/revoke", url.Values{"token": {tokens.access()}}).ok()
	if a.active(tokens.access()) {
		t.Error("a revoked token is active")
	}
	server.wasAsked(t, 1, "after all of these")

	other := w.newKey(t)
	a.asserted(other, "k1").fails(401, "invalid_client")
	server.wasAsked(t, 1, "after a signature that is wrong, with a name that is known")
}

func TestARotatedKeyIsFoundAndTheOldOneEnds(t *testing.T) { // conformance 75
	t.Parallel()
	w := start(t)
	first, second, third := w.newKey(t), w.newKey(t), w.newKey(t)
	server := newKeyServer(t, publishing(t, "max-age=3600", map[string]assertionKey{"k1": first}))
	a := w.publisher(t, storage.ClientMachine, server.URL)
	a.asserted(first, "k1").ok()
	server.answers(publishing(t, "max-age=3600", map[string]assertionKey{"k2": second}))
	a.asserted(first, "k1").ok() // known and fresh: nobody looks
	server.wasAsked(t, 1, "before the new key is used")
	a.asserted(second, "k2").ok()
	server.wasAsked(t, 2, "with a new key")
	a.asserted(first, "k1").fails(401, "invalid_client")
	server.wasAsked(t, 2, "with the old key")

	server.answers(publishing(t, "max-age=3600", map[string]assertionKey{"k3": third}))
	a.asserted(third, "k3").fails(401, "invalid_client") // looked for less than a minute ago
	w.clock.advance(61 * time.Second)
	a.asserted(third, "k3").ok()
	server.wasAsked(t, 3, "a minute later")

	// Another address starts anew.
	moved := newKeyServer(t, publishing(t, "", map[string]assertionKey{"k1": first}))
	w.updateClient(t, a, func(c *storage.Client) { c.JWKSURI = moved.URL })
	a.asserted(first, "k1").ok()
	a.asserted(third, "k3").fails(401, "invalid_client")
}

func TestUnknownKeysAreLookedForOnceAMinute(t *testing.T) {
	t.Parallel()
	w := start(t)
	key, evil := w.newKey(t), w.newKey(t)
	server := newKeyServer(t, publishing(t, "max-age=86400", map[string]assertionKey{"k1": key}))
	warm, cold := w.publisher(t, storage.ClientMachine, server.URL+"/warm"), w.publisher(t, storage.ClientMachine, server.URL+"/cold")
	warm.asserted(key, "k1").ok()
	flood := func(a *app, n int) {
		for i := range n {
			s := evil.assertion(t, a.ID, w.issuer, map[string]any{"header:kid": fmt.Sprint("x", i), "header:jku": server.URL + "/evil", "header:x5u": server.URL + "/evil"})
			if r := w.post(t, "/token", nil, assertionForm(s)); r.status != 401 && r.status != 429 {
				t.Fatalf("%d: %d %s, want 401 or 429", i, r.status, r.raw)
			}
		}
	}
	flood(cold, 1000)
	server.wasAsked(t, 2, "1000 unknown keys of a client that was not known")
	flood(warm, 1000)
	server.wasAsked(t, 3, "1000 unknown keys of a client that was")
	w.clock.advance(61 * time.Second)
	flood(warm, 10)
	server.wasAsked(t, 4, "a minute later")
	warm.asserted(key, "k1").ok()
}

func TestKeysAreFreshAsLongAsTheirServerSays(t *testing.T) { // RFC 9111, 5.2.2
	t.Parallel()
	for _, tc := range []struct {
		header string
		fresh  time.Duration
	}{
		{"", 15 * time.Minute},
		{"public, max-age=3600", time.Hour},
		{"max-age=1", time.Minute},
		{"max-age=31536000", 24 * time.Hour},
		{"max-age=99999999999999999999", time.Minute},
		{"no-store", time.Minute},
	} {
		t.Run(tc.header, func(t *testing.T) {
			w := start(t)
			key := w.newKey(t)
			server := newKeyServer(t, publishing(t, tc.header, map[string]assertionKey{"k1": key}))
			a := w.publisher(t, storage.ClientMachine, server.URL)
			a.asserted(key, "k1").ok()
			w.clock.advance(tc.fresh - 10*time.Second)
			a.asserted(key, "k1").ok()
			server.wasAsked(t, 1, "while they are fresh")
			w.clock.advance(20 * time.Second)
			a.asserted(key, "k1").ok()
			server.wasAsked(t, 2, "after that")
		})
	}
}

func TestKeysThatCannotBeFetchedAreNoRefusal(t *testing.T) { // A-079; decision 27
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	good := publishing(t, "", map[string]assertionKey{"k1": key})
	elsewhere := newKeyServer(t, good)
	document := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		}
	}
	private, err := (jose.JSONWebKey{Key: key.private, KeyID: "k1"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	public := string(publicKey(t))
	cases := map[string]http.HandlerFunc{
		"an error":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
		"nothing there": http.NotFound,
		"a redirect":    http.RedirectHandler(elsewhere.URL, http.StatusFound).ServeHTTP,
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<p>Welcome</p>")
		},
		"a huge set":       document(`{"keys":[],"x":"` + strings.Repeat("x", 65<<10) + `"}`),
		"too many keys":    document(`{"keys":[` + strings.Repeat(public+",", 20) + public + `]}`),
		"no keys":          document(`{"keys":[]}`),
		"a private key":    document(`{"keys":[` + string(private) + `]}`),
		"no JSON":          document(`keys`),
		"a slow answer":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"an answer cut up": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	}
	var all sync.WaitGroup
	for name, answer := range cases {
		server := newKeyServer(t, answer)
		a := w.publisher(t, storage.ClientMachine, server.URL)
		all.Go(func() {
			begun := time.Now()
			r := a.asserted(key, "k1")
			if r.status != 503 || r.text("error") != "temporarily_unavailable" || r.header.Get("Retry-After") == "" || !strings.Contains(r.raw, "jwks_uri") {
				t.Errorf("%s: %d %v %s, want 503 and a sentence about jwks_uri", name, r.status, r.header, r.raw)
			}
			if took := time.Since(begun); took > 6*time.Second {
				t.Errorf("%s: the answer took %v, want 3 s at most", name, took)
			}
			a.asserted(key, "k1")
			a.asserted(key, "other")
			server.wasAsked(t, 1, name+", within a minute")
			server.answers(good)
		})
		defer func() {
			if r := a.asserted(key, "k1"); r.status != 200 {
				t.Errorf("%s: once it is mended: %d %s, want 200", name, r.status, r.raw)
			}
		}()
	}
	all.Wait()
	elsewhere.wasAsked(t, 0, "after a redirect to it")
	w.clock.advance(61 * time.Second)
}

func TestARequestWhoseKeysCannotBeFetchedIsAnsweredTruthfully(t *testing.T) {
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	server := newKeyServer(t, http.NotFound)
	a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.JWKSURI = server.URL })
	b := w.browser(t)
	object := key.object(t, a.begin(), nil)
	answer := b.get(a.begin("request", object).url()).answer()
	if answer.Get("error") != "temporarily_unavailable" || answer.Get("state") == "" || !strings.Contains(answer.Get("error_description"), "jwks_uri") {
		t.Errorf("the client hears %v, want temporarily_unavailable", answer)
	}
	inside := url.Values{"client_id": {a.ID}, "request": {object}, "scope": {"openid"}}
	if p := b.get("/authorize?" + inside.Encode()); p.status != 503 {
		t.Errorf("without a redirect URI that can be read: %d, want 503", p.status)
	}
	r := a.call("/par", inside)
	if r.status != 503 || r.text("error") != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
		t.Errorf("pushed: %d %s, want 503", r.status, r.raw)
	}
	if r := a.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}); r.text("error") != "invalid_grant" {
		t.Errorf("with its secret, which needs no key: %s", r.raw)
	}
}

func TestKnownKeysCountForADayWhileTheirServerIsDown(t *testing.T) {
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	good := publishing(t, "", map[string]assertionKey{"k1": key})
	server := newKeyServer(t, good)
	a := w.publisher(t, storage.ClientMachine, server.URL)
	a.asserted(key, "k1").ok()
	server.answers(http.NotFound)
	w.clock.advance(16 * time.Minute)
	a.asserted(key, "k1").ok()
	a.asserted(key, "k1").ok()
	server.wasAsked(t, 2, "a minute of failure")
	a.asserted(w.newKey(t), "k2").fails(503, "temporarily_unavailable") // it may be there, where nobody can look
	w.clock.advance(23 * time.Hour)
	a.asserted(key, "k1").ok()
	server.wasAsked(t, 3, "later")
	w.clock.advance(2 * time.Hour)
	a.asserted(key, "k1").fails(503, "temporarily_unavailable")
	server.answers(good)
	w.clock.advance(61 * time.Second)
	a.asserted(key, "k1").ok()
}

func TestManyAssertionsMakeOneFetchThatHoldsNoConnection(t *testing.T) {
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	good := publishing(t, "", map[string]assertionKey{"k1": key})
	server := newKeyServer(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		good(w, r)
	})
	a, other := w.publisher(t, storage.ClientMachine, server.URL), w.app(t, storage.ClientMachine)
	var all sync.WaitGroup
	statuses := map[int]int{}
	var mu sync.Mutex
	for range 50 {
		all.Go(func() {
			r := a.asserted(key, "k1")
			mu.Lock()
			defer mu.Unlock()
			statuses[r.status]++
		})
	}
	<-arrived
	for range 10 { // there are 8 connections
		other.token(url.Values{"grant_type": {"client_credentials"}}).ok()
	}
	close(release)
	all.Wait()
	if !maps.Equal(statuses, map[int]int{200: 50}) {
		t.Errorf("statuses %v, want 50 times 200", statuses)
	}
	server.wasAsked(t, 1, "50 assertions at once")
}

func TestAClientHasItsKeysInOnePlace(t *testing.T) { // conformance 22
	t.Parallel()
	w := start(t)
	key := w.newKey(t)
	a, _ := w.assertionApp(t)
	both := *a.Client
	both.JWKSURI = "https://rp.test/jwks"
	if err := oauth.CheckClient(&both); err == nil || !strings.Contains(err.Error(), "clear one of them") {
		t.Errorf("jwks and jwks_uri: %v", err)
	}
	// From one place to the other, the keys of the former end.
	server := newKeyServer(t, publishing(t, "", map[string]assertionKey{"k2": key}))
	a.asserted(key, "k2").fails(401, "invalid_client")
	w.updateClient(t, a, func(c *storage.Client) { c.JWKS, c.JWKSURI = nil, server.URL })
	a.asserted(key, "k2").ok()
	server.wasAsked(t, 1, "after the move")
}
