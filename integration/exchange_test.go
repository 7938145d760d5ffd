package integration

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"idp/storage"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
	mail          = "https://mail.test"
)

// delegation is an app that has tokens for notes, and the APIs behind it: notes may act at calendar
// and at the provider, calendar at mail.
type delegation struct {
	*world
	app, notes, calendar, mail *app
	ada                        *person
	tokens                     reply // of the app, for notes
	rule                       storage.Exchange
}

func (w *world) delegation(t testing.TB, change ...func(*storage.Client)) *delegation {
	t.Helper()
	api := func(uri string, resources ...string) *app {
		return w.app(t, storage.ClientMachine, append([]func(*storage.Client){func(c *storage.Client) {
			c.GrantTypes, c.Audience, c.Resources = []string{"client_credentials", exchangeGrant}, []string{uri}, resources
			c.Scopes = []string{"openid", "email", "plan", "share"}
		}}, change...)...)
	}
	d := &delegation{world: w, notes: api(notes, calendar), calendar: api(calendar, mail), mail: api(mail), ada: w.person(t, "ada")}
	d.app = w.app(t, storage.ClientWeb, func(c *storage.Client) {
		c.Resources, c.SkipConsent = []string{notes}, true
		c.Scopes = []string{"openid", "email", "plan", "share", "secret", "offline_access"}
	})
	d.rule = d.allow(t, d.notes, notes, calendar, "plan", "share")
	d.allow(t, d.notes, notes, w.issuer, "openid", "email")
	d.allow(t, d.calendar, calendar, mail, "plan")
	_, d.tokens = d.app.signIn(w.browser(t), d.ada, "scope", "openid email plan secret offline_access", "resource", notes)
	return d
}

func (w *world) allow(t testing.TB, a *app, source, target string, scopes ...string) storage.Exchange {
	t.Helper()
	x := storage.Exchange{ID: storage.NewID("exc_"), ClientID: a.ID, Source: source, Target: target, Scopes: scopes, CreatedAt: w.now()}
	if err := w.db.CreateExchange(context.Background(), x, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	return x
}

// swap exchanges a token; more replaces or ("-") removes parameters.
func (a *app) swap(token, target string, more ...string) reply {
	a.t.Helper()
	form := url.Values{"grant_type": {exchangeGrant}, "subject_token": {token}, "subject_token_type": {accessType}, "resource": {target}}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] == "-" {
			form.Del(more[i])
		} else {
			form.Set(more[i], more[i+1])
		}
	}
	return a.token(form)
}

func TestAnAPIActsForAPersonAtAnother(t *testing.T) { // RFC 8693, 2 and 4.1
	t.Parallel()
	for _, format := range []string{"opaque", "jwt"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			for _, uri := range []string{notes, calendar, mail} {
				w.resource(t, uri, func(r *storage.Resource) { r.TokenFormat = format })
			}
			d := w.delegation(t)
			first := d.notes.swap(d.tokens.access(), calendar).ok()
			if first.text("issued_token_type") != accessType || first.text("token_type") != "Bearer" || first.text("scope") != "plan" || first.refresh() != "" || first.text("id_token") != "" {
				t.Errorf("answer %s: want an access token alone, of the scopes that both the token and the rule have", first.raw)
			}
			told := d.calendar.call("/introspect", url.Values{"token": {first.access()}}).ok()
			act, _ := told.body["act"].(map[string]any)
			if told.body["active"] != true || told.text("sub") != d.ada.ID || told.text("aud") != calendar || told.text("client_id") != d.notes.ID || act["sub"] != d.notes.ID || act["act"] != nil {
				t.Errorf("introspection %s: want ada, for whom notes acts", told.raw)
			}
			if d.mail.active(first.access()) || d.app.active(first.access()) {
				t.Error("the token is active for an API that it is not for")
			}
			second := d.calendar.swap(first.access(), "-", "resource", "-", "audience", mail).ok()
			told = d.mail.call("/introspect", url.Values{"token": {second.access()}}).ok()
			act, _ = told.body["act"].(map[string]any)
			before, _ := act["act"].(map[string]any)
			if told.text("sub") != d.ada.ID || act["sub"] != d.calendar.ID || before["sub"] != d.notes.ID {
				t.Errorf("introspection %s: want ada, for whom calendar acts, for whom notes acts", told.raw)
			}
			if format == "jwt" {
				if _, c := claims(t, second.access()); c["aud"] != mail || c["act"].(map[string]any)["sub"] != d.calendar.ID {
					t.Errorf("claims %v", c)
				}
			}
			info := d.notes.swap(d.tokens.access(), w.issuer).ok()
			if r := w.send(t, "GET", "/userinfo", bearerHeader(info.access()), "").ok(); r.text("sub") != d.ada.ID || r.text("email") != d.ada.Email || r.text("name") != "" {
				t.Errorf("userinfo %s", r.raw)
			}
			if w.events(t, d.ada.ID, "token.exchanged") != 3 {
				t.Error("not every exchange has its event")
			}
			// What it hangs on ends: so does it, at once.
			d.app.call("/revoke", url.Values{"token": {d.tokens.refresh()}}).ok()
			if d.calendar.active(first.access()) || d.mail.active(second.access()) {
				t.Error("an exchanged token counts although the first grant was revoked")
			}
			w.send(t, "GET", "/userinfo", bearerHeader(info.access()), "").fails(401, "invalid_token")
			d.notes.swap(d.tokens.access(), calendar).fails(400, "invalid_request")
			d.calendar.swap(first.access(), mail).fails(400, "invalid_request")
		})
	}
}

