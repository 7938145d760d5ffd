package embedded

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/xi2/xz"
)

// The archives are those of github.com/zonkyio/embedded-postgres-binaries on Maven Central, which
// the Go library embedded-postgres uses too. The library is not used itself, because it takes the
// checksum from the place of the archive, does without when there is none, and cannot stop before
// it has run initdb and the server, which fails as root.
const (
	fetchVersion = "18.6.0"
	fetchMajor   = 18
	fetchFrom    = "https://repo1.maven.org/maven2/io/zonky/test/postgres"
)

// archiveSHA256 pins the archive of each platform.
var archiveSHA256 = map[string]string{
	"linux-amd64":        "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1",
	"linux-arm64v8":      "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be",
	"linux-amd64-alpine": "1568b3805c3a3b99b5f4f0d7f6cf16e2a39075462ed47a614bfbabd92508350d",
	"darwin-amd64":       "690941008aac9ee360820fde9bb7870a4f3dcac5e9e2f9e45e42333a436ad0f9",
	"darwin-arm64v8":     "8f6ed6f38195b50a40712ada8b2a12060b6193c1a6977a6eb5cff053bb5a1b89",
}

// largestArchive bounds what is read of an answer; the largest archive has 71 MB.
const largestArchive = 150 << 20

func platform() string {
	name := runtime.GOOS + "-" + runtime.GOARCH
	if runtime.GOARCH == "arm64" {
		name += "v8"
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil && runtime.GOOS == "linux" {
		name += "-alpine"
	}
	return name
}

// fetchDir is where fetched programs are kept, for all data folders of the machine or the user.
func fetchDir(who account) (string, error) {
	var base string
	var err error
	if who.switched {
		base, err = sharedDir(who)
	} else if base, err = os.UserCacheDir(); err == nil {
		base = filepath.Join(base, "idp")
		err = os.MkdirAll(base, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("find folder for fetched programs: %w", err)
	}
	return filepath.Join(base, "postgresql-"+fetchVersion+"-"+platform()), nil
}

// fetched returns the installation of an earlier fetch.
func fetched(ctx context.Context, who account) (installation, error) {
	base := sharedDirs
	if !who.switched {
		cache, err := os.UserCacheDir()
		if err != nil {
			return installation{}, err
		}
		base = []string{filepath.Join(cache, "idp")}
	}
	for _, b := range base {
		in, err := inspect(ctx, filepath.Join(b, "postgresql-"+fetchVersion+"-"+platform(), "bin"), who)
		if err == nil {
			return in, nil
		}
	}
	return installation{}, fs.ErrNotExist
}

// fetch downloads the archive of this platform, checks it and unpacks it.
func fetch(ctx context.Context, who account, log io.Writer) (installation, error) {
	name := platform()
	want, ok := archiveSHA256[name]
	if !ok {
		return installation{}, fmt.Errorf("there is no archive for %s", name)
	}
	dir, err := fetchDir(who)
	if err != nil {
		return installation{}, err
	}
	artifact := "embedded-postgres-binaries-" + name
	url := fmt.Sprintf("%s/%s/%s/%s-%s.jar", fetchFrom, artifact, fetchVersion, artifact, fetchVersion)
	fmt.Fprintf(log, "Fetching PostgreSQL %s from %s\n", strings.TrimSuffix(fetchVersion, ".0"), url)
	archive, err := download(ctx, url, want)
	if err != nil {
		return installation{}, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+unfinished)
	if err != nil {
		return installation{}, fmt.Errorf("make folder for PostgreSQL: %w", err)
	}
	defer os.RemoveAll(temp) // is gone under this name when all went well
	if err := unpack(archive, temp); err != nil {
		return installation{}, fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return installation{}, fmt.Errorf("open folder of PostgreSQL: %w", err)
	}
	// Another process may have been faster, with the same files.
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return installation{}, fmt.Errorf("put PostgreSQL in place: %w", err)
	}
	return inspect(ctx, filepath.Join(dir, "bin"), who)
}

// download returns the content of a URL, if it is the expected one.
func download(ctx context.Context, url, wantSHA256 string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("download %s: the server answers %s", url, resp.Status)
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, largestArchive))
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", url, err)
	}
	sum := sha256.Sum256(content)
	if got := hex.EncodeToString(sum[:]); got != wantSHA256 {
		return nil, fmt.Errorf("download %s: its SHA-256 is %s, expected %s", url, got, wantSHA256)
	}
	return content, nil
}

// unpack writes the files of the .txz inside a jar below a folder, and nowhere else.
func unpack(jar []byte, dir string) error {
	files, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return err
	}
	for _, f := range files.File {
		if path.Ext(f.Name) != ".txz" {
			continue
		}
		packed, err := f.Open()
		if err != nil {
			return err
		}
		defer packed.Close()
		plain, err := xz.NewReader(packed, 0)
		if err != nil {
			return err
		}
		return untar(tar.NewReader(plain), dir)
	}
	return errors.New("the archive holds no .txz file")
}

func untar(files *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = writeFile(root, name, fs.FileMode(h.Mode).Perm()&^0o022|0o444, files)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
