package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const installTimeout = 5 * time.Minute

// Missing skips a test for want of something on the machine. Where everything
// has to be there (CI or IDP_REQUIRE_BROWSER is set), the test fails.
func Missing(t testing.TB, what string) {
	t.Helper()
	if Strict() {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Shout says something that nobody should miss. `go test` hides what a package
// that passes has printed, so it is told to the terminal too, if there is one.
func Shout(text string) {
	fmt.Fprintln(os.Stderr, text)
	if terminal, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		fmt.Fprintln(terminal, text)
		terminal.Close()
	}
}

// Strict says that a test that cannot run is a failure.
func Strict() bool { return os.Getenv("CI") != "" || os.Getenv("IDP_REQUIRE_BROWSER") != "" }

// ErrNoNode says that there is no Node.js or no npm.
var ErrNoNode = errors.New("no Node.js (20 or later) with npm on this machine")

// NodeFolder returns the folder integration/node with its dependencies
// installed, as package-lock.json names them.
func NodeFolder(ctx context.Context) (string, error) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", ErrNoNode
		}
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	folder := filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "integration", "node")

	// Test processes run side by side: one installs, the others wait.
	lock, err := os.Open(folder)
	if err != nil {
		return "", fmt.Errorf("open the folder of the Node tests: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", folder, err)
	}
	wanted, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return "", fmt.Errorf("find package-lock.json: %w", err)
	}
	// npm writes this file at the end of an installation.
	installed, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil && !installed.ModTime().Before(wanted.ModTime()) {
		return folder, nil
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return folder, nil
}
