package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

// sessionView is a session as the command line tells of it.
type sessionView struct {
	SignedInAt time.Time `json:"signed_in_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	ExpiresAt  time.Time `json:"expires_at"` // unless it is used before
	IP         string    `json:"ip"`
	UserAgent  string    `json:"user_agent"`
	Methods    []string  `json:"methods"`
	Persistent bool      `json:"persistent"` // "stay signed in"
}

func viewSession(s storage.Session) sessionView {
	ends := s.ExpiresAt
	if s.IdleExpiresAt.Before(ends) {
		ends = s.IdleExpiresAt
	}
	return sessionView{s.AuthTime, s.SeenAt, ends, s.IP, s.UserAgent, s.Methods, s.Persistent}
}

type userSessions struct{ who }

func (f *userSessions) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		sessions, err := db.admin.Sessions(c.ctx, f.User)
		if err != nil {
			return err
		}
		views := []sessionView{}
		for _, s := range sessions {
			views = append(views, viewSession(s))
		}
		return c.print(views, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "SIGNED IN\tLAST SEEN\tEXPIRES\tIP\tBROWSER")
			for _, v := range views {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", v.SignedInAt.Format(time.RFC3339), v.LastSeenAt.Format(time.RFC3339), v.ExpiresAt.Format(time.RFC3339), dash(v.IP), dash(v.UserAgent))
			}
			t.Flush()
		})
	})
}

type userGrants struct{ who }

func (f *userGrants) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		grants, err := db.admin.Grants(c.ctx, f.User)
		if err != nil {
			return err
		}
		return c.print(orNone(grants), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "CLIENT ID\tNAME\tSINCE\tLAST REFRESHED\tEXPIRES\tSCOPES")
			for _, g := range grants {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ClientID, dash(g.ClientName), g.Since.Format(time.RFC3339), moment(g.RefreshedAt), g.ExpiresAt.Format(time.RFC3339), dash(strings.Join(g.Scopes, " ")))
			}
			t.Flush()
		})
	})
}

type eventsCommand struct {
	idp.Connection
	User  string `name:"user" placeholder:"USER" help:"Only what happened to this person: id, user name or e-mail address; a deleted account by its id."`
	Limit int    `name:"limit" default:"50" placeholder:"N" help:"How many, 10000 at most."`
}

func (f *eventsCommand) Run(c *console) error {
	return with(c, f.Connection, false, func(db *opened) error {
		events, err := db.admin.Events(c.ctx, f.User, f.Limit)
		if err != nil {
			return err
		}
		return c.print(orNone(events), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "TIME\tEVENT\tUSER\tCLIENT\tBY\tIP\tDETAILS")
			for _, e := range events {
				details := ""
				if len(e.Details) > 0 {
					text, err := json.Marshal(e.Details)
					if err != nil {
						text = []byte("?")
					}
					details = string(text)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.At.Format(time.RFC3339), e.Kind, dash(e.UserID), dash(e.ClientID), dash(e.Actor), dash(e.IP), dash(details))
			}
			t.Flush()
		})
	})
}

// dash is s for a column of a table.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}
