// Package integration proves the whole from outside: real servers, real PostgreSQL, and clients
// that know nothing but the public surface.
package integration

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"idp"
	"idp/login"
	"idp/storage"
	"idp/storage/storagetest"
)

// masterKey is the one of all worlds, as configuration takes it.
func masterKey() string { return base64.StdEncoding.EncodeToString(storagetest.MasterKey()) }

func TestMain(m *testing.M) { storagetest.Main(m) }

// world is one provider on a database of its own: one or more replicas behind one address.
type world struct {
	issuer    string
	db        *storage.DB
	dbURL     string
	clock     *clock
	transport *http.Transport
	replicas  []string // addresses; requests to the issuer go to them in turn
	login     *login.Login
	only      atomic.Int64    // when not 0, the number of the one replica that gets requests
	servers   []*idp.Server   // of an in-process world
	signUp    string          // who makes accounts; "" for operators
	register  string          // who registers clients; "" for operators
	skew      []time.Duration // how far the clock of each in-process replica is ahead
	logs      io.Writer       // gets the log of the processes too, when not nil
}

// clock is the time of an in-process world; processes have the real one.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func (w *world) now() time.Time { return w.clock.now().UTC().Truncate(time.Microsecond) }

// start runs a provider in this process, with a clock that can be moved.
func start(t testing.TB) *world { t.Helper(); return startReplicas(t, 1) }

// startOpen is start, where people may make accounts for themselves.
func startOpen(t testing.TB) *world {
	t.Helper()
	return startWorld(t, 1, &world{clock: &clock{}, signUp: "open"})
}

// startReplicas runs several in this process, over one database.
func startReplicas(t testing.TB, n int) *world {
	t.Helper()
	return startWorld(t, n, &world{clock: &clock{}})
}

func startWorld(t testing.TB, n int, w *world) *world {
	t.Helper()
	var listeners []*httptest.Server
	for range n {
		server := httptest.NewUnstartedServer(nil)
		listeners = append(listeners, server)
		w.replicas = append(w.replicas, server.Listener.Addr().String())
	}
	w.issuer = "http://" + w.replicas[0]
	w.open(t)
	for i, server := range listeners {
		now := w.clock.now
		if i < len(w.skew) {
			now = func() time.Time { return w.clock.now().Add(w.skew[i]) }
		}
		srv, err := idp.New(context.Background(), w.config(), idp.Options{Log: testLog(t), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close() })
		if err := srv.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.servers = append(w.servers, srv)
		server.Config.Handler = srv.Handler()
		server.Start()
		t.Cleanup(server.Close)
	}
	w.dialReplicas(t)
	return w
}

func (w *world) config() idp.Config {
	c := idp.Config{
		Brand: "Example ID", MaxConns: 8, Listen: "127.0.0.1:0", OutboundAllow: []string{"127.0.0.1"}, LogFormat: "text", LogLevel: "info",
		SessionIdle: 8 * time.Hour, SessionMax: 24 * time.Hour, RememberIdle: 336 * time.Hour, RememberMax: 720 * time.Hour,
	}
	c.SignUp, c.Registration = w.signUp, w.register
	c.Issuer, c.DatabaseURL, c.MasterKey = w.issuer, w.dbURL, masterKey()
	return c
}

