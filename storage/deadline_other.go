//go:build !linux

package storage

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: other systems have no such setting, or none that is alike.
func setUserTimeout(syscall.RawConn, time.Duration) error { return nil }
