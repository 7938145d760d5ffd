// Command idp is the provider and everything an operator does with it. Each subcommand turns its
// command line into a call; errors say what is wrong, why, and what to do next.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"idp"
	"idp/admin"
	"idp/storage"
	"idp/web"
)

func main() {
	// The first signal asks everything to stop. From then on signals have their usual effect, so
	// that a second Ctrl-C ends a stop that takes too long.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes. Scripts rely on them.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2 // the command line or the configuration is wrong
	exitNotFound  = 3
	exitConflict  = 4
	exitUnhealthy = 5
)

// commands is the command line.
type commands struct {
	JSON bool `name:"json" help:"Print JSON, errors included. Its names stay as they are."`

	Dev          devCommand          `cmd:"" help:"Run everything on this machine, to try it out: provider, database, demo app, demo accounts."`
	Serve        serveCommand        `cmd:"" help:"Run the provider."`
	Migrate      migrateCommand      `cmd:"" help:"Bring the database schema up to date."`
	Client       clientCommand       `cmd:"" help:"Look after clients: the apps that people log in to."`
	Resource     resourceCommand     `cmd:"" help:"Look after resources: the APIs that clients ask tokens for."`
	Trust        trustCommand        `cmd:"" help:"Look after trusts: platforms whose workloads sign in without a secret."`
	Exchange     exchangeCommand     `cmd:"" help:"Look after token exchange: APIs that act for people at other APIs."`
	User         userCommand         `cmd:"" help:"Look after people."`
	Group        groupCommand        `cmd:"" help:"Look after groups of people."`
	Registration registrationCommand `cmd:"" help:"Look after the registration of clients by themselves."`
	Keys         keysCommand         `cmd:"" help:"Look after the keys that sign tokens."`
	Outbox       outboxCommand       `cmd:"" help:"Show which apps could be told of sign-outs, and tell them again."`
	Test         testCommand         `cmd:"" help:"Act as a strict app against a running provider, through its public address."`
	Selftest     selftestCommand     `cmd:"" help:"Try a running provider through its public address, promise by promise, with clients and a person made for it and removed again."`
	Events       eventsCommand       `cmd:"" help:"Show what happened, newest first."`
	Config       configCommand       `cmd:"" help:"Explain the configuration."`
	Healthcheck  healthcheckCommand  `cmd:"" help:"Ask a running provider on this machine whether it is ready; for images without a shell."`
	Version      versionCommand      `cmd:"" help:"Print the version."`
}

// console is where a command reads and writes.
type console struct {
	ctx      context.Context
	in       io.Reader
	out, err io.Writer
	json     bool
}

// note writes a line beside the result, for people only.
func (c *console) note(format string, args ...any) {
	if !c.json {
		fmt.Fprintf(c.err, format+"\n", args...)
	}
}

// print writes the result: v as JSON if that was asked for, else what text writes.
func (c *console) print(v any, text func(w io.Writer)) error {
	if !c.json {
		text(c.out)
		return nil
	}
	encoder := json.NewEncoder(c.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

type exited int

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			asked, ok := p.(exited)
			if !ok {
				panic(p)
			}
			code = int(asked)
		}
	}()
	var c commands
	parser, err := kong.New(&c,
		kong.Name("idp"),
		kong.Description("An OpenID Connect provider. To see it work: idp dev"),
		kong.Writers(out, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }), // after --help
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.UsageOnError(),
	)
	if err != nil {
		panic(err) // the tags above do not fit together
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		tell(stderr, wantsJSON(args), strings.TrimSuffix(err.Error(), ".")+".", "For help: idp "+helpFor(err))
		return exitUsage
	}
	err = parsed.Run(&console{ctx, in, out, stderr, c.JSON})
	if err == nil {
		return exitOK
	}
	message, hint := explain(parsed.Command(), err)
	tell(stderr, c.JSON, message, hint)
	return exitCode(err)
}

// wantsJSON looks for --json in a command line that could not be read.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json")
}

// helpFor is the command line that explains the command that err is about.
func helpFor(err error) string {
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context.Selected() != nil {
		return parse.Context.Selected().Path() + " --help"
	}
	return "--help"
}

// explain says what went wrong, and what to do next if there is more to say of it.
func explain(command string, err error) (message, hint string) {
	noun, _, _ := strings.Cut(command, " ")
	if m, ok := errors.AsType[admin.Missing](err); ok {
		noun = m.Noun
	}
	if exitCode(err) == exitNotFound {
		hint = "To see what there is: idp " + noun + " list"
	}
	if e, ok := errors.AsType[*web.Error](err); ok {
		return e.Message, hint
	}
	if unreachable(err) {
		return fmt.Sprintf("The database cannot be reached: %v.", err), "Start it, or correct IDP_DATABASE_URL."
	}
	return err.Error(), hint
}

// tell writes what explain says.
func tell(w io.Writer, asJSON bool, message, hint string) {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.Encode(struct {
			Error string `json:"error"`
			Hint  string `json:"hint,omitempty"`
		}{message, hint})
		return
	}
	for line := range strings.Lines(message) {
		fmt.Fprintln(w, "idp: "+strings.TrimRight(line, "\n"))
	}
	if hint != "" {
		fmt.Fprintln(w, hint)
	}
}

func unreachable(err error) bool {
	return storage.Unavailable(err) && !errors.Is(err, context.Canceled)
}

// unhealthy is what healthcheck returns.
type unhealthy struct{ error }

func exitCode(err error) int {
	if _, ok := errors.AsType[unhealthy](err); ok {
		return exitUnhealthy
	}
	if _, ok := errors.AsType[idp.ConfigError](err); ok {
		return exitUsage
	}
	status := 0
	if e, ok := errors.AsType[*web.Error](err); ok {
		status = e.Status
	}
	switch {
	case status == http.StatusNotFound, errors.Is(err, storage.ErrNotFound):
		return exitNotFound
	case status == http.StatusConflict, errors.Is(err, storage.ErrConflict):
		return exitConflict
	case status == http.StatusUnprocessableEntity, status == http.StatusBadRequest:
		return exitUsage
	}
	return exitFailure
}
