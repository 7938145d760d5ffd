package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	clusterName  = "postgres"
	locationName = "postgres.location"
	logName      = "postgres.log"
	unfinished   = ".new-" // between the cluster's name and random letters while initdb works

	// socketPort is only a part of the socket's name, as no port is opened.
	socketPort = "5432"
	// maxSocketPath is the longest path of a socket that all systems take (sun_path of macOS is
	// 104 bytes with its end mark).
	maxSocketPath = 103
)

// makeDataDir returns the absolute path of the data folder, which exists afterwards.
func makeDataDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve data folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make parents of the data folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make data folder: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("resolve data folder: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err == nil {
		return "", fmt.Errorf("%s is itself a cluster of PostgreSQL. Choose another folder with --data-dir", dir)
	}
	return dir, nil
}

// lockFolder makes this process the only user of a data folder until the file is closed or the
// process dies.
func lockFolder(dataDir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dataDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the data folder %s belongs to another user. Run idp as that user, or choose another folder with --data-dir: %w", dataDir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open lock of the data folder: %w", err)
	}
	taken, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if !taken {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		who := "another idp"
		if pid := strings.TrimSpace(string(holder)); pid != "" {
			who += " (process " + pid + ")"
		}
		return nil, fmt.Errorf("this data folder is in use by %s: %s. Stop it, or choose another folder with --data-dir", who, dataDir)
	}
	f.Truncate(0)
	f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return f, nil
}

// unlockFolder frees a data folder. Closing the file would not do while a child that is just being
// started has it open too.
func unlockFolder(f *os.File) {
	f.Truncate(0)
	unlock(f)
	f.Close()
}

// locate says where the cluster of a data folder is, or is to be made.
func locate(dataDir string, who account, log io.Writer) (string, error) {
	elsewhere, err := readLocation(dataDir)
	if err != nil {
		return "", err
	}
	if elsewhere != "" {
		if _, err := os.Stat(filepath.Dir(elsewhere)); err != nil {
			return "", fmt.Errorf("the database of %s is said to be in %s, which cannot be opened. Put it back, or start over with --reset: %w", dataDir, elsewhere, err)
		}
		return elsewhere, nil
	}
	here := filepath.Join(dataDir, clusterName)
	if _, err := clusterMajor(here); !errors.Is(err, fs.ErrNotExist) {
		return here, err
	}
	if err := who.open(dataDir); err == nil {
		return here, nil
	}
	base, err := sharedDir(who)
	if err != nil {
		return "", fmt.Errorf("the account %s, which runs the database, cannot reach %s. Choose another folder with --data-dir: %w", who.name, dataDir, err)
	}
	// The name is new each time, so that a deleted data folder never comes back with old data.
	dir, err := os.MkdirTemp(base, hash(dataDir)+"-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		return "", fmt.Errorf("make folder for the database: %w", err)
	}
	elsewhere = filepath.Join(dir, clusterName)
	if err := writeLocation(dataDir, elsewhere); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "The account %s cannot reach %s, so the database is in %s\n", who.name, dataDir, elsewhere)
	return elsewhere, nil
}

func readLocation(dataDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, locationName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read location of the database: %w", err)
	}
	path := strings.TrimSpace(string(b))
	if !filepath.IsAbs(path) || filepath.Base(path) != clusterName {
		return "", fmt.Errorf("%s names no place of a database. Start over with --reset", filepath.Join(dataDir, locationName))
	}
	return path, nil
}

// writeLocation writes the file in one step, as a half-written path could name a wrong folder.
func writeLocation(dataDir, path string) error {
	file := filepath.Join(dataDir, locationName)
	err := os.WriteFile(file+".new", []byte(path+"\n"), 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("write location of the database: %w", err)
	}
	return nil
}

// clusterMajor reads the major version of a cluster. The error is fs.ErrNotExist if there is none
// and the place is free.
func clusterMajor(data string) (int, error) {
	b, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if entries, _ := os.ReadDir(data); len(entries) > 0 {
			return 0, fmt.Errorf("%s is not empty and is no cluster of PostgreSQL. Move it away, or choose another folder with --data-dir", data)
		}
		return 0, fs.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("read version of the cluster: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s is no cluster of PostgreSQL that idp can run. Start over with --reset, or choose another folder with --data-dir", data)
	}
	return major, nil
}

