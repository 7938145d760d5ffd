package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	stopPatience = 30 * time.Second // for a fast shutdown, which writes a checkpoint
	killPatience = 5 * time.Second  // for an immediate shutdown
	pollInterval = 20 * time.Millisecond
	largestLog   = 10 << 20 // bytes of postgres.log above which a start begins a new one
)

// launch starts the server and waits until it answers.
func (p *Postgres) launch(ctx context.Context, o Options, logFile string, who account) error {
	if info, err := os.Stat(logFile); err == nil && info.Size() > largestLog {
		os.Rename(logFile, logFile+".1")
	}
	out, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer out.Close() // the server has its own
	before, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	arguments := p.arguments(ctx, o, who)
	for deadline := time.Now().Add(killPatience); ; {
		if err := p.run(out, who, arguments); err != nil {
			return fmt.Errorf("start %s/postgres: %w", p.installation.bin, err)
		}
		err := p.waitReady(ctx)
		if err == nil {
			return nil
		}
		err = errors.Join(err, p.end())
		said := readFrom(logFile, before)
		// The processes of a server that was killed outright need a moment to notice that.
		if strings.Contains(said, "shared memory block") && ctx.Err() == nil && time.Now().Before(deadline) {
			time.Sleep(pollInterval)
			continue
		}
		return fmt.Errorf("%w\n%s says:\n%s", err, logFile, lastLines(said))
	}
}

// run starts the server's process.
func (p *Postgres) run(out *os.File, who account, arguments []string) error {
	// SIGINT is PostgreSQL's fast shutdown. The server gets it too when we are killed.
	cmd := who.command(context.Background(), syscall.SIGINT, filepath.Join(p.installation.bin, "postgres"), arguments...)
	cmd.Stdout, cmd.Stderr = out, out
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends that signal when the starting thread ends, so the thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it went is in the log
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

func (p *Postgres) arguments(ctx context.Context, o Options, who account) []string {
	set := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": p.socketDir,
		"unix_socket_permissions": "0700",
		"port":                    socketPort,
		"logging_collector":       "off",
		"log_destination":         "stderr",
		"lc_messages":             "C",
	}
	var preload []string
	for _, name := range o.Preload {
		if p.installation.hasLibrary(ctx, name, who) {
			preload = append(preload, name)
		}
	}
	if len(preload) > 0 {
		set["shared_preload_libraries"] = strings.Join(preload, ",")
	}
	maps.Copy(set, o.Settings)
	args := []string{"-D", p.data}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		args = append(args, "-c", name+"="+set[name])
	}
	return args
}

func (p *Postgres) waitReady(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		conn, err := pgx.Connect(attempt, p.URL("postgres"))
		cancel()
		if err == nil {
			return conn.Close(context.WithoutCancel(ctx))
		}
		select {
		case <-p.exited:
			return errors.New("PostgreSQL does not start")
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL to start: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pollInterval):
		}
	}
}

// end shuts the server down, if it runs: connections are ended, nothing is lost.
func (p *Postgres) end() error {
	if p.cmd == nil {
		return nil
	}
	steps := []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, stopPatience}, {syscall.SIGQUIT, killPatience}, {syscall.SIGKILL, killPatience}}
	for _, step := range steps {
		err := p.cmd.Process.Signal(step.signal)
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		select {
		case <-p.exited:
			if step.signal != syscall.SIGINT {
				return fmt.Errorf("PostgreSQL did not stop within %s and was ended by force; it recovers at the next start", stopPatience)
			}
			return nil
		case <-time.After(step.patience):
		}
	}
	return fmt.Errorf("PostgreSQL (process %d) does not stop", p.cmd.Process.Pid)
}

// stopLeftover ends a server that has outlived a killed idp. We hold the lock of the data folder,
// so no living idp uses it.
func stopLeftover(ctx context.Context, data string, log io.Writer) error {
	pidFile := filepath.Join(data, "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a server left running: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return nil // PostgreSQL says what is wrong with its file
	}
	if !runsCluster(pid, data) {
		if !alive(pid) {
			return nil // PostgreSQL knows how to deal with a stale file
		}
		// The number has gone to another process since, and PostgreSQL could take that for a server.
		if err := os.Remove(pidFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale postmaster.pid: %w", err)
		}
		return nil
	}
	fmt.Fprintf(log, "Stopping the PostgreSQL (process %d) that an earlier idp has left running\n", pid)
	server, err := os.FindProcess(pid)
	if err == nil {
		err = server.Signal(syscall.SIGINT)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the PostgreSQL left running (process %d): %w", pid, err)
	}
	deadline := time.After(stopPatience)
	for runsCluster(pid, data) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the PostgreSQL left running (process %d): %w", pid, ctx.Err())
		case <-deadline:
			return fmt.Errorf("the PostgreSQL left running in %s (process %d) does not stop. End it (kill -QUIT %d) and try again", data, pid, pid)
		case <-time.After(pollInterval):
		}
	}
	return nil
}

func readFrom(file string, offset int64) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	content, _ := io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
	return string(content)
}

// lastLines keeps the end of a program's output, where the reason of its failure is.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
