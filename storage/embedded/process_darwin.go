package embedded

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setParentDeathSignal does nothing: macOS knows no such signal. A server that outlives a killed
// idp is ended by the next start.
func setParentDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

// runsCluster says whether a process is a PostgreSQL that was started for a cluster.
func runsCluster(pid int, data string) bool {
	out, err := exec.Command("/bin/ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), data)
}
