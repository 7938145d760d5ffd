package main

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"idp"
	"idp/admin"
	"idp/login"
	"idp/storage"
	"idp/web"
)

// locate completes a connection: when no database is named, it is that of a running idp in the
// folder IDP_DATA_DIR or in .idp-dev here.
func locate(c *console, given idp.Connection) (idp.Connection, error) {
	if given.DatabaseURL != "" {
		return given, nil
	}
	for _, dir := range []string{os.Getenv("IDP_DATA_DIR"), idp.DefaultDevFolder} {
		if dir == "" {
			continue
		}
		found, err := idp.FindConnection(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return given, err
		}
		c.note("Using the database of %s, as no IDP_DATABASE_URL is set.", dir)
		if given.Issuer != "" {
			found.Issuer = given.Issuer
		}
		if given.MasterKey != "" || given.MasterKeyFile != "" {
			found.MasterKey, found.MasterKeyFile = given.MasterKey, given.MasterKeyFile
		}
		return found, nil
	}
	return given, idp.ConfigError("No database is set. Set IDP_DATABASE_URL, or run this in the folder where idp dev runs, or set IDP_DATA_DIR to its --data-dir.")
}

// opened is a database with what belongs to it.
type opened struct {
	*storage.DB
	idp.Connection
	admin *admin.Admin
}

// open reaches the database. Commands that touch passwords or keys need the master key.
func open(c *console, given idp.Connection, needKey bool) (*opened, error) {
	given.MasterKey = os.Getenv("IDP_MASTER_KEY")
	connection, err := locate(c, given)
	if err != nil {
		return nil, err
	}
	sealer, err := connection.Sealer()
	if err != nil && needKey {
		return nil, err
	}
	if sealer == nil && needKey {
		return nil, idp.ConfigError("No master key is set, and this needs it. Set IDP_MASTER_KEY_FILE to the file that the provider uses.")
	}
	fetch, err := idp.Fetch(strings.FieldsFunc(os.Getenv("IDP_OUTBOUND_ALLOW"), func(r rune) bool { return r == ',' }))
	if err != nil {
		return nil, err
	}
	db, err := storage.Open(c.ctx, storage.Config{URL: connection.DatabaseURL, MaxConns: 4, Sealer: sealer})
	if err != nil {
		return nil, idp.ConfigError("The database URL does not work: " + err.Error() + ". Correct IDP_DATABASE_URL.")
	}
	ready, err := db.SchemaReady(c.ctx)
	if err == nil && !ready {
		err = idp.ConfigError("The database has no schema yet, or an older one. Run: idp migrate")
	}
	if err != nil {
		db.Close()
		if given.DatabaseURL == "" && unreachable(err) {
			err = &web.Error{Status: http.StatusServiceUnavailable, Message: "The database is not running. Start it with: idp dev (or idp serve, where IDP_DATA_DIR is its folder).", Err: err}
		}
		return nil, err
	}
	people := login.New(login.Config{DB: db})
	return &opened{db, connection, admin.New(admin.Config{DB: db, HashPassword: people.HashPassword, CheckPassword: login.CheckPassword, Fetch: fetch})}, nil
}

// with opens the database for one function.
func with(c *console, given idp.Connection, needKey bool, f func(*opened) error) error {
	db, err := open(c, given, needKey)
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}
