package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// authorization is one authorization request, checked.
type authorization struct {
	client      *storage.Client
	params      url.Values
	dest        destination
	scopes      []string
	resources   []string
	prompt      []string
	maxAge      *int
	hintSubject string
	keptID      string    // of the kept request; "" when it came directly
	arrived     time.Time // when it first came
}

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

// readAuthorization checks a request that came directly, or takes one that was kept. Without a
// client and a redirect URI that are known good it returns no authorization, and the error is for
// the person; with one, the error is for the client.
func (o *OAuth) readAuthorization(r *http.Request, params url.Values) (*authorization, error) {
	a := &authorization{params: authorizationParams(params), arrived: o.now()}
	if params.Has("request") && !params.Has("client_id") {
		kept, err := o.keptRequest(r, params.Get("request"))
		if err != nil {
			return nil, err
		}
		a.params, a.keptID, a.arrived = kept.Params, kept.ID, kept.CreatedAt
	}
	web.Note(r.Context(), "client_id", a.params.Get("client_id"))
	good, err := o.judge(r, a, o.DB.CachedClient)
	if err != nil && a.client != nil && !storage.Unavailable(err) {
		// What is refused may have been allowed since this process last read the client.
		cached := a.client.Version
		fresh := *a
		if good, again := o.judge(r, &fresh, o.DB.Client); fresh.client == nil || fresh.client.Version != cached {
			*a = fresh
			return known(a, good), again
		}
	}
	return known(a, good), err
}

func known(a *authorization, good bool) *authorization {
	if !good {
		return nil
	}
	return a
}

// judge finds the client and checks the request against it. Good means that the client may be
// answered, be it with the error.
func (o *OAuth) judge(r *http.Request, a *authorization, find func(context.Context, string) (*storage.Client, error)) (good bool, err error) {
	if err := o.findClient(r, a, find); err != nil {
		return false, err
	}
	return true, o.checkAuthorization(a)
}

// authorizationParams are those that an authorization request is made of; nothing else is kept.
func authorizationParams(params url.Values) url.Values {
	kept := url.Values{}
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"prompt", "max_age", "display", "ui_locales", "claims_locales", "login_hint", "id_token_hint", "acr_values", "resource",
		"request", "request_uri", "registration",
	} {
		if params.Has(name) {
			kept[name] = params[name]
		}
	}
	return kept
}

func (o *OAuth) findClient(r *http.Request, a *authorization, find func(context.Context, string) (*storage.Client, error)) error {
	id := a.params.Get("client_id")
	a.client = nil
	unknown := &web.Error{Status: http.StatusBadRequest, Code: "invalid_client",
		Message: "The app that sent you here is not known to us, or it is switched off. Tell whoever runs the app; there is nothing you can mend yourself."}
	if id == "" {
		return &web.Error{Status: http.StatusBadRequest, Code: "invalid_request",
			Message: "The app that sent you here did not say who it is (client_id is missing). Go back to the app and try again."}
	}
	client, err := find(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return err
	}
	a.client = client
	if client.DisabledAt != nil {
		return unknown
	}
	uri := a.params.Get("redirect_uri")
	if uri == "" && len(client.RedirectURIs) == 1 && !slices.Contains(words(a.params.Get("scope")), "openid") {
		uri = client.RedirectURIs[0] // RFC 6749, 3.1.2.3; OpenID Connect requires the parameter
	}
	if uri == "" || !redirectMatches(client, uri) {
		return &web.Error{Status: http.StatusBadRequest, Code: "invalid_request",
			Message: "The app sent a return address that isn't registered for it, so we stopped here. Tell whoever runs the app: the redirect_uri must be exactly one of those registered.",
			Err:     fmt.Errorf("redirect_uri %.200q is not registered", a.params.Get("redirect_uri"))}
	}
	a.dest = destination{uri: uri, mode: "query", state: a.params.Get("state")}
	if a.params.Get("response_mode") == "form_post" && origin(uri) != "" {
		a.dest.mode = "form_post"
	}
	return nil
}

// checkAuthorization checks everything that the client may be told about by redirect.
func (o *OAuth) checkAuthorization(a *authorization) error {
	p := a.params
	switch {
	case p.Has("request"):
		return refuse(0, "request_not_supported", "Request objects are not offered.", nil)
	case p.Has("request_uri"):
		return refuse(0, "request_uri_not_supported", "request_uri is not offered.", nil)
	case p.Has("registration"):
		return refuse(0, "registration_not_supported", "registration is not offered.", nil)
	case !p.Has("response_type"):
		return refuse(0, "invalid_request", "The parameter response_type is missing.", nil)
	case p.Get("response_type") != "code":
		return refuse(0, "unsupported_response_type", "Only response_type=code is offered.", nil)
	case !slices.Contains(a.client.GrantTypes, "authorization_code"):
		return refuse(0, "unauthorized_client", "This client may not use the authorization_code grant.", nil)
	case p.Has("response_mode") && p.Get("response_mode") != "query" && a.dest.mode == "query":
		return refuse(0, "invalid_request", "This response_mode is not offered, or not for this redirect URI.", nil)
	}
	for _, check := range []func(*authorization) error{checkPKCE, checkPrompt, checkMaxAge, checkScope, checkResource} {
		if err := check(a); err != nil {
			return err
		}
	}
	a.hintSubject = p.Get(keptHint) // of a kept request: verified when it came
	if p.Has("id_token_hint") {
		a.hintSubject = o.hintSubject(p.Get("id_token_hint"))
	}
	return nil
}

