package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"idp"
	"idp/admin"
	"idp/selftest"
	"idp/storage"
)

type testCommand struct {
	idp.Connection
	Login  testLogin  `cmd:"" help:"Sign in as a strict app does, and say what a strict app would refuse."`
	Token  testToken  `cmd:"" help:"Ask for a token for the client itself (client_credentials)."`
	Device testDevice `cmd:"" help:"Act as a device without a browser: show a code, and wait until somebody allows it elsewhere."`
	Logout testLogout `cmd:"" help:"Sign in, sign out, and tell whether the session is gone."`
}

// testClient says as whom to act. Without a client, one is made in the database and removed again.
type testClient struct {
	Client      string `name:"client" placeholder:"ID" help:"Client to act as; without it, one is made for the test and removed again, which needs the database."`
	SecretStdin bool   `name:"secret-stdin" xor:"secret" help:"Read the client's secret from standard input."`
	SecretFile  string `name:"secret-file" xor:"secret" placeholder:"FILE" help:"Read the client's secret from a file."`
	AuthMethod  string `name:"auth-method" placeholder:"METHOD" help:"client_secret_basic (the default with a secret), client_secret_post or none."`
	Scope       string `name:"scope" placeholder:"SCOPES" help:"Scopes to ask for, separated by spaces."`
}

// testBrowser is what tests with a person take besides.
type testBrowser struct {
	testClient
	RedirectURI string        `name:"redirect-uri" placeholder:"URI" help:"Redirect URI of the client on this machine, such as http://localhost:3000/callback; without it, http://127.0.0.1/callback on any free port, as native apps may use."`
	Open        bool          `name:"open" help:"Open the address in a browser; without it, it is only printed."`
	Timeout     time.Duration `name:"timeout" default:"5m" placeholder:"TIME" help:"How long to wait for the browser."`
}

// party makes the relying party of a test, and what removes its client again. Preset and change say
// what kind of client to make.
func (f *testClient) party(c *console, given idp.Connection, preset string, in admin.ClientInput) (rp *selftest.RelyingParty, remove func(), err error) {
	rp = &selftest.RelyingParty{Issuer: given.Issuer, ClientID: f.Client, AuthMethod: f.AuthMethod, Scopes: strings.Fields(f.Scope)}
	remove = func() {}
	switch f.AuthMethod {
	case "", "client_secret_basic", "client_secret_post", "none":
	default:
		return nil, nil, idp.ConfigError("The method " + f.AuthMethod + " cannot be tested. Use client_secret_basic, client_secret_post or none.")
	}
	if f.Client != "" {
		if rp.Issuer == "" {
			return nil, nil, idp.ConfigError("No issuer is set. Set IDP_ISSUER, or add --issuer https://id.example.com.")
		}
		rp.Secret, err = f.secret(c)
		return rp, remove, err
	}
	db, err := open(c, given, false)
	if err != nil {
		return nil, nil, err
	}
	if rp.Issuer = db.Issuer; rp.Issuer == "" {
		db.Close()
		return nil, nil, idp.ConfigError("No issuer is set. Set IDP_ISSUER, or add --issuer https://id.example.com.")
	}
	in.Preset, in.Name = preset, "idp test"
	made, secret, err := db.admin.CreateClient(c.ctx, in)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	rp.ClientID, rp.Secret, rp.AuthMethod = made.ID, secret, made.AuthMethod
	return rp, func() {
		defer db.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second) // also when interrupted
		defer cancel()
		if err := db.admin.DeleteClient(ctx, made.ID); err != nil {
			fmt.Fprintf(c.err, "The client %s of this test is still there: %v. Remove it: idp client delete %[1]s\n", made.ID, err)
		}
	}, nil
}

func (f *testClient) secret(c *console) (string, error) {
	name := f.SecretFile
	if f.SecretStdin {
		name = "-"
	}
	if name == "" {
		return "", nil
	}
	text, err := readFile(c, name)
	if err != nil {
		return "", idp.ConfigError(fmt.Sprintf("The secret cannot be read: %v.", err))
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", idp.ConfigError("The secret is empty.")
	}
	return secret, nil
}

// listen opens the redirect URI and makes a relying party for it.
func (f *testBrowser) listen(c *console, given idp.Connection) (*selftest.Loopback, *selftest.RelyingParty, func(), error) {
	loop, err := selftest.Listen(f.RedirectURI)
	if err != nil {
		return nil, nil, nil, idp.ConfigError(err.Error() + ".")
	}
	rp, remove, err := f.party(c, given, storage.ClientWeb, admin.ClientInput{
		RedirectURIs: []string{loop.CallbackURI}, PostLogoutRedirectURIs: []string{loop.SignedOutURI},
		Change: func(m *storage.ClientMetadata) {
			if scopes := strings.Fields(f.Scope); len(scopes) > 0 {
				m.Scopes = scopes
			}
		},
	})
	if err != nil {
		loop.Close()
		return nil, nil, nil, err
	}
	rp.RedirectURI = loop.CallbackURI
	return loop, rp, func() { loop.Close(); remove() }, nil
}

