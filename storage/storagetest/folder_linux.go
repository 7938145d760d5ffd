package storagetest

import (
	"os"
	"syscall"
)

// parentFolder is where the server's folder goes: memory if there is plenty, as making a database
// takes a fifth of the time there, unless TMPDIR asks for another place.
func parentFolder() string {
	const memory, plenty = "/dev/shm", 2 << 30
	var disk syscall.Statfs_t
	if os.Getenv("TMPDIR") == "" && syscall.Statfs(memory, &disk) == nil && disk.Bavail*uint64(disk.Bsize) >= plenty {
		return memory
	}
	return os.TempDir()
}
