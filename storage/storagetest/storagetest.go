// Package storagetest gives each test a database of its own on a real PostgreSQL.
//
// The first test that asks starts a private server for the whole test process; a package's
// TestMain hands over to Main, which stops it. IDP_TEST_DATABASE_URL names a server to use
// instead, as a superuser. The library pg_stat_statements is loaded where the installation has it;
// a test that counts statements creates the extension in its database.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"idp/storage"
	"idp/storage/embedded"
)

// patience bounds everything that this package waits for, except for tests.
const patience = time.Minute

// server is the PostgreSQL of this test process. It is the one global of the package, because
// tests share a process and nothing else.
var server = struct {
	sync.Mutex
	private  *embedded.Postgres // nil if IDP_TEST_DATABASE_URL names the server
	dir      string             // data folder of the private server
	base     string             // connection string of a database to create others from
	template string             // migrated database that is copied for each test, "" until made
	copying  string             // how "create database" is told to copy it
	err      error              // why there is no server or no template
}{}

// Main is for TestMain: it runs the tests, stops the server and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the tests' PostgreSQL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// MasterKey is the key under which New's database seals secrets. Tests that run another process
// on the same database give it the same key.
func MasterKey() []byte { return []byte("storagetest: 32 bytes, no secret") }

// New opens a migrated database that no other test uses. It is dropped after the test.
func New(t testing.TB) *storage.DB {
	t.Helper()
	url := URL(t)
	sealer, err := storage.NewSealer(MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	db, err := storage.Open(context.Background(), storage.Config{URL: url, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// URL is the connection string of a migrated database that no other test uses, for tests that
// open it more than once or start the program. It is dropped after the test.
func URL(t testing.TB) string {
	t.Helper()
	return create(t, true)
}

// EmptyURL is like URL, but the database has no tables.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, false)
}

func create(t testing.TB, migrated bool) string {
	t.Helper()
	base, template, err := prepare(migrated)
	if err != nil {
		t.Fatalf("no database for the test: %v", err)
	}
	name := "test_" + strings.ToLower(storage.NewID(""))
	sql := "create database " + name
	if migrated {
		sql += template
	}
	if err := run(base, sql); err != nil {
		t.Fatalf("no database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := run(base, "drop database if exists "+name+" with (force)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return withDatabase(base, name)
}

// prepare starts the server and makes the template, whatever of it is missing, and returns the
// connection string and the clause that copies the template.
func prepare(migrated bool) (base, template string, err error) {
	server.Lock()
	defer server.Unlock()
	if server.err == nil && server.base == "" {
		server.err = start()
	}
	if server.err == nil && migrated && server.template == "" {
		server.err = makeTemplate()
	}
	return server.base, " template " + server.template + server.copying, server.err
}

func start() error {
	if given := os.Getenv("IDP_TEST_DATABASE_URL"); given != "" {
		server.base = given
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	parent := parentFolder()
	sweep(parent)
	dir, err := os.MkdirTemp(parent, folderPrefix)
	if err != nil {
		return fmt.Errorf("make folder for the tests' PostgreSQL: %w", err)
	}
	server.dir = dir
	server.private, err = embedded.Start(ctx, embedded.Options{
		DataDir:  dir,
		Log:      os.Stderr,
		Download: true, // a machine without PostgreSQL runs the tests too
		Preload:  []string{"pg_stat_statements"},
		Settings: map[string]string{
			"fsync":                    "off",
			"synchronous_commit":       "off",
			"full_page_writes":         "off",
			"max_connections":          "300",
			"max_wal_size":             "128MB",
			"autovacuum":               "off", // or it would get in the way of counts and of dropping
			"pg_stat_statements.track": "all", // of no effect without the library
		},
	})
	if err != nil {
		return err
	}
	server.base = server.private.URL("postgres")
	return nil
}

func makeTemplate() error {
	name := "template_" + strings.ToLower(storage.NewID(""))
	if err := run(server.base, "create database "+name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := storage.Migrate(ctx, withDatabase(server.base, name)); err != nil {
		return err
	}
	server.template = name
	// Copying files is three times faster than copying through the log; PostgreSQL 14 knows no other way.
	if server.private != nil && !strings.HasPrefix(server.private.Version(), "14") {
		server.copying = " strategy file_copy"
	}
	return nil
}

func stop() error {
	server.Lock()
	defer server.Unlock()
	var err error
	if server.private != nil {
		err = server.private.Stop()
	} else if server.template != "" {
		err = run(server.base, "drop database if exists "+server.template+" with (force)")
	}
	if server.dir != "" {
		err = errors.Join(err, embedded.Remove(server.dir), os.RemoveAll(server.dir))
	}
	server.err = errors.New("the tests are over")
	return err
}

const folderPrefix = "idp-storagetest-"

// sweep deletes the folders of test processes that were killed, or that did not use Main.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || time.Since(info.ModTime()) < 10*time.Minute {
			continue // may be about to start
		}
		if embedded.Remove(dir) == nil { // refuses while in use
			os.RemoveAll(dir)
		}
	}
}

// run executes one statement on a connection of its own.
func run(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the tests' PostgreSQL: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// withDatabase changes the database that a connection string names.
func withDatabase(base, name string) string {
	if u, err := url.Parse(base); err == nil && u.Scheme != "" {
		u.Path = "/" + name
		return u.String()
	}
	return base + " dbname=" + name // the last one counts in key=value strings
}
