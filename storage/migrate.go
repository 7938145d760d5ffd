package storage

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that goose speaks through
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration is one numbered change of the schema.
type Migration struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// Migrate brings the schema of the database at url up to date and returns what it applied.
// Replicas that start together wait for one another.
func Migrate(ctx context.Context, url string) ([]Migration, error) {
	var done []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			done = append(done, Migration{r.Source.Version, r.Source.Path, true})
		}
		return err
	})
	if err != nil {
		return done, fmt.Errorf("migrate database: %w", err)
	}
	return done, nil
}

// MigrationStatus lists all known migrations and whether they were applied.
func MigrationStatus(ctx context.Context, url string) ([]Migration, error) {
	var all []Migration
	err := withProvider(url, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		for _, s := range status {
			all = append(all, Migration{s.Source.Version, s.Source.Path, s.State == goose.StateApplied})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	return all, nil
}

// SchemaReady says whether the schema is at least the one this binary was built for. The release
// before must run on the schema after, so a newer schema is ready too.
func (db *DB) SchemaReady(ctx context.Context) (bool, error) {
	newest, err := newestMigration()
	if err != nil {
		return false, err
	}
	var there bool
	err = db.scanOne(ctx, "read schema version",
		`select coalesce((select to_regclass('goose_db_version') is not null), false)`, nil, &there)
	if err != nil || !there {
		return false, err
	}
	var version int64
	err = db.scanOne(ctx, "read schema version",
		`select coalesce(max(version_id), 0) from goose_db_version where is_applied`, nil, &version)
	return err == nil && version >= newest, err
}

func newestMigration() (int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("no migrations in the binary: %w", err)
	}
	return goose.NumericComponent(names[len(names)-1])
}

func withProvider(url string, f func(*goose.Provider) error) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // every second, for 5 minutes
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	return f(p)
}
