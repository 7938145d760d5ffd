package idp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lmittmann/tint"

	"idp/demo"
	"idp/oauth"
	"idp/storage"
	"idp/storage/embedded"
)

// DevOptions say how to run the provider for trying things out.
type DevOptions struct {
	DataDir     string
	Port        int    // of the provider; 0 means that of the last time, or 8080
	DemoPort    int    // of the demo app; 0 means that of the last time, or 5555
	Reset       bool   // start over with an empty folder
	DatabaseURL string // use this database instead of a private one
	Download    bool   // fetch PostgreSQL if the machine has none
	Progress    io.Writer
	Colour      bool
	LogLevel    slog.Level
}

// DevWorld is what somebody can try, once it is there. Its JSON is what idp dev --json prints.
type DevWorld struct {
	Issuer      string      `json:"issuer"`
	DemoURL     string      `json:"demo_url"`
	Clients     []DevClient `json:"clients"`
	People      []DevPerson `json:"people"`
	DatabaseURL string      `json:"database_url"`
	DataDir     string      `json:"data_dir"`

	Brand     string        `json:"-"`
	Postgres  string        `json:"-"` // version and folder of the private PostgreSQL; "" without
	Took      time.Duration `json:"-"`
	PortMoved []string      `json:"-"` // sentences on ports that were in use
}

