package selftest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"idp/admin"
	"idp/storage"
)

// fixtures are the clients and the person of one selftest. Nothing of them is left afterwards but
// the events that tell of them. Hosts below .invalid belong to nobody (RFC 6761, 6.4).
type fixtures struct {
	web, other, spa, native, machine party
	person                           storage.User
	password                         string
}

// party is a client with its credentials.
type party struct {
	credentials
	redirectURI, signedOutURI, origin string
}

// prefix begins the ids of a selftest's clients and the name of its person, so that those that a
// crash left over are found.
const prefix = "selftest-"

// leftOver is the age after which the clients of a selftest are those of one that crashed.
const leftOver = time.Hour

func (r *run) prepare() error {
	if err := r.sweep(); err != nil {
		return fmt.Errorf("remove what an earlier selftest left over: %w", err)
	}
	name := prefix + strings.ToLower(rand.Text()[:12])
	r.password = rand.Text() + rand.Text()
	var err error
	r.person, err = r.admin.CreateUser(r.ctx, admin.UserInput{Username: name, Email: name + "@selftest.invalid", EmailVerified: true, Password: r.password,
		Profile: storage.Profile{Name: "Selftest"}})
	if err != nil {
		return fmt.Errorf("make a person for the selftest: %w", err)
	}
	for _, kind := range []struct {
		party  *party
		suffix string
		preset string
	}{
		{&r.web, "-web", storage.ClientWeb}, {&r.other, "-other", storage.ClientWeb}, {&r.spa, "-spa", storage.ClientSPA},
		{&r.native, "-native", storage.ClientNative}, {&r.machine, "-machine", storage.ClientMachine},
	} {
		if err := r.client(kind.party, name+kind.suffix, kind.preset); err != nil {
			return fmt.Errorf("make a client for the selftest: %w", err)
		}
	}
	return nil
}

func (r *run) client(p *party, id, preset string) error {
	p.origin = "https://" + id + ".selftest.invalid"
	in := admin.ClientInput{ID: id, Preset: preset, Name: "Selftest"}
	if preset == storage.ClientWeb || preset == storage.ClientSPA {
		p.redirectURI, p.signedOutURI = p.origin+"/callback", p.origin+"/signed-out"
		in.RedirectURIs, in.PostLogoutRedirectURIs = []string{p.redirectURI}, []string{p.signedOutURI}
	}
	if preset == storage.ClientNative {
		p.redirectURI = "http://127.0.0.1:49152/callback"
	}
	if preset == storage.ClientMachine {
		in.Change = func(m *storage.ClientMetadata) { m.Scopes = []string{"selftest:read"} }
	}
	made, secret, err := r.admin.CreateClient(r.ctx, in)
	if err != nil {
		return err
	}
	p.credentials = credentials{made.ID, secret, made.AuthMethod}
	return nil
}

// remove takes away what prepare made, as far as it came.
func (r *run) remove(ctx context.Context) error {
	var errs []error
	for _, p := range []party{r.web, r.other, r.spa, r.native, r.machine} {
		if p.id != "" {
			errs = append(errs, gone(p.id, r.admin.DeleteClient(ctx, p.id)))
		}
	}
	if r.person.ID != "" {
		_, _, err := r.admin.DeleteUser(ctx, r.person.ID)
		errs = append(errs, gone(r.person.Username, err))
	}
	return errors.Join(errs...)
}

func gone(name string, err error) error {
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return fmt.Errorf("%s of the selftest is still there: %w", name, err)
}

// sweep removes what a selftest left that could not: it was killed, or lost the database.
func (r *run) sweep() error {
	all, err := r.admin.Clients(r.ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		name, rest, _ := strings.Cut(strings.TrimPrefix(c.ID, prefix), "-")
		if !strings.HasPrefix(c.ID, prefix) || len(name) != 12 || rest == "" || c.Name != "Selftest" || time.Since(c.CreatedAt) < leftOver {
			continue
		}
		if err := gone(c.ID, r.admin.DeleteClient(r.ctx, c.ID)); err != nil {
			return err
		}
		u, err := r.admin.User(r.ctx, prefix+name)
		if err == nil && strings.HasSuffix(u.Email, "@selftest.invalid") {
			_, _, err = r.admin.DeleteUser(r.ctx, u.ID)
		}
		if err := gone(prefix+name, err); err != nil {
			return err
		}
	}
	return nil
}

// seenAddress is where the provider thinks that the newest sign-in of the person came from.
func (r *run) seenAddress() (string, error) {
	sessions, err := r.admin.Sessions(r.ctx, r.person.ID)
	if err != nil {
		return "", err
	}
	if len(sessions) == 0 {
		return "", errors.New("the provider keeps no session of the sign-in: is this its database?")
	}
	newest := sessions[0]
	for _, s := range sessions {
		if s.AuthTime.After(newest.AuthTime) {
			newest = s
		}
	}
	return newest.IP, nil
}

// forged is an address that no request comes from (RFC 5737).
const forged = "198.51.100.7"

func forgedHeader() http.Header { return http.Header{"X-Forwarded-For": {forged}} }
