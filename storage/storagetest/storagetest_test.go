package storagetest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("TEST_WITHOUT_MAIN") != "" {
		os.Exit(m.Run()) // as a package that has forgotten Main
	}
	storagetest.Main(m)
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var got string
	if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestNewDatabaseIsMigrated(t *testing.T) {
	t.Parallel()
	ready, err := storagetest.New(t).SchemaReady(t.Context())
	if err != nil || !ready {
		t.Errorf("SchemaReady = %v, %v; want true", ready, err)
	}
}

func TestEmptyDatabaseHasNoTables(t *testing.T) {
	t.Parallel()
	url := storagetest.EmptyURL(t)
	const count = "select count(*)::text from pg_tables where schemaname = 'public'"
	if got := query(t, url, count); got != "0" {
		t.Errorf("%s tables, want 0", got)
	}
	if _, err := storage.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if got := query(t, url, count); got == "0" {
		t.Error("no tables after Migrate")
	}
}

func TestDatabasesAreTheTestsOwnAndGoWithThem(t *testing.T) {
	t.Parallel()
	var urls []string
	t.Run("tests", func(t *testing.T) {
		for range 2 {
			url := storagetest.URL(t)
			if got := query(t, url, "select coalesce(to_regclass('mine')::text, 'none')"); got != "none" {
				t.Errorf("a table of another test is there: %s", got)
			}
			execute(t, url, "create table mine ()")
			urls = append(urls, url)
		}
	})
	for _, url := range urls {
		if conn, err := pgx.Connect(t.Context(), url); err == nil {
			conn.Close(t.Context())
			t.Errorf("%s is still there", url)
		} else if !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("got %v, want that the database does not exist", err)
		}
	}
}

func TestGivenServerIsUsedAndLeftClean(t *testing.T) {
	t.Parallel()
	given := storagetest.URL(t) // makes our own template, so that it is there before and after
	const templates = "select string_agg(datname, ' ' order by datname) from pg_database where datname like 'template%'"
	before := query(t, given, templates)
	child := exec.Command(os.Args[0], "-test.run=^TestNewDatabaseIsMigrated$", "-test.v")
	child.Env = append(os.Environ(), "IDP_TEST_DATABASE_URL="+given)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNewDatabaseIsMigrated") {
		t.Fatalf("%v\n%s", err, out)
	}
	if after := query(t, given, templates); after != before {
		t.Errorf("templates: got %s, want %s", after, before)
	}
}

func TestServerEndsWithAProcessThatForgotMain(t *testing.T) {
	t.Parallel()
	if url := os.Getenv("TEST_WITHOUT_MAIN"); url != "" {
		t.Log("URL " + storagetest.EmptyURL(t))
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent has died")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestServerEndsWithAProcessThatForgotMain$", "-test.v")
	folder := t.TempDir()
	child.Env = append(os.Environ(), "TEST_WITHOUT_MAIN=1", "TMPDIR="+folder)
	if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil { // the server's account must get there
		t.Fatal(err)
	}
	out, err := child.CombinedOutput()
	_, url, found := strings.Cut(string(out), "URL ")
	if err != nil || !found {
		t.Fatalf("%v\n%s", err, out)
	}
	url, _, _ = strings.Cut(url, "\n")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(t.Context(), url)
		if _, refused := errors.AsType[*pgconn.ConnectError](err); refused && !strings.Contains(err.Error(), "does not exist") && !strings.Contains(err.Error(), "57P03") {
			return
		}
		if err == nil {
			conn.Close(t.Context())
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s the server still answers: %v", err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		storagetest.New(b)
	}
}