// DevClient is a registered demo client.
type DevClient struct {
	ID           string   `json:"client_id"`
	Secret       string   `json:"client_secret,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	Type         string   `json:"-"`
}

// DevPerson is somebody who can sign in.
type DevPerson struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Email    string `json:"-"`
}

// devState is what idp dev remembers from one start to the next.
type devState struct {
	connectionState
	DemoURL  string            `json:"demo_url"`
	Port     int               `json:"port"`
	DemoPort int               `json:"demo_port"`
	Password string            `json:"password"`
	Secrets  map[string]string `json:"secrets"`
}

const devBrand = "Example ID"

// Dev runs a provider with everything around it on this machine: a private PostgreSQL, demo people
// and clients, a demo app. It calls ready once, when all of it can be used, and runs until ctx
// ends. It is the server of idp serve: real cookies, keys and checks.
func Dev(ctx context.Context, o DevOptions, ready func(DevWorld) error) (err error) {
	start := time.Now()
	dir, err := openDevFolder(cmp.Or(o.DataDir, DefaultDevFolder), o.Reset)
	if err != nil {
		return err
	}
	state := devState{Secrets: map[string]string{}}
	if err := readJSON(filepath.Join(dir, devStateFile), &state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w. Start over with: idp dev --reset", err)
	}
	world := DevWorld{DataDir: dir, Brand: devBrand}

	// The address comes first, as the issuer follows from it.
	idpListeners, port, moved, err := listenLoopback("the provider", cmp.Or(o.Port, state.Port, 8080))
	if err != nil {
		return err
	}
	defer closeAll(idpListeners)
	world.PortMoved = append(world.PortMoved, moved...)
	demoListeners, demoPort, moved, err := listenLoopback("the demo app", cmp.Or(o.DemoPort, state.DemoPort, 5555))
	if err != nil {
		return err
	}
	defer closeAll(demoListeners)
	world.PortMoved = append(world.PortMoved, moved...)
	world.Issuer = "http://localhost:" + strconv.Itoa(port)
	world.DemoURL = "http://localhost:" + strconv.Itoa(demoPort)

	var ended <-chan struct{} // of the private PostgreSQL
	world.DatabaseURL = o.DatabaseURL
	if world.DatabaseURL == "" {
		var postgres *embedded.Postgres
		postgres, err = embedded.Start(ctx, embedded.Options{DataDir: dir, Log: o.Progress, Download: o.Download})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, postgres.Stop()) }()
		ended, world.DatabaseURL = postgres.Done(), postgres.URL("idp")
		world.Postgres = postgres.Version() + " from " + postgres.BinDir()
	}
	keyFile := filepath.Join(dir, "master.key")
	if _, err := storage.LoadMasterKeyFile(keyFile, true); err != nil {
		return err
	}

	level := &slog.LevelVar{}
	level.Set(slog.LevelWarn) // until the summary is printed
	log := slog.New(tint.NewTextHandler(cmp.Or[io.Writer](o.Progress, io.Discard), &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !o.Colour}))
	connection := Connection{Issuer: world.Issuer, DatabaseURL: world.DatabaseURL, MasterKeyFile: keyFile}
	server, err := New(ctx, devConfig(connection), Options{Log: log, Dev: true, Listeners: idpListeners})
	if err != nil {
		return err
	}
	if err := server.Prepare(ctx); err != nil {
		return errors.Join(err, server.Close())
	}
	next := devState{
		connectionState: connectionState{connection.Issuer, connection.DatabaseURL, connection.MasterKeyFile},
		DemoURL:         world.DemoURL, Port: port, DemoPort: demoPort, Password: state.Password, Secrets: state.Secrets,
	}
	if err := seed(ctx, server.DB(), &world, &next, state.DemoURL); err != nil {
		return errors.Join(err, server.Close())
	}
	if err := writeJSON(filepath.Join(dir, devStateFile), next); err != nil {
		return errors.Join(err, server.Close())
	}

	shop := server.httpServer(demo.Handler(demo.Config{
		Issuer: world.Issuer, BaseURL: world.DemoURL, Brand: devBrand, Log: log,
		Web: demo.Client{ID: demoWeb, Secret: next.Secrets[demoWeb]}, SPA: demo.Client{ID: demoSPA},
		Username: world.People[0].Username, Password: next.Password,
	}))
	for _, l := range demoListeners {
		go func() {
			if err := shop.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				log.Error("the demo app stopped", "error", err.Error())
			}
		}()
	}
	defer shop.Close()

	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-ended:
			stop(errors.New("the private PostgreSQL has ended: see postgres.log in " + dir))
		case <-running.Done():
		}
	}()
	served := make(chan error, 1)
	go func() { served <- server.Run(running) }()
	world.Took = time.Since(start)
	if err := ready(world); err != nil {
		stop(err)
	}
	level.Set(o.LogLevel)
	err = <-served
	if cause := context.Cause(running); ctx.Err() == nil && cause != nil {
		err = errors.Join(cause, err)
	}
	return err
}

func devConfig(c Connection) Config {
	return Config{
		Connection: c, Listen: ":0", Brand: devBrand, SecurityContact: "mailto:security@example.test", MaxConns: 8,
		SessionIdle: 8 * time.Hour, SessionMax: 24 * time.Hour, RememberIdle: 14 * 24 * time.Hour, RememberMax: 30 * 24 * time.Hour,
		OutboundAllow: []string{"127.0.0.0/8", "::1"}, // the demo app, and apps that somebody tries out
		SignUp:        signUpOpen, Registration: oauth.RegistrationOpen, Migrate: true, LogFormat: "text", LogLevel: "info",
	}
}

// listenLoopback listens on a port of this machine's loopback addresses and of no others, for IPv4
// and, where there is one, IPv6: browsers try both for localhost. A port in use gives the next free
// one and a sentence about it.
func listenLoopback(what string, port int) ([]net.Listener, int, []string, error) {
	const tries = 100
	for p := port; p < port+tries && p < 1<<16; p++ {
		list, err := listenOn(p)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, 0, nil, configErrorf("Port %d for %s cannot be used: %v. Choose another one with --port and --demo-port.", p, what, err)
		}
		var moved []string
		if p != port {
			moved = []string{fmt.Sprintf("Port %d is in use, so %s is on port %d.", port, what, p)}
		}
		return list, p, moved, nil
	}
	return nil, 0, nil, configErrorf("The ports from %d on are all in use. Choose another one for %s with --port and --demo-port.", port, what)
}

func listenOn(port int) ([]net.Listener, error) {
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		four.Close()
		return nil, err
	}
	if err != nil {
		return []net.Listener{four}, nil // no IPv6 here
	}
	return []net.Listener{four, six}, nil
}
