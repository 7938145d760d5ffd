package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// Authorize is the authorization endpoint (RFC 6749, 3.1; OpenID Connect Core, 3.1.2). It never
// renders a page of its own: it sends the browser to the client, to the next step, or shows why
// neither is possible.
func (o *OAuth) Authorize(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead { // it would issue a code that nobody reads
		w.Header().Set("Allow", "GET, POST")
		return refuse(http.StatusMethodNotAllowed, "invalid_request", "Use GET or POST.", nil)
	}
	params, err := readParams(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		return o.again(w, r, "/authorize", params)
	}
	if r.URL.Query().Get("cancel") != "" && params.Has("request") {
		return o.cancel(w, r, params.Get("request"))
	}
	a, err := o.readAuthorization(r, params)
	if a == nil {
		return err
	}
	if err == nil {
		err = o.decide(w, r, a, false)
	}
	if err != nil {
		return o.answerError(w, r, a, err)
	}
	return nil
}

// again turns a posted request into the same one by GET: cookies of ours are SameSite=Lax, so that
// a cross-site POST comes without them and would look like somebody who never signed in. Keeping
// the request instead would need a new flow cookie, which would cut off the browser's other tabs.
func (o *OAuth) again(w http.ResponseWriter, r *http.Request, path string, params url.Values) error {
	q := params.Encode()
	if len(q) > 14<<10 {
		return refuse(http.StatusRequestEntityTooLarge, "invalid_request", "The request is too long.", nil)
	}
	return web.See(w, r, path+"?"+q)
}

// decide asks nextStep and goes there.
func (o *OAuth) decide(w http.ResponseWriter, r *http.Request, a *authorization, consentGiven bool) error {
	facts, err := o.facts(r, a)
	if err != nil {
		return err
	}
	next, refusal := nextStep(o.question(a, facts, consentGiven))
	switch next {
	case stepLogin:
		return o.sendTo(w, r, a, "/login")
	case stepSelect:
		return o.sendTo(w, r, a, "/login/accounts")
	case stepSignUp:
		return o.sendTo(w, r, a, "/signup")
	case stepConsent:
		return o.sendTo(w, r, a, "/consent")
	case stepBarred:
		return o.barred(w, r, a, facts)
	case stepRefuse:
		return refuse(0, refusal, refusals[refusal], nil)
	}
	err = o.issueCode(w, r, a, facts)
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	// The kept request was spent by another tab, or the session ended since it was read.
	if a.keptID != "" {
		_, err := o.DB.PushedRequest(r.Context(), a.keptID)
		if errors.Is(err, storage.ErrNotFound) {
			return login.Gone(a.client)
		}
		if err != nil {
			return err
		}
	}
	return web.See(w, r, "/authorize?"+a.again().Encode())
}

// again are the parameters with which the same request can be made once more.
func (a *authorization) again() url.Values {
	switch {
	case a.unbound:
		return url.Values{"client_id": {a.client.ID}, "request_uri": {pushedURI + a.keptID}}
	case a.keptID != "":
		return url.Values{"request": {a.keptID}}
	}
	return a.sent
}

var refusals = map[string]string{
	"login_required":             "The person has to sign in.",
	"consent_required":           "The person has to be asked for consent.",
	"account_selection_required": "The person has to choose an account.",
	"access_denied":              "The person may not use this client.",
	"interaction_required":       "The person has to sign in with more than they did.",

	"unmet_authentication_requirements": "The sign-in cannot reach the class of authentication that was asked for.",
}

// facts reads what the decision is made on, and makes sure that it was about the client as it is.
func (o *OAuth) facts(r *http.Request, a *authorization) (storage.Facts, error) {
	session, err := o.sessionOf(r, a)
	if err != nil {
		return storage.Facts{}, err
	}
	facts, err := o.DB.AuthorizeFacts(r.Context(), a.client.ID, session, o.now())
	if err == nil && facts.ClientVersion == a.client.Version && facts.CatalogVersion == a.catalog.Version && !facts.ClientDisabled {
		return facts, nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return facts, err
	}
	if _, err := o.DB.CatalogAt(r.Context(), facts.CatalogVersion); err != nil {
		return facts, err
	}
	if _, err := o.judge(r, a, o.DB.Client); err != nil {
		return facts, err
	}
	return o.DB.AuthorizeFacts(r.Context(), a.client.ID, session, o.now())
}

