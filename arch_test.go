package idp

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ownImports are the packages and which others of ours each may import: the shape of the program.
var ownImports = map[string][]string{
	"cmd/idp":             {".", "admin", "login", "oauth", "selftest", "storage", "web"},
	".":                   {"account", "admin", "demo", "login", "oauth", "outbound", "storage", "storage/embedded", "web"},
	"account":             {"login", "storage", "web"},
	"admin":               {"oauth", "storage", "web"},
	"oauth":               {"login", "outbound", "storage", "web"},
	"login":               {"storage", "web"},
	"web":                 {}, // in particular, it does not know the database
	"outbound":            {}, // the one way out to addresses that strangers name
	"storage":             {},
	"storage/embedded":    {},
	"storage/storagetest": {"storage", "storage/embedded"},
	"demo":                {},                   // somebody else's app, as far as it can tell
	"selftest":            {"admin", "storage"}, // asks the public surface; the database only for throw-away clients and people
	"integration/dev":     {},
	"integration":         {}, // tests alone
	"integration/browser": {},
}

// mayImport are the foreign modules that only some packages may import, by prefix.
var mayImport = map[string][]string{
	"github.com/alecthomas/kong":                 {"cmd/idp"},
	"github.com/gorilla/mux":                     {"."},
	"github.com/lmittmann/tint":                  {"."},
	"github.com/ory/":                            {"oauth"},
	"github.com/go-jose/":                        {"oauth", "selftest"},
	"golang.org/x/crypto/argon2":                 {"login"},
	"golang.org/x/crypto/":                       {"login", "storage"},
	"github.com/jackc/pgx/":                      {"storage", "storage/embedded", "storage/storagetest"},
	"github.com/pressly/goose/":                  {"storage"},
	"github.com/fergusstrange/embedded-postgres": {"storage/embedded"},
	"github.com/coreos/go-oidc/":                 {"demo", "selftest"}, // those who act as relying parties
	"golang.org/x/oauth2":                        {"demo"},
	"rsc.io/qr":                                  {"cmd/idp"},
	"database/sql":                               {"storage"},
	"html/template":                              {"web", "demo"},
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	imports := productImports(t)
	for pkg, list := range imports {
		allowed, known := ownImports[pkg]
		if !known {
			t.Errorf("package %s is new: say in ownImports what it may import", pkg)
		}
		for _, path := range list {
			own, ours := strings.CutPrefix(path, "idp/")
			if path == "idp" {
				own, ours = ".", true
			}
			if ours && !slices.Contains(allowed, own) {
				t.Errorf("package %s imports %s; it may import %v", pkg, own, allowed)
			}
			for prefix, packages := range mayImport {
				if strings.HasPrefix(path, prefix) && !slices.Contains(packages, pkg) {
					t.Errorf("package %s imports %s; only %v may", pkg, path, packages)
				}
			}
		}
	}
	for pkg := range ownImports {
		if _, ok := imports[pkg]; !ok {
			t.Errorf("ownImports names %s, which is no package", pkg)
		}
	}
}

// productImports reads, for each package, what its files import; tests may import what they need.
func productImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string]map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			hidden := strings.HasPrefix(d.Name(), ".") && name != "."
			if hidden || d.Name() == "node_modules" || d.Name() == "testdata" || err == nil && name != "." {
				return filepath.SkipDir // no packages, or those of another module
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(name))
		if imports[pkg] == nil {
			imports[pkg] = map[string]bool{}
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports[pkg][path] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string][]string{}
	for pkg, set := range imports {
		lists[pkg] = slices.Sorted(maps.Keys(set))
	}
	return lists
}

func TestFilesAreShortAndNothingRunsBeforeMain(t *testing.T) {
	t.Parallel()
	for pkg := range productImports(t) {
		files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "\nfunc init(") {
				t.Errorf("%s has an init function: call what it does where things start", name)
			}
			if n := strings.Count(string(text), "\n"); n > 600 {
				t.Errorf("%s has %d lines: divide it by subject, at most 600", name, n)
			}
		}
	}
}
