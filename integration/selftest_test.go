package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"idp/admin"
	"idp/storage"
)

// front is a proxy that speaks TLS before a server, as in production, and may spoil things. It has
// a loopback address of its own, so that it is told from those who come.
type front struct {
	*world
	ca    string // file with its certificate
	fault atomic.Pointer[fault]
}

// fault is what a proxy does wrong. Each part may be nil.
type fault struct {
	name    string
	red     string // the checks that find it
	request func(*http.Request)
	answer  func(*http.Response)
	instead func(w http.ResponseWriter, r *http.Request) bool // answers itself, and says so
}

const frontHost = "127.0.0.3"

func startFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", frontHost+":0")
	if err != nil {
		t.Skipf("no second loopback address here: %v", err)
	}
	f := &front{world: &world{clock: &clock{}, replicas: []string{freeAddress(t)}}}
	f.issuer = "https://" + listener.Addr().String()
	f.open(t)
	backend := &url.URL{Scheme: "http", Host: f.replicas[0]}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(frontHost)}}).DialContext},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			if spoil := f.fault.Load(); spoil != nil && spoil.request != nil {
				spoil.request(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if spoil := f.fault.Load(); spoil != nil && spoil.answer != nil {
				spoil.answer(r)
			}
			return nil
		},
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoil := f.fault.Load(); spoil != nil && spoil.instead != nil && spoil.instead(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.TLS, f.ca = certificateFor(t, frontHost)
	server.StartTLS()
	t.Cleanup(server.Close)
	f.startProcess(t, f.replicas[0], "--trusted-proxies", frontHost+"/32")
	return f
}

type selftested struct {
	Passed, Failed, Skipped int
	Results                 []struct{ ID, Status, Why, Mend string }
}

func (f *front) selftest(t *testing.T, args ...string) (result selftested, code int, printed string) {
	t.Helper()
	cmd := f.command(t, append([]string{"selftest", "--json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := err.(*exec.ExitError); !ok {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("%v\n%s%s", err, out.Bytes(), errs.Bytes())
	}
	return result, cmd.ProcessState.ExitCode(), out.String() + errs.String()
}

func (f *front) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "IDP_ISSUER="+f.issuer, "IDP_DATABASE_URL="+f.dbURL, "IDP_MASTER_KEY="+masterKey(), "SSL_CERT_FILE="+f.ca)
	return cmd
}

func (r selftested) red() string {
	var ids []string
	for _, c := range r.Results {
		if c.Status == "failed" {
			ids = append(ids, c.ID)
		}
	}
	return strings.Join(ids, " ")
}

// nothingLeft looks for what a selftest made.
func (f *front) nothingLeft(t *testing.T, but ...string) {
	t.Helper()
	if ids := f.clientIDs(t); !slices.Equal(ids, but) {
		t.Errorf("clients are %v, want %v", ids, but)
	}
	people, err := f.db.Users(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range people {
		if u.State != "deleted" {
			t.Errorf("a person is left over: %s", u.Username)
		}
	}
}

func TestSelftestPassesOnAGoodDeployment(t *testing.T) {
	f := startFront(t)
	// What a run that was killed left over goes too, but not what an operator named alike.
	old := func(id string) func(*storage.Client) {
		return func(c *storage.Client) { c.ID, c.Name, c.CreatedAt = id, "Selftest", c.CreatedAt.Add(-2*time.Hour) }
	}
	f.app(t, storage.ClientWeb, old("selftest-abcdefghijkl-web"))
	crashed := f.person(t, "selftest-abcdefghijkl")
	if _, err := admin.New(admin.Config{DB: f.db}).UpdateUser(t.Context(), crashed.ID, admin.UserChange{Email: new("selftest-abcdefghijkl@selftest.invalid")}); err != nil {
		t.Fatal(err)
	}
	f.app(t, storage.ClientWeb, old("selftest-app"))
	f.app(t, storage.ClientWeb, old("selftest-abcdefghijkl-app"), func(c *storage.Client) { c.Name = "My selftest" })

	junit := filepath.Join(t.TempDir(), "selftest.xml")
	start := time.Now()
	r, code, printed := f.selftest(t, "--junit", junit)
	if code != 0 || r.Failed != 0 || r.Skipped != 0 || r.Passed < 60 {
		t.Errorf("exit code %d, %d passed, %d failed, %d skipped, want at least 60 passed and nothing else\n%s", code, r.Passed, r.Failed, r.Skipped, printed)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	f.nothingLeft(t, "selftest-abcdefghijkl-app", "selftest-app")
	text, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []struct{} `xml:"testcase"`
	}
	if err := xml.Unmarshal(text, &suite); err != nil || suite.Tests != r.Passed || suite.Failures != 0 || len(suite.Cases) != r.Passed {
		t.Errorf("%v, %+v in\n%s", err, suite, text)
	}
}

func TestSelftestPassesBelowAPathAndWithoutTLS(t *testing.T) {
	f := &front{world: &world{clock: &clock{}, replicas: []string{freeAddress(t)}}}
	f.issuer = "http://" + f.replicas[0] + "/id"
	f.open(t)
	f.startProcess(t, f.replicas[0])
	r, code, printed := f.selftest(t)
	if code != 0 || r.Failed != 0 || r.Skipped != 3 || r.Passed < 60 { // what only https has is not tried
		t.Errorf("exit code %d, %d passed, %d failed, %d skipped\n%s", code, r.Passed, r.Failed, r.Skipped, printed)
	}
}

func TestAnInterruptedSelftestLeavesNothingBehind(t *testing.T) {
	f := startFront(t)
	cmd := f.command(t, "selftest")
	started := make(chan *os.Process, 1)
	var once atomic.Bool
	f.fault.Store(&fault{request: func(r *http.Request) {
		if r.URL.Path == "/par" && once.CompareAndSwap(false, true) { // in the midst of it
			(<-started).Signal(syscall.SIGTERM)
		}
	}})
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started <- cmd.Process
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !once.Load() {
		t.Errorf("exit code %d, %v\n%s", code, err, out.String())
	}
	f.nothingLeft(t)
}

// TestSelftestFindsWhatAProxySpoils has one fault at a time: the check that is about it turns red,
// and only that.
func TestSelftestFindsWhatAProxySpoils(t *testing.T) {
	f := startFront(t)
	for _, spoil := range faults(t, f) {
		t.Run(strings.ReplaceAll(spoil.name, " ", "_"), func(t *testing.T) {
			f.fault.Store(&spoil)
			r, code, printed := f.selftest(t)
			if got := r.red(); code != 5 || got != spoil.red {
				t.Errorf("exit code %d, red is %q, want %q\n%s", code, got, spoil.red, printed)
			}
			for _, c := range r.Results {
				if c.Status == "failed" && (c.Why == "" || c.Mend == "") {
					t.Errorf("%s says neither why nor what to do", c.ID)
				}
			}
			f.nothingLeft(t)
		})
	}
}

func faults(t *testing.T, f *front) []fault {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	others := jose.JSONWebKeySet{}
	for _, alg := range []string{"RS256", "ES256", "PS256", "EdDSA"} {
		others.Keys = append(others.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: "other-" + alg, Algorithm: alg, Use: "sig"})
	}
	drop := func(names ...string) func(*http.Response) {
		return func(r *http.Response) {
			for _, name := range names {
				r.Header.Del(name)
			}
		}
	}
	at := func(path string, do func(*http.Response)) func(*http.Response) {
		return func(r *http.Response) {
			if r.Request.URL.Path == path {
				do(r)
			}
		}
	}
	const discovery = "/.well-known/openid-configuration"
	cookie := func(old, new string) func(*http.Response) {
		return func(r *http.Response) {
			for i, line := range r.Header["Set-Cookie"] {
				r.Header["Set-Cookie"][i] = strings.ReplaceAll(line, old, new)
			}
		}
	}
	host := strings.TrimPrefix(f.issuer, "https://")
	return []fault{
		{name: "discovery with the scheme behind the proxy", red: "discovery.issuer", answer: at(discovery, func(r *http.Response) { replaceBody(r, f.issuer, "http://"+host) })},
		{name: "endpoints with the address behind the proxy", red: "discovery.endpoints", answer: at(discovery, func(r *http.Response) { replaceBody(r, f.issuer+"/token", "http://"+f.replicas[0]+"/token") })},
		{name: "host header of the proxy's own", red: "discovery.document", request: func(r *http.Request) { r.Host = f.replicas[0] }},
		{name: "discovery document kept by a cache", red: "discovery.fresh", answer: at(discovery, func(r *http.Response) {
			if r.Request.URL.RawQuery == "" {
				replaceBody(r, `"groups"`, `"gruppen"`)
			}
		})},
		{name: "discovery may not be kept", red: "discovery.cache", answer: at(discovery, func(r *http.Response) { r.Header.Set("Cache-Control", "no-store") })},
		{name: "keys of somebody else", red: "id_token.strict", answer: at("/jwks", func(r *http.Response) { setJSON(r, others) })},
		{name: "authorization header stripped", red: "proxy.authorization", request: func(r *http.Request) { r.Header.Del("Authorization") }},
		{name: "no x-forwarded-for", red: "proxy.address", request: func(r *http.Request) { r.Header["X-Forwarded-For"] = nil }},
		{name: "x-forwarded-for as it came", red: "proxy.forwarded", request: func(r *http.Request) {
			first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
			r.Header.Set("X-Forwarded-For", first)
		}},
		{name: "redirects rewritten", red: "proxy.redirects", answer: func(r *http.Response) {
			if l := r.Header.Get("Location"); strings.HasPrefix(l, "/") {
				r.Header.Set("Location", "http://"+f.replicas[0]+l)
			}
		}},
		{name: "redirects followed by the proxy", red: "proxy.redirects", answer: at("/authorize", func(r *http.Response) {
			if strings.HasPrefix(r.Header.Get("Location"), "/") {
				r.StatusCode = http.StatusOK
				r.Header.Del("Location")
			}
		})},
		{name: "cookies stripped", red: "cookies.kept", answer: drop("Set-Cookie")},
		{name: "cookies without secure", red: "cookies.secure", answer: cookie("; Secure", "")},
		{name: "cookies with a domain", red: "cookies.prefix", answer: cookie("; Path=/", "; Path=/; Domain="+frontHost)},
		{name: "cookies without samesite", red: "cookies.samesite", answer: cookie("; SameSite=Lax", "")},
		{name: "cookies for scripts", red: "cookies.scripts", answer: cookie("; HttpOnly", "")},
		{name: "error pages of the proxy's own", red: "errors.json", answer: func(r *http.Response) {
			if r.StatusCode >= 400 {
				setBody(r, "text/html", "<h1>Error</h1>")
			}
		}},
		{name: "unknown paths answered", red: "errors.unknown", answer: func(r *http.Response) {
			if r.StatusCode == http.StatusNotFound {
				r.StatusCode = http.StatusOK
			}
		}},
		{name: "challenges stripped", red: "errors.challenge", answer: drop("WWW-Authenticate")},
		{name: "cors headers stripped from documents", red: "cors.public", answer: func(r *http.Response) {
			if r.Request.URL.Path == discovery || r.Request.URL.Path == "/jwks" {
				r.Header.Del("Access-Control-Allow-Origin")
			}
		}},
		{name: "options refused", red: "cors.preflight", instead: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodOptions
		}},
		{name: "cors for everybody", red: "cors.strangers", answer: func(r *http.Response) { r.Header.Set("Access-Control-Allow-Origin", "*") }},
		{name: "cors headers twice", red: "cors.client", answer: at("/token", func(r *http.Response) {
			if r.Header.Get("Access-Control-Allow-Origin") != "" {
				r.Header.Add("Access-Control-Allow-Origin", "*")
			}
		})},
		{name: "tokens kept by caches", red: "token.store", answer: at("/token", func(r *http.Response) { r.Header.Set("Cache-Control", "public, max-age=60") })},
		{name: "userinfo kept by caches", red: "userinfo.store", answer: at("/userinfo", drop("Cache-Control"))},
		{name: "requests repeated", red: "code.exchange", instead: func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/token" || r.Method != http.MethodPost {
				return false
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return false
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			first, err := http.NewRequest(http.MethodPost, "http://"+f.replicas[0]+r.RequestURI, bytes.NewReader(body))
			if err != nil {
				return false
			}
			first.Host, first.Header = r.Host, r.Header.Clone()
			if resp, err := http.DefaultClient.Do(first); err == nil {
				resp.Body.Close()
			}
			return false
		}},
		{name: "state dropped", red: "authorize.state", answer: func(r *http.Response) {
			if strings.Contains(r.Header.Get("Location"), "/callback?") {
				withoutParam(r, "state")
			}
		}},
		{name: "state dropped after sign-out", red: "logout.state", answer: at("/logout", func(r *http.Response) { withoutParam(r, "state") })},
		{name: "iss dropped", red: "authorize.iss", answer: func(r *http.Response) { withoutParam(r, "iss") }},
		{name: "frames allowed", red: "headers.frames", answer: drop("X-Frame-Options")},
		{name: "types guessed", red: "headers.sniffing", answer: drop("X-Content-Type-Options")},
		{name: "plain http allowed", red: "headers.hsts", answer: drop("Strict-Transport-Security")},
		{name: "long addresses refused", red: "proxy.long", instead: func(w http.ResponseWriter, r *http.Request) bool {
			if len(r.RequestURI) < 4096 {
				return false
			}
			w.WriteHeader(http.StatusRequestURITooLong)
			return true
		}},
	}
}

