package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"idp"
	"idp/oauth"
	"idp/storage"
)

type keysCommand struct {
	idp.Connection
	List   keysList   `cmd:"" help:"List the keys."`
	Revoke keysRevoke `cmd:"" help:"Take a key that somebody else knows out of use at once, and erase it."`
	Rotate keysRotate `cmd:"" help:"Replace signing keys by their next ones, as soon as those have been published long enough."`
}

// keyView is a key without its private part.
type keyView struct {
	KID         string     `json:"kid"`
	Use         string     `json:"use"` // sign: ID and access tokens; token: what opaque tokens are derived with
	Alg         string     `json:"alg"`
	State       string     `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	ActivatesAt *time.Time `json:"activates_at,omitempty"`
	RetiredAt   *time.Time `json:"retired_at,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
}

type keysList struct{}

func (keysList) Run(c *console, cmd *keysCommand) error {
	return with(c, cmd.Connection, true, func(db *opened) error {
		keys, err := oauth.Keys(c.ctx, db.DB)
		if err != nil {
			return err
		}
		views := []keyView{}
		for _, k := range keys {
			views = append(views, keyView{k.KID, k.Use, k.Alg, k.State, k.CreatedAt, k.ActivatesAt, k.RetiredAt, k.ExpiresAt})
		}
		return c.print(views, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(t, "ALG\tSTATE\tKEY ID\tUSE\tCREATED\tSIGNS FROM\tERASED AT")
			for _, k := range views {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Alg, k.State, k.KID, k.Use, k.CreatedAt.Format(time.RFC3339), moment(k.ActivatesAt), moment(k.ExpiresAt))
			}
			t.Flush()
		})
	})
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

type keysRotate struct {
	Alg       string `name:"alg" placeholder:"ALG" help:"Only this algorithm: RS256, ES256, PS256, EdDSA; token replaces the key that opaque tokens are derived with."`
	Emergency bool   `name:"emergency" help:"Sign with the next key at once. Clients that cached the keys fail until they fetch them again."`
}

func (f *keysRotate) Run(c *console, cmd *keysCommand) error {
	return with(c, cmd.Connection, true, func(db *opened) error {
		done, err := oauth.RotateKeys(c.ctx, db.DB, oauth.RotateOptions{Alg: f.Alg, Emergency: f.Emergency, Now: time.Now().UTC().Truncate(time.Microsecond)})
		if err != nil {
			return err
		}
		return c.print(orNone(done), func(w io.Writer) {
			for _, r := range done {
				if r.Done {
					fmt.Fprintf(w, "%s signs with %s now. Running servers follow within 30 seconds.\n", r.Alg, r.New)
				} else {
					fmt.Fprintf(w, "%s will sign with %s from %s on, when clients have had the time to fetch it.\n", r.Alg, r.New, r.At.Format(time.RFC3339))
				}
			}
		})
	})
}

type keysRevoke struct {
	KID string `arg:"" name:"kid" help:"Key id, as idp keys list shows it; write -- before one that begins with a hyphen."`
}

func (f *keysRevoke) Run(c *console, cmd *keysCommand) error {
	return with(c, cmd.Connection, true, func(db *opened) error {
		r, err := oauth.RevokeKey(c.ctx, db.DB, f.KID, time.Now().UTC().Truncate(time.Microsecond))
		if err != nil {
			return err
		}
		return c.print(r, func(w io.Writer) {
			fmt.Fprintf(w, "Revoked %s (%s, %s) and erased its private half. Running servers follow within 30 seconds.\n", r.KID, r.Alg, r.State)
			if r.Successor != "" {
				fmt.Fprintf(w, "%s took its place.\n", r.Successor)
			}
			fmt.Fprint(w, whatBreaks(r))
		})
	})
}

// whatBreaks says what a revocation costs.
func whatBreaks(r oauth.Revocation) string {
	switch {
	case r.State == storage.KeyNext:
		return "Nothing was made with it yet, so nothing breaks.\n"
	case r.Use == "token":
		return "What breaks: all codes, refresh tokens and opaque access tokens derived with it. Apps must send people to sign in again.\n"
	}
	text := "What breaks: ID tokens and JWT access tokens signed with it fail, and apps that need an ID token at sign-out show the question first.\n" +
		"Refresh tokens and sessions go on. Apps and APIs that cached the old keys may accept the revoked one until they fetch the keys again: after 15 minutes, if they follow the answer's Cache-Control.\n"
	if r.Successor != "" {
		text += "Apps that cached the keys before the new one was published refuse its tokens until they fetch the keys again; most do so at the first unknown key id.\n"
	}
	return text
}