func TestAnExchangedTokenEndsWithWhatItHangsOn(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, d *delegation, first string){
		"the person is suspended": func(t *testing.T, d *delegation, _ string) {
			if _, err := d.db.SetUserState(t.Context(), d.ada.ID, storage.UserSuspended, d.now(), storage.Event{}); err != nil {
				t.Fatal(err)
			}
		},
		"the token is revoked": func(t *testing.T, d *delegation, _ string) {
			d.app.call("/revoke", url.Values{"token": {d.tokens.access()}}).ok()
		},
		"the token between is revoked": func(t *testing.T, d *delegation, first string) {
			d.notes.call("/revoke", url.Values{"token": {first}}).ok()
		},
		"the app is disabled": func(t *testing.T, d *delegation, _ string) {
			d.updateClient(t, d.app, func(c *storage.Client) { now := d.now(); c.DisabledAt = &now })
		},
		"the API between is disabled": func(t *testing.T, d *delegation, _ string) {
			d.updateClient(t, d.notes, func(c *storage.Client) { now := d.now(); c.DisabledAt = &now })
		},
		"the app is gone": func(t *testing.T, d *delegation, _ string) {
			if err := d.db.DeleteClient(t.Context(), d.app.ID, d.now(), storage.Event{}); err != nil {
				t.Fatal(err)
			}
		},
		"the app is for a group only": func(t *testing.T, d *delegation, _ string) {
			d.updateClient(t, d.app, func(c *storage.Client) { c.AccessGroups = []string{"grp_of_nobody"} })
		},
		"the rule between is revoked": func(t *testing.T, d *delegation, _ string) {
			if err := d.db.DeleteExchange(t.Context(), d.rule.ID, d.now(), storage.Event{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t).delegation(t)
			first := d.notes.swap(d.tokens.access(), calendar).ok().access()
			second := d.calendar.swap(first, mail).ok().access()
			if !d.mail.active(second) {
				t.Fatal("the token does not count to begin with")
			}
			end(t, d, first)
			if d.mail.active(second) {
				t.Error("the token still counts")
			}
		})
	}
}

func TestAnExchangedTokenEndsWithTheSession(t *testing.T) {
	t.Parallel()
	d := start(t).delegation(t)
	b := d.browser(t)
	_, tokens := d.app.signIn(b, d.ada, "scope", "openid plan", "resource", notes)
	first := d.notes.swap(tokens.access(), calendar).ok().access()
	b.get("/logout").submit(nil).at("/logout/done")
	if d.calendar.active(first) {
		t.Error("the token counts although the session is over")
	}
}

func TestAnExchangedTokenDoesNotOutliveItsOwn(t *testing.T) {
	t.Parallel()
	d := start(t).delegation(t)
	d.resource(t, calendar, func(r *storage.Resource) { r.TokenLife = 7200 })
	d.clock.advance(9 * time.Minute)
	r := d.notes.swap(d.tokens.access(), calendar).ok()
	if left := r.body["expires_in"].(float64); left > 60 || left < 30 {
		t.Errorf("expires_in = %v, want what is left of the minute of the first token", left)
	}
	d.clock.advance(61 * time.Second)
	if d.calendar.active(r.access()) {
		t.Error("it outlives the token it was made of")
	}
	d.notes.swap(d.tokens.access(), calendar).fails(400, "invalid_request")
}

