package idp

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"idp/demo"
	"idp/storage"
	"idp/storage/storagetest"
)

// startDev runs idp dev until the test or stop ends it.
func startDev(t *testing.T, o DevOptions) (world DevWorld, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan DevWorld, 1), make(chan error, 1)
	go func() { done <- Dev(ctx, o, func(w DevWorld) error { ready <- w; return nil }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Dev() = %v, want nil after its context ended", err)
		}
	}
	select {
	case world = <-ready:
	case err := <-done:
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		t.Fatal("idp dev is not ready after two minutes")
	}
	t.Cleanup(stop)
	return world, stop
}

// freePort finds a port that nobody listens on; the next ones are likely free too.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestDevMakesAWholeWorldAndKeepsIt(t *testing.T) {
	t.Parallel()
	o := DevOptions{DataDir: filepath.Join(t.TempDir(), "dev"), Port: freePort(t), DemoPort: freePort(t), DatabaseURL: storagetest.EmptyURL(t)}
	first, stop := startDev(t, o)
	if status, body := get(t, first.Issuer+"/.well-known/openid-configuration"); status != 200 || !strings.Contains(body, `"issuer": "`+first.Issuer+`"`) {
		t.Errorf("discovery: %d %s", status, body)
	}
	if status, body := get(t, first.DemoURL+"/"); status != 200 || !strings.Contains(body, "Log in with") || !strings.Contains(body, first.People[0].Password) {
		t.Errorf("demo app: %d %s", status, body)
	}

	var printed map[string]any
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &printed); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"issuer", "demo_url", "clients", "people", "database_url", "data_dir"} {
		if printed[name] == nil {
			t.Errorf("the JSON lacks %s: %s", name, text)
		}
	}
	if len(printed) != 6 {
		t.Errorf("the JSON has %d members, want 6: %s", len(printed), text)
	}
	confidential := map[string]bool{}
	for _, c := range first.Clients {
		confidential[c.ID] = c.Secret != ""
		if c.RedirectURIs == nil {
			t.Errorf("%s has null for redirect_uris", c.ID)
		}
	}
	want := map[string]bool{"demo-web": true, "demo-spa": false, "demo-native": false, "demo-machine": true}
	if diff := cmp.Diff(want, confidential); diff != "" {
		t.Errorf("confidential clients (-want +got):\n%s", diff)
	}
	stop()

	// The second time the demo app is elsewhere; everything else is as it was.
	o.Port, o.DemoPort = 0, freePort(t)
	second, _ := startDev(t, o)
	if second.Issuer != first.Issuer || !cmp.Equal(second.People, first.People) {
		t.Errorf("the issuer or the people changed: %+v, want %+v", second, first)
	}
	for i, c := range second.Clients {
		if c.ID != first.Clients[i].ID || c.Secret != first.Clients[i].Secret {
			t.Errorf("client %+v changed, want %+v", c, first.Clients[i])
		}
		if slices.ContainsFunc(c.RedirectURIs, func(uri string) bool { return strings.HasPrefix(uri, first.DemoURL+"/") }) {
			t.Errorf("client %s still returns to the old demo app: %v", c.ID, c.RedirectURIs)
		}
	}
	if got, want := second.Clients[0].RedirectURIs[0], second.DemoURL+"/callback"; got != want {
		t.Errorf("demo-web returns to %s, want %s", got, want)
	}
	db, err := storage.Open(t.Context(), storage.Config{URL: second.DatabaseURL})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if shop, err := db.Client(t.Context(), demoWeb); err != nil || shop.BackchannelLogoutURI != demo.LogoutURI(second.DemoURL) {
		t.Errorf("the demo app is told of sign-outs at %s, want %s; %v", shop.BackchannelLogoutURI, demo.LogoutURI(second.DemoURL), err)
	}
	found, err := FindConnection(second.DataDir)
	if err != nil || found.Issuer != second.Issuer || found.DatabaseURL != second.DatabaseURL {
		t.Errorf("FindConnection() = %+v, %v", found, err)
	}
	if info, err := os.Stat(filepath.Join(second.DataDir, devStateFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dev.json, which holds secrets: %v, %v; want mode 0600", info.Mode(), err)
	}
}

func TestDevSurvivesTheLossOfItsNotes(t *testing.T) {
	t.Parallel()
	o := DevOptions{DataDir: filepath.Join(t.TempDir(), "dev"), Port: freePort(t), DemoPort: freePort(t), DatabaseURL: storagetest.EmptyURL(t)}
	first, stop := startDev(t, o)
	stop()
	if err := os.Remove(filepath.Join(o.DataDir, devStateFile)); err != nil {
		t.Fatal(err)
	}
	second, _ := startDev(t, o)
	if second.Clients[0].Secret == "" || second.Clients[0].Secret == first.Clients[0].Secret {
		t.Errorf("demo-web has the secret %q, want a new one", second.Clients[0].Secret)
	}
}

func TestDevAddsNothingToADatabaseOfSomebodyElse(t *testing.T) {
	t.Parallel()
	s := testServer(t)
	if _, err := s.db.Pool().Exec(t.Context(), `
		insert into users (id, username, created_at, updated_at)
		values ('usr_real', 'real', '2026-01-01', '2026-01-01')`); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "dev")
	if _, err := openDevFolder(dir, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Dev(t.Context(), DevOptions{DataDir: dir, Port: freePort(t), DemoPort: freePort(t), DatabaseURL: s.config.DatabaseURL}, func(DevWorld) error {
		t.Error("it started")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "database of its own") {
		t.Errorf("Dev() = %v, want a refusal", err)
	}
}

func TestABusyPortGivesTheNextOneAndASentence(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	list, got, moved, err := listenLoopback("the provider", port)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(list)
	if got <= port || len(moved) != 1 || !strings.Contains(moved[0], strconv.Itoa(port)) {
		t.Errorf("listenLoopback(%d) = port %d, %v", port, got, moved)
	}
	for _, l := range list {
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("it listens on %s, which others can reach", l.Addr())
		}
	}
}

func TestResetDeletesOnlyFoldersOfDev(t *testing.T) {
	t.Parallel()
	foreign := t.TempDir()
	precious := filepath.Join(foreign, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, reset := range []bool{true, false} {
		if _, err := openDevFolder(foreign, reset); err == nil || !strings.Contains(err.Error(), "--data-dir") {
			t.Errorf("openDevFolder(foreign, %v) = %v, want a refusal", reset, err)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}

	own, err := openDevFolder(filepath.Join(t.TempDir(), "a", "dev"), true)
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(own, "stale")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDevFolder(own, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("after a reset the old file is there: %v", err)
	}
	if ignored, err := fs.ReadFile(os.DirFS(own), ".gitignore"); err != nil || string(ignored) != "*\n" {
		t.Errorf(".gitignore = %q, %v", ignored, err)
	}
}
