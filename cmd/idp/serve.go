package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/term"

	"idp"
	"idp/storage"
)

type serveCommand struct {
	idp.Config
}

func (s *serveCommand) Run(c *console) error {
	s.MasterKey = os.Getenv("IDP_MASTER_KEY")
	if err := s.Check(); err != nil {
		return err
	}
	log := s.Logger(c.err, colour(c.err))
	server, err := idp.New(c.ctx, s.Config, idp.Options{Log: log})
	if err != nil {
		return err
	}
	if strings.HasPrefix(s.Issuer, "https:") && s.TLSCert == "" && len(s.TrustedProxies) == 0 {
		log.Warn("no trusted proxies are set: all requests seem to come from the proxy, and share its limits. Set IDP_TRUSTED_PROXIES.")
	}
	return server.Run(c.ctx)
}

// colour says whether w is a terminal that may be coloured (no-color.org).
func colour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

type migrateCommand struct {
	idp.Connection
	Up     migrateUp     `cmd:"" default:"1" help:"Bring the schema up to date (the default)."`
	Status migrateStatus `cmd:"" help:"List the migrations and whether they were applied."`
}

type (
	migrateUp     struct{}
	migrateStatus struct{}
)

func (migrateUp) Run(c *console, m *migrateCommand) error {
	connection, err := locate(c, m.Connection)
	if err != nil {
		return err
	}
	done, err := storage.Migrate(c.ctx, connection.DatabaseURL)
	if err != nil {
		return err
	}
	return c.print(map[string]any{"applied": orNone(done)}, func(w io.Writer) {
		if len(done) == 0 {
			fmt.Fprintln(w, "The schema is up to date.")
		}
		for _, d := range done {
			fmt.Fprintf(w, "Applied %s\n", d.Name)
		}
	})
}

func (migrateStatus) Run(c *console, m *migrateCommand) error {
	connection, err := locate(c, m.Connection)
	if err != nil {
		return err
	}
	all, err := storage.MigrationStatus(c.ctx, connection.DatabaseURL)
	if err != nil {
		return err
	}
	return c.print(orNone(all), func(w io.Writer) {
		for _, m := range all {
			state := "pending"
			if m.Applied {
				state = "applied"
			}
			fmt.Fprintf(w, "%s  %s\n", state, m.Name)
		}
	})
}

// orNone keeps null out of JSON.
func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

type configCommand struct {
	Docs configDocs `cmd:"" help:"Print the table of all settings, in Markdown."`
}

type configDocs struct{}

func (configDocs) Run(c *console) error {
	table := idp.ConfigTable()
	return c.print(map[string]string{"markdown": table}, func(w io.Writer) { io.WriteString(w, table) })
}

type healthcheckCommand struct {
	OpsListen string `name:"ops-listen" env:"IDP_OPS_LISTEN" default:"127.0.0.1:8081" placeholder:"ADDR" help:"Where the provider listens for operators."`
}

func (h *healthcheckCommand) Run(c *console) error {
	host, port, err := net.SplitHostPort(h.OpsListen)
	if err != nil {
		return idp.ConfigError("The provider is not asked anywhere: set IDP_OPS_LISTEN as it is set for the provider, such as 127.0.0.1:8081.")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	client := http.Client{Timeout: 3 * time.Second}
	answer, err := client.Get("http://" + net.JoinHostPort(host, port) + "/readyz")
	if err != nil {
		return unhealthy{fmt.Errorf("the provider does not answer: %w", err)}
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode != http.StatusOK {
		return unhealthy{fmt.Errorf("the provider is %s", cmp.Or(strings.TrimSpace(string(body)), answer.Status))}
	}
	return c.print(map[string]string{"status": "ready"}, func(w io.Writer) { fmt.Fprintln(w, "ready") })
}

type versionCommand struct{}

func (versionCommand) Run(c *console) error {
	v := version()
	return c.print(v, func(w io.Writer) {
		line := "idp " + v.Version
		if v.Revision != "" {
			line += " (" + v.Revision + ")"
		}
		fmt.Fprintln(w, line+", "+v.Go)
	})
}

type built struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

// version is what the Go toolchain wrote into the binary.
func version() built {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return built{Version: "unknown"}
	}
	v := built{Version: info.Main.Version, Go: info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value[:min(12, len(s.Value))]
		}
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "development"
	}
	return v
}