// open makes the world's database, and a connection to it for the tests' own questions.
func (w *world) open(t testing.TB) {
	t.Helper()
	w.dbURL = storagetest.URL(t)
	sealer, err := storage.ReadMasterKeys(masterKey())
	if err != nil {
		t.Fatal(err)
	}
	if w.db, err = storage.Open(context.Background(), storage.Config{URL: w.dbURL, MaxConns: 2, Sealer: sealer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.login = login.New(login.Config{DB: w.db})
}

// dialReplicas sends what goes to the issuer's address to the replicas in turn, as a balancer would.
func (w *world) dialReplicas(t testing.TB) {
	issuer, err := url.Parse(w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	var turn atomic.Uint64
	w.transport = &http.Transport{MaxIdleConnsPerHost: 32, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == issuer.Host {
			addr = w.replicas[turn.Add(1)%uint64(len(w.replicas))]
			if only := w.only.Load(); only > 0 {
				addr = w.replicas[only-1]
			}
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	t.Cleanup(w.transport.CloseIdleConnections)
}

// testLog shows the servers' log when the test fails.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// person is somebody with an account.
type person struct {
	storage.User
	Password string
}

// person makes an account with every standard claim.
func (w *world) person(t testing.TB, name string) *person {
	t.Helper()
	now := w.now()
	p := &person{Password: "correct horse " + name, User: storage.User{
		ID: storage.NewID("usr_"), Username: name, Email: name + "@example.test", EmailVerifiedAt: &now, CreatedAt: now,
		Profile: storage.Profile{
			Name: name + " Lovelace", GivenName: name, FamilyName: "Lovelace", MiddleName: "King", Nickname: name, ProfileURL: "https://people.test/" + name,
			Picture: "https://people.test/" + name + ".png", Website: "https://" + name + ".test", Gender: "female", Birthdate: "1815-12-10",
			Zoneinfo: "Europe/London", Locale: "en-GB", PhoneNumber: "+44 20 7946 0000", PhoneNumberVerified: true,
			Address: &storage.Address{Formatted: "12 St James's Square\nLondon", Locality: "London", Country: "GB"},
		},
	}}
	hash, err := w.login.HashPassword(context.Background(), p.Password)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.CreateUser(context.Background(), p.User, hash, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// resource registers a resource, or changes the one that there is.
func (w *world) resource(t testing.TB, uri string, change ...func(*storage.Resource)) {
	t.Helper()
	apply := func(r *storage.Resource, _ *storage.Catalog) error {
		for _, f := range change {
			f(r)
		}
		return nil
	}
	_, err := w.db.UpdateResource(context.Background(), uri, apply, w.now(), storage.Event{})
	if errors.Is(err, storage.ErrNotFound) {
		r := storage.Resource{URI: uri, Name: uri, CreatedAt: w.now()}
		apply(&r, nil)
		err = w.db.CreateResource(context.Background(), r, nil, storage.Event{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// updateClient changes a client as an operator would.
func (w *world) updateClient(t testing.TB, a *app, change func(*storage.Client)) {
	t.Helper()
	c, err := w.db.Client(context.Background(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	if err := w.db.UpdateClient(context.Background(), *c, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
}

// events counts a person's events of a kind.
func (w *world) events(t testing.TB, userID, kind string) int {
	t.Helper()
	events, err := w.db.Events(context.Background(), userID, 1000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// verifyIDToken checks an ID token as an independent library does.
func (w *world) verifyIDToken(t testing.TB, a *app, tokens reply) *oidc.IDToken {
	t.Helper()
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: w.transport})
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: a.ID, Now: w.clock.now, SupportedSigningAlgs: []string{a.IDTokenAlg}}).Verify(ctx, tokens.text("id_token"))
	if err != nil {
		t.Fatal(err)
	}
	if err := token.VerifyAccessToken(tokens.access()); err != nil {
		t.Error(err)
	}
	return token
}

// binary builds idp once for all tests that run it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "idp-integration-*")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "idp")
	out, err := exec.Command("go", "build", "-o", name, "idp/cmd/idp").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

// startProcesses runs n servers as processes of their own over one database.
func startProcesses(t *testing.T, n int) *world {
	t.Helper()
	w := &world{clock: &clock{}}
	for range n {
		w.replicas = append(w.replicas, freeAddress(t))
	}
	w.issuer = "http://" + w.replicas[0]
	w.open(t)
	for _, address := range w.replicas {
		w.startProcess(t, address)
	}
	w.dialReplicas(t)
	return w
}

// freeAddress finds a loopback address that nothing listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startProcess runs one server until the test ends, and waits until it answers.
func (w *world) startProcess(t testing.TB, address string, args ...string) *exec.Cmd {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, append([]string{"serve", "--listen", address, "--ops-listen", "", "--shutdown-delay", "0s"}, args...)...)
	cmd.Env = append(os.Environ(), "IDP_ISSUER="+w.issuer, "IDP_DATABASE_URL="+w.dbURL, "IDP_MASTER_KEY="+masterKey(), "IDP_OUTBOUND_ALLOW=127.0.0.1")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if w.logs != nil {
		cmd.Stderr = io.MultiWriter(t.Output(), w.logs)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	w.waitFor(t, address)
	return cmd
}

// waitFor asks a replica for its discovery document until it gives it.
func (w *world) waitFor(t testing.TB, address string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for time.Now().Before(deadline) {
		issuer, err := url.Parse(w.issuer)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodGet, "http://"+address+issuer.Path+"/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = issuer.Host
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(5 * time.Millisecond) // polling a process that starts
	}
	t.Fatalf("the server on %s does not answer", address)
}

// atOnce sends the same token request on several connections so that all have begun before any can
// be settled: each server asks for the body (100 Continue) when its handler runs, and only when all
// have asked is any body sent.
func (w *world) atOnce(t testing.TB, replies []reply, form url.Values) {
	t.Helper()
	body := form.Encode()
	conns := make([]net.Conn, len(replies))
	readers := make([]*bufio.Reader, len(replies))
	for i := range replies {
		c, err := net.Dial("tcp", w.replicas[i%len(w.replicas)])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i], readers[i] = c, bufio.NewReader(c)
		fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
			strings.TrimPrefix(w.issuer, "http://"), len(body))
	}
	for _, r := range readers {
		line, err := r.ReadString('\n')
		if err != nil || !strings.Contains(line, "100") {
			t.Fatalf("want 100 Continue, got %q, %v", line, err)
		}
		r.ReadString('\n')
	}
	together(len(replies), func(i int) {
		io.WriteString(conns[i], body)
		resp, err := http.ReadResponse(readers[i], nil)
		if err != nil {
			t.Errorf("read answer: %v", err)
			return
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		replies[i] = reply{t, resp.StatusCode, resp.Header, string(raw), decode(raw)}
	})
}