// keptHint stands for id_token_hint in kept requests: whom it named, and none of its claims.
const keptHint = "hint_subject"

// checkPKCE: S256 only, for every client but confidential ones with the named relaxation (RFC 7636;
// RFC 9700, 2.1.1).
func checkPKCE(a *authorization) error {
	challenge, method := a.params.Get("code_challenge"), a.params.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "" && a.client.PKCEOptional && !a.client.Public():
		return nil
	case challenge == "":
		return refuse(0, "invalid_request", "PKCE is required: send code_challenge with code_challenge_method=S256.", nil)
	case method != "S256":
		return refuse(0, "invalid_request", "Only code_challenge_method=S256 is offered.", nil)
	case len(challenge) != 43 || strings.ContainsAny(challenge, ".~") || !unreserved(challenge):
		return refuse(0, "invalid_request", "code_challenge is not the base64url form of a SHA-256 hash.", nil)
	}
	return nil
}

func checkPrompt(a *authorization) error {
	a.prompt = words(a.params.Get("prompt")) // unknown values are ignored: extensions
	if slices.Contains(a.prompt, "none") && len(a.prompt) > 1 {
		return refuse(0, "invalid_request", "prompt=none cannot stand with other values.", nil)
	}
	return nil
}

func checkMaxAge(a *authorization) error {
	s := a.params.Get("max_age")
	if s == "" {
		a.maxAge = a.client.DefaultMaxAge
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 30)
	if err != nil {
		return refuse(0, "invalid_request", "max_age must be a number of seconds.", nil)
	}
	seconds := int(n)
	a.maxAge = &seconds
	return nil
}

// checkScope keeps the scopes that the client may ask for. Others are dropped, as OpenID Connect
// wants; when nothing remains, the client hears of it.
func checkScope(a *authorization) error {
	list, ok := scopes(a.params.Get("scope"))
	if !ok {
		return refuse(0, "invalid_scope", "The scope is malformed, or has too many words.", nil)
	}
	if len(list) == 0 {
		list = slices.DeleteFunc(slices.Clone(a.client.Scopes), func(s string) bool { return s == "openid" || s == "offline_access" })
	}
	a.scopes = within(list, a.client.Scopes)
	if !slices.Contains(a.client.GrantTypes, "refresh_token") {
		a.scopes = slices.DeleteFunc(a.scopes, func(s string) bool { return s == "offline_access" })
	}
	if len(a.scopes) == 0 {
		return refuse(0, "invalid_scope", "The client may not have any of the scopes it asked for.", nil)
	}
	return nil
}

func checkResource(a *authorization) error {
	a.resources = nil // a request may be judged twice
	for _, asked := range a.params["resource"] {
		i := slices.IndexFunc(a.client.Resources, func(r string) bool { return sameResource(asked, r) })
		if !isResource(asked) || i < 0 {
			return refuse(0, "invalid_target", "The resource is not known, or not allowed for this client.", nil)
		}
		if !slices.Contains(a.resources, a.client.Resources[i]) {
			a.resources = append(a.resources, a.client.Resources[i])
		}
	}
	return nil
}

// sameResource compares resource indicators as clients send them: scheme and host in any case, one
// trailing slash more or less (RFC 8707 leaves it open; several libraries add the slash).
func sameResource(a, b string) bool { return plainResource(a) == plainResource(b) }

func plainResource(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return strings.TrimSuffix(u.String(), "/")
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
	case stepConsent:
		return o.sendTo(w, r, a, "/consent")
	case stepRefuse:
		return refuse(0, refusal, refusals[refusal], nil)
	}
	err = o.issueCode(w, r, a, facts)
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	// The kept request was spent by another tab, or the session ended since it was read.
	if a.keptID != "" {
		_, err := o.DB.Request(r.Context(), a.keptID)
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
	if a.keptID != "" {
		return url.Values{"request": {a.keptID}}
	}
	return a.params
}

var refusals = map[string]string{
	"login_required":             "The person has to sign in.",
	"consent_required":           "The person has to be asked for consent.",
	"account_selection_required": "The person has to choose an account.",
}

