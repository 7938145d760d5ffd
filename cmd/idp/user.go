package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"idp"
	"idp/admin"
	"idp/storage"
)

type userCommand struct {
	idp.Connection
	Create      userCreate      `cmd:"" help:"Make an account."`
	List        userList        `cmd:"" help:"List all accounts."`
	Show        userShow        `cmd:"" help:"Show one account."`
	Update      userUpdate      `cmd:"" help:"Change an account: names, e-mail address, profile."`
	Sessions    userSessions    `cmd:"" help:"List where a person is signed in."`
	Grants      userGrants      `cmd:"" help:"List what apps hold of a person."`
	Revoke      userRevoke      `cmd:"" help:"End all sessions of a person and all that apps hold of them. The account stays active."`
	SetPassword userSetPassword `cmd:"" help:"Replace a password and end the person's sessions."`
	Suspend     userSuspend     `cmd:"" help:"Switch an account off: its sessions and all that apps hold of it end at once."`
	Activate    userActivate    `cmd:"" help:"Switch a suspended account on again."`
	Delete      userDelete      `cmd:"" help:"Erase an account. Its id is never used again."`
}

// userView is an account as the command line tells of it.
type userView struct {
	storage.User
	Password string         `json:"password,omitempty"` // when it was made here
	Groups   []string       `json:"groups,omitempty"`   // names; only when one account is shown
	Ended    *storage.Ended `json:"ended,omitempty"`
}

type passwordFlags struct {
	PasswordStdin bool `name:"password-stdin" help:"Read the password from standard input; without it, one is made and printed."`
}

// password reads or makes a password; made says which.
func (f passwordFlags) password(c *console) (password string, made bool, err error) {
	if !f.PasswordStdin {
		return generatedPassword(), true, nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", false, idp.ConfigError("Standard input has no password. Write it as one line.")
	}
	return line, false, nil
}

// generatedPassword has 100 bits in letters that are not mistaken for one another.
func generatedPassword() string {
	id := storage.NewID("")
	return strings.Join([]string{id[:5], id[5:10], id[10:15], id[15:20]}, "-")
}

type userCreate struct {
	Username      string `name:"username" required:"" placeholder:"NAME" help:"What the person signs in with."`
	Email         string `name:"email" placeholder:"ADDRESS" help:"E-mail address; people can sign in with it too."`
	EmailVerified bool   `name:"email-verified" help:"The address is known to be the person's."`
	NoPassword    bool   `name:"no-password" help:"Make an account that nobody can sign in to yet."`
	profileFlags
	passwordFlags
}

func (f *userCreate) Run(c *console, cmd *userCommand) error {
	in := admin.UserInput{Username: f.Username, Email: f.Email, EmailVerified: f.EmailVerified}
	if f.Profile == "-" && f.PasswordStdin {
		return idp.ConfigError("Both the profile and the password are to be read from standard input. Put the profile into a file.")
	}
	change, err := f.changes(c)
	if err != nil {
		return err
	}
	change(&in.Profile)
	made := false
	if !f.NoPassword {
		if in.Password, made, err = f.password(c); err != nil {
			return err
		}
	}
	return with(c, cmd.Connection, true, func(db *opened) error {
		u, err := db.admin.CreateUser(c.ctx, in)
		if err != nil {
			return err
		}
		return printUser(c, u, in.Password, made, nil)
	})
}

func printUser(c *console, u storage.User, password string, made bool, ended *storage.Ended) error {
	view := userView{User: u, Ended: ended}
	if made {
		view.Password = password
	}
	return view.print(c)
}

func (view userView) print(c *console) error {
	u, ended := view.User, view.Ended
	return c.print(view, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		row := func(name, value string) {
			if value != "" {
				fmt.Fprintf(t, "%s\t%s\n", name, printable(value))
			}
		}
		row("Id", u.ID)
		row("User name", u.Username)
		if view.Password != "" {
			row("Password", view.Password+"  (shown this once)")
		}
		email := u.Email
		if u.EmailVerifiedAt != nil {
			email += " (verified)"
		}
		row("E-mail", email)
		for _, claim := range profileClaims(&u.Profile) {
			row(claim.label, *claim.value)
		}
		row("Groups", strings.Join(view.Groups, ", "))
		row("State", u.State)
		row("Created", u.CreatedAt.Format(time.RFC3339))
		row("Changed", u.UpdatedAt.Format(time.RFC3339))
		if ended != nil {
			row("Ended", fmt.Sprintf("%d sessions, %d grants", ended.Sessions, ended.Grants))
		}
		t.Flush()
	})
}

type userList struct{}

func (userList) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Users(c.ctx)
		if err != nil {
			return err
		}
		return c.print(orNone(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tUSER NAME\tE-MAIL\tSTATE")
			for _, u := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", u.ID, printable(u.Username), printable(u.Email), u.State)
			}
			t.Flush()
		})
	})
}

// who is the person that a command is about.
type who struct {
	User string `arg:"" name:"user" help:"Id, user name or e-mail address."`
}

type userShow struct{ who }

func (f *userShow) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, err := db.admin.User(c.ctx, f.User)
		if err != nil {
			return err
		}
		groups, err := db.UserGroups(c.ctx, u.ID)
		if err != nil {
			return err
		}
		view := userView{User: u}
		for _, g := range groups {
			view.Groups = append(view.Groups, g.Name)
		}
		return view.print(c)
	})
}

type userSetPassword struct {
	who
	passwordFlags
}

func (f *userSetPassword) Run(c *console, cmd *userCommand) error {
	password, made, err := f.password(c)
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, true, func(db *opened) error {
		u, err := db.admin.SetPassword(c.ctx, f.User, password)
		if err != nil {
			return err
		}
		return printUser(c, u, password, made, nil)
	})
}

type (
	userRevoke   struct{ who }
	userSuspend  struct{ who }
	userActivate struct{ who }
	userDelete   struct{ who }
)

func (f *userRevoke) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, ended, err := db.admin.RevokeUser(c.ctx, f.User)
		if err != nil {
			return err
		}
		return printUser(c, u, "", false, &ended)
	})
}

func (f *userSuspend) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, ended, err := db.admin.Suspend(c.ctx, f.User)
		if err != nil {
			return err
		}
		return printUser(c, u, "", false, &ended)
	})
}

func (f *userActivate) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, _, err := db.admin.Activate(c.ctx, f.User)
		if err != nil {
			return err
		}
		return printUser(c, u, "", false, nil)
	})
}

func (f *userDelete) Run(c *console, cmd *userCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		u, ended, err := db.admin.DeleteUser(c.ctx, f.User)
		if err != nil {
			return err
		}
		return printUser(c, u, "", false, &ended)
	})
}
