package integration

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// balancer stands before the replicas of a world as one does in production: it listens at the
// issuer's address, gives each replica its turn, and appends to X-Forwarded-For who asked it. It also
// watches what the provider says: whatever was asked, no answer may be a failure of ours.
type balancer struct {
	http.Server
	*logbook
	proxy httputil.ReverseProxy

	mu       sync.Mutex
	names    map[string]string // address of a connection -> the address its client has in the test
	turns    map[string]int    // by client, so that tests at the same time do not take one another's turns
	troubles []string
}

// balance starts servers as processes of their own behind a balancer, which alone they trust.
func balance(t *testing.T, n int) (*world, *balancer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logs := &logbook{}
	w := &world{clock: &clock{}, issuer: "http://" + l.Addr().String(), logs: logs}
	w.open(t)
	t.Cleanup(func() { logs.check(t) }) // after the processes have ended
	for range n {
		address := freeAddress(t)
		w.replicas = append(w.replicas, address)
		w.startProcess(t, address, "--trusted-proxies", "127.0.0.1")
	}
	b := &balancer{logbook: logs, names: map[string]string{}, turns: map[string]int{}}
	b.proxy = httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 32},
		Rewrite: func(r *httputil.ProxyRequest) {
			client := b.client(r.In.RemoteAddr)
			r.Out.URL.Scheme, r.Out.URL.Host = "http", w.replicas[b.turn(client, n)]
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came, be it malformed
			r.Out.Header["X-Forwarded-For"] = append(r.In.Header["X-Forwarded-For"], client)
			for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if sent, ok := r.In.Header[name]; ok { // a careless proxy lets them through
					r.Out.Header[name] = sent
				}
			}
		},
		ModifyResponse: b.watch,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				b.trouble("%s %s: %v", r.Method, r.URL.Path, err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	b.Handler = &b.proxy
	go b.Serve(l)
	t.Cleanup(func() {
		b.Close()
		for _, trouble := range b.troubles {
			t.Error(trouble)
		}
	})
	return w, b
}

func (b *balancer) client(connection string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	host, _, _ := net.SplitHostPort(connection)
	return cmp.Or(b.names[connection], host)
}

func (b *balancer) turn(client string, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turns[client]++
	return b.turns[client] % n
}

func (b *balancer) trouble(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, fmt.Sprintf(format, args...))
}

// watch looks at every answer for what none may have.
func (b *balancer) watch(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return err
	}
	what := resp.Request.Method + " " + resp.Request.URL.Path
	if resp.StatusCode >= 500 {
		b.trouble("%s: %d %.300s", what, resp.StatusCode, body)
	}
	for _, trace := range []string{"goroutine 1", ".go:", "SQLSTATE", "pgconn"} {
		if bytes.Contains(body, []byte(trace)) && !strings.HasPrefix(resp.Request.URL.Path, "/assets/") {
			b.trouble("%s: the answer tells how we are made (%q)", what, trace)
		}
	}
	if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
		b.trouble("%s: scripts may send our cookies", what)
	}
	for _, c := range resp.Cookies() {
		if !strings.HasPrefix(c.Name, "idp_") || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			b.trouble("%s: a cookie that is none of ours: %s", what, c.Raw)
		}
	}
	return nil
}

// from is the world as seen from one client address behind the balancer.
func (b *balancer) from(t testing.TB, w *world, address string) *world {
	there := &world{issuer: w.issuer, db: w.db, dbURL: w.dbURL, clock: w.clock, replicas: w.replicas, login: w.login, logs: w.logs}
	there.transport = &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			b.mu.Lock()
			b.names[conn.LocalAddr().String()] = address
			b.mu.Unlock()
		}
		return conn, err
	}}
	t.Cleanup(there.transport.CloseIdleConnections)
	return there
}

// at is the world as seen by somebody who reaches one replica past the balancer.
func (w *world) at(t testing.TB, replica int) *world {
	there := &world{issuer: w.issuer, db: w.db, dbURL: w.dbURL, clock: w.clock, replicas: w.replicas, login: w.login, logs: w.logs}
	issuer, err := url.Parse(w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	there.transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == issuer.Host {
			addr = w.replicas[replica]
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	t.Cleanup(there.transport.CloseIdleConnections)
	return there
}

// addresses hands out client addresses, each in a network of its own.
var addresses atomic.Uint32

func nextAddress() string {
	n := addresses.Add(1)
	return fmt.Sprintf("10.%d.%d.7", n>>8&0xff, n&0xff)
}

// logbook is what the processes log.
type logbook struct {
	mu      sync.Mutex
	text    bytes.Buffer
	secrets []string
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// never says that a text must not stand in the log.
func (l *logbook) never(secret string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, secret)
}

// loggedSecret is a code, token, client secret, JWT or the password of a person of a world.
var loggedSecret = regexp.MustCompile(`idp_[a-z]{2}_[A-Za-z0-9_-]{4}|eyJ[A-Za-z0-9_-]{10,}\.|correct horse`)

// check wants every line to be one JSON object with values that are not long, and no secret in it.
func (l *logbook) check(t testing.TB) {
	t.Helper()
	requests := 0
	for line := range bytes.Lines(l.text.Bytes()) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			t.Errorf("a line of the log is not one JSON object (%v): %.300s", err, line)
			continue
		}
		if fields["msg"] == "request" {
			requests++
		}
		for name, value := range fields {
			if s, ok := value.(string); ok && len(s) > 600 && name != "stack" { // 512 bytes of a stranger's, and our own words
				t.Errorf("the field %s of a log line has %d bytes: %.200s", name, len(s), s)
			}
		}
		if found := loggedSecret.Find(line); found != nil {
			t.Errorf("the log has the secret %q: %.300s", found, line)
		}
		for _, secret := range l.secrets {
			if bytes.Contains(line, []byte(secret)) {
				t.Errorf("the log has the secret %q: %.300s", secret, line)
			}
		}
	}
	if requests == 0 {
		t.Error("nothing was logged")
	}
}
