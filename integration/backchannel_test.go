package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"idp/oauth"
	"idp/storage"
)

// party is somebody's application as far as back-channel logout goes: it takes logout tokens on
// loopback and answers as it is told to.
type party struct {
	*app
	server  *httptest.Server
	mu      sync.Mutex
	tokens  []string
	status  int           // of its answers; 0 is 200
	hanging chan struct{} // answers wait until it is closed
	arrived chan string   // each token as it comes
}

func (w *world) party(t testing.TB, kind string, change ...func(*storage.Client)) *party {
	t.Helper()
	p := &party{arrived: make(chan string, 100)}
	p.server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.URL.RequestURI() != "/out?tenant=1" {
			t.Errorf("a sign-out comes as %s %s %v", r.Method, r.URL, r.Header)
		}
		if err := r.ParseForm(); err != nil || len(r.PostForm) != 1 {
			t.Errorf("form %v, %v", r.PostForm, err)
		}
		p.mu.Lock()
		p.tokens = append(p.tokens, r.PostForm.Get("logout_token"))
		status, hanging := p.status, p.hanging
		p.mu.Unlock()
		p.arrived <- r.PostForm.Get("logout_token")
		if hanging != nil {
			select {
			case <-hanging:
			case <-r.Context().Done():
			}
		}
		if status != 0 {
			out.WriteHeader(status)
		}
	}))
	t.Cleanup(p.server.Close)
	p.app = w.app(t, kind, append([]func(*storage.Client){func(c *storage.Client) { c.BackchannelLogoutURI = p.server.URL + "/out?tenant=1" }}, change...)...)
	return p
}

func (p *party) answer(status int, hanging chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.hanging = status, hanging
}

// got are the tokens since the last time.
func (p *party) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	tokens := p.tokens
	p.tokens = nil
	return tokens
}

// one gives the one token that has come.
func (p *party) one(t testing.TB, why string) string {
	t.Helper()
	tokens := p.got()
	if len(tokens) != 1 {
		t.Fatalf("%s: %d logout tokens came, want 1", why, len(tokens))
	}
	return tokens[0]
}

// verify checks a logout token as strict relying parties do (OpenID Connect Back-Channel Logout, 2.6).
func (p *party) verify(t testing.TB, raw, idToken string) {
	t.Helper()
	w := p.w
	ctx := oidc.ClientContext(context.Background(), &http.Client{Transport: w.transport})
	provider, err := oidc.NewProvider(ctx, w.issuer)
	if err != nil {
		t.Fatal(err)
	}
	token, err := provider.Verifier(&oidc.Config{ClientID: p.ID, Now: w.clock.now, SupportedSigningAlgs: []string{p.IDTokenAlg}}).Verify(ctx, raw)
	if err != nil {
		t.Fatalf("logout token: %v", err)
	}
	header, all := claims(t, raw)
	_, id := claims(t, idToken)
	if header["typ"] != "logout+jwt" || header["alg"] != p.IDTokenAlg || header["kid"] == nil {
		t.Errorf("header %v", header)
	}
	if got := strings.Join(names(all), " "); got != "aud events exp iat iss jti sid sub" {
		t.Errorf("claims %s", got)
	}
	if all["sub"] != id["sub"] || all["sid"] != id["sid"] || all["sid"] == "" || token.Subject != id["sub"] {
		t.Errorf("sub %v and sid %v, want those of the ID token: %v, %v", all["sub"], all["sid"], id["sub"], id["sid"])
	}
	events, _ := json.Marshal(all["events"])
	if string(events) != `{"http://schemas.openid.net/event/backchannel-logout":{}}` {
		t.Errorf("events %s", events)
	}
	if life := token.Expiry.Sub(token.IssuedAt); life <= 0 || life > 2*time.Minute {
		t.Errorf("it lives %v, want 2 minutes at most", life)
	}
	if age := w.now().Sub(token.IssuedAt); age > 10*time.Second {
		t.Errorf("it was issued %v ago: it must be made for each attempt", age)
	}
}

