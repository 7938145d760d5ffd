package embedded

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fast are the settings of tests, which may lose data when the machine fails, not when a process does.
var fast = map[string]string{"fsync": "off", "full_page_writes": "off"}

// TestMain lets the test binary be the idp that a test kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TEST_HOLD_DATA_DIR"); dir != "" {
		p, err := Start(context.Background(), Options{DataDir: dir, Settings: fast})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(p.URL(superuser))
		select {}
	}
	os.Exit(m.Run())
}

// holder starts another process that holds a data folder, and returns the URL of its database.
func holder(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_HOLD_DATA_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := Remove(dir); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Fatalf("the holding process said %q (%v), want a URL", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

func start(t *testing.T, dir string) *Postgres {
	t.Helper()
	p, err := Start(t.Context(), Options{DataDir: dir, Settings: fast, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		Remove(dir) // what may be in a shared folder
	})
	return p
}

// dataDir is a folder that the server's account reaches, unlike t.TempDir.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

func exec1(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(got, "\n")
}

func postmasterPID(t *testing.T, data string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestDataOutlivesARestart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := start(t, dir)
	exec1(t, p.URL("idp"), "create table kept (word text)")
	exec1(t, p.URL("idp"), "insert into kept values ('here')")
	if got := exec1(t, p.URL("idp"), "select version()"); !strings.Contains(got, p.Version()) {
		t.Errorf("Version() = %q, the server says %q", p.Version(), got)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("second Stop: got %v, want nil", err)
	}
	select {
	case <-p.Done():
	default:
		t.Error("Done is open after Stop")
	}
	if _, err := os.Stat(p.socketDir); err == nil {
		t.Errorf("the socket's folder %s is still there", p.socketDir)
	}
	p = start(t, dir)
	if got := exec1(t, p.URL("idp"), "select word from kept"); got != "here" {
		t.Errorf("after a restart got %q, want here", got)
	}
}

func TestServerIsPrivate(t *testing.T) {
	t.Parallel()
	p := start(t, dataDir(t))
	if got := exec1(t, p.URL("idp"), "show listen_addresses"); got != "" {
		t.Errorf("listen_addresses = %q, want none", got)
	}
	for _, dir := range []string{p.socketDir, p.data} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %o, want 700", dir, info.Mode().Perm())
		}
		if ownerOf(info) == 0 {
			t.Errorf("%s belongs to root, want an unprivileged account", dir)
		}
	}
	if got := exec1(t, p.URL("idp"), "select datcollate || ' ' || datctype || ' ' || upper('é') from pg_database where datname = 'idp'"); !strings.HasPrefix(got, "C C") {
		t.Errorf("locale = %q, want C and C.UTF-8", got)
	}
}

func TestSecondStartIsRefusedWithTheMend(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	cmd, url := holder(t, dir)
	_, err := Start(t.Context(), Options{DataDir: dir, Settings: fast})
	want := fmt.Sprintf("this data folder is in use by another idp (process %d)", cmd.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v, want %q and the mend", err, want)
	}
	if err := Remove(dir); err == nil {
		t.Error("Remove of a folder in use succeeded")
	}
	if got := exec1(t, url, "select 'alive'"); got != "alive" {
		t.Errorf("the first server answers %q, want alive", got)
	}
}

func TestStartAfterTheHolderWasKilled(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	cmd, url := holder(t, dir)
	exec1(t, url, "create table kept (word text)")
	exec1(t, url, "insert into kept values ('here')")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	p := start(t, dir) // at once: the server may be on its way down still
	if got := exec1(t, p.URL("idp"), "select word from kept"); got != "here" {
		t.Errorf("after kill -9 got %q, want here", got)
	}
}

func TestServerDiesWithItsProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent has died")
	}
	dir := dataDir(t)
	cmd, _ := holder(t, dir)
	data := clusterOf(t, dir)
	pid := postmasterPID(t, data)
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the server is gone", func() bool { return !runsCluster(pid, data) })
}

func TestAServerLeftRunningIsStopped(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := start(t, dir)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	// A server of the same cluster that no idp holds, as a kill leaves it where the system has no
	// signal for that.
	who, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := makeSocketDir(p.data+"-left", who)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(socket)
	left := who.command(context.Background(), syscall.SIGINT, filepath.Join(p.BinDir(), "postgres"), "-D", p.data, "-k", socket, "-c", "listen_addresses=")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	go left.Wait()
	pidFile := filepath.Join(p.data, "postmaster.pid")
	eventually(t, "the other server is up", func() bool { b, _ := os.ReadFile(pidFile); return strings.Contains(string(b), "ready") })
	p = start(t, dir)
	if got := postmasterPID(t, p.data); got == left.Process.Pid {
		t.Errorf("the server left running (process %d) still owns the cluster", got)
	}
}

