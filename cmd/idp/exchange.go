package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"idp"
	"idp/storage"
)

type exchangeCommand struct {
	idp.Connection
	Allow  exchangeAllow  `cmd:"" help:"Let an API exchange access tokens that it is sent for tokens of another API, to act there for the same person."`
	List   exchangeList   `cmd:"" help:"List what is allowed."`
	Revoke exchangeRevoke `cmd:"" help:"Take a rule back. Tokens that it gave end."`
}

type exchangeAllow struct {
	Client string `name:"client" required:"" placeholder:"ID" help:"Client that exchanges. It must have the grant urn:ietf:params:oauth:grant-type:token-exchange, and be the API (--audience) that the tokens are for."`
	From   string `name:"from" required:"" placeholder:"URI" help:"Resource that the tokens are for: the client's own."`
	To     string `name:"to" required:"" placeholder:"URI" help:"Resource that the new tokens are for; the issuer for userinfo."`
	Scope  string `name:"scope" required:"" placeholder:"SCOPES" help:"Scopes that may be had at most, separated by spaces. The new token has none that the old one has not."`
	Of     string `name:"of" placeholder:"ID" help:"Only tokens of this client; of every client if missing."`
}

func (f *exchangeAllow) Run(c *console, cmd *exchangeCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		x := storage.Exchange{ClientID: f.Client, Source: f.From, SubjectClient: f.Of, Target: f.To, Scopes: orNone(strings.Fields(f.Scope))}
		made, err := db.admin.AllowExchange(c.ctx, x, db.Issuer)
		if err != nil {
			return err
		}
		return c.print(made, func(w io.Writer) {
			fmt.Fprintf(w, "Allowed, as %s: %s exchanges tokens for %s%s into tokens for %s, with at most: %s\n",
				made.ID, made.ClientID, printable(made.Source), ofClient(made), printable(made.Target), strings.Join(made.Scopes, " "))
		})
	})
}

func ofClient(x storage.Exchange) string {
	if x.SubjectClient == "" {
		return ""
	}
	return " of " + x.SubjectClient
}

type exchangeList struct{}

func (exchangeList) Run(c *console, cmd *exchangeCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Exchanges(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tCLIENT\tFROM\tTOKENS OF\tTO\tSCOPES")
			for _, x := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", x.ID, x.ClientID, printable(x.Source), cmp.Or(x.SubjectClient, "everybody"), printable(x.Target), strings.Join(x.Scopes, " "))
			}
			t.Flush()
		})
	})
}

type exchangeRevoke struct {
	ID string `arg:"" name:"id" help:"Id of the rule."`
}

func (f *exchangeRevoke) Run(c *console, cmd *exchangeCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		if err := db.admin.RevokeExchange(c.ctx, f.ID); err != nil {
			return err
		}
		return c.print(map[string]string{"revoked": f.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "Revoked %s. Tokens that it gave have ended.\n", f.ID)
		})
	})
}
