package outbound

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func client(t *testing.T, allow ...string) *Client {
	t.Helper()
	a, err := ParseAllow(allow)
	if err != nil {
		t.Fatal(err)
	}
	return New(a)
}

// listener runs a server on loopback that counts the connections it sees.
func listener(t *testing.T, h http.HandlerFunc) (address string, seen *atomic.Int64) {
	t.Helper()
	seen = &atomic.Int64{}
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			seen.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, seen
}

func TestAnAllowedHostIsCalledAndItsAnswerRead(t *testing.T) {
	t.Parallel()
	address, _ := listener(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.FormValue("logout_token") != "t" || r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("got %s %v %v", r.Method, r.Form, r.Header)
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(400)
		w.Write([]byte(`{}`))
	})
	c := client(t, "127.0.0.1/32")
	for range 2 { // the second would bring the cookie back
		a, err := c.Do(context.Background(), Request{Method: "POST", URL: address, Form: url.Values{"logout_token": {"t"}}})
		if err != nil || a.Status != 400 || a.MediaType != "application/json" || string(a.Body) != "{}" {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestWhatIsNotPublicIsNeverContacted(t *testing.T) {
	t.Parallel()
	address, seen := listener(t, func(http.ResponseWriter, *http.Request) {})
	port := address[strings.LastIndex(address, ":")+1:]
	c := client(t, "intranet.test", "10.1.0.0/16", "127.0.0.1:1")
	for _, to := range []string{
		"http://127.0.0.1:" + port, "https://127.0.0.1:" + port, "http://localhost:" + port, "https://localhost:" + port, // a name that leads to loopback
		"https://[::1]:" + port, "https://[::ffff:127.0.0.1]:" + port, "https://0.0.0.0:" + port,
		"https://169.254.169.254/latest/meta-data", "https://10.0.0.1", "https://192.168.1.1", "https://100.64.0.1", "https://[fd00::1]", "https://[fe80::1]",
		"https://[64:ff9b::7f00:1]", "https://[2002:7f00:1::1]", "https://224.0.0.1", "https://255.255.255.255",
		"http://example.com", "http://10.1.2.3", "file:///etc/passwd", "gopher://127.0.0.1:" + port, "https:127.0.0.1", "//127.0.0.1", "https://", "",
		"https://user@127.0.0.1:" + port, "https://127.0.0.1:" + port + "/#x", "https://intranet.test/" + strings.Repeat("x", maxURL),
	} {
		_, err := c.Do(context.Background(), Request{URL: to})
		if !errors.Is(err, ErrAddress) {
			t.Errorf("%.60s: %v, want %v", to, err, ErrAddress)
		}
	}
	// Another spelling of 127.0.0.1: whether the resolver takes it is its business.
	if _, err := c.Do(context.Background(), Request{URL: "https://2130706433:" + port}); err == nil {
		t.Error("https://2130706433: no error")
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the canary saw %d connections", n)
	}
}

func TestEveryAddressThatANameLeadsToIsJudged(t *testing.T) {
	t.Parallel()
	c := client(t, "wiki.intranet", "mail.intranet:8443", "10.1.0.0/16", "[fd00::5]:443", "localhost:5555")
	for _, tc := range []struct {
		host, to string
		want     bool
	}{
		{"rp.test:443", "93.184.215.14:443", true},
		{"rp.test:443", "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443", true},
		{"rp.test:8443", "93.184.215.14:8443", false}, // not the port of https
		{"rp.test:443", "127.0.0.1:443", false},       // a name of a stranger that leads here
		{"rp.test:443", "192.168.0.9:443", false},
		{"rp.test:443", "[::1]:443", false},
		{"rp.test:443", "[64:ff9b::a00:1]:443", false},
		{"rp.test:443", "[2002:a00:1::]:443", false},
		{"rp.test:443", "10.1.2.3:443", true}, // in an allowed network
		{"rp.test:443", "10.1.2.3:9000", true},
		{"rp.test:443", "10.2.2.3:443", false},
		{"rp.test:443", "[fd00::5]:443", true},
		{"rp.test:444", "[fd00::5]:444", false},
		{"WIKI.intranet:443", "192.168.0.9:443", true}, // a host that the operator vouches for
		{"wiki.intranet.:443", "192.168.0.9:443", true},
		{"wiki.intranet:9443", "192.168.0.9:9443", true},
		{"a.wiki.intranet:443", "192.168.0.9:443", false},
		{"mail.intranet:8443", "192.168.0.9:8443", true},
		{"mail.intranet:443", "192.168.0.9:443", false},
		{"localhost:5555", "127.0.0.1:5555", true},
		{"localhost:5555", "192.168.0.9:5555", false}, // localhost that is not here
		{"localhost:5556", "127.0.0.1:5556", false},
	} {
		if err := c.admit(tc.host, netip.MustParseAddrPort(tc.to)); (err == nil) != tc.want {
			t.Errorf("%s at %s: %v, want %v", tc.host, tc.to, err, tc.want)
		}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if p := netip.MustParsePrefix(a.String()); !own(p.Addr().Unmap()) {
			t.Errorf("%s is not taken for this machine's own", p.Addr())
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	canary, seen := listener(t, func(http.ResponseWriter, *http.Request) {})
	address, _ := listener(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, canary, http.StatusFound) })
	c := client(t, "127.0.0.1")
	if a, err := c.Do(context.Background(), Request{URL: address}); err != nil || a.Status != 302 {
		t.Errorf("%+v, %v; want the redirect itself", a, err)
	}
	if _, err := c.JSON(context.Background(), address); err == nil {
		t.Error("a redirect counts as a document")
	}
	if seen.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestEndlessSlowAndPackedAnswersAreCut(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 10<<20))
	z.Close()
	var sent atomic.Int64
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 32<<10))
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"endless body": endless,
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		},
		"large header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 3*maxHead)) },
		"slow header":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow body": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := listener(t, h)
			start := time.Now()
			_, err := client(t, "127.0.0.1").Do(context.Background(), Request{URL: address, Timeout: 300 * time.Millisecond})
			if err == nil {
				t.Error("no error")
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if strings.HasPrefix(name, "slow") && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	proxy, seen := listener(t, func(http.ResponseWriter, *http.Request) {})
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy)
	}
	if _, err := client(t).Do(context.Background(), Request{URL: "https://rp.invalid"}); err == nil {
		t.Error("no error")
	}
	if seen.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestASlowHostTakesNoPlacesOfTheOthers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var here, most atomic.Int64
	slow, _ := listener(t, func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), here.Add(1)))
		<-release
		here.Add(-1)
	})
	fast, _ := listener(t, func(http.ResponseWriter, *http.Request) {})
	c := client(t, "127.0.0.1")
	var waiting sync.WaitGroup
	for range 3 * inParallel {
		waiting.Go(func() {
			if _, err := c.Do(context.Background(), Request{URL: slow, Timeout: 20 * time.Second}); err != nil {
				t.Error(err)
			}
		})
	}
	for here.Load() < perHost { // until the slow host is busy
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Do(context.Background(), Request{URL: fast}); err != nil {
		t.Errorf("another host: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, Request{URL: slow}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one too many: %v, want %v", err, context.DeadlineExceeded)
	}
	close(release)
	waiting.Wait()
	if got := most.Load(); got != perHost {
		t.Errorf("%d calls at once to one host, want %d", got, perHost)
	}
	if len(c.hosts) != 0 || len(c.all) != 0 {
		t.Errorf("%d hosts and %d places are left", len(c.hosts), len(c.all))
	}
}

func TestOnlyJSONCountsAsJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		kind   string
		want   bool
	}{
		{200, "application/json", true}, {200, "application/jrd+json;charset=utf-8", true},
		{200, "text/html", false}, {200, "", false}, {404, "application/json", false}, {204, "application/json", false},
	} {
		address, _ := listener(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{tc.kind}
			w.WriteHeader(tc.status)
			if tc.status != 204 {
				fmt.Fprint(w, "[]")
			}
		})
		if body, err := client(t, "127.0.0.1").JSON(context.Background(), address); (err == nil) != tc.want || tc.want && string(body) != "[]" {
			t.Errorf("%d %q: %q, %v", tc.status, tc.kind, body, err)
		}
	}
}

func TestTheAllowListIsReadStrictly(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"wiki", "Wiki.Example", "a_b.test:8080", "10.0.0.0/8", "fd00::/8", "::1", "[::1]:5555", "127.0.0.1", "127.0.0.1:80"} {
		if _, err := ParseAllow([]string{s}); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "https://wiki", "wiki/", "*.test", "wiki:", "wiki:0", "wiki:70000", ":80", "10.0.0.0/99", "a b", "fe80::1%eth0", "::ffff:10.0.0.0/104"} {
		if _, err := ParseAllow([]string{s}); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}
