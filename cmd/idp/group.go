package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"idp"
	"idp/storage"
)

type groupCommand struct {
	idp.Connection
	Create groupCreate `cmd:"" help:"Make a group."`
	List   groupList   `cmd:"" help:"List all groups."`
	Show   groupShow   `cmd:"" help:"Show one group and who is in it."`
	Update groupUpdate `cmd:"" help:"Change a group. Apps that are for its members stay so."`
	Add    groupAdd    `cmd:"" help:"Put people into a group."`
	Remove groupRemove `cmd:"" help:"Take people out of a group."`
	Delete groupDelete `cmd:"" help:"Delete a group, unless it decides who may use an app."`
}

// groupView is a group as the command line tells of it.
type groupView struct {
	storage.Group
	People []storage.User `json:"people,omitempty"`
}

type groupCreate struct {
	Name  string `arg:"" name:"name" help:"Name of the group."`
	Value string `name:"claim-value" placeholder:"TEXT" help:"What apps are told of it; the name if missing."`
}

func (f *groupCreate) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.CreateGroup(c.ctx, f.Name, f.Value)
		if err != nil {
			return err
		}
		return printGroup(c, groupView{Group: g})
	})
}

type groupList struct{}

func (groupList) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Groups(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tNAME\tCLAIM VALUE\tMEMBERS")
			for _, g := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", g.ID, printable(g.Name), printable(g.ClaimValue), g.Members)
			}
			t.Flush()
		})
	})
}

// which is the group that a command is about.
type which struct {
	Group string `arg:"" name:"group" help:"Name or id."`
}

type groupShow struct{ which }

func (f *groupShow) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.Group(c.ctx, f.Group)
		if err != nil {
			return err
		}
		people, err := db.admin.Members(c.ctx, g)
		if err != nil {
			return err
		}
		return printGroup(c, groupView{g, people})
	})
}

func printGroup(c *console, g groupView) error {
	return c.print(g, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintf(t, "Id\t%s\nName\t%s\nClaim value\t%s\nMade\t%s\nMembers\t%d\n",
			g.ID, printable(g.Name), printable(g.ClaimValue), g.CreatedAt.Format(time.RFC3339), g.Members)
		for _, u := range g.People {
			state := ""
			if u.State != storage.UserActive {
				state = "  (" + u.State + ")"
			}
			fmt.Fprintf(t, "Member\t%s%s\n", printable(u.Username), state)
		}
		t.Flush()
	})
}

type groupUpdate struct {
	which
	Name  *string `name:"name" placeholder:"NAME" help:"Another name."`
	Value *string `name:"claim-value" placeholder:"TEXT" help:"What apps are told of it; \"\" means the name."`
}

func (f *groupUpdate) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.UpdateGroup(c.ctx, f.Group, f.Name, f.Value)
		if err != nil {
			return err
		}
		return printGroup(c, groupView{Group: g})
	})
}

// people are those that a command puts in or takes out.
type people struct {
	Users []string `arg:"" name:"user" help:"Id, user name or e-mail address; several are possible."`
}

type groupAdd struct {
	which
	people
}

func (f *groupAdd) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.AddMembers(c.ctx, f.Group, f.Users)
		if err != nil {
			return err
		}
		return printGroup(c, groupView{Group: g})
	})
}

type groupRemove struct {
	which
	people
}

func (f *groupRemove) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.RemoveMembers(c.ctx, f.Group, f.Users)
		if err != nil {
			return err
		}
		return printGroup(c, groupView{Group: g})
	})
}

type groupDelete struct{ which }

func (f *groupDelete) Run(c *console, cmd *groupCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		g, err := db.admin.DeleteGroup(c.ctx, f.Group)
		if err != nil {
			return err
		}
		return c.print(map[string]string{"deleted": g.ID}, func(w io.Writer) { fmt.Fprintf(w, "Deleted the group %s.\n", printable(g.Name)) })
	})
}
