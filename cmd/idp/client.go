package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"idp"
	"idp/admin"
	"idp/oauth"
	"idp/storage"
)

type clientCommand struct {
	idp.Connection
	Create       clientCreate       `cmd:"" help:"Make a client, and print all that its developer needs."`
	List         clientList         `cmd:"" help:"List all clients."`
	Show         clientShow         `cmd:"" help:"Show one client."`
	Update       clientUpdate       `cmd:"" help:"Change a client."`
	Preview      clientPreview      `cmd:"" name:"preview-claims" help:"Print what tokens of a client would tell of a person."`
	RotateSecret clientRotateSecret `cmd:"" help:"Give a client a new secret; the old one counts a while yet."`
	Delete       clientDelete       `cmd:"" help:"Delete a client and end all it holds."`
}

// clientView is a client as the command line tells of it: without hashes.
type clientView struct {
	storage.Client
	ClientSecret string       `json:"client_secret,omitempty"`
	SecretCount  int          `json:"secret_count"`
	Secrets      []secretView `json:"secrets,omitempty"` // newest first
	Issuer       string       `json:"issuer,omitempty"`
	DiscoveryURL string       `json:"discovery_url,omitempty"`
	Weaknesses   []string     `json:"weaknesses,omitempty"`
}

type secretView struct {
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"` // to the hour
}

func viewClient(c storage.Client, secret, issuer string) clientView {
	v := clientView{Client: c, ClientSecret: secret, Issuer: issuer, Weaknesses: oauth.Weaknesses(&c)}
	for _, s := range admin.LiveSecrets(&c, time.Now()) {
		v.Secrets = append(v.Secrets, secretView{s.CreatedAt, s.ExpiresAt, s.LastUsedAt})
	}
	v.SecretCount, v.Client.Secrets = len(v.Secrets), nil
	if issuer != "" {
		v.DiscoveryURL = issuer + "/.well-known/openid-configuration"
	}
	return v
}

type clientCreate struct {
	Preset     string        `name:"preset" default:"web" enum:"web,spa,native,machine" help:"Kind of app: web (has a server), spa (runs in the browser), native (app or command line), machine (no person)."`
	ID         string        `name:"id" placeholder:"ID" help:"Client id; one is made if missing."`
	SecretLife time.Duration `name:"secret-life" placeholder:"TIME" help:"How long its secret counts, such as 2160h; for ever if missing."`
	clientFlags
}

func (f *clientCreate) Run(c *console, cmd *clientCommand) error {
	if f.Name == nil || *f.Name == "" {
		return idp.ConfigError("A name is needed: people see it when they sign in. Add --name \"My app\".")
	}
	change, err := f.changes(c)
	if err != nil {
		return err
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		made, secret, err := db.admin.CreateClient(c.ctx, admin.ClientInput{
			ID: f.ID, Preset: f.Preset, Name: *f.Name, URL: value(f.URL), SecretLife: f.SecretLife, Change: change,
		})
		if err != nil {
			return err
		}
		if db.Issuer == "" {
			c.note("Set IDP_ISSUER to have the provider's address in this output.")
		}
		noteFrame(c, db, &made)
		noteKeys(c, db, made)
		named, err := nameAccessGroups(c.ctx, db, made)
		if err != nil {
			return err
		}
		return c.print(viewClient(made, secret, db.Issuer), func(w io.Writer) { handOver(w, named, secret, db.Issuer) })
	})
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

type clientList struct{}

func (clientList) Run(c *console, cmd *clientCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		all, err := db.admin.Clients(c.ctx)
		if err != nil {
			return err
		}
		views := []clientView{}
		for _, cl := range all {
			views = append(views, viewClient(cl, "", ""))
		}
		return c.print(views, func(w io.Writer) {
			t, now := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0), time.Now()
			fmt.Fprintln(t, "CLIENT ID\tTYPE\tNAME\tSTATE\tSECRETS")
			for _, cl := range all {
				state := "enabled"
				if cl.DisabledAt != nil {
					state = "disabled"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", cl.ID, cl.Type, printable(cl.Name), state, secretsInShort(&cl, now))
			}
			t.Flush()
		})
	})
}

type clientShow struct {
	ID string `arg:"" name:"id" help:"Client id."`
}

