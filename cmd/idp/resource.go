package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

type resourceCommand struct {
	idp.Connection
	Create resourceCreate `cmd:"" help:"Register an API that clients may ask tokens for."`
	List   resourceList   `cmd:"" help:"List all resources."`
	Show   resourceShow   `cmd:"" help:"Show one resource."`
	Update resourceUpdate `cmd:"" help:"Change a resource."`
	Delete resourceDelete `cmd:"" help:"Delete a resource: nobody gets tokens for it any more."`
}

// resourceFlags is what an operator may say of a resource. A flag that is not given changes nothing.
type resourceFlags struct {
	Name        *string        `name:"name" placeholder:"NAME" help:"Name that people see when they are asked for consent."`
	Scope       []string       `name:"scope" sep:"none" placeholder:"SCOPE=TEXT" help:"Scope of its own, with what it lets an app do: 'notes:read=Read your notes'; repeat for several. Replaces all; \"\" clears."`
	TokenFormat *string        `name:"token-format" placeholder:"FORMAT" help:"Access tokens for it: opaque or jwt; \"\" is as the client has it."`
	TokenLife   *time.Duration `name:"token-life" placeholder:"TIME" help:"Lifetime of access tokens for it; 0s is as the client has it."`
}

// changes gives what the flags do to a resource.
func (f *resourceFlags) changes() (func(*storage.Resource), error) {
	scopes := []storage.ResourceScope{}
	for _, s := range f.Scope {
		name, text, found := strings.Cut(s, "=")
		if s == "" {
			continue
		}
		if !found || strings.TrimSpace(text) == "" {
			return nil, idp.ConfigError(fmt.Sprintf("The scope %q has no description. Say what it lets an app do: --scope '%s=Read your notes'.", s, name))
		}
		scopes = append(scopes, storage.ResourceScope{Name: strings.TrimSpace(name), Description: strings.TrimSpace(text)})
	}
	return func(r *storage.Resource) {
		if f.Name != nil {
			r.Name = *f.Name
		}
		if f.Scope != nil {
			r.Scopes = slices.Clone(scopes)
		}
		if f.TokenFormat != nil {
			r.TokenFormat = *f.TokenFormat
		}
		if f.TokenLife != nil {
			r.TokenLife = wholeSeconds(*f.TokenLife)
		}
	}, nil
}

type resourceCreate struct {
	URI string `name:"uri" required:"" placeholder:"URI" help:"Its identifier, as tokens name it in aud. It never changes."`
	resourceFlags
}

func (f *resourceCreate) Run(c *console, cmd *resourceCommand) error {
	change, err := f.changes()
	if err != nil {
		return err
	}
	if value(f.Name) == "" {
		return idp.ConfigError("A name is needed: people see it when they are asked for consent. Add --name \"My API\".")
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		if db.Issuer != "" && strings.TrimSuffix(f.URI, "/") == db.Issuer {
			return idp.ConfigError("This is the provider itself: clients that may have openid can ask for it without further ado. Register your own APIs only.")
		}
		r := storage.Resource{URI: f.URI}
		change(&r)
		made, err := db.admin.CreateResource(c.ctx, r)
		if err != nil {
			return err
		}
		return printResource(c, made)
	})
}

func printResource(c *console, r storage.Resource) error {
	return c.print(r, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		row := func(name, text string) { fmt.Fprintf(t, "%s\t%s\n", name, printable(text)) }
		row("URI", r.URI)
		row("Name", r.Name)
		for _, s := range r.Scopes {
			row("Scope", s.Name+"  "+s.Description)
		}
		format := r.TokenFormat
		if format == "" {
			format = "as the client has it"
		}
		row("Access tokens", format)
		if r.TokenLife > 0 {
			row("Access token life", (time.Duration(r.TokenLife) * time.Second).String())
		}
		t.Flush()
	})
}

type resourceList struct{}

func (resourceList) Run(c *console, cmd *resourceCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Resources(c.ctx)
		if err != nil {
			return err
		}
		if all == nil {
			all = []storage.Resource{}
		}
		return c.print(all, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "URI\tNAME\tSCOPES")
			for _, r := range all {
				var names []string
				for _, s := range r.Scopes {
					names = append(names, s.Name)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", printable(r.URI), printable(r.Name), strings.Join(names, " "))
			}
			t.Flush()
		})
	})
}

type resourceShow struct {
	URI string `arg:"" name:"uri" help:"Its URI."`
}

func (f *resourceShow) Run(c *console, cmd *resourceCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		r, err := db.admin.Resource(c.ctx, f.URI)
		if err != nil {
			return err
		}
		return printResource(c, r)
	})
}

type resourceUpdate struct {
	URI string `arg:"" name:"uri" help:"Its URI."`
	resourceFlags
}

func (f *resourceUpdate) Run(c *console, cmd *resourceCommand) error {
	change, err := f.changes()
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		r, err := db.admin.UpdateResource(c.ctx, f.URI, change)
		if err != nil {
			return err
		}
		return printResource(c, r)
	})
}

type resourceDelete struct {
	URI string `arg:"" name:"uri" help:"Its URI."`
}

func (f *resourceDelete) Run(c *console, cmd *resourceCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		uri, err := db.admin.DeleteResource(c.ctx, f.URI)
		if err != nil {
			return err
		}
		return c.print(map[string]string{"deleted": uri}, func(w io.Writer) {
			fmt.Fprintf(w, "Deleted %s. Nobody gets tokens for it any more; those that are out count until they expire.\n", uri)
		})
	})
}