func (o *OAuth) question(a *authorization, f storage.Facts, consentGiven bool) question {
	return question{
		Now: o.now(), Arrived: a.arrived, Session: f.Session,
		Prompt: a.prompt, MaxAge: a.maxAge, HintUserID: a.hintUserID, ACR: a.acr,
		SignUp: o.Login.SignUpOpen, Chosen: a.chosen(),
		NotNamed: !a.claims.answeredBy(a.client, f), Barred: !f.MayUse,
		ConsentGiven:  consentGiven,
		Remembered:    f.Consented && covers(f.ConsentScopes, a.consentScopes()) && covers(f.ConsentRes, a.resources),
		FirstParty:    a.client.SkipConsent && !selfRegistered(a.client),
		MustAskAlways: !identityAssured(a),
	}
}

// identityAssured says whether the answer can only reach the client itself, and somebody here knows
// who that is. Any program on the person's computer can take a native app's loopback or private-use
// redirect, so an earlier consent does not speak for whoever asks now (RFC 8252, 8.6). Of a client that
// described itself nobody has looked at anything (RFC 6749, 10.2).
func identityAssured(a *authorization) bool {
	return !selfRegistered(a.client) && !(a.client.Type == storage.ClientNative && a.client.Public() && !strings.HasPrefix(a.dest.uri, "https://"))
}

// sendTo keeps the request for this browser, if it is not kept already, and sends the browser to a
// step.
func (o *OAuth) sendTo(w http.ResponseWriter, r *http.Request, a *authorization, path string) error {
	var err error
	switch {
	case a.keptID == "":
		err = o.keep(w, r, a)
	case a.unbound:
		err = o.bindPushed(w, r, a)
	}
	if err != nil {
		return err
	}
	return web.See(w, r, path+"?request="+a.keptID)
}

func (o *OAuth) keep(w http.ResponseWriter, r *http.Request, a *authorization) error {
	network := web.ClientNetwork(r.Context())
	if wait := o.kept.wait(network, o.Now()); wait > 0 {
		return &web.Error{Status: http.StatusTooManyRequests, RetryAfter: wait, Message: "Too many sign-ins were begun from your network in the last minute. Wait a little, then try again."}
	}
	o.kept.add(network, o.Now())
	a.keptID = storage.NewID("")
	return o.DB.KeepRequest(r.Context(), storage.Request{
		ID: a.keptID, ClientID: a.client.ID, Params: a.kept(), BrowserHash: o.Login.EnsureBrowser(w, r),
		CreatedAt: a.arrived, ExpiresAt: a.arrived.Add(requestLife),
	})
}

// keptRequest finds a kept request of this browser.
func (o *OAuth) keptRequest(r *http.Request, id string) (storage.Request, error) {
	if len(id) > 64 {
		return storage.Request{}, login.Gone(nil)
	}
	kept, err := o.DB.Request(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return kept, login.Gone(nil)
	}
	if err != nil {
		return kept, err
	}
	web.Note(r.Context(), "client_id", kept.ClientID)
	mine := subtle.ConstantTimeCompare(kept.BrowserHash, o.Login.Browser(r)) == 1
	if mine && kept.ExpiresAt.After(o.now()) {
		return kept, nil
	}
	client, err := o.DB.CachedClient(r.Context(), kept.ClientID)
	if err != nil {
		client = nil // only the way back is missing then
	}
	if !mine {
		return kept, login.OtherBrowser(client)
	}
	return kept, login.Expired(client, &kept)
}

// cancel is the link "back to the app" of the sign-in page.
func (o *OAuth) cancel(w http.ResponseWriter, r *http.Request, id string) error {
	a, err := o.readAuthorization(r, url.Values{"request": {id}})
	if a == nil {
		return err
	}
	return o.deny(w, r, a)
}