func setBody(r *http.Response, kind, text string) {
	r.Body.Close()
	r.Body = io.NopCloser(strings.NewReader(text))
	r.ContentLength = int64(len(text))
	r.Header.Set("Content-Type", kind)
	r.Header.Del("Content-Length")
}

func setJSON(r *http.Response, v any) {
	if text, err := json.Marshal(v); err == nil {
		setBody(r, "application/json", string(text))
	}
}

func replaceBody(r *http.Response, old, new string) {
	if raw, err := io.ReadAll(r.Body); err == nil {
		setBody(r, r.Header.Get("Content-Type"), strings.ReplaceAll(string(raw), old, new))
	}
}

// certificateFor makes a certificate of its own for a host, and the file that makes others trust it.
func certificateFor(t *testing.T, host string) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pemFile(t, der)
}

// pemFile writes a certificate where SSL_CERT_FILE can name it.
func pemFile(t *testing.T, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFaultsAreManyAndEachIsFoundByOne(t *testing.T) {
	t.Parallel()
	var names []string
	for _, spoil := range faults(t, &front{world: &world{replicas: []string{"127.0.0.1:1"}}}) {
		if slices.Contains(names, spoil.name) || strings.Contains(spoil.red, " ") || spoil.red == "" {
			t.Errorf("%s: %q", spoil.name, spoil.red)
		}
		names = append(names, spoil.name)
	}
	if len(names) < 25 {
		t.Errorf("%d faults, want 25", len(names))
	}
}