func TestSigningOutTellsEveryClientOfTheSession(t *testing.T) { // conformance 106
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	var parties []*party
	var ids []string
	for i, alg := range []string{"RS256", "ES256", "PS256", "EdDSA"} {
		p := w.party(t, []string{storage.ClientWeb, storage.ClientSPA}[i%2], func(c *storage.Client) { c.IDTokenAlg = alg })
		_, tokens := p.signIn(b, ada)
		parties, ids = append(parties, p), append(ids, tokens.text("id_token"))
	}
	elsewhere, silent := w.party(t, storage.ClientWeb), w.app(t, storage.ClientWeb)
	elsewhere.signIn(w.browser(t), ada)
	silent.signIn(b, ada)
	b.get("/logout").at("/logout").submit(nil).at("/logout/done")
	deliver()
	sids, jtis := map[any]bool{}, map[any]bool{}
	for i, p := range parties {
		token := p.one(t, p.IDTokenAlg)
		p.verify(t, token, ids[i])
		_, all := claims(t, token)
		sids[all["sid"]], jtis[all["jti"]] = true, true
		if n := w.events(t, ada.ID, "backchannel.delivered"); n != len(parties) {
			t.Errorf("%d events of deliveries, want %d", n, len(parties))
		}
		if got := b.get(p.begin("prompt", "none").url()).answer().Get("error"); got != "login_required" { // conformance 105
			t.Errorf("prompt=none: %q, want login_required", got)
		}
	}
	if len(sids) != len(parties) || len(jtis) != len(parties) {
		t.Errorf("%d different sids and %d different jtis, want %d: clients must not be able to match them", len(sids), len(jtis), len(parties))
	}
	if len(elsewhere.got()) != 0 {
		t.Error("a client of another session was told")
	}
	deliver()
	for _, p := range parties {
		if len(p.got()) != 0 {
			t.Error("a client was told twice")
		}
	}
}

func TestEverythingThatEndsASessionTellsTheClient(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ctx := context.Background()
	for name, end := range map[string]func(b *browser, who *person, p *party, tokens reply){
		"suspension": func(_ *browser, who *person, _ *party, _ reply) {
			w.db.SetUserState(ctx, who.ID, storage.UserSuspended, w.now(), storage.Event{})
		},
		"deletion": func(_ *browser, who *person, _ *party, _ reply) {
			w.db.SetUserState(ctx, who.ID, storage.UserDeleted, w.now(), storage.Event{})
		},
		"operator": func(_ *browser, who *person, _ *party, _ reply) {
			w.db.RevokeUser(ctx, who.ID, w.now(), storage.Event{})
		},
		"new password in another browser": func(_ *browser, who *person, _ *party, _ reply) {
			other := w.browser(t)
			other.get("/login").submit(map[string]string{"username": who.Username, "password": who.Password}).at("/account")
			other.get("/account/security").submit(map[string]string{"password": who.Password, "new_password": "seven quiet herons at dusk"}).at("/account/security")
		},
		"access removed": func(b *browser, _ *person, p *party, _ reply) {
			b.post("/account/apps", url.Values{"client": {p.ID}}).at("/account/apps")
		},
		"sign-out by another app": func(b *browser, who *person, _ *party, _ reply) {
			_, tokens := w.app(t, storage.ClientWeb).signIn(b, who)
			b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}}.Encode()).at("/logout/done")
		},
		"sign-out by itself": func(b *browser, _ *person, _ *party, tokens reply) {
			b.get("/logout?" + url.Values{"id_token_hint": {tokens.text("id_token")}}.Encode()).at("/logout/done")
		},
	} {
		p, who, b := w.party(t, storage.ClientWeb), w.person(t, strings.ReplaceAll(name, " ", "-")), w.browser(t)
		_, tokens := p.signIn(b, who)
		end(b, who, p, tokens)
		deliver()
		p.verify(t, p.one(t, name), tokens.text("id_token"))
	}
}

