package embedded

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingProgramsAreNamed(t *testing.T) {
	empty := t.TempDir()
	t.Setenv("IDP_POSTGRES_BIN", empty)
	_, err := Start(t.Context(), Options{DataDir: dataDir(t), Download: true})
	if err == nil || !strings.Contains(err.Error(), "IDP_POSTGRES_BIN="+empty) || !strings.Contains(err.Error(), "holds no initdb") {
		t.Errorf("got %v, want an error that names the folder and the program", err)
	}
}

// program writes a folder whose programs say a version.
func program(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInstallationsAreFoundInOrder(t *testing.T) {
	t.Parallel()
	me := account{}
	tooOld, inPath, older, newer := program(t, "13.9"), program(t, "16.2 (Debian 16.2-1)"), program(t, "15.18"), program(t, "18beta1")
	links, empty := t.TempDir(), t.TempDir()
	if err := os.Symlink(filepath.Join(inPath, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	path := strings.Join([]string{empty, tooOld, links, inPath}, string(filepath.ListSeparator))
	var got []string
	for _, in := range find(t.Context(), path, []string{older, newer, inPath, empty + "/*"}, me) {
		got = append(got, in.version)
	}
	if want := "16.2 18beta1 15.18"; strings.Join(got, " ") != want {
		t.Errorf("found %v, want %s", got, want)
	}
}

func TestOnlyTheExpectedArchiveIsTaken(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte("abc"))
	}))
	defer srv.Close()
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if got, err := download(t.Context(), srv.URL, abc); err != nil || string(got) != "abc" {
		t.Errorf("got %q, %v; want abc", got, err)
	}
	if _, err := download(t.Context(), srv.URL, strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("wrong content: got %v, want a complaint about SHA-256", err)
	}
	if _, err := download(t.Context(), srv.URL+"/missing", abc); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("missing: got %v, want 404", err)
	}
}

func TestArchivesDoNotReachOutOfTheirFolder(t *testing.T) {
	t.Parallel()
	for _, h := range []tar.Header{
		{Name: "../escaped", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "/escaped", Typeflag: tar.TypeReg, Mode: 0o644},
		{Name: "link/escaped", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		parent := t.TempDir()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: ".."})
		w.WriteHeader(&h)
		w.Close()
		dir := filepath.Join(parent, "inner")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := untar(tar.NewReader(&b), dir); err == nil {
			t.Errorf("%s was unpacked, want an error", h.Name)
		}
		if _, err := os.Lstat(filepath.Join(parent, "escaped")); err == nil {
			t.Errorf("%s was written outside", h.Name)
		}
	}
}
