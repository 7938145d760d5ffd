package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

type registrationCommand struct {
	idp.Connection
	Token registrationToken `cmd:"" help:"Look after initial access tokens: who holds one may register clients (IDP_REGISTRATION=token or open)."`
}

type registrationToken struct {
	Create registrationTokenCreate `cmd:"" help:"Make an initial access token, and print it this once."`
	List   registrationTokenList   `cmd:"" help:"List initial access tokens."`
	Revoke registrationTokenRevoke `cmd:"" help:"End an initial access token. Clients that it registered stay."`
}

// registrationTokenView is an initial access token as the command line tells of it.
type registrationTokenView struct {
	storage.RegistrationToken
	Secret string `json:"initial_access_token,omitempty"`
}

type registrationTokenCreate struct {
	Uses int           `name:"uses" default:"1" placeholder:"N" help:"How many clients it may register, 1000 at most."`
	Life time.Duration `name:"life" default:"24h" placeholder:"TIME" help:"How long it counts, 8760h at most."`
}

func (f *registrationTokenCreate) Run(c *console, cmd *registrationCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		t, secret, err := db.admin.CreateRegistrationToken(c.ctx, f.Uses, f.Life)
		if err != nil {
			return err
		}
		return c.print(registrationTokenView{t, secret}, func(w io.Writer) {
			fmt.Fprintf(w, "Id                    %s\nInitial access token  %s  (shown this once)\nRegisters             %d\nCounts until          %s\n", t.ID, secret, t.Uses, t.ExpiresAt.Format(time.RFC3339))
			if db.Issuer != "" {
				fmt.Fprintf(w, "Send it to            POST %s/register, as Authorization: Bearer\n", db.Issuer)
			}
		})
	})
}

type registrationTokenList struct{}

func (registrationTokenList) Run(c *console, cmd *registrationCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.RegistrationTokens(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tUSED\tCOUNTS UNTIL")
			for _, r := range all {
				fmt.Fprintf(t, "%s\t%d of %d\t%s\n", r.ID, r.Used, r.Uses, r.ExpiresAt.Format(time.RFC3339))
			}
			t.Flush()
		})
	})
}

type registrationTokenRevoke struct {
	ID string `arg:"" name:"id" help:"Id of the token, as list prints it."`
}

func (f *registrationTokenRevoke) Run(c *console, cmd *registrationCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		if err := db.admin.RevokeRegistrationToken(c.ctx, f.ID); err != nil {
			return err
		}
		return c.print(map[string]string{"revoked": f.ID}, func(w io.Writer) {
			fmt.Fprintf(w, "Revoked %s. Clients that it registered stay.\n", f.ID)
		})
	})
}