func TestWhatNobodyAllowedIsNotExchanged(t *testing.T) { // RFC 8693, 2.2.2
	t.Parallel()
	w := start(t)
	d := w.delegation(t)
	access := d.tokens.access()
	public := w.app(t, storage.ClientNative)
	_, elsewhere := d.app.signIn(w.browser(t), d.ada, "scope", "openid plan") // for userinfo
	before := w.grants(t)
	for name, tc := range map[string]struct {
		r    reply
		code string
	}{
		"no subject token":            {d.notes.swap("", calendar), "invalid_request"},
		"garbage":                     {d.notes.swap("idp_at_x", calendar), "invalid_request"},
		"a refresh token":             {d.notes.swap(d.tokens.refresh(), calendar), "invalid_request"},
		"an ID token":                 {d.notes.swap(d.tokens.text("id_token"), calendar), "invalid_request"},
		"no type":                     {d.notes.swap(access, calendar, "subject_token_type", "-"), "invalid_request"},
		"another type":                {d.notes.swap(access, calendar, "subject_token_type", strings.Replace(accessType, "access", "refresh", 1)), "invalid_request"},
		"another token asked for":     {d.notes.swap(access, calendar, "requested_token_type", strings.Replace(accessType, "access", "refresh", 1)), "invalid_request"},
		"an actor token":              {d.notes.swap(access, calendar, "actor_token", access, "actor_token_type", accessType), "invalid_request"},
		"a token for the provider":    {d.notes.swap(elsewhere.access(), calendar), "invalid_request"},
		"an API that it was not sent": {d.calendar.swap(access, mail), "invalid_request"},
		"no target":                   {d.notes.swap(access, calendar, "resource", "-"), "invalid_target"},
		"two targets":                 {d.notes.swap(access, calendar, "audience", mail), "invalid_target"},
		"a target without a rule":     {d.notes.swap(access, mail), "invalid_target"},
		"its own":                     {d.notes.swap(access, notes), "invalid_target"},
		"an unknown target":           {d.notes.swap(access, "https://nowhere.test"), "invalid_target"},
		"a scope the token has not":   {d.notes.swap(access, calendar, "scope", "share"), "invalid_scope"},
		"a scope the rule has not":    {d.notes.swap(access, calendar, "scope", "secret"), "invalid_scope"},
		"the provider without openid": {d.notes.swap(access, w.issuer, "scope", "email"), "invalid_scope"},
		"an API without the grant":    {d.app.swap(access, calendar), "unauthorized_client"},
		"an app that keeps no secret": {public.swap(access, calendar), "unauthorized_client"},
		"a malformed scope":           {d.notes.swap(access, calendar, "scope", "plan\"x"), "invalid_scope"},
	} {
		if tc.r.status != 400 || tc.r.text("error") != tc.code {
			t.Errorf("%s: %d %s, want 400 %s", name, tc.r.status, tc.r.raw, tc.code)
		}
	}
	// A rule for the tokens of one client is none for those of another.
	if err := w.db.DeleteExchange(t.Context(), d.rule.ID, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	d.rule.ID, d.rule.SubjectClient = storage.NewID("exc_"), public.ID
	if err := w.db.CreateExchange(t.Context(), d.rule, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	d.notes.swap(access, calendar).fails(400, "invalid_target")
	// Nor does it help somebody who may not use the API that exchanges.
	d.allow(t, d.notes, notes, calendar, "plan")
	d.updateClient(t, d.notes, func(c *storage.Client) { c.AccessGroups = []string{"grp_of_nobody"} })
	d.notes.swap(access, calendar).fails(400, "invalid_request")
	if got := w.grants(t); got != before {
		t.Errorf("%d grants were made by what was refused", got-before)
	}
}

func TestDelegationHasAnEnd(t *testing.T) {
	t.Parallel()
	w := start(t)
	d := w.delegation(t)
	self := w.app(t, storage.ClientMachine, func(c *storage.Client) {
		c.GrantTypes, c.Audience, c.Resources, c.Scopes = []string{exchangeGrant}, []string{notes}, []string{notes}, []string{"plan"}
	})
	w.allow(t, self, notes, notes, "plan")
	token, times := d.tokens.access(), 0
	for ; times < 10; times++ {
		r := self.swap(token, notes)
		if r.status != 200 {
			r.fails(400, "invalid_request")
			break
		}
		token = r.access()
	}
	if times < 2 || times > 4 {
		t.Errorf("a token was exchanged %d times in a row", times)
	}
}

func TestAnExchangeTellsAPairwiseAPIItsOwnName(t *testing.T) {
	t.Parallel()
	d := start(t).delegation(t, func(c *storage.Client) {
		if slices.Contains(c.Audience, notes) {
			c.SubjectType, c.RedirectURIs = "pairwise", []string{"https://notes-app.test/cb"}
		}
	})
	token := d.notes.swap(d.tokens.access(), calendar).ok().access()
	if sub := d.calendar.call("/introspect", url.Values{"token": {token}}).ok().text("sub"); !strings.HasPrefix(sub, storage.PairwisePrefix) {
		t.Errorf("sub = %q, want the name that the exchanging client knows ada by", sub)
	}
}

func TestTheCommandLineAllowsAnExchange(t *testing.T) {
	w := startProcesses(t, 2)
	d := w.delegation(t)
	d.notes.swap(d.tokens.access(), calendar).ok()
	w.idp(t, &map[string]string{}, "exchange", "revoke", d.rule.ID)
	for range 4 {
		w.transport.CloseIdleConnections()
		d.notes.swap(d.tokens.access(), calendar).fails(400, "invalid_target")
	}
	var made storage.Exchange
	w.idp(t, &made, "exchange", "allow", "--client", d.notes.ID, "--from", notes, "--to", calendar+"/", "--scope", "plan", "--of", d.app.ID)
	token := d.notes.swap(d.tokens.access(), calendar).ok().access()
	if made.Target != calendar || !d.calendar.active(token) {
		t.Errorf("allowed %+v", made)
	}
	w.idp(t, &map[string]string{}, "exchange", "revoke", made.ID)
	if d.calendar.active(token) {
		t.Error("the token counts although its rule is revoked")
	}
	var list []storage.Exchange
	if w.idp(t, &list, "exchange", "list"); len(list) != 2 {
		t.Errorf("list %+v", list)
	}
}
