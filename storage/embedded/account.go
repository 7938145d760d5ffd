package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is who runs PostgreSQL's programs: ourselves, or an unprivileged account in place of
// root, as which PostgreSQL refuses to run.
type account struct {
	name     string
	uid, gid uint32
	switched bool // we are root and run as somebody else
}

// sharedDirs are where root keeps what an unprivileged account must reach, best first.
var sharedDirs = []string{"/var/lib/idp-dev", "/var/tmp/idp-dev"}

func serverAccount() (account, error) {
	if !supported {
		return account{}, fmt.Errorf("idp cannot run PostgreSQL by itself on %s. Set IDP_DATABASE_URL to a server you have", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return account{name: "of this user", uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseInt(u.Uid, 10, 64) // macOS writes nobody as -2
		gid, err2 := strconv.ParseInt(u.Gid, 10, 64)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{name: name, uid: uint32(uid), gid: uint32(gid), switched: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no account postgres or nobody to run it. Add one (useradd --system postgres), or run idp as an ordinary user")
}

// orOwnerOf keeps a cluster with the account that made it, such as the ordinary user who ran idp
// before root did.
func (a account) orOwnerOf(data string) account {
	info, err := os.Stat(data)
	if err != nil || !a.switched || ownerOf(info) == 0 || ownerOf(info) == a.uid {
		return a
	}
	a.uid, a.gid = ownerOf(info), groupOf(info)
	a.name = fmt.Sprintf("with number %d", a.uid)
	if u, err := user.LookupId(strconv.Itoa(int(a.uid))); err == nil {
		a.name = u.Username
	}
	return a
}

// own gives a file to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// canEnter says whether the mode bits of a folder and of all above it let the account pass.
func (a account) canEnter(dir string) bool {
	if !a.switched {
		return true
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		var pass fs.FileMode = 0o001
		if ownerOf(info) == a.uid {
			pass = 0o100
		} else if groupOf(info) == a.gid {
			pass = 0o010
		}
		if info.Mode()&pass == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// open lets the account pass through the data folder, if it gets there at all. Our own folder of
// mode 0700 is lent to the account's group, so that nobody else can pass.
func (a account) open(dataDir string) error {
	if a.canEnter(dataDir) {
		return nil
	}
	info, err := os.Stat(dataDir)
	if err != nil {
		return err
	}
	if !a.canEnter(filepath.Dir(dataDir)) || ownerOf(info) != 0 {
		return fs.ErrPermission
	}
	if err := os.Chown(dataDir, -1, int(a.gid)); err != nil {
		return err
	}
	return os.Chmod(dataDir, info.Mode().Perm()&^0o070|0o010)
}

// sharedDir returns a folder that the account can pass, made if missing.
func sharedDir(a account) (string, error) {
	var failed error
	for _, dir := range sharedDirs {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			failed = errors.Join(failed, err)
			continue
		}
		// In /var/tmp somebody else may have made the folder.
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() && ownerOf(info) == uint32(os.Geteuid()) && info.Mode().Perm()&0o022 == 0 && a.canEnter(dir) {
			return dir, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s cannot be used by %s", dir, a.name))
	}
	return "", failed
}

// command prepares a program that runs as the account, in its own process group, so that Ctrl-C
// in a terminal reaches only us, and with an environment that has none of our secrets and none of
// PostgreSQL's variables. It gets the signal when the thread that starts it ends (Linux).
func (a account) command(ctx context.Context, atEnd syscall.Signal, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}, name) {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.SysProcAttr = processAttributes(a, atEnd)
	return cmd
}

// run runs a short program to its end and returns what it said.
func (a account) run(ctx context.Context, path string, args ...string) (string, error) {
	runtime.LockOSThread() // or the program could get its signal from the end of an idle thread
	defer runtime.UnlockOSThread()
	cmd := a.command(ctx, syscall.SIGKILL, path, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}