func (f *clientShow) Run(c *console, cmd *clientCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		found, err := db.admin.Client(c.ctx, f.ID)
		if err != nil {
			return err
		}
		return showClient(c, db, found, "")
	})
}

func showClient(c *console, db *opened, cl storage.Client, secret string) error {
	noteFrame(c, db, &cl)
	named, err := nameAccessGroups(c.ctx, db, cl)
	if err != nil {
		return err
	}
	return c.print(viewClient(cl, secret, db.Issuer), func(w io.Writer) { describeClient(w, named, secret) })
}

type clientUpdate struct {
	ID                           string         `arg:"" name:"id" help:"Client id."`
	AddRedirectURI               []string       `name:"add-redirect-uri" sep:"none" placeholder:"URI" help:"Add a redirect URI."`
	RemoveRedirectURI            []string       `name:"remove-redirect-uri" sep:"none" placeholder:"URI" help:"Remove a redirect URI."`
	AddPostLogoutRedirectURI     []string       `name:"add-post-logout-redirect-uri" sep:"none" placeholder:"URI" help:"Add an address to return to after sign-out."`
	RemovePostLogoutRedirectURIs []string       `name:"remove-post-logout-redirect-uri" sep:"none" placeholder:"URI" help:"Remove one."`
	Disable                      bool           `name:"disable" xor:"state" help:"Refuse the client, and end all it holds."`
	Enable                       bool           `name:"enable" xor:"state" help:"Accept a disabled client again."`
	RotateSecret                 bool           `name:"rotate-secret" help:"Make a new secret, shown this once."`
	Overlap                      *time.Duration `name:"overlap" placeholder:"TIME" help:"With --rotate-secret: how long the old secret counts yet, 168h if missing, 720h at most; 0s ends it at once."`
	SecretLife                   *time.Duration `name:"secret-life" placeholder:"TIME" help:"With --rotate-secret: how long the new secret counts; as the old one if missing, 0s is for ever."`
	clientFlags
}

// Help tells what no single flag can.
func (*clientUpdate) Help() string {
	return `A flag that is not given changes nothing. An empty value clears: --allowed-origin "" or --policy-uri "".`
}

func (f *clientUpdate) Run(c *console, cmd *clientCommand) error {
	changes, err := f.changes(c)
	if err != nil {
		return err
	}
	if f.Overlap != nil && !f.RotateSecret {
		return idp.ConfigError("--overlap says how long an old secret counts. Add --rotate-secret to make a new one.")
	}
	if f.SecretLife != nil && !f.RotateSecret {
		return idp.ConfigError("--secret-life says how long a new secret counts. Add --rotate-secret to make one.")
	}
	return with(c, cmd.Connection, false, func(db *opened) error {
		change := func(cl *storage.Client) {
			if f.Name != nil {
				cl.Name = *f.Name
			}
			if f.URL != nil {
				cl.URI = *f.URL
			}
			changes(&cl.ClientMetadata)
			cl.RedirectURIs = edited(cl.RedirectURIs, f.AddRedirectURI, f.RemoveRedirectURI)
			cl.PostLogoutRedirectURIs = edited(cl.PostLogoutRedirectURIs, f.AddPostLogoutRedirectURI, f.RemovePostLogoutRedirectURIs)
			now := time.Now().UTC().Truncate(time.Microsecond)
			switch {
			case f.Disable && cl.DisabledAt == nil:
				cl.DisabledAt = &now
			case f.Enable:
				cl.DisabledAt = nil
			}
		}
		if f.RotateSecret {
			return rotateSecret(c, db, f.ID, f.Overlap, f.SecretLife, change)
		}
		updated, secret, err := db.admin.UpdateClient(c.ctx, f.ID, change)
		if err != nil {
			return err
		}
		if f.JWKSURI != nil {
			noteKeys(c, db, updated)
		}
		return showClient(c, db, updated, secret)
	})
}

type clientRotateSecret struct {
	ID         string         `arg:"" name:"id" help:"Client id."`
	Overlap    *time.Duration `name:"overlap" placeholder:"TIME" help:"How long the old secret counts yet, 168h if missing, 720h at most; 0s ends it at once."`
	SecretLife *time.Duration `name:"secret-life" placeholder:"TIME" help:"How long the new secret counts; as the old one if missing, 0s is for ever."`
}

