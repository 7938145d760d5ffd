package demo

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// transaction is one request to the provider that is under way.
type transaction struct {
	nonce    string
	verifier string // PKCE, RFC 7636
	logout   bool   // a sign-out, which comes back with its state alone
}

// login sends the browser to the provider. Its own parameters choose among
// the variations the home page offers; a real shop would have none. The provider's
// list of apps sends people here with iss (OpenID Connect Core, 4).
func (a *app) login(w http.ResponseWriter, r *http.Request) error {
	p, _, err := a.discover(r.Context())
	if err != nil {
		return err
	}
	choice := r.URL.Query()
	if choice.Has("iss") && choice.Get("iss") != a.Issuer {
		return &failure{
			Status:  http.StatusBadRequest,
			Title:   "This login is for another provider",
			Message: "Start again from the shop.",
			Err:     fmt.Errorf("asked to log in with %.200q", choice.Get("iss")),
		}
	}
	state := rand.Text()
	t := transaction{nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	a.transactions.put(a.browser(w, r)+" "+state, t, a.now())

	conf := a.oauth(p)
	conf.Scopes = []string{oidc.ScopeOpenID, "profile", "email"}
	if choice.Get("offline") != "no" {
		conf.Scopes = append(conf.Scopes, oidc.ScopeOfflineAccess)
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(t.nonce), oauth2.S256ChallengeOption(t.verifier)}
	for _, name := range []string{"prompt", "max_age", "acr_values", "login_hint", "response_mode", "ui_locales"} {
		if value := choice.Get(name); value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	http.Redirect(w, r, conf.AuthCodeURL(state, options...), http.StatusSeeOther)
	return nil
}

// callback takes the provider's answer, from the query or, with form_post,
// from the body. Nothing in it counts until state and iss are right.
func (a *app) callback(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxAnswerBytes)
	if err := r.ParseForm(); err != nil {
		return &failure{Status: http.StatusBadRequest, Title: "This answer cannot be read", Message: "Start again from the shop.", Err: err}
	}
	answer := r.Form
	t, ok := a.transactions.take(cookie(r, browserCookie)+" "+answer.Get("state"), a.now())
	if !ok || t.logout {
		return &failure{
			Status:  http.StatusBadRequest,
			Title:   "This login was not started here",
			Message: "Its state belongs to no login of this browser: it was used already, it is too old, or the cookie is gone. Start again from the shop.",
		}
	}
	p, ctx, err := a.discover(r.Context())
	if err != nil {
		return err
	}
	if err := a.checkIssuer(p, answer); err != nil {
		return err
	}
	if code := answer.Get("error"); code != "" {
		return a.declined(code, answer.Get("error_description"))
	}

	token, err := a.oauth(p).Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(t.verifier))
	if err != nil {
		return a.refused("exchange the code", err)
	}
	id, err := a.verify(ctx, p, token)
	if err != nil {
		return err
	}
	if id.token.Nonce != t.nonce {
		return untrusted(fmt.Errorf("ID token carries nonce %q, login sent %q", id.token.Nonce, t.nonce))
	}
	s := &session{token: token, id: id, sid: sessionOf(id.token), since: a.now()}
	s.userinfo = a.ask(ctx, p, s)

	// A new name at every login, so that nobody can plant one beforehand.
	a.sessions.take(cookie(r, sessionCookie), a.now())
	name := rand.Text()
	a.sessions.put(name, s, a.now())
	a.setCookie(w, sessionCookie, name, http.SameSiteLaxMode)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// checkIssuer compares iss with the provider we asked, so that an answer of
// another provider cannot be mistaken for its own (RFC 9207, 2.4). It holds
// for errors too.
func (a *app) checkIssuer(p *provider, answer url.Values) error {
	iss, sent := answer["iss"]
	if !sent && !p.sendsIss {
		return nil
	}
	if len(iss) == 1 && iss[0] == a.Issuer {
		return nil
	}
	return &failure{
		Status:  http.StatusBadRequest,
		Title:   "This answer comes from somebody else",
		Message: "Its iss is not the provider that the shop asked. Start again from the shop.",
		Err:     fmt.Errorf("authorization response carries iss %q, want %q", iss, a.Issuer),
	}
}

// declined explains an error response (OpenID Connect Core 1.0, 3.1.2.6). The
// provider did its work and said no, which is an ordinary answer.
func (a *app) declined(code, description string) *failure {
	type words struct{ title, message string }
	known := map[string]words{
		"access_denied":              {"You were not logged in", "You, or " + a.Brand + ", said no. Nothing was shared with the shop."},
		"login_required":             {"Nobody is signed in at " + a.Brand, "The shop asked silently, without showing a page. Log in with a page to go on."},
		"consent_required":           {a.Brand + " has to ask you first", "The shop asked silently, but you have not allowed it yet. Log in with a page to go on."},
		"interaction_required":       {a.Brand + " has to ask you something", "The shop asked silently, but a page is needed. Log in with a page to go on."},
		"account_selection_required": {"Which account?", "The shop asked silently, but you have several. Log in with a page to go on."},
		"temporarily_unavailable":    {a.Brand + " is busy", "Wait a moment, then try again."},
	}
	text := known[code]
	return &failure{
		Status:      http.StatusOK,
		Title:       cmp.Or(text.title, a.Brand+" did not log you in"),
		Message:     cmp.Or(text.message, "It answered with an error. You can try again."),
		Code:        code,
		Description: description,
	}
}
