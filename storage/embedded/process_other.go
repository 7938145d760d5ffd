//go:build !linux && !darwin

package embedded

import (
	"io/fs"
	"os"
	"syscall"
)

// Other systems have no way here to start or to end PostgreSQL cleanly; Start says so.
const supported = false

func ownerOf(fs.FileInfo) uint32                                     { return 0 }
func groupOf(fs.FileInfo) uint32                                     { return 0 }
func tryLock(*os.File) (bool, error)                                 { return true, nil }
func unlock(*os.File)                                                {}
func processAttributes(account, syscall.Signal) *syscall.SysProcAttr { return nil }
func alive(int) bool                                                 { return false }
func runsCluster(int, string) bool                                   { return false }
