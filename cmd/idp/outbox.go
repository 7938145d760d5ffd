package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

// outboxCommand is about what apps have to be told: that a session has ended (back-channel logout).
type outboxCommand struct {
	idp.Connection
	Status outboxStatus `cmd:"" default:"1" help:"Show for each app whether it takes what it is told (the default)."`
	List   outboxList   `cmd:"" help:"List what apps had to be told in the last 30 days, newest first."`
	Retry  outboxRetry  `cmd:"" help:"Tell again what was given up."`
}

type outboxStatus struct{}

func (outboxStatus) Run(c *console, cmd *outboxCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		states, err := db.DeliveryStates(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(states), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "CLIENT ID\tNAME\tPENDING\tFAILED\tDELIVERED\tWAITING SINCE\tATTEMPTS\tNEXT TRY\tLAST ERROR")
			for _, s := range states {
				fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\t%d\t%s\t%s\n", dash(s.ClientID), dash(s.Name), s.Pending, s.Failed, s.Delivered, moment(s.WaitingSince), s.Attempts, moment(s.NextTryAt), dash(s.LastError))
			}
			t.Flush()
		})
	})
}

type outboxList struct {
	Client  string `name:"client" placeholder:"ID" help:"Only what this app had to be told."`
	Pending bool   `name:"pending" xor:"state" help:"Only what is tried again."`
	Failed  bool   `name:"failed" xor:"state" help:"Only what was given up."`
	Limit   int    `name:"limit" default:"50" placeholder:"N" help:"How many, 10000 at most."`
}

// messageView is a message as the command line tells of it.
type messageView struct {
	storage.Message
	State string `json:"state"`
}

func (f *outboxList) Run(c *console, cmd *outboxCommand) error {
	state := ""
	switch {
	case f.Pending:
		state = storage.MessagePending
	case f.Failed:
		state = storage.MessageFailed
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		messages, err := db.admin.Messages(c.ctx, f.Client, state, f.Limit)
		if err != nil {
			return err
		}
		views := []messageView{}
		for _, m := range messages {
			views = append(views, messageView{m, m.State()})
		}
		return c.print(views, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tCLIENT ID\tSTATE\tSINCE\tATTEMPTS\tNEXT TRY\tLAST ERROR")
			for _, m := range views {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.ID, dash(m.ClientID), m.State, m.CreatedAt.Format(time.RFC3339), m.Attempts, moment(m.NextAt), dash(m.LastError))
			}
			t.Flush()
		})
	})
}

type outboxRetry struct {
	ID        string `arg:"" name:"id" optional:"" help:"Id of the message, as idp outbox list --failed shows it."`
	AllFailed bool   `name:"all-failed" help:"All that was given up."`
}

func (f *outboxRetry) Run(c *console, cmd *outboxCommand) error {
	if (f.ID == "") != f.AllFailed {
		return idp.ConfigError("Name one message, or all with --all-failed. To see them: idp outbox list --failed")
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		n, err := int64(1), error(nil)
		if f.AllFailed {
			n, err = db.admin.RetryMessages(c.ctx)
		} else {
			err = db.admin.RetryMessage(c.ctx, f.ID)
		}
		if err != nil {
			return err
		}
		return c.print(map[string]int64{"retried": n}, func(w io.Writer) {
			fmt.Fprintf(w, "%d due again. Running servers send them within seconds.\n", n)
		})
	})
}
