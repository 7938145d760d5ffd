// Package dev builds the idp binary and runs `idp dev` for tests that look at
// the whole from outside: a browser, and clients in other languages.
package dev

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	buildTimeout   = 10 * time.Minute // a cold build cache on a small machine
	startTimeout   = 3 * time.Minute  // with a PostgreSQL cluster to create
	stopTimeout    = 45 * time.Second
	commandTimeout = time.Minute
)

// Server is a running `idp dev`, described by what it printed with --json.
type Server struct {
	Issuer      string   `json:"issuer"`
	DemoURL     string   `json:"demo_url"`
	Clients     []Client `json:"clients"`
	People      []Person `json:"people"`
	DatabaseURL string   `json:"database_url"`
	DataDir     string   `json:"data_dir"`

	// JSON is the object as it was printed.
	JSON []byte `json:"-"`

	folder  string // holds the binary and the data folder; ours to remove
	binary  string
	command *exec.Cmd
	log     *lines
	exited  chan struct{} // closed when the process is gone
	err     error         // how it went; read after exited
}

// Client is a client that `idp dev` registered. Secret is empty for public ones.
type Client struct {
	ID           string   `json:"client_id"`
	Secret       string   `json:"client_secret"`
	RedirectURIs []string `json:"redirect_uris"`
}

// Person is somebody who can sign in.
type Person struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Start builds the binary and runs `idp dev --json` with a data folder and
// ports of its own. It returns when the server says that it is ready. The
// caller stops it.
func Start(ctx context.Context) (*Server, error) {
	// PostgreSQL runs as an unprivileged account when the tests run as root,
	// and has to reach its data: so not the 0700 of os.MkdirTemp.
	folder, err := os.MkdirTemp("", "idp-test-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the server: %w", err)
	}
	s := &Server{folder: folder, binary: filepath.Join(folder, "idp"), log: &lines{}, exited: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		os.RemoveAll(folder)
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if err := os.Chmod(s.folder, 0o755); err != nil {
		return fmt.Errorf("open the folder for PostgreSQL: %w", err)
	}
	building, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	if out, err := exec.CommandContext(building, "go", "build", "-o", s.binary, "idp/cmd/idp").CombinedOutput(); err != nil {
		return fmt.Errorf("build idp: %w\n%s", err, out)
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	s.command = exec.Command(s.binary, "dev", "--json",
		"--data-dir", filepath.Join(s.folder, "data"), "--port", ports[0], "--demo-port", ports[1])
	s.command.Dir = s.folder
	s.command.Stderr = s.log
	s.command.Env = environment()
	// A signal to the terminal is for the tests, which then stop the server.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read from idp dev: %w", err)
	}
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start idp dev: %w", err)
	}
	ready := make(chan error, 1)
	go func() {
		var object json.RawMessage
		stdout := json.NewDecoder(out)
		if err := stdout.Decode(&object); err != nil {
			ready <- fmt.Errorf("read the JSON object of idp dev: %w", err)
		} else {
			s.JSON = object
			ready <- json.Unmarshal(object, s)
		}
		// Exactly one object is promised, so the next read ends the output.
		var more json.RawMessage
		extra := stdout.Decode(&more)
		s.err = s.command.Wait()
		if s.err == nil && len(more) > 0 && extra == nil {
			s.err = fmt.Errorf("idp dev printed more than one object: %s", more)
		}
		close(s.exited)
	}()
	select {
	case err = <-ready:
	case <-time.After(startTimeout):
		err = fmt.Errorf("idp dev was not ready after %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%w\n%s", err, s.log), s.end())
	}
	return nil
}

// Stop asks the server to stop, waits for it, and removes its data. It is an
// error when the server does not stop, or not with exit code 0.
func (s *Server) Stop() error {
	return errors.Join(s.end(), os.RemoveAll(s.folder))
}

func (s *Server) end() error {
	select {
	case <-s.exited:
		return fmt.Errorf("idp dev ended before it was asked to: %w\n%s", s.err, s.log)
	default:
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ask idp dev to stop: %w", err)
	}
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		s.command.Process.Kill()
		<-s.exited
		return fmt.Errorf("idp dev was still there %s after SIGTERM\n%s", stopTimeout, s.log)
	}
	if s.err != nil {
		return fmt.Errorf("idp dev stopped with: %w\n%s", s.err, s.log)
	}
	return nil
}

// Log is what the server has written to standard error lately.
func (s *Server) Log() string { return s.log.String() }

// Client returns the registered client of that id.
func (s *Server) Client(id string) (Client, error) {
	for _, c := range s.Clients {
		if c.ID == id {
			return c, nil
		}
	}
	return Client{}, fmt.Errorf("idp dev registered no client %q", id)
}

// Run runs another command of the binary against the server's database, the
// way an operator would: inside the folder, with nothing set up. It returns
// its standard output.
func (s *Server) Run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, s.binary, args...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &stdout, &stderr
	command.Dir = s.folder
	command.Env = append(environment(), s.Environ()...)
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("idp %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// Environ is what other programs need to know of the server: where it is, and
// how to run the binary against its database.
func (s *Server) Environ() []string {
	return []string{
		"IDP_DEV_JSON=" + string(s.JSON),
		"IDP_BINARY=" + s.binary,
		"IDP_DATABASE_URL=" + s.DatabaseURL,
		"IDP_ISSUER=" + s.Issuer,
		"IDP_MASTER_KEY_FILE=" + filepath.Join(s.DataDir, "master.key"),
	}
}

// NewPerson makes an account, the way an operator would.
func (s *Server) NewPerson(ctx context.Context) (Person, error) {
	p := Person{Username: "person-" + strings.ToLower(rand.Text()[:10]), Password: rand.Text()}
	_, err := s.Run(ctx, p.Password+"\n", "user", "create", "--username", p.Username,
		"--email", p.Username+"@example.test", "--name", "Grace Example", "--password-stdin", "--json")
	return p, err
}

// environment is ours without what would configure the server.
func environment() []string {
	var kept []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if (strings.HasPrefix(name, "IDP_") && name != "IDP_POSTGRES_BIN") || name == "DATABASE_URL" {
			continue
		}
		kept = append(kept, pair)
	}
	return kept
}

// freePorts finds ports that nobody listens on. Somebody may take one before
// the server does; it then chooses the next and says so in its JSON.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		// Closed at the end only, so that no port is found twice.
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// lines keeps the end of what is written to it.
type lines struct {
	mu   sync.Mutex
	text []byte
}

const keptLog = 8 << 10 // bytes

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > keptLog {
		l.text = append([]byte(nil), l.text[len(l.text)-keptLog:]...)
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