// facts reads what the decision is made on, and makes sure that it was about the client as it is.
func (o *OAuth) facts(r *http.Request, a *authorization) (storage.Facts, error) {
	facts, err := o.DB.AuthorizeFacts(r.Context(), a.client.ID, o.Login.SessionHash(r), o.now())
	if err == nil && facts.ClientVersion == a.client.Version && !facts.ClientDisabled {
		return facts, nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return facts, err
	}
	if _, err := o.judge(r, a, o.DB.Client); err != nil {
		return facts, err
	}
	return o.DB.AuthorizeFacts(r.Context(), a.client.ID, o.Login.SessionHash(r), o.now())
}

func (o *OAuth) question(a *authorization, f storage.Facts, consentGiven bool) question {
	return question{
		Now: o.now(), Arrived: a.arrived, Session: f.Session,
		Prompt: a.prompt, MaxAge: a.maxAge, HintSubject: a.hintSubject,
		ConsentGiven:  consentGiven,
		Remembered:    f.Consented && covers(f.ConsentScopes, a.scopes) && covers(f.ConsentRes, a.resources),
		FirstParty:    a.client.SkipConsent && a.client.Source != "registration" && a.client.Source != "cimd",
		MustAskAlways: !identityAssured(a),
	}
}

// identityAssured says whether the answer can only reach the client itself. Any program on the
// person's computer can take a native app's loopback or private-use redirect, so an earlier consent
// does not speak for whoever asks now (RFC 8252, 8.6).
func identityAssured(a *authorization) bool {
	return !(a.client.Type == storage.ClientNative && a.client.Public() && !strings.HasPrefix(a.dest.uri, "https://"))
}

// sendTo keeps the request, if it is not kept already, and sends the browser to a step.
func (o *OAuth) sendTo(w http.ResponseWriter, r *http.Request, a *authorization, path string) error {
	if a.keptID == "" {
		network := web.ClientNetwork(r.Context())
		if wait := o.kept.wait(network, o.Now()); wait > 0 {
			return &web.Error{Status: http.StatusTooManyRequests, RetryAfter: wait, Message: "Too many sign-ins were begun from your network in the last minute. Wait a little, then try again."}
		}
		o.kept.add(network, o.Now())
		a.keptID = storage.NewID("")
		params := maps.Clone(a.params)
		delete(params, "id_token_hint")
		if a.hintSubject != "" {
			params.Set(keptHint, a.hintSubject)
		}
		err := o.DB.KeepRequest(r.Context(), storage.Request{
			ID: a.keptID, ClientID: a.client.ID, Params: params, BrowserHash: o.Login.EnsureBrowser(w, r),
			CreatedAt: a.arrived, ExpiresAt: a.arrived.Add(requestLife),
		})
		if err != nil {
			return err
		}
	}
	return web.See(w, r, path+"?request="+a.keptID)
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
	if subtle.ConstantTimeCompare(kept.BrowserHash, o.Login.Browser(r)) != 1 {
		client, err := o.DB.CachedClient(r.Context(), kept.ClientID)
		if err != nil {
			client = nil // only the way back is missing then
		}
		return kept, login.OtherBrowser(client)
	}
	if !kept.ExpiresAt.After(o.now()) {
		return kept, login.Expired("/authorize?" + authorizationParams(kept.Params).Encode())
	}
	return kept, nil
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
	o.describe(g, a, f, now)
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

// describe fills a new grant from the request and the facts.
func (o *OAuth) describe(g *storage.Grant, a *authorization, f storage.Facts, now time.Time) {
	code := now.Add(life(a.client.Lifetimes.Code, codeLife))
	g.State, g.UserID, g.Subject, g.SessionID = storage.GrantIssued, f.User.ID, f.User.ID, &f.Session.ID
	g.Scopes, g.Resources = a.scopes, a.resources
	g.AuthTime, g.ACR, g.AMR = &f.Session.AuthTime, f.Session.ACR, f.Session.Methods
	g.Nonce, g.CodeChallenge, g.RedirectURI = a.params.Get("nonce"), a.params.Get("code_challenge"), a.params.Get("redirect_uri")
	g.CodeExpiresAt = &code
	g.Offline = slices.Contains(a.scopes, "offline_access")
	g.ExpiresAt = code.Add(life(a.client.Lifetimes.AccessToken, accessTokenLife))
	if mayRefresh(a.client, a.scopes) {
		_, absolute := refreshLife(a.client)
		g.ExpiresAt = now.Add(absolute)
		g.IdleExpiresAt = idleExpiry(a.client, g, now)
	}
}

// mayRefresh: the client is registered for the grant, and the person allowed offline access, or the
// request is plain OAuth, or the client's refresh tokens end with the session.
func mayRefresh(c *storage.Client, scopes []string) bool {
	return slices.Contains(c.GrantTypes, "refresh_token") &&
		(slices.Contains(scopes, "offline_access") || !slices.Contains(scopes, "openid") || c.SessionRefresh)
}