// deny spends the kept request and tells the client that the person refused.
func (o *OAuth) deny(w http.ResponseWriter, r *http.Request, a *authorization) error {
	err := o.DB.SpendRequest(r.Context(), a.keptID)
	if errors.Is(err, storage.ErrNotFound) {
		return login.Gone(a.client)
	}
	if err != nil {
		return err
	}
	return o.answerError(w, r, a, refuse(0, "access_denied", "The person refused.", nil))
}

// issueCode stores the grant and answers with its code.
func (o *OAuth) issueCode(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	now := o.now()
	u := &unit{
		client: a.client, ring: o.keys.Load(), form: a.params, redirectURI: a.dest.uri,
		scopes: a.scopes, resources: a.resources, requestID: a.keptID, touch: o.Login.NextTouch(f.Session),
	}
	g, err := u.newGrant("code", now)
	if err != nil {
		return o.protocolError(err)
	}
	if err := o.describe(r.Context(), g, a, f, now, codeEnd(a.client, now)); err != nil {
		return err
	}
	ctx := withUnit(r.Context(), u)
	fr := r.Clone(ctx)
	fr.Method, fr.Form, fr.PostForm = http.MethodGet, url.Values{
		"client_id": {a.client.ID}, "redirect_uri": {a.dest.uri}, "response_type": {"code"}, "scope": {joinScopes(a.scopes)},
	}, url.Values{}
	ar, err := o.provider.NewAuthorizeRequest(ctx, fr)
	if err != nil && !errors.Is(err, fosite.ErrInvalidState) { // state is ours to keep, of any length
		return o.protocolError(err)
	}
	for _, s := range a.scopes {
		ar.GrantScope(s)
	}
	resp, err := o.provider.NewAuthorizeResponse(ctx, ar, newSession(u))
	if err != nil {
		return o.protocolError(err)
	}
	if err := u.flush(ctx, o); err != nil {
		return err
	}
	web.Note(ctx, "user_id", g.UserID)
	return o.answer(w, r, a, url.Values{"code": {resp.GetCode()}})
}

// codeEnd is until when a code of the client can be redeemed.
func codeEnd(c *storage.Client, now time.Time) time.Time {
	return now.Add(life(c.Lifetimes.Code, codeLife))
}

// describe fills a new grant from the request and the facts; its code lasts until code.
func (o *OAuth) describe(ctx context.Context, g *storage.Grant, a *authorization, f storage.Facts, now, code time.Time) (err error) {
	g.State, g.UserID, g.SessionID = storage.GrantIssued, f.User.ID, &f.Session.ID
	if g.Subject, err = o.subject(ctx, a.client, f); err != nil {
		return err
	}
	g.Scopes, g.Resources, g.Claims = a.scopes, a.resources, a.claims.single.stored()
	g.AuthTime, g.ACR, g.AMR = &f.Session.AuthTime, a.reachedACR(f.Session), f.Session.Methods
	g.Nonce, g.CodeChallenge, g.RedirectURI = a.params.Get("nonce"), a.params.Get("code_challenge"), a.params.Get("redirect_uri")
	g.CodeExpiresAt = &code
	g.Offline = slices.Contains(a.scopes, "offline_access")
	g.ExpiresAt = code.Add(longestLife(a.client, a.catalog, a.resources))
	refresh := mayRefresh(a.client, a.scopes)
	if refresh {
		_, absolute := refreshLife(a.client)
		g.ExpiresAt = now.Add(absolute)
	}
	if !g.Offline && g.ExpiresAt.After(f.Session.ExpiresAt) { // it ends with the session, and says so
		g.ExpiresAt = f.Session.ExpiresAt
	}
	if refresh {
		g.IdleExpiresAt = idleExpiry(a.client, g, now)
	}
	return nil
}

// mayRefresh: the client is registered for the grant, and the person allowed offline access, or the
// request is plain OAuth, or the client's refresh tokens end with the session.
func mayRefresh(c *storage.Client, scopes []string) bool {
	return slices.Contains(c.GrantTypes, "refresh_token") &&
		(slices.Contains(scopes, "offline_access") || !slices.Contains(scopes, "openid") || c.SessionRefresh)
}
