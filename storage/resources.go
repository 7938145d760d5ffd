package storage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Resource is an API that access tokens may be asked for (RFC 8707).
type Resource struct {
	URI         string          `json:"uri"` // as tokens name it in aud; it never changes
	Name        string          `json:"name"`
	Scopes      []ResourceScope `json:"scopes"`
	TokenFormat string          `json:"token_format,omitempty"` // opaque or jwt; "" means as the client has it
	TokenLife   int             `json:"token_life,omitempty"`   // seconds; 0 means as the client has it
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

// ResourceScope is a scope that belongs to one resource alone.
type ResourceScope struct {
	Name        string `json:"name"`
	Description string `json:"description"` // completes "This lets the app"
}

// MaxResources bounds the catalog, which every process keeps in memory.
const MaxResources = 2000

// Catalog is all resources at one moment. It must not be changed.
type Catalog struct {
	Version   int64 // moves with every change of a resource
	Resources []Resource

	byURI   map[string]*Resource
	byScope map[string]*Resource
}

func newCatalog(version int64, resources []Resource) *Catalog {
	c := &Catalog{version, resources, map[string]*Resource{}, map[string]*Resource{}}
	for i := range c.Resources {
		r := &c.Resources[i]
		c.byURI[r.URI] = r
		for _, s := range r.Scopes {
			c.byScope[s.Name] = r
		}
	}
	return c
}

// Resource finds a resource by its URI, exactly as it is registered; nil when there is none.
func (c *Catalog) Resource(uri string) *Resource { return c.byURI[uri] }

// Owner is the resource that a scope belongs to; nil when it belongs to none.
func (c *Catalog) Owner(scope string) *Resource { return c.byScope[scope] }

// Describe says in a person's words what a scope of a resource lets an app do; "" when it belongs
// to no resource.
func (c *Catalog) Describe(scope string) string {
	if r := c.byScope[scope]; r != nil {
		for _, s := range r.Scopes {
			if s.Name == scope {
				return s.Description
			}
		}
	}
	return ""
}

// Catalog reads all resources from the database.
func (db *DB) Catalog(ctx context.Context) (*Catalog, error) {
	rows, err := list(ctx, db, "read resources", selectCatalog, nil, scanCatalogRow)
	if err != nil {
		return nil, err
	}
	c, err := catalogOf(rows)
	if err != nil {
		return nil, err
	}
	db.catalog.Store(c)
	return c, nil
}

// CachedCatalog gives the catalog as this process last read it. It may be out of date: whoever acts
// on it compares its version with the one that the same operation reads from the database (Facts,
// GrantFacts), or asks CatalogAt.
func (db *DB) CachedCatalog(ctx context.Context) (*Catalog, error) {
	if c := db.catalog.Load(); c != nil {
		return c, nil
	}
	return db.Catalog(ctx)
}

// CatalogAt gives the catalog of that version, or a newer one. Only after a change does it cost a
// statement.
func (db *DB) CatalogAt(ctx context.Context, version int64) (*Catalog, error) {
	if c := db.catalog.Load(); c != nil && c.Version == version {
		return c, nil
	}
	return db.Catalog(ctx)
}

// catalogRow is a resource, or nothing: without any, the version comes alone.
type catalogRow struct {
	version              int64
	uri, name, format    *string
	scopes               []ResourceScope
	life                 *int
	createdAt, updatedAt *time.Time
}

const selectCatalog = `
	select k.version, r.uri, r.name, r.scopes, r.token_format, r.token_life, r.created_at, r.updated_at
	from catalog k
	left join resources r on true
	where k.id = 1
	order by r.uri`

func scanCatalogRow(row pgx.CollectableRow) (catalogRow, error) {
	var r catalogRow
	err := row.Scan(&r.version, &r.uri, &r.name, &r.scopes, &r.format, &r.life, &r.createdAt, &r.updatedAt)
	return r, err
}

func catalogOf(rows []catalogRow) (*Catalog, error) {
	if len(rows) == 0 {
		return nil, fmt.Errorf("the catalog has no row: %w", ErrNotFound)
	}
	var all []Resource
	for _, r := range rows {
		if r.uri != nil {
			all = append(all, Resource{*r.uri, *r.name, r.scopes, *r.format, *r.life, *r.createdAt, *r.updatedAt})
		}
	}
	return newCatalog(rows[0].version, all), nil
}

// changeCatalog runs one change of resources at a time: the version moves first, and its row is
// locked until the change is written. The catalog that change sees is the one before it.
func (db *DB) changeCatalog(ctx context.Context, what string, e Event, change func(tx pgx.Tx, c *Catalog) error) error {
	err := db.inTx(ctx, what, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update catalog set version = version + 1 where id = 1`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, selectCatalog)
		if err != nil {
			return err
		}
		read, err := pgx.CollectRows(rows, scanCatalogRow)
		if err != nil {
			return err
		}
		c, err := catalogOf(read)
		if err != nil {
			return err
		}
		if err := change(tx, c); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	db.catalog.Store(nil)
	return err
}

// CreateResource stores a new resource. ErrConflict when its URI, or one of its scopes, is taken.
// check, which may be nil, looks at the others while nobody changes them; its error ends the matter.
func (db *DB) CreateResource(ctx context.Context, r Resource, check func(others *Catalog) error, e Event) error {
	return db.changeCatalog(ctx, "create resource "+r.URI, e, func(tx pgx.Tx, c *Catalog) error {
		if check != nil {
			if err := check(c); err != nil {
				return err
			}
		}
		if c.scopeTaken(&r) {
			return ErrConflict
		}
		_, err := tx.Exec(ctx, `
			insert into resources (uri, name, scopes, token_format, token_life, created_at, updated_at)
			values ($1, $2, $3, $4, $5, $6, $6)`, r.URI, r.Name, noneForNil(r.Scopes), r.TokenFormat, r.TokenLife, r.CreatedAt)
		return err
	})
}

// UpdateResource changes a resource and gives it as it is then. change sees it and all resources
// while nobody else changes them; it may run again, and its error ends the matter. ErrConflict when
// one of its scopes is another's.
func (db *DB) UpdateResource(ctx context.Context, uri string, change func(*Resource, *Catalog) error, now time.Time, e Event) (Resource, error) {
	var r Resource
	err := db.changeCatalog(ctx, "update resource "+uri, e, func(tx pgx.Tx, c *Catalog) error {
		old := c.Resource(uri)
		if old == nil {
			return pgx.ErrNoRows
		}
		r = *old
		r.Scopes = slices.Clone(old.Scopes)
		if err := change(&r, c); err != nil {
			return err
		}
		r.URI, r.CreatedAt, r.UpdatedAt = uri, old.CreatedAt, now
		if c.scopeTaken(&r) {
			return ErrConflict
		}
		_, err := tx.Exec(ctx, `
			update resources
			set name = $2, scopes = $3, token_format = $4, token_life = $5, updated_at = $6
			where uri = $1`, uri, r.Name, noneForNil(r.Scopes), r.TokenFormat, r.TokenLife, now)
		return err
	})
	return r, err
}

// DeleteResource removes a resource: from then on nobody gets a token for it.
func (db *DB) DeleteResource(ctx context.Context, uri string, e Event) error {
	return db.changeCatalog(ctx, "delete resource "+uri, e, func(tx pgx.Tx, _ *Catalog) error {
		tag, err := tx.Exec(ctx, `delete from resources where uri = $1`, uri)
		if err == nil && tag.RowsAffected() == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

func (c *Catalog) scopeTaken(r *Resource) bool {
	return slices.ContainsFunc(r.Scopes, func(s ResourceScope) bool {
		owner := c.Owner(s.Name)
		return owner != nil && owner.URI != r.URI
	})
}