func TestStalePostmasterFileDoesNotStopTheStart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := start(t, dir)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	who, _ := serverAccount()
	who = who.orOwnerOf(p.data)
	sleeper := who.command(context.Background(), syscall.SIGKILL, "/bin/sleep", "600") // has the number of an old server
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleeper.Process.Kill(); sleeper.Wait() })
	gone := exec.Command("/bin/true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, pid := range map[string]int{"of a process that is gone": gone.Process.Pid, "of another program": sleeper.Process.Pid} {
		file := filepath.Join(p.data, "postmaster.pid")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n%s\n1700000000\n5432\n/tmp\n\n  1  2\n", pid, p.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := who.own(file); err != nil {
			t.Fatal(err)
		}
		p, err := Start(t.Context(), Options{DataDir: dir, Settings: fast})
		if err != nil {
			t.Fatalf("with the number %s: %v", name, err)
		}
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerKilledOutrightRecovers(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := start(t, dir)
	exec1(t, p.URL("idp"), "create table kept (word text)")
	exec1(t, p.URL("idp"), "insert into kept values ('here')")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Stop(); err != nil {
		t.Errorf("Stop of a dead server: got %v, want nil", err)
	}
	p = start(t, dir)
	if got := exec1(t, p.URL("idp"), "select word from kept"); got != "here" {
		t.Errorf("after kill -9 of the server got %q, want here", got)
	}
}

func TestUnusableFoldersGetASentence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(dir string) error
		want    string
	}{
		{"a folder of something else", func(dir string) error {
			return write(filepath.Join(dir, "postgres", "holiday.jpg"), "x")
		}, "is not empty and is no cluster of PostgreSQL"},
		{"a bare cluster", func(dir string) error { return write(filepath.Join(dir, "PG_VERSION"), "15\n") },
			"is itself a cluster of PostgreSQL"},
		{"another major version", func(dir string) error { return write(filepath.Join(dir, "postgres", "PG_VERSION"), "9\n") },
			"the data was made by PostgreSQL 9, but this machine has"},
		{"a lost cluster", func(dir string) error {
			return write(filepath.Join(dir, "postgres.location"), "/nowhere/x/postgres\n")
		}, "/nowhere/x/postgres, which cannot be opened"},
		{"a broken location", func(dir string) error { return write(filepath.Join(dir, "postgres.location"), "/") },
			"names no place of a database"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			if err := tt.prepare(dir); err != nil {
				t.Fatal(err)
			}
			p, err := Start(t.Context(), Options{DataDir: dir, Settings: fast})
			if err == nil {
				p.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAFailedStartQuotesTheServersLogAndFreesTheFolder(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	_, err := Start(t.Context(), Options{DataDir: dir, Settings: map[string]string{"fsync": "off", "work_mem": "much"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "work_mem"`) {
		t.Errorf("got %v, want the server's own words", err)
	}
	start(t, dir)
}

func TestInterruptedInitLeavesNothingBroken(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	log := writerFunc(func(line string) {
		if strings.HasPrefix(line, "Making a new") {
			cancel()
		}
	})
	if _, err := Start(ctx, Options{DataDir: dir, Settings: fast, Log: log}); err == nil {
		t.Fatal("the start succeeded, want an end by its context")
	}
	if err := write(filepath.Join(dir, "postgres"+unfinished+"1", "PG_VERSION"), "15\n"); err != nil { // as kill -9 leaves it
		t.Fatal(err)
	}
	start(t, dir)
	if left, _ := filepath.Glob(filepath.Join(dir, "postgres"+unfinished+"*")); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// A folder below /root, for instance, cannot be reached by the account that runs the server.
func TestUnreachableFolderKeepsItsClusterElsewhere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root runs the server as somebody else")
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "project", ".idp-dev")
	p := start(t, dir)
	exec1(t, p.URL("idp"), "create table kept (word text)")
	exec1(t, p.URL("idp"), "insert into kept values ('here')")
	if strings.HasPrefix(p.data, closed) {
		t.Errorf("the cluster is in %s, want it outside of %s", p.data, closed)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	p = start(t, dir)
	if got := exec1(t, p.URL("idp"), "select word from kept"); got != "here" {
		t.Errorf("after a restart got %q, want here", got)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(p.data)); err == nil {
		t.Errorf("Remove left %s", filepath.Dir(p.data))
	}
	p = start(t, dir)
	if got := exec1(t, p.URL("idp"), "select coalesce(to_regclass('kept')::text, 'none')"); got != "none" {
		t.Errorf("after Remove got %q, want none", got)
	}
}

// TestAsOrdinaryUser runs the other tests once more, without root.
func TestAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("this is the ordinary user")
	}
	nobody, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "idp-embedded-test-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(home, "embedded.test")
	if err := os.WriteFile(binary, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, int(nobody.uid), int(nobody.gid)); err != nil {
		t.Fatal(err)
	}
	cmd := nobody.command(t.Context(), syscall.SIGKILL, binary, "-test.v", "-test.run=^Test(Data|Server|Second|Start|AServer|Stale|Unusable|AFailed|Interrupted)")
	cmd.Env = append(cmd.Env, "HOME="+home)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "\n--- PASS"); n < 8 {
		t.Errorf("%d tests passed, want 8 at least\n%s", n, out)
	}
}

func clusterOf(t *testing.T, dir string) string {
	t.Helper()
	data, err := readLocation(dir)
	if err != nil {
		t.Fatal(err)
	}
	if data == "" {
		data = filepath.Join(dir, clusterName)
	}
	return data
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s still not: %s", what)
		}
	}
}

func write(file, content string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(content), 0o600)
}

type writerFunc func(string)

func (f writerFunc) Write(b []byte) (int, error) { f(string(b)); return len(b), nil }
