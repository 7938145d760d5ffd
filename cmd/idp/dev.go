package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"idp"
)

type devCommand struct {
	DataDir          string     `name:"data-dir" default:".idp-dev" placeholder:"DIR" help:"Folder for everything that lasts."`
	Port             int        `name:"port" placeholder:"PORT" help:"Port of the provider; the one of the last time, or 8080. The next free one if it is in use."`
	DemoPort         int        `name:"demo-port" placeholder:"PORT" help:"Port of the demo app; the one of the last time, or 5555."`
	Reset            bool       `name:"reset" help:"Delete the folder's data first and start over."`
	DatabaseURL      string     `name:"database-url" env:"IDP_DATABASE_URL" placeholder:"URL" help:"Use this database instead of a private one."`
	DownloadPostgres bool       `name:"download-postgres" default:"true" negatable:"" help:"Fetch PostgreSQL if the machine has none."`
	LogLevel         slog.Level `name:"log-level" default:"info" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error."`
}

func (d *devCommand) Run(c *console) error {
	return idp.Dev(c.ctx, idp.DevOptions{
		DataDir: d.DataDir, Port: d.Port, DemoPort: d.DemoPort, Reset: d.Reset, DatabaseURL: d.DatabaseURL,
		Download: d.DownloadPostgres, Progress: c.err, Colour: colour(c.err), LogLevel: d.LogLevel,
	}, func(w idp.DevWorld) error {
		return c.print(w, func(out io.Writer) { printWorld(out, w, d.DataDir, colour(out)) })
	})
}

// printWorld tells what there is to try. Commands of another folder than the default name it.
func printWorld(out io.Writer, w idp.DevWorld, folder string, colour bool) {
	paint := func(code, s string) string {
		if !colour {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	strong, link, quiet := func(s string) string { return paint("1", s) }, func(s string) string { return paint("36", s) }, func(s string) string { return paint("2", s) }
	var emails []string
	for _, p := range w.People {
		emails = append(emails, p.Username+" ("+p.Email+")")
	}
	var clients []string
	for _, cl := range w.Clients {
		kind := cl.Type
		if cl.Secret != "" {
			kind += ", confidential"
		}
		clients = append(clients, cl.ID+" ("+kind+")")
	}
	database := w.Postgres
	if database == "" {
		database = "the one of --database-url"
	} else {
		database = "PostgreSQL " + database + ", socket only, data in " + w.DataDir
	}
	fmt.Fprintf(out, "\n  %s %s · %s\n\n", strong("idp"), version().Version, paint("33", "DEVELOPMENT MODE · this machine only · never for real people"))
	for _, moved := range w.PortMoved {
		fmt.Fprintf(out, "  %s\n", paint("33", moved))
	}
	fmt.Fprintf(out, "  %s   %s   %s\n", strong("Open this first"), link(w.DemoURL), quiet("demo shop: press “Log in with "+w.Brand+"”"))
	fmt.Fprintf(out, "  %s            %s\n", strong("Issuer"), link(w.Issuer))
	fmt.Fprintf(out, "  %s      %s\n\n", strong("Your account"), link(w.Issuer+"/account"))
	fmt.Fprintf(out, "  %s            %s · password for both: %s\n", strong("People"), strings.Join(emails, " · "), strong(w.People[0].Password))
	fmt.Fprintf(out, "  %s           %s\n", strong("Clients"), strings.Join(clients, "  "))
	fmt.Fprintf(out, "  %s          %s   %s\n\n", strong("Database"), database, quiet("("+w.Took.Round(100*time.Millisecond).String()+")"))
	env, flag := "", ""
	if folder != idp.DefaultDevFolder {
		env, flag = "IDP_DATA_DIR="+quoted(w.DataDir)+" ", " --data-dir "+quoted(w.DataDir)
	}
	fmt.Fprintf(out, "  %s  %s%s client create --preset web --name \"My app\" --url http://localhost:3000\n", strong("Connect your app"), env, self())
	fmt.Fprintf(out, "  %s        %s dev%s --reset   %s\n\n", strong("Start over"), self(), flag, quiet("Ctrl-C to stop"))
}

// quoted is s as a shell takes it for one word.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// self is how this program was called, so that what we print can be pasted.
func self() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/idp"
	}
	return os.Args[0]
}
