// Package embedded runs a private PostgreSQL for development and single-machine deployments.
//
// It uses the PostgreSQL that is installed on the machine, or fetches one when that is allowed.
// The server listens on a Unix socket only, in a folder that nobody else may enter, and runs as an
// unprivileged account when root starts it. It lives no longer than the process that started it:
// Stop ends it, and where the process is killed, Linux ends it, or else the next Start does.
//
// A data folder holds these names; the rest of the folder belongs to the caller:
//
//	lock               locked while an idp uses the folder, with its process number
//	postgres/          the cluster
//	postgres.location  instead of postgres/: where the cluster is, if the server's account cannot
//	                   reach the folder (root started it, in /root for instance)
//	postgres.log       what the server says
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
)

// superuser is the name of the cluster's owner and of the database that Start makes.
const superuser = "idp"

// Options say where the data is and what may be done to run it.
type Options struct {
	DataDir  string            // folder of the data, made with mode 0700 if missing
	Log      io.Writer         // progress in lines for a person; may be nil
	Download bool              // fetch PostgreSQL if the machine has none
	Settings map[string]string // more settings of postgresql.conf
	Preload  []string          // libraries to preload, left out where the installation lacks them
}

// Postgres is a running server. Its methods are safe for concurrent use.
type Postgres struct {
	installation installation
	data         string // the cluster
	socketDir    string
	log          io.Writer
	lock         *os.File
	cmd          *exec.Cmd
	exited       chan struct{} // of cmd; closed when the server is gone
	stop         sync.Once
	stopErr      error
}

// Start runs the PostgreSQL of a data folder and returns when it answers. A new folder gets a new
// cluster. The database "idp" exists afterwards. Errors are sentences that name the mend.
// Ending ctx stops the start, not a server that has started.
func Start(ctx context.Context, o Options) (*Postgres, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	dataDir, err := makeDataDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dataDir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{log: o.Log, lock: lock}
	if err := p.start(ctx, o, dataDir, who); err != nil {
		p.cleanUp()
		return nil, err
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context, o Options, dataDir string, who account) error {
	var err error
	if p.data, err = locate(dataDir, who, o.Log); err != nil {
		return err
	}
	major, err := clusterMajor(p.data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		major = 0 // to be made
	case err != nil:
		return err
	default:
		who = who.orOwnerOf(p.data)
	}
	if p.installation, err = choose(ctx, o, who, major); err != nil {
		return err
	}
	if major == 0 {
		if err := initCluster(ctx, p.data, p.installation, who, o); err != nil {
			return err
		}
	}
	if err := stopLeftover(ctx, p.data, o.Log); err != nil {
		return err
	}
	if p.socketDir, err = makeSocketDir(p.data, who); err != nil {
		return err
	}
	if err := p.launch(ctx, o, filepath.Join(dataDir, "postgres.log"), who); err != nil {
		return err
	}
	if err := p.ensureDatabase(ctx); err != nil {
		return errors.Join(err, p.end())
	}
	return nil
}

// ensureDatabase makes the database "idp" in a cluster that has none yet.
func (p *Postgres) ensureDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the private PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	err = conn.QueryRow(ctx, `select exists (select 1 from pg_database where datname = $1)`, superuser).Scan(&there)
	if err == nil && !there {
		_, err = conn.Exec(ctx, `create database idp`)
	}
	if err != nil {
		return fmt.Errorf("create database %s: %w", superuser, err)
	}
	return nil
}

// URL is the connection string of a database, for the superuser "idp". It works for other
// processes too, if they are run by the same user or by root.
func (p *Postgres) URL(database string) string {
	q := url.Values{"host": {p.socketDir}, "port": {socketPort}}
	return "postgres://" + superuser + "@/" + url.PathEscape(database) + "?" + q.Encode()
}

// Version is the server's version, such as "15.18".
func (p *Postgres) Version() string { return p.installation.version }

// BinDir is the folder of the server's programs.
func (p *Postgres) BinDir() string { return p.installation.bin }

// Done is closed when the server has ended, for whatever reason.
func (p *Postgres) Done() <-chan struct{} { return p.exited }

// Stop ends the connections and the server and waits until it is gone. The data folder is free
// afterwards. More calls do nothing and return the same.
func (p *Postgres) Stop() error {
	p.stop.Do(func() {
		p.stopErr = p.end()
		p.cleanUp()
	})
	return p.stopErr
}

// cleanUp removes the socket folder and frees the data folder.
func (p *Postgres) cleanUp() {
	if p.socketDir != "" {
		os.RemoveAll(p.socketDir)
	}
	unlockFolder(p.lock)
}

// Remove deletes the cluster of a data folder, wherever it is, and its log. It refuses while an
// idp uses the folder. The caller deletes the folder itself and what else is in it.
func Remove(dataDir string) error {
	if _, err := os.Stat(dataDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dataDir, err := makeDataDir(dataDir) // the path as Start sees it
	if err != nil {
		return err
	}
	lock, err := lockFolder(dataDir)
	if err != nil {
		return err
	}
	defer unlockFolder(lock)
	return removeCluster(dataDir)
}
