package embedded

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldest is the oldest major version that idp runs on.
const oldest = 14

const installMend = "Install PostgreSQL (apt-get install postgresql, dnf install postgresql-server, or brew install postgresql), or set IDP_DATABASE_URL to a server you have"

// installation is a folder with PostgreSQL's programs.
type installation struct {
	bin     string
	version string // "15.18"
	major   int
}

// wellKnown are the folders of Debian, of PGDG's RPMs, of Homebrew (two) and of Postgres.app.
var wellKnown = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// choose finds the installation to run: for a cluster, one of its major version; for a new
// cluster (major 0), the first that is found.
func choose(ctx context.Context, o Options, who account, major int) (installation, error) {
	var found []installation
	if dir := os.Getenv("IDP_POSTGRES_BIN"); dir != "" {
		in, err := inspect(ctx, dir, who)
		if err == nil && in.major < oldest {
			err = fmt.Errorf("PostgreSQL %s is too old, idp needs %d or newer", in.version, oldest)
		}
		if err != nil {
			return installation{}, fmt.Errorf("IDP_POSTGRES_BIN=%s is no folder of PostgreSQL's programs: %w. Correct or unset it", dir, err)
		}
		found = []installation{in}
	} else {
		found = find(ctx, os.Getenv("PATH"), wellKnown, who)
		if in, err := fetched(ctx, who); err == nil {
			found = append(found, in)
		}
	}
	for _, in := range found {
		if major == 0 || in.major == major {
			return in, nil
		}
	}
	if o.Download && (major == 0 || major == fetchMajor) && os.Getenv("IDP_POSTGRES_BIN") == "" {
		in, err := fetch(ctx, who, o.Log)
		if err != nil {
			return installation{}, fmt.Errorf("no PostgreSQL is installed, and fetching one did not work: %w. %s", err, installMend)
		}
		return in, nil
	}
	if len(found) > 0 {
		return installation{}, fmt.Errorf("the data was made by PostgreSQL %d, but this machine has %s. Install PostgreSQL %d, or start over with --reset",
			major, found[0].version, major)
	}
	return installation{}, fmt.Errorf("no PostgreSQL %d or newer was found on this machine. %s", oldest, installMend)
}

// find lists what is installed: first what PATH names, then the other folders, newest first.
func find(ctx context.Context, path string, patterns []string, who account) []installation {
	var found []installation
	add := func(dir string) {
		in, err := inspect(ctx, dir, who)
		known := func(f installation) bool { return f.bin == in.bin }
		if err == nil && in.major >= oldest && !slices.ContainsFunc(found, known) {
			found = append(found, in)
		}
	}
	for _, dir := range filepath.SplitList(path) {
		// PATH may hold links only, while the programs look for their files beside themselves.
		if program, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb")); err == nil && filepath.IsAbs(program) {
			add(filepath.Dir(program))
		}
	}
	inPath := len(found)
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			add(dir)
		}
	}
	slices.SortStableFunc(found[inPath:], func(a, b installation) int { return cmp.Compare(b.major, a.major) })
	return found
}

var versionPattern = regexp.MustCompile(`PostgreSQL\) ((\d+)[0-9A-Za-z.]*)`)

// inspect asks the programs of a folder for their version, as the account that is to run them.
func inspect(ctx context.Context, dir string, who account) (installation, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return installation{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return installation{}, err
	}
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return installation{}, fmt.Errorf("it holds no %s", program)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := who.run(ctx, filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		return installation{}, fmt.Errorf("run postgres --version: %w", err)
	}
	m := versionPattern.FindStringSubmatch(out)
	if m == nil {
		return installation{}, fmt.Errorf("postgres --version says %q", strings.TrimSpace(out))
	}
	major, err := strconv.Atoi(m[2])
	if err != nil {
		return installation{}, fmt.Errorf("read version %q: %w", m[1], err)
	}
	return installation{bin: dir, version: m[1], major: major}, nil
}

// hasLibrary says whether the server could preload a library.
func (in installation) hasLibrary(ctx context.Context, name string, who account) bool {
	dirs := []string{filepath.Join(in.bin, "../lib"), filepath.Join(in.bin, "../lib/postgresql")}
	if out, err := who.run(ctx, filepath.Join(in.bin, "pg_config"), "--pkglibdir"); err == nil {
		dirs = append(dirs, strings.TrimSpace(out))
	}
	for _, dir := range dirs {
		for _, suffix := range []string{".so", ".dylib"} {
			if _, err := os.Stat(filepath.Join(dir, name+suffix)); err == nil {
				return true
			}
		}
	}
	return false
}