// initCluster makes a cluster under another name and renames it when it is complete, so that a
// kill in the middle leaves nothing that looks like a cluster.
func initCluster(ctx context.Context, data string, in installation, who account, o Options) error {
	fmt.Fprintf(o.Log, "Making a new PostgreSQL %s cluster in %s\n", in.version, data)
	if old, _ := filepath.Glob(data + unfinished + "*"); len(old) > 0 {
		for _, dir := range old {
			os.RemoveAll(dir)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(data), filepath.Base(data)+unfinished)
	if err != nil {
		return fmt.Errorf("make folder for a new cluster: %w", err)
	}
	defer os.RemoveAll(dir) // is gone under this name when all went well
	if err := who.own(dir); err != nil {
		return fmt.Errorf("give the new cluster to %s: %w", who.name, err)
	}
	if err := runInitdb(ctx, dir, in, who, o); err != nil {
		return err
	}
	if err := configure(dir); err != nil {
		return fmt.Errorf("configure new cluster: %w", err)
	}
	if err := os.Remove(data); err != nil && !errors.Is(err, fs.ErrNotExist) { // an empty folder may be there
		return fmt.Errorf("make room for the new cluster: %w", err)
	}
	if err := os.Rename(dir, data); err != nil {
		return fmt.Errorf("put new cluster in place: %w", err)
	}
	return syncDir(filepath.Dir(data))
}

func runInitdb(ctx context.Context, dir string, in installation, who account, o Options) error {
	args := []string{
		"--pgdata=" + dir, "--username=" + superuser, "--auth=trust", "--encoding=UTF8", "--no-instructions",
		// Sorting is by bytes and the same everywhere; letters of all languages have upper and lower case.
		"--locale=C", "--lc-ctype=C.UTF-8",
	}
	if o.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	out, err := who.run(ctx, filepath.Join(in.bin, "initdb"), args...)
	if err != nil && strings.Contains(out, "invalid locale") { // no such locale on this system
		args = append(args, "--lc-ctype=C")
		out, err = who.run(ctx, filepath.Join(in.bin, "initdb"), args...)
	}
	if err != nil {
		return fmt.Errorf("make a new cluster with %s/initdb: %w\n%s", in.bin, err, lastLines(out))
	}
	return nil
}

// configure writes what an operator may want to change later in postgresql.conf. What must hold is
// given on the command line at each start.
func configure(dir string) error {
	// The folder belongs to another account by now; a Root follows no links out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	conf, err := root.OpenFile("postgresql.conf", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(conf, `
# Set by idp when the cluster was made; change freely.
max_connections = 100
shared_buffers = 64MB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
`)
	if err = errors.Join(err, conf.Sync(), conf.Close()); err != nil {
		return err
	}
	// The folder of the socket is what keeps strangers out: it has mode 0700.
	const rules = "# Only the Unix socket, and only who may enter its folder.\nlocal all all trust\n"
	return root.WriteFile("pg_hba.conf", []byte(rules), 0o600)
}

// makeSocketDir makes the folder of the socket. It is not below the data folder, whose path may
// be too long for a socket.
func makeSocketDir(data string, who account) (string, error) {
	for _, dir := range socketDirs(data) {
		if len(dir)+len("/.s.PGSQL."+socketPort) > maxSocketPath || !who.canEnter(filepath.Dir(dir)) {
			continue
		}
		if who.switched {
			os.RemoveAll(dir) // whoever made it; root may
		}
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			if info, err := os.Lstat(dir); err != nil || !info.IsDir() || ownerOf(info) != who.uid {
				return "", fmt.Errorf("%s belongs to somebody else. Delete it, or set TMPDIR to a folder of your own", dir)
			}
			err = os.Chmod(dir, 0o700)
		}
		if err == nil {
			err = who.own(dir)
		}
		if err != nil {
			return "", fmt.Errorf("make folder for the socket: %w", err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("no folder for the database's socket: neither %s nor /tmp can be used by the account %s. Set TMPDIR to a folder with a short path", os.TempDir(), who.name)
}

// socketDirs are the places for the socket of a cluster, best first.
func socketDirs(data string) []string {
	name := "idp-pg-" + hash(data)
	return []string{filepath.Join(os.TempDir(), name), filepath.Join("/tmp", name)}
}

func removeCluster(dataDir string) error {
	elsewhere, err := readLocation(dataDir)
	for _, data := range []string{elsewhere, filepath.Join(dataDir, clusterName)} {
		if data == "" {
			continue
		}
		if err := stopLeftover(context.Background(), data, io.Discard); err != nil {
			return err
		}
		for _, dir := range socketDirs(data) {
			os.RemoveAll(dir) // as a killed server leaves it
		}
	}
	if err == nil && elsewhere != "" {
		// The path was read from a file: its parent is deleted only where such parents are made.
		if slices.Contains(sharedDirs, filepath.Dir(filepath.Dir(elsewhere))) {
			elsewhere = filepath.Dir(elsewhere)
		}
		if err := os.RemoveAll(elsewhere); err != nil {
			return fmt.Errorf("delete cluster: %w", err)
		}
	}
	paths := []string{clusterName, locationName, logName, logName + ".1"}
	if old, _ := filepath.Glob(filepath.Join(dataDir, clusterName+unfinished+"*")); len(old) > 0 {
		for _, dir := range old {
			paths = append(paths, filepath.Base(dir))
		}
	}
	for _, name := range paths {
		if err := os.RemoveAll(filepath.Join(dataDir, name)); err != nil {
			return fmt.Errorf("delete cluster: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
