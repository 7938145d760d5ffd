package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"idp/admin"
	"idp/oauth"
)

type clientPreview struct {
	Client string `name:"client" required:"" placeholder:"ID" help:"Client id."`
	User   string `name:"user" required:"" placeholder:"USER" help:"Id, user name or e-mail address."`
	Scope  string `name:"scope" placeholder:"SCOPES" help:"Scopes the app asks for, separated by spaces; all it is registered for if missing."`
	Claims string `name:"claims" placeholder:"JSON" help:"Claims parameter that the app sends, such as '{\"id_token\":{\"email\":null}}'."`
}

// Help says what the output is worth.
func (*clientPreview) Help() string {
	return "No token is made and nothing is changed. Times and the session are examples; the rest is what the person would pass on by signing in to the app now."
}

func (f *clientPreview) Run(c *console, cmd *clientCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		p, err := db.admin.PreviewClaims(c.ctx, admin.PreviewInput{ClientID: f.Client, User: f.User, Scope: f.Scope, Claims: f.Claims, Issuer: db.Issuer})
		if err != nil {
			return err
		}
		return c.print(p, func(w io.Writer) { describePreview(w, p) })
	})
}

func describePreview(w io.Writer, p oauth.Preview) {
	for _, problem := range p.Problems {
		fmt.Fprintln(w, printable("Problem: "+problem))
	}
	fmt.Fprintln(w, printable("Scope: "+p.Scope))
	fmt.Fprintln(w, printable("Consent: "+strings.Join(p.ConsentScopes, " ")))
	for _, part := range []struct {
		title  string
		claims map[string]any
	}{{"ID token", p.IDToken}, {"Userinfo", p.UserInfo}, {"Access token (" + p.AccessTokenFormat + ")", p.AccessToken}} {
		fmt.Fprintf(w, "\n%s\n", part.title)
		if part.claims == nil {
			fmt.Fprintln(w, "  none: openid is not among the scopes")
			continue
		}
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		for _, name := range slices.Sorted(maps.Keys(part.claims)) {
			value, err := json.Marshal(part.claims[name])
			if err != nil {
				value = []byte(err.Error())
			}
			fmt.Fprintf(t, "  %s\t%s\n", printable(name), printable(string(value)))
		}
		t.Flush()
	}
}
