package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"idp/storage/embedded"
)

// A data folder of ours holds, beside the private PostgreSQL:
//
//	master.key       unless another one is configured
//	dev.marker       in folders of idp dev: serve refuses them, --reset deletes no others
//	dev.json         in folders of idp dev: devState
//	connection.json  in folders of idp serve: how commands reach its database
const (
	devMarker      = "dev.marker"
	devStateFile   = "dev.json"
	connectionFile = "connection.json"
)

// DefaultDevFolder is where idp dev keeps its data unless told otherwise.
const DefaultDevFolder = ".idp-dev"

// connectionState is how a running server's database is reached from commands on the same machine.
type connectionState struct {
	Issuer        string `json:"issuer"`
	DatabaseURL   string `json:"database_url"`
	MasterKeyFile string `json:"master_key_file"`
}

func isDevFolder(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, devMarker))
	return err == nil
}

// FindConnection reads how to reach the database of a data folder, as idp dev or idp serve left it
// there. The error is fs.ErrNotExist when they never did.
func FindConnection(dir string) (Connection, error) {
	var state connectionState
	err := readJSON(filepath.Join(dir, devStateFile), &state)
	if errors.Is(err, fs.ErrNotExist) {
		err = readJSON(filepath.Join(dir, connectionFile), &state)
	}
	return Connection{Issuer: state.Issuer, DatabaseURL: state.DatabaseURL, MasterKeyFile: state.MasterKeyFile}, err
}

func writeConnection(dir string, c Connection) error {
	key := c.MasterKeyFile
	if abs, err := filepath.Abs(key); err == nil && key != "" {
		key = abs
	}
	return writeJSON(filepath.Join(dir, connectionFile), connectionState{c.Issuer, c.DatabaseURL, key})
}

func readJSON(name string, v any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// writeJSON replaces a file as a whole; only its owner can read it.
func writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".json-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), name)
}

// openDevFolder makes or recognises a folder of idp dev and returns its absolute path. With reset,
// what was in it is gone afterwards.
func openDevFolder(dir string, reset bool) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the data folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("open the data folder: %w", err)
	}
	if len(entries) > 0 && !isDevFolder(dir) {
		return "", configErrorf("The folder %s holds something else than the data of idp dev, so nothing was done to it. Choose another folder with --data-dir.", dir)
	}
	if reset && len(entries) > 0 {
		if err := embedded.Remove(dir); err != nil {
			return "", err
		}
		if err := os.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("delete the data folder: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the data folder: %w", err)
	}
	for name, text := range map[string]string{
		devMarker:    "This folder holds the data of idp dev: accounts whose passwords everybody may know.\nidp serve refuses it. Start over with: idp dev --reset\n",
		".gitignore": "*\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", fmt.Errorf("mark the data folder: %w", err)
		}
	}
	return dir, nil
}
