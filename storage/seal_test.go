package storage_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func sealer(t *testing.T, keys ...string) *storage.Sealer {
	t.Helper()
	var all [][]byte
	for _, k := range keys {
		all = append(all, bytes.Repeat([]byte(k), 32))
	}
	s, err := storage.NewSealer(all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedValuesOpenOnlyInTheirPlace(t *testing.T) {
	t.Parallel()
	s := sealer(t, "a")
	sealed := s.Seal([]byte("seed"), "keys", "row1", "private")
	if plain, err := s.Open(sealed, "keys", "row1", "private"); err != nil || string(plain) != "seed" {
		t.Errorf("Open = %q, %v; want seed", plain, err)
	}
	for _, place := range [][3]string{{"keys", "row2", "private"}, {"keys", "row1", "public"}, {"users", "row1", "private"}, {"keysrow1", "", "private"}} {
		if plain, err := s.Open(sealed, place[0], place[1], place[2]); err == nil {
			t.Errorf("opened as %v: %q; want a refusal", place, plain)
		}
	}
	if plain, err := sealer(t, "b").Open(sealed, "keys", "row1", "private"); err == nil {
		t.Errorf("opened under another master key: %q", plain)
	}
	if bytes.Contains(sealed, []byte("seed")) || bytes.Equal(sealed, s.Seal([]byte("seed"), "keys", "row1", "private")) {
		t.Error("sealing shows the plain value, or gives the same bytes twice")
	}
}

func TestDamagedSealedValuesAreRefused(t *testing.T) {
	t.Parallel()
	s := sealer(t, "a")
	sealed := s.Seal([]byte("seed"), "keys", "row1", "private")
	before := bytes.Clone(sealed)
	for n := range sealed {
		if _, err := s.Open(sealed[:n], "keys", "row1", "private"); err == nil {
			t.Errorf("opened when cut to %d bytes", n)
		}
		flipped := bytes.Clone(sealed)
		flipped[n] ^= 1
		if _, err := s.Open(flipped, "keys", "row1", "private"); err == nil {
			t.Errorf("opened with byte %d changed", n)
		}
	}
	if !bytes.Equal(sealed, before) {
		t.Error("opening changed the sealed value")
	}
}

func TestOldMasterKeysOpenAndTheNewestSeals(t *testing.T) {
	t.Parallel()
	older, both, newer := sealer(t, "a"), sealer(t, "b", "a"), sealer(t, "b")
	sealed := older.Seal([]byte("old"), "t", "r", "c")
	if plain, err := both.Open(sealed, "t", "r", "c"); err != nil || string(plain) != "old" {
		t.Errorf("Open of the old value = %q, %v; want old", plain, err)
	}
	fresh := both.Seal([]byte("new"), "t", "r", "c")
	if plain, err := newer.Open(fresh, "t", "r", "c"); err != nil || string(plain) != "new" {
		t.Errorf("the newest key alone gives %q, %v; want new", plain, err)
	}
	if _, err := older.Open(fresh, "t", "r", "c"); err == nil {
		t.Error("the old key opens what was sealed after the rotation")
	}
}

func TestSwappedSealedColumnsAreRefused(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada, bob := addUser(t, db, "ada"), addUser(t, db, "bob")
	execute(t, db, `
		update credentials c
		set data = (select o.data from credentials o where o.user_id <> c.user_id)`)
	for _, u := range []storage.User{ada, bob} {
		if p, err := db.PasswordByUser(t.Context(), u.ID); err == nil || p.Hash != "" {
			t.Errorf("%s's row with the other's password gives %q, %v; want a refusal", u.Username, p.Hash, err)
		}
	}
}

func TestMasterKeyFileIsCreatedOnce(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "master.key")
	if _, err := storage.LoadMasterKeyFile(name, false); err == nil {
		t.Error("a missing file gives no error")
	}
	sealers := make([]*storage.Sealer, 16)
	for i, err := range race(len(sealers), func(i int) (err error) {
		sealers[i], err = storage.LoadMasterKeyFile(name, true)
		return err
	}) {
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
	}
	sealed := sealers[0].Seal([]byte("x"), "t", "r", "c")
	for i, s := range sealers {
		if _, err := s.Open(sealed, "t", "r", "c"); err != nil {
			t.Errorf("start %d has another key: %v", i, err)
		}
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key file = %v, want 0600", info.Mode().Perm())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "*")); len(left) != 1 {
		t.Errorf("files left = %v, want the key file only", left)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".*key*")); len(left) != 0 {
		t.Errorf("files left = %v, want none", left)
	}
}

func TestBadMasterKeysAreToldInASentence(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), 32))
	short := base64.StdEncoding.EncodeToString([]byte("short"))
	for name, test := range map[string]struct{ text, want string }{
		"empty":             {"# only a comment\n\n", "no master key"},
		"not base64":        {"hello, world\n", "openssl rand -base64 32"},
		"short":             {short + "\n", "5 bytes, it needs 32"},
		"second short":      {key + "\n" + short + "\n", "master key 2 has 5 bytes"},
		"good, with spaces": {"# newest\r\n  " + key + "  \r\n", ""},
	} {
		file := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := storage.LoadMasterKeyFile(file, true)
		if test.want == "" && err != nil {
			t.Errorf("%s: %v, want none", name, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file)) {
			t.Errorf("%s: %v; want %q and the file's name", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), short) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}