func TestAClientThatIsAwayIsToldWhenItIsBack(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b, p := w.person(t, "ada"), w.browser(t), w.party(t, storage.ClientWeb)
	_, tokens := p.signIn(b, ada)
	p.answer(503, nil)
	b.get("/logout").submit(nil)
	deliver()
	first := p.one(t, "at once")
	deliver()
	if len(p.got()) != 0 {
		t.Error("a second try without a pause")
	}
	if page := b.get("/logout/done"); !strings.Contains(page.body, `id="untold"`) || strings.Contains(page.body, `id="told"`) {
		t.Errorf("the signed-out page does not say that an app could not be told:\n%s", page.body)
	}
	for try := range 6 {
		w.clock.advance((10 << try) * time.Second)
		deliver()
		if len(p.got()) != 1 {
			t.Fatalf("no try number %d", try+2)
		}
	}
	var states []struct {
		ID        string    `json:"client_id"`
		Pending   int       `json:"pending"`
		Attempts  int       `json:"attempts"`
		LastError string    `json:"last_error"`
		Since     time.Time `json:"waiting_since"`
		Next      time.Time `json:"next_try_at"`
	}
	w.idp(t, &states, "outbox", "status")
	if len(states) != 1 || states[0].ID != p.ID || states[0].Pending != 1 || states[0].Attempts != 7 || states[0].LastError != "status 503" || !states[0].Next.After(states[0].Since) {
		t.Errorf("what an operator sees: %+v", states)
	}
	p.answer(204, nil)
	w.clock.advance(time.Hour)
	deliver()
	last := p.one(t, "when it is back")
	p.verify(t, last, tokens.text("id_token"))
	_, a := claims(t, first)
	_, z := claims(t, last)
	if a["jti"] == z["jti"] {
		t.Error("two attempts have one jti: a strict client refuses the second as a replay")
	}
	if n := w.events(t, ada.ID, "backchannel.delivered"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestARefusalIsFinalAndADayIsEnoughUntilAnOperatorSaysOtherwise(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	refuses, away := w.party(t, storage.ClientWeb), w.party(t, storage.ClientWeb)
	refuses.answer(400, nil)
	away.answer(302, nil) // a redirect is not followed, and is no success
	refuses.signIn(b, ada)
	away.signIn(b, ada)
	b.get("/logout").submit(nil)
	tries := 0
	for range 60 {
		deliver()
		tries += len(away.got())
		w.clock.advance(75 * time.Minute)
	}
	if n := len(refuses.got()); n != 1 {
		t.Errorf("400 was tried %d times, want once", n)
	}
	if tries < 20 || tries > 40 {
		t.Errorf("%d tries, want about 33", tries)
	}
	if n := w.events(t, ada.ID, "backchannel.failed"); n != 2 {
		t.Errorf("%d events of failures, want 2", n)
	}
	var failed []struct {
		ID        string `json:"id"`
		ClientID  string `json:"client_id"`
		LastError string `json:"last_error"`
	}
	w.idp(t, &failed, "outbox", "list", "--failed", "--client", away.ID)
	if len(failed) != 1 || failed[0].ClientID != away.ID || failed[0].LastError != "status 302" {
		t.Fatalf("failed: %+v", failed)
	}
	w.idp(t, &struct{}{}, "outbox", "retry", failed[0].ID)
	away.answer(200, nil)
	deliver()
	away.one(t, "after the operator's wish")
	if len(refuses.got()) != 0 {
		t.Error("another message was sent again")
	}
	w.idp(t, &struct{}{}, "outbox", "retry", "--all-failed")
	deliver()
	refuses.one(t, "after the operator's wish for all")
}

func TestAClientThatChangedIsToldAtItsNewAddressOrNotAtAll(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	moved, disabled, deleted, unlisted := w.party(t, storage.ClientWeb), w.party(t, storage.ClientWeb), w.party(t, storage.ClientWeb), w.party(t, storage.ClientWeb)
	target := w.party(t, storage.ClientWeb)
	for _, p := range []*party{moved, disabled, deleted, unlisted} {
		p.signIn(b, ada)
	}
	b.get("/logout").submit(nil)
	w.updateClient(t, moved.app, func(c *storage.Client) { c.BackchannelLogoutURI = target.BackchannelLogoutURI })
	w.updateClient(t, disabled.app, func(c *storage.Client) { now := w.now(); c.DisabledAt = &now })
	w.updateClient(t, unlisted.app, func(c *storage.Client) { c.BackchannelLogoutURI = "" })
	if err := w.db.DeleteClient(context.Background(), deleted.ID, w.now(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	deliver()
	target.one(t, "the new address")
	for _, p := range []*party{moved, disabled, deleted, unlisted} {
		if len(p.got()) != 0 {
			t.Error("an address that is not the client's any more was called")
		}
	}
	w.clock.advance(time.Hour)
	var pending []any
	w.idp(t, &pending, "outbox", "list", "--pending")
	if len(pending) != 0 {
		t.Errorf("pending: %v, want nothing", pending)
	}
}

func TestAnAddressInsideIsNeverCalled(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b := w.person(t, "ada"), w.browser(t)
	p := w.party(t, storage.ClientWeb)
	// localhost is not what the operator has allowed, 127.0.0.1 is.
	w.updateClient(t, p.app, func(c *storage.Client) {
		c.BackchannelLogoutURI = strings.Replace(c.BackchannelLogoutURI, "127.0.0.1", "[::1]", 1)
	})
	for _, uri := range []string{"https://169.254.169.254/latest", "https://10.0.0.1/out"} {
		a := w.app(t, storage.ClientWeb, func(c *storage.Client) { c.BackchannelLogoutURI = uri })
		a.signIn(b, ada)
	}
	p.signIn(b, ada)
	b.get("/logout").submit(nil)
	deliver()
	if len(p.got()) != 0 {
		t.Error("it was called")
	}
	var states []struct {
		LastError string `json:"last_error"`
	}
	w.idp(t, &states, "outbox", "status")
	if len(states) != 3 {
		t.Fatalf("%+v", states)
	}
	for _, s := range states {
		if !strings.Contains(s.LastError, "IDP_OUTBOUND_ALLOW") {
			t.Errorf("what an operator reads does not name the mend: %q", s.LastError)
		}
	}
}

func TestASlowClientDoesNotHoldUpTheSignOutNorTheOthers(t *testing.T) {
	t.Parallel()
	w := startProcesses(t, 1)
	ada, b := w.person(t, "ada"), w.browser(t)
	slow, quick := w.party(t, storage.ClientWeb), w.party(t, storage.ClientWeb)
	hang := make(chan struct{})
	defer close(hang)
	slow.answer(200, hang)
	slow.signIn(b, ada)
	quick.signIn(b, ada)
	began := time.Now()
	b.get("/logout").submit(nil).at("/logout/done")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the sign-out took %v", took)
	}
	for _, p := range []*party{slow, quick} {
		select {
		case <-p.arrived:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told")
		}
	}
	// While the slow one hangs, a sign-out in another browser is told.
	b = w.browser(t)
	quick.signIn(b, ada)
	b.get("/logout").submit(nil)
	select {
	case <-quick.arrived:
	case <-time.After(4 * time.Second): // the slow one hangs for 5
		t.Error("the next sign-out waits for the slow client")
	}
}

func TestWhatAKilledProcessHadTakenIsDeliveredByAnother(t *testing.T) {
	t.Parallel()
	w := startProcesses(t, 1)
	address := freeAddress(t)
	victim := w.startProcess(t, address)
	w.replicas = append(w.replicas, address)
	ada, b, p := w.person(t, "ada"), w.browser(t), w.party(t, storage.ClientWeb)
	_, tokens := p.signIn(b, ada)
	hang := make(chan struct{})
	p.answer(200, hang)
	w.only.Store(2) // the sign-out goes to the victim, which delivers at once what it has written
	w.transport.CloseIdleConnections()
	b.get("/logout").submit(nil)
	<-p.arrived
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.answer(200, nil)
	close(hang)
	w.only.Store(1)
	w.transport.CloseIdleConnections()
	p.got()
	select {
	case token := <-p.arrived:
		p.verify(t, token, tokens.text("id_token"))
	case <-time.After(40 * time.Second):
		t.Fatal("the sign-out was lost with the process")
	}
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		if w.events(t, ada.ID, "backchannel.delivered") == 1 {
			return
		}
		time.Sleep(20 * time.Millisecond) // polling another process
	}
	t.Error("the delivery is not written down")
}

func TestWhatTheCommandLineEndsIsToldByARunningServer(t *testing.T) {
	t.Parallel()
	w := startProcesses(t, 1)
	for _, command := range [][]string{{"user", "suspend"}, {"user", "revoke"}} {
		p, who := w.party(t, storage.ClientWeb), w.person(t, command[1])
		_, tokens := p.signIn(w.browser(t), who)
		w.idp(t, &struct{}{}, append(command, who.Username)...)
		select {
		case token := <-p.arrived:
			p.verify(t, token, tokens.text("id_token"))
		case <-time.After(15 * time.Second):
			t.Errorf("%v: the app was not told", command)
		}
	}
}

func TestAnAppThatSignedSomebodyInAgainIsNotToldOfBefore(t *testing.T) {
	t.Parallel()
	w, deliver := startWithJobs(t)
	ada, b, p := w.person(t, "ada"), w.browser(t), w.party(t, storage.ClientWeb)
	p.signIn(b, ada)
	p.answer(503, nil)
	b.post("/account/apps", url.Values{"client": {p.ID}}).at("/account/apps")
	deliver()
	p.one(t, "at once")
	w.clock.advance(time.Minute)
	p.signIn(b, ada) // with the same sid as before: the session is the same
	p.answer(200, nil)
	w.clock.advance(time.Hour)
	deliver()
	if n := len(p.got()); n != 0 {
		t.Errorf("%d logout tokens would end the new sign-in", n)
	}
	b.get("/logout").submit(nil)
	deliver()
	p.one(t, "at the end of the session")
}

func TestOnlyAddressesThatCanWorkAreRegistered(t *testing.T) { // conformance 29
	t.Parallel()
	w := start(t)
	c := *w.app(t, storage.ClientWeb).Client
	try := func(back, front string) error {
		c.BackchannelLogoutURI, c.FrontchannelLogoutURI = back, front
		return oauth.CheckClient(&c)
	}
	for _, uri := range []string{"https://rp.test/out", "https://rp.test:8443/out?x=1", "http://localhost:3000/out", "http://127.0.0.1/out", "http://[::1]:1/out"} {
		if err := try(uri, ""); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
	for _, uri := range []string{"http://rp.test/out", "https://rp.test/out#x", "https://u@rp.test/", "ftp://rp.test", "javascript:alert(1)", "/out", "https://", "https:rp.test", "https://rp.test/" + strings.Repeat("x", 2048)} {
		if err := try(uri, ""); err == nil {
			t.Errorf("%.60s is accepted", uri)
		}
	}
	for uri, ok := range map[string]bool{
		"https://rp.test/front": true, "https://rp.test/front?x=1": true, "https://RP.test/front": true,
		"https://rp.test:8443/front": false, "https://www.rp.test/front": false, "http://rp.test/front": false, "https://rp.test/front?sid=1": false, "https://rp.test/#": false,
	} {
		if err := try("", uri); (err == nil) != ok {
			t.Errorf("front-channel %s: %v, want %v", uri, err, ok)
		}
	}
	doc := w.send(t, "GET", "/.well-known/openid-configuration", nil, "").ok()
	for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported", "frontchannel_logout_supported", "frontchannel_logout_session_supported"} {
		if doc.body[name] != true {
			t.Errorf("%s = %v", name, doc.body[name])
		}
	}
}
