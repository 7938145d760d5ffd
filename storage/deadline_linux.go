package storage

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// setUserTimeout sets how long sent data may stay unacknowledged (RFC 5482).
func setUserTimeout(c syscall.RawConn, d time.Duration) error {
	const tcpUserTimeout = 18 // TCP_USER_TIMEOUT, which package syscall lacks
	var problem error
	err := c.Control(func(fd uintptr) {
		problem = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	})
	if err = errors.Join(err, problem); err != nil {
		return fmt.Errorf("set TCP user timeout: %w", err)
	}
	return nil
}
