package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"idp/storage"
)

// idp runs a command of the binary against the world's database and decodes its JSON.
func (w *world) idp(t testing.TB, into any, args ...string) {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, append(args, "--json")...)
	cmd.Env = append(os.Environ(), "IDP_ISSUER="+w.issuer, "IDP_DATABASE_URL="+w.dbURL, "IDP_MASTER_KEY="+masterKey())
	out, err := cmd.Output()
	if err != nil {
		detail := ""
		if exit, ok := err.(*exec.ExitError); ok {
			detail = string(exit.Stderr)
		}
		t.Fatalf("idp %s: %v\n%s", strings.Join(args, " "), err, detail)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("idp %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestSuspendingByTheCommandLineCountsOnEveryReplicaAtOnce(t *testing.T) {
	w := startProcesses(t, 2)
	a, ada := w.app(t, storage.ClientSPA), w.person(t, "ada")
	_, tokens := a.signIn(w.browser(t), ada)
	for range 4 { // both replicas have seen the tokens
		w.transport.CloseIdleConnections()
		w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").ok()
	}
	var ended struct{ Sessions, Grants int }
	w.idp(t, &struct {
		Ended any
	}{&ended}, "user", "suspend", "ada")
	for range 4 {
		w.transport.CloseIdleConnections()
		if got := w.send(t, "GET", "/userinfo", bearerHeader(tokens.access()), "").status; got != 401 {
			t.Errorf("userinfo after the suspension: %d, want 401", got)
		}
		a.refresh(tokens.refresh()).fails(400, "invalid_grant")
	}
}

func TestAStoppingServerFinishesWhatItBegan(t *testing.T) {
	w := startProcesses(t, 1)
	a := w.app(t, storage.ClientMachine)
	address := freeAddress(t)
	second := w.startProcess(t, address)
	body := url.Values{"grant_type": {"client_credentials"}}.Encode()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req, err := http.NewRequest(http.MethodPost, w.issuer+"/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(a.ID, a.secret)
	fmt.Fprintf(c, "POST /token HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		req.URL.Host, req.Header.Get("Authorization"), len(body))
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("want 100 Continue, got %q, %v", line, err)
	}
	r.ReadString('\n')
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		probe, err := net.Dial("tcp", address)
		if err != nil {
			break // it has stopped accepting
		}
		probe.Close()
	}
	io.WriteString(c, body)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		t.Fatalf("the request was cut off: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("the request ended with %d, want 200", resp.StatusCode)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
}

func TestTheCommandLineMakesAClientThatWorks(t *testing.T) {
	w := startProcesses(t, 1)
	ada := w.person(t, "ada")
	for _, preset := range []string{"web", "spa", "native"} {
		var made struct {
			ID           string   `json:"client_id"`
			Secret       string   `json:"client_secret"`
			RedirectURIs []string `json:"redirect_uris"`
		}
		w.idp(t, &made, "client", "create", "--preset", preset, "--name", "App "+preset, "--redirect-uri", map[string]string{"web": callback, "spa": callback, "native": "http://127.0.0.1/cb"}[preset])
		c := &storage.Client{ID: made.ID, ClientMetadata: storage.ClientMetadata{RedirectURIs: made.RedirectURIs, AuthMethod: "none"}}
		if made.Secret != "" {
			c.AuthMethod = "client_secret_basic"
		}
		a := &app{t: t, w: w, Client: c, secret: made.Secret}
		if _, tokens := a.signIn(w.browser(t), ada, "scope", "openid email offline_access"); tokens.refresh() == "" {
			t.Errorf("%s: no refresh token", preset)
		}
		var shown map[string]any
		w.idp(t, &shown, "client", "show", made.ID)
		if text, _ := json.Marshal(shown); made.Secret != "" && strings.Contains(string(text), made.Secret) {
			t.Errorf("%s: the secret is shown again", preset)
		}
	}
	var machine struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	w.idp(t, &machine, "client", "create", "--preset", "machine", "--name", "Job", "--scope", "api:read")
	a := &app{t: t, w: w, Client: &storage.Client{ID: machine.ID, ClientMetadata: storage.ClientMetadata{AuthMethod: "client_secret_basic"}}, secret: machine.Secret}
	a.token(url.Values{"grant_type": {"client_credentials"}}).ok()
}
