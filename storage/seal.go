package storage

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealer closes secrets before they are stored and opens them again, with XChaCha20-Poly1305
// under master keys that are not in the database. The place of a value (table, row, column) is
// authenticated with it, so that values cannot be moved between rows.
type Sealer struct {
	current string
	keys    map[string]cipher.AEAD
}

const sealVersion = 1

var errSealed = errors.New("sealed value does not open: wrong master key, or the value was changed")

// NewSealer takes one or more master keys of 32 bytes; the first seals, all open.
func NewSealer(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("no master key given")
	}
	s := &Sealer{keys: map[string]cipher.AEAD{}}
	for i, k := range keys {
		aead, err := chacha20poly1305.NewX(k)
		if err != nil {
			return nil, fmt.Errorf("master key %d has %d bytes, it needs 32", i+1, len(k))
		}
		sum := sha256.Sum256(append([]byte("idp master key id\x00"), k...))
		id := string(sum[:4])
		if i == 0 {
			s.current = id
		}
		s.keys[id] = aead
	}
	return s, nil
}

// ReadMasterKeys reads a key file: one base64 key of 32 bytes a line, the newest first.
func ReadMasterKeys(text string) (*Sealer, error) {
	var keys [][]byte
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, errors.New("the master key is not base64; make one with: openssl rand -base64 32")
		}
		keys = append(keys, k)
	}
	return NewSealer(keys...)
}

// LoadMasterKeyFile reads the key file. With create, a missing file is made with a fresh key.
func LoadMasterKeyFile(name string, create bool) (*Sealer, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && create {
		if text, err = createMasterKeyFile(name); err != nil {
			return nil, fmt.Errorf("create master key file: %w", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read master key file: %w", err)
	}
	s, err := ReadMasterKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("master key file %s: %w", name, err)
	}
	return s, nil
}

// createMasterKeyFile writes beside the name and links it into place, so that a file is either
// whole or absent, and of two processes that start together one key wins.
func createMasterKeyFile(name string) ([]byte, error) {
	text := []byte("# idp master key. Keep a copy apart from the database: without it, nothing sealed there opens.\n" +
		base64.StdEncoding.EncodeToString(RandomBytes(32)) + "\n")
	tmp, err := os.CreateTemp(filepath.Dir(name), ".master-key-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(text); err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(tmp.Name(), name); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.ReadFile(name)
}

func place(table, row, column string) []byte { return []byte(table + "\x00" + row + "\x00" + column) }

// Seal closes plain for one place in the database.
func (s *Sealer) Seal(plain []byte, table, row, column string) []byte {
	aead := s.keys[s.current]
	out := make([]byte, 0, 1+4+aead.NonceSize()+len(plain)+aead.Overhead())
	out = append(append(append(out, sealVersion), s.current...), RandomBytes(aead.NonceSize())...)
	return aead.Seal(out, out[5:], plain, place(table, row, column))
}

// Open gives back what Seal closed for the same place.
func (s *Sealer) Open(sealed []byte, table, row, column string) ([]byte, error) {
	if len(sealed) < 5+chacha20poly1305.NonceSizeX || sealed[0] != sealVersion {
		return nil, errSealed
	}
	aead, ok := s.keys[string(sealed[1:5])]
	if !ok {
		return nil, errSealed
	}
	rest := bytes.Clone(sealed[5:])
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], place(table, row, column))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