func (f *clientRotateSecret) Run(c *console, cmd *clientCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error { return rotateSecret(c, db, f.ID, f.Overlap, f.SecretLife, nil) })
}

func rotateSecret(c *console, db *opened, id string, overlap, life *time.Duration, change func(*storage.Client)) error {
	if overlap == nil {
		week := admin.DefaultSecretOverlap
		overlap = &week
	}
	updated, secret, err := db.admin.RotateSecret(c.ctx, id, *overlap, life, change)
	if err != nil {
		return err
	}
	return showClient(c, db, updated, secret)
}

// edited gives a new list: nobody else's is changed.
func edited(list, add, remove []string) []string {
	var out []string
	for _, s := range append(slices.Clone(list), add...) {
		if !slices.Contains(remove, s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

type clientDelete struct {
	ID string `arg:"" name:"id" help:"Client id."`
}

func (f *clientDelete) Run(c *console, cmd *clientCommand) error {
	return with(c, cmd.Connection, false, func(db *opened) error {
		if err := db.admin.DeleteClient(c.ctx, f.ID); err != nil {
			return err
		}
		return c.print(map[string]string{"deleted": f.ID}, func(w io.Writer) { fmt.Fprintf(w, "Deleted %s and ended all it held.\n", f.ID) })
	})
}

// describeClient writes a client for people to read.
func describeClient(w io.Writer, c storage.Client, secret string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name string, values ...string) {
		if text := strings.Join(values, " "); text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, printable(text))
		}
	}
	row("Client id", c.ID)
	if secret != "" {
		row("Client secret", secret+"  (shown this once)")
	}
	describeSecrets(row, &c, secret != "", time.Now())
	row("Name", c.Name)
	row("Type", c.Type)
	if c.Source == "registration" {
		row("Registered", "by itself: nobody here has checked it")
	}
	if c.DisabledAt != nil {
		row("Disabled", c.DisabledAt.Format(time.RFC3339))
	}
	row("URL", c.URI)
	for _, uri := range c.RedirectURIs {
		row("Redirect URI", uri)
	}
	for _, uri := range c.PostLogoutRedirectURIs {
		row("After sign-out", uri)
	}
	row("Sign-in starts at", c.InitiateLoginURI)
	row("Told of sign-outs", c.BackchannelLogoutURI)
	row("Sign-out page", c.FrontchannelLogoutURI)
	row("Grants", c.GrantTypes...)
	row("Scopes", c.Scopes...)
	row("Authentication", c.AuthMethod)
	row("Keys", c.JWKSURI)
	row("ID tokens", c.IDTokenAlg)
	row("Access tokens", c.AccessTokenFormat)
	row("Request objects", c.RequestObjectAlg)
	row("Default level", c.DefaultACR...)
	row("Resources", c.Resources...)
	row("Audience", c.Audience...)
	row("Subjects", c.SubjectType)
	row("Sector", c.Sector)
	row("Sector document", c.SectorURI)
	row("Origins", c.AllowedOrigins...)
	for _, f := range []struct {
		on   bool
		text string
	}{
		{c.SkipConsent, "people are not asked for consent"},
		{c.KeepRefreshToken, "refresh tokens are not rotated"},
		{c.SessionRefresh, "gets refresh tokens that end with the session"},
		{c.RequirePushed, "must push its authorization requests"},
		{c.RequireSignedRequest, "must sign its authorization requests"},
	} {
		if f.on {
			row("Setting", f.text)
		}
	}
	describeTold(row, &c)
	for _, l := range []struct {
		name    string
		seconds int
	}{
		{"Code life", c.Lifetimes.Code}, {"Access token life", c.Lifetimes.AccessToken}, {"ID token life", c.Lifetimes.IDToken},
		{"Refresh idle", c.Lifetimes.RefreshIdle}, {"Refresh max", c.Lifetimes.RefreshMax},
	} {
		if l.seconds > 0 {
			row(l.name, (time.Duration(l.seconds) * time.Second).String())
		}
	}
	for _, weak := range oauth.Weaknesses(&c) {
		row("Weakness", weak)
	}
	t.Flush()
	for _, text := range secretsMind(&c, time.Now()) {
		fmt.Fprintln(w, "\n"+text)
	}
}

// printable keeps control characters of stored text away from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