// send brings a person's browser to an address.
func (f *testBrowser) send(c *console, address string) {
	fmt.Fprintf(c.err, "Open this address in a browser:\n\n  %s\n\n", address)
	if !f.Open {
		return
	}
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	opener := exec.CommandContext(c.ctx, name, args...)
	if err := opener.Start(); err != nil {
		fmt.Fprintf(c.err, "No browser can be opened from here: %v. Open it yourself.\n", err)
		return
	}
	go opener.Wait()
}

type testLogin struct{ testBrowser }

func (f *testLogin) Run(c *console, cmd *testCommand) error {
	loop, rp, done, err := f.listen(c, cmd.Connection)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(c.ctx, f.Timeout)
	defer cancel()
	outcome, _, next, err := f.signIn(ctx, c, loop, rp)
	if err != nil {
		return unhealthy{err}
	}
	next("")
	return tellOutcome(c, outcome, nil)
}

// signIn runs one sign-in through a person's browser, which then waits for next.
func (f *testBrowser) signIn(ctx context.Context, c *console, loop *selftest.Loopback, rp *selftest.RelyingParty) (*selftest.Outcome, *selftest.SignIn, func(string), error) {
	s, err := rp.Begin(ctx, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	f.send(c, s.URL)
	answer, next, err := loop.Answer(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	return s.Finish(ctx, answer), s, next, nil
}

type testToken struct{ testClient }

func (f *testToken) Run(c *console, cmd *testCommand) error {
	rp, remove, err := f.party(c, cmd.Connection, storage.ClientMachine, admin.ClientInput{Change: func(m *storage.ClientMetadata) {
		m.Scopes = orNone(strings.Fields(f.Scope))
	}})
	if err != nil {
		return err
	}
	defer remove()
	outcome, err := rp.ClientCredentials(c.ctx, f.Scope)
	if err != nil {
		return unhealthy{err}
	}
	return tellOutcome(c, outcome, nil)
}

type testLogout struct {
	testBrowser
	Return bool `name:"return" help:"With --client: the client may return to /signed-out beside its redirect URI after sign-out."`
}

func (f *testLogout) Run(c *console, cmd *testCommand) error {
	loop, rp, done, err := f.listen(c, cmd.Connection)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(c.ctx, f.Timeout)
	defer cancel()
	outcome, s, next, err := f.signIn(ctx, c, loop, rp)
	if err != nil {
		return unhealthy{err}
	}
	if outcome.IDTokenHint() == "" {
		next("")
		return tellOutcome(c, outcome, nil)
	}
	back, state := "", rand.Text()
	if f.Client == "" || f.Return {
		back = loop.SignedOutURI
	}
	end, err := s.EndSessionURL(outcome.IDTokenHint(), back, state)
	if err != nil {
		next("")
		return unhealthy{err}
	}
	// Whether the session is gone shows when a new request may ask nobody.
	silent, err := rp.Begin(ctx, url.Values{"prompt": {"none"}})
	if err != nil {
		next("")
		return unhealthy{err}
	}
	if back != "" {
		next(end)
		answer, on, err := loop.Answer(ctx)
		if err != nil {
			return unhealthy{fmt.Errorf("%w: it was sent to sign out, and to return to %s", err, back)}
		}
		if answer.Get("state") != state {
			on("")
			return unhealthy{errors.New("the browser came back from signing out without the state that went along")}
		}
		next = on
		next(silent.URL)
	} else {
		next("")
		fmt.Fprintf(c.err, "Now sign out at this address:\n\n  %s\n\nThen see whether the session is gone, at this one:\n\n  %s\n\n", end, silent.URL)
	}
	answer, next, err := loop.Answer(ctx)
	if err != nil {
		return unhealthy{err}
	}
	next("")
	gone := answer.Get("error") == "login_required"
	return tellOutcome(c, outcome, &gone)
}

// tellOutcome prints what a relying party got and found. With failed checks the exit code is that
// of unhealthy. Gone says whether the session is, after a sign-out.
func tellOutcome(c *console, o *selftest.Outcome, gone *bool) error {
	failed := len(o.Failed())
	err := c.print(struct {
		*selftest.Outcome
		SessionGone *bool `json:"session_gone,omitempty"`
	}{o, gone}, func(w io.Writer) {
		for _, f := range o.Findings {
			if f.Passed {
				fmt.Fprintf(w, "ok    %-18s %s\n", f.Check, f.Promise)
			} else {
				fmt.Fprintf(w, "FAIL  %-18s %s\n      %s\n", f.Check, f.Promise, printable(f.Why))
			}
		}
		decoded := func(title string, v any) {
			text, err := json.MarshalIndent(v, "", "  ")
			if err == nil {
				fmt.Fprintf(w, "\n%s\n%s\n", title, text)
			}
		}
		if o.IDToken != nil {
			decoded("ID token", o.IDToken)
		}
		if o.AccessToken != nil {
			decoded("Access token", o.AccessToken)
		}
		if o.UserInfo != nil {
			decoded("Userinfo", o.UserInfo)
		}
		if gone != nil {
			fmt.Fprintf(w, "\nThe session is gone: %v\n", *gone)
		}
	})
	if err != nil {
		return err
	}
	switch {
	case failed > 0:
		return unhealthy{fmt.Errorf("a strict app would refuse this: %d of %d checks failed", failed, len(o.Findings))}
	case gone != nil && !*gone:
		return unhealthy{errors.New("the session goes on after the sign-out")}
	}
	return nil
}
