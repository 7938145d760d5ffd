//go:build !linux

package storagetest

import "os"

// parentFolder is where the server's folder goes.
func parentFolder() string { return os.TempDir() }
