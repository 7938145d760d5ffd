package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

type trustCommand struct {
	idp.Connection
	Create trustCreate `cmd:"" help:"Let a client sign in with what its platform says of it: a CI job, a pod, a machine of another provider."`
	List   trustList   `cmd:"" help:"List all trusts."`
	Show   trustShow   `cmd:"" help:"Show one trust."`
	Update trustUpdate `cmd:"" help:"Change what a trust accepts and gives. Tokens that it gave end."`
	Delete trustDelete `cmd:"" help:"Delete a trust. Tokens that it gave end."`
}

// trustFlags is what an operator may say of a trust. A flag that is not given changes nothing.
type trustFlags struct {
	Subject   *string           `name:"subject" placeholder:"SUB" help:"sub of the assertions, such as system:serviceaccount:shop:api; a * at its end stands for anything."`
	Claim     map[string]string `name:"claim" mapsep:"none" placeholder:"NAME=VALUE" help:"Claim that assertions must have, exactly; repeat for several. Replaces all."`
	JWKS      *string           `name:"jwks" placeholder:"FILE" help:"File with the issuer's public keys as a JWK set (- for standard input)."`
	JWKSURI   *string           `name:"jwks-uri" placeholder:"URL" help:"Where the issuer's keys are. Without this and --jwks, its discovery document says it."`
	Scope     *string           `name:"scope" placeholder:"SCOPES" help:"Scopes of the client that workloads get, separated by spaces."`
	Resource  []string          `name:"resource" placeholder:"URI" help:"Resource of the client that workloads get tokens for; repeat for several. Replaces all; \"\" clears."`
	TokenLife *time.Duration    `name:"token-life" placeholder:"TIME" help:"Longest lifetime of an access token, up to 1h (10m if missing)."`
	Reusable  *bool             `name:"reusable" negatable:"" help:"Accept an assertion until it expires, not once: for platforms that give one to several starts, such as Kubernetes."`
}

// changes gives what the flags do to a trust.
func (f *trustFlags) changes(c *console) (func(*storage.TrustPolicy), error) {
	var keys json.RawMessage
	if value(f.JWKS) != "" {
		b, err := readFile(c, *f.JWKS)
		if err != nil {
			return nil, idp.ConfigError(fmt.Sprintf("The keys cannot be read: %v.", err))
		}
		if !json.Valid(b) {
			return nil, idp.ConfigError("The file with the keys is no JSON. It must be a JWK set: {\"keys\": […]}.")
		}
		keys = b
	}
	return func(t *storage.TrustPolicy) {
		if f.Subject != nil {
			t.Subject = *f.Subject
		}
		if f.Claim != nil {
			t.Claims = maps.Clone(f.Claim)
		}
		if f.JWKS != nil {
			t.JWKS, t.JWKSURI = keys, ""
		}
		if f.JWKSURI != nil {
			if t.JWKSURI = *f.JWKSURI; f.JWKS == nil {
				t.JWKS = nil
			}
		}
		if f.Scope != nil {
			t.Scopes = orNone(strings.Fields(*f.Scope))
		}
		if f.Resource != nil {
			t.Resources = slices.DeleteFunc(slices.Clone(f.Resource), func(s string) bool { return s == "" })
		}
		if f.TokenLife != nil {
			t.TokenLife = wholeSeconds(*f.TokenLife)
		}
		if f.Reusable != nil {
			t.Reusable = *f.Reusable
		}
	}, nil
}

type trustCreate struct {
	Client string `name:"client" required:"" placeholder:"ID" help:"Client that the workload acts as. It must have the grant urn:ietf:params:oauth:grant-type:jwt-bearer."`
	Issuer string `name:"iss" required:"" placeholder:"URL" help:"iss of the assertions, exactly, such as https://token.actions.githubusercontent.com."`
	trustFlags
}

func (f *trustCreate) Run(c *console, cmd *trustCommand) error {
	change, err := f.changes(c)
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		if f.Issuer == db.Issuer {
			return idp.ConfigError("This is the provider itself, whose own tokens are no assertions. Name the issuer of the workload's platform.")
		}
		t := storage.Trust{ClientID: f.Client, Issuer: f.Issuer, TrustPolicy: storage.TrustPolicy{Scopes: []string{}, TokenLife: 600}}
		change(&t.TrustPolicy)
		made, err := db.admin.CreateTrust(c.ctx, t)
		if err != nil {
			return err
		}
		issuer := cmp.Or(db.Issuer, "https://YOUR-ISSUER")
		c.note("Have the platform make the assertion for the audience %s, then:\n\n  curl --data grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer --data client_id=%s --data-urlencode assertion@FILE %s/token\n", issuer, made.ClientID, issuer)
		return printTrust(c, made)
	})
}

func printTrust(c *console, t storage.Trust) error {
	return c.print(t, func(w io.Writer) {
		tab := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		row := func(name, text string) { fmt.Fprintf(tab, "%s\t%s\n", name, printable(text)) }
		row("Id", t.ID)
		row("Client", t.ClientID)
		row("Issuer", t.Issuer)
		row("Subject", t.Subject)
		for _, name := range slices.Sorted(maps.Keys(t.Claims)) {
			row("Claim", name+" = "+t.Claims[name])
		}
		switch {
		case len(t.JWKS) > 0:
			row("Keys", "fixed")
		case t.JWKSURI != "":
			row("Keys", t.JWKSURI)
		default:
			row("Keys", "as its discovery document says")
		}
		row("Scopes", strings.Join(t.Scopes, " "))
		for _, r := range t.Resources {
			row("Resource", r)
		}
		row("Token life", (time.Duration(t.TokenLife) * time.Second).String())
		if t.Reusable {
			row("Weakness", "an assertion counts until it expires, not once")
		}
		tab.Flush()
	})
}

type trustList struct{}

func (trustList) Run(c *console, cmd *trustCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Trusts(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tCLIENT\tISSUER\tSUBJECT")
			for _, one := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", one.ID, one.ClientID, printable(one.Issuer), printable(one.Subject))
			}
			t.Flush()
		})
	})
}

type whichTrust struct {
	ID string `arg:"" name:"id" help:"Id of the trust."`
}

type trustShow struct{ whichTrust }

func (f *trustShow) Run(c *console, cmd *trustCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		t, err := db.admin.Trust(c.ctx, f.ID)
		if err != nil {
			return err
		}
		return printTrust(c, t)
	})
}

type trustUpdate struct {
	whichTrust
	trustFlags
}

func (f *trustUpdate) Run(c *console, cmd *trustCommand) error {
	change, err := f.changes(c)
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		t, err := db.admin.UpdateTrust(c.ctx, f.ID, change)
		if err != nil {
			return err
		}
		return printTrust(c, t)
	})
}

type trustDelete struct{ whichTrust }

func (f *trustDelete) Run(c *console, cmd *trustCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		if err := db.admin.DeleteTrust(c.ctx, f.ID); err != nil {
			return err
		}
		return c.print(map[string]string{"deleted": f.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "Deleted the trust %s. Tokens that it gave have ended.\n", f.ID)
		})
	})
}
