package idp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestRequestsAreAskedToWaitUntilTheDatabaseIsThere(t *testing.T) {
	t.Parallel()
	s := coldServer(t, storagetest.EmptyURL(t))
	if w := ask(s, "GET", "/jwks", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "temporarily_unavailable") {
		t.Errorf("before: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/login", "text/html"); w.Code != 503 || !strings.Contains(w.Body.String(), "just starting") {
		t.Errorf("before, as a page: %d %s", w.Code, w.Body)
	}
	for path, want := range map[string]string{"/jwks": "*", "/.well-known/openid-configuration": "*", "/token": "", "/userinfo": "", "/login": ""} {
		if w := ask(s, "GET", path, ""); w.Header().Get("Access-Control-Allow-Origin") != want || w.Code != 503 && w.Code != 405 {
			t.Errorf("before, %s: %d, Access-Control-Allow-Origin %q, want %q", path, w.Code, w.Header().Get("Access-Control-Allow-Origin"), want)
		}
	}
	if w := ask(s, "OPTIONS", "/token", ""); w.Code != 204 {
		t.Errorf("before, a preflight: %d, want 204: it needs no database", w.Code)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, errStarting) {
		t.Errorf("Ready() = %v, want %v", err, errStarting)
	}
	if err := s.Prepare(t.Context()); err != nil { // migrates, too
		t.Fatal(err)
	}
	if w := ask(s, "GET", "/jwks", ""); w.Code != 200 {
		t.Errorf("after: %d %s", w.Code, w.Body)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v, want nil", err)
	}
}

func TestAServerThatStartsSaysSoToScripts(t *testing.T) {
	t.Parallel()
	url := storagetest.URL(t)
	other := testServer(t, func(c *Config) { c.DatabaseURL = url })
	c := storage.Client{ID: "app", Source: "admin", CreatedAt: time.Now(), ClientMetadata: storage.ClientMetadata{RedirectURIs: []string{"https://rp.test/cb"}}}
	if err := other.DB().CreateClient(t.Context(), c, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	s := coldServer(t, url)
	for origin, want := range map[string]string{"https://rp.test": "https://rp.test", "https://evil.test": "", "null": ""} {
		r := httptest.NewRequest("POST", s.site.Issuer.String()+"/token", strings.NewReader("client_id=app"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); w.Code != 503 || got != want {
			t.Errorf("from %s: %d, Access-Control-Allow-Origin %q, want %q", origin, w.Code, got, want)
		}
	}
}

func TestWithoutMigrateAnOldSchemaIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := coldServer(t, storagetest.EmptyURL(t), func(c *Config) { c.Migrate = false })
	if err := s.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "idp migrate") {
		t.Errorf("Prepare() = %v, want a sentence with idp migrate", err)
	}
}

func TestADatabaseThatIsDownAtStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := coldServer(t, "postgres://nobody@127.0.0.1:1/idp")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run() = %v, want nil after its context ended", err)
	}
}

// runServer runs a server and returns how to stop it.
func runServer(t *testing.T, s *Server) (address string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listen = []net.Listener{l}
	s.site.Issuer.Host = l.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return l.Addr().String(), func() error { cancel(); return <-done }
}

func TestRunningRequestsFinishWhenTheServerStops(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	address, stop := runServer(t, s)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A request whose body is still on its way when the server is asked to stop. The 100 shows
	// that its handler reads.
	fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\nExpect: 100-continue\r\n\r\n", address)
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v; want 100 Continue", line, err)
	}
	in.ReadString('\n')
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for !s.draining.Load() {
		select {
		case err := <-stopped:
			t.Fatalf("stopped before the request was answered: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	fmt.Fprint(conn, "grant_type=client_credentials")
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusBadRequest {
		t.Errorf("the request was answered with %d, want a complete answer", answer.StatusCode)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestReadyzTurnsRedBeforeAnythingElseStops(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	status := func(path string) int {
		w := httptest.NewRecorder()
		s.opsHandler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}
	if got := status("/readyz"); got != 200 {
		t.Errorf("readyz = %d, want 200", got)
	}
	s.draining.Store(true)
	if got := status("/readyz"); got != 503 {
		t.Errorf("readyz while draining = %d, want 503", got)
	}
	if got := status("/livez"); got != 200 {
		t.Errorf("livez while draining = %d, want 200", got)
	}
}

func TestTLSIsModernAndRenewedFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	s := testServer(t, func(c *Config) { c.TLSCert, c.TLSKey = cert, key })
	address, stop := runServer(t, s)
	dial := func(most uint16) (tls.ConnectionState, error) {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: most, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2"}})
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	if _, err := dial(tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if state, err := dial(version); err != nil || state.Version != version || state.NegotiatedProtocol != "h2" {
			t.Errorf("TLS %x: version %x, protocol %q, %v", version, state.Version, state.NegotiatedProtocol, err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}

	c, err := newCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, cert, key, 2)
	c.looked, c.changed = time.Time{}, time.Time{} // a minute ago, another file
	pair, err := c.current(nil)
	if err != nil || pair.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("after renewal: certificate %v, %v; want number 2", pair.Leaf.SerialNumber, err)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.looked, c.changed = time.Time{}, time.Time{}
	if pair, err := c.current(nil); err != nil || pair.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("with a broken file: %v, want the certificate before", err)
	}
}

func writeCertificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"id.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneReplicaDoesALeasedJob(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	ran := 0
	j := job{"count", time.Minute, true, func(context.Context) error { ran++; return nil }, nil}
	for _, replica := range []string{"a", "b", "a"} {
		if err := s.runJob(t.Context(), j, replica); err != nil {
			t.Fatal(err)
		}
	}
	if ran != 2 {
		t.Errorf("the job ran %d times, want 2: both of the replica that holds the lease", ran)
	}
}

func TestAJobThatPanicsIsAnError(t *testing.T) {
	t.Parallel()
	s := &Server{log: slog.New(slog.DiscardHandler)}
	err := s.runJob(t.Context(), job{"panic", time.Minute, false, func(context.Context) error { panic("oh") }, nil}, "a")
	if err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("runJob() = %v, want the panic", err)
	}
}

func TestAllJobsWork(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	for _, j := range s.jobs() {
		if err := s.runJob(t.Context(), j, "a"); err != nil {
			t.Errorf("%s: %v", j.name, err)
		}
	}
}

func TestServeRefusesAFolderOfDev(t *testing.T) {
	t.Parallel()
	dir, err := openDevFolder(filepath.Join(t.TempDir(), "dev"), false)
	if err != nil {
		t.Fatal(err)
	}
	c := good()
	c.DatabaseURL, c.MasterKeyFile, c.DataDir = "", "", dir
	if _, err := New(t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "belongs to idp dev") {
		t.Errorf("New() = %v, want a refusal", err)
	}
}
