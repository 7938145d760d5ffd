package oauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// authorization is one authorization request, checked.
type authorization struct {
	client     *storage.Client
	sent       url.Values // as they came; what counts of them is params
	params     url.Values
	dest       destination
	scopes     []string
	resources  []string         // registered ones; the provider itself is never among them
	catalog    *storage.Catalog // that they were judged by
	prompt     []string
	maxAge     *int
	hintUserID string   // id of the person whom an id_token_hint named
	acr        []string // classes of authentication of which one must be reached
	claims     claimsRequest
	keptID     string    // of the kept request; "" when it came directly
	unbound    bool      // the kept request was pushed, and no browser has taken it up yet
	arrived    time.Time // when a browser first came with it
}

// readAuthorization checks a request that came directly, or takes one that was kept. Without a
// client and a redirect URI that are known good it returns no authorization, and the error is for
// the person; with one, the error is for the client.
func (o *OAuth) readAuthorization(r *http.Request, params url.Values) (*authorization, error) {
	a := &authorization{sent: authorizationParams(params), arrived: o.now()}
	kept, err := o.takeUp(r, params)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		a.sent, a.keptID, a.unbound = kept.Params, kept.ID, len(kept.BrowserHash) == 0
		if !a.unbound { // a sign-in after the push, and before the browser came, was for something else
			a.arrived = kept.CreatedAt
		}
	}
	web.Note(r.Context(), "client_id", a.sent.Get("client_id"))
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

// takeUp finds the kept request that the parameters name: that of a browser, by our own pages, or one
// that its client has pushed. Nil when they are a request themselves.
func (o *OAuth) takeUp(r *http.Request, params url.Values) (*storage.Request, error) {
	if params.Has("request") && !params.Has("client_id") {
		kept, err := o.keptRequest(r, params.Get("request"))
		return &kept, err
	}
	if isPushedURI(params.Get("request_uri")) {
		return o.pushedRequest(r, params)
	}
	return nil, nil
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
	unread := o.openRequestObject(r.Context(), a)
	if err := findDestination(a); err != nil {
		if e, fetching := keysUnavailable(unread); fetching && !a.sent.Has("redirect_uri") {
			e.Status = http.StatusServiceUnavailable // where to answer stands in what cannot be read
			return false, e
		}
		return false, err
	}
	if unread != nil {
		return true, unread
	}
	return true, o.checkAuthorization(r.Context(), a)
}

// authorizationNames are the parameters that an authorization request is made of.
var authorizationNames = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"prompt", "max_age", "display", "ui_locales", "claims_locales", "login_hint", "id_token_hint", "acr_values", "resource", "claims",
	"request", "request_uri", "registration",
}

// authorizationParams keeps those, and nothing else.
func authorizationParams(params url.Values) url.Values {
	kept := url.Values{}
	for _, name := range authorizationNames {
		if params.Has(name) {
			kept[name] = params[name]
		}
	}
	return kept
}

func (o *OAuth) findClient(r *http.Request, a *authorization, find func(context.Context, string) (*storage.Client, error)) error {
	id := a.sent.Get("client_id")
	a.client, a.params = nil, a.sent
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
	return nil
}

// findDestination finds where the client takes its answer.
func findDestination(a *authorization) error {
	client, uri := a.client, a.params.Get("redirect_uri")
	if uri == "" && len(client.RedirectURIs) == 1 && !slices.Contains(words(a.params.Get("scope")), "openid") {
		uri = client.RedirectURIs[0] // RFC 6749, 3.1.2.3; OpenID Connect requires the parameter
	}
	if uri == "" || !redirectMatches(client, uri) {
		return &web.Error{Status: http.StatusBadRequest, Code: "invalid_request",
			Message: "The app sent a return address that isn't registered for it, so we stopped here. Tell whoever runs the app: the redirect_uri must be exactly one of those registered.",
			Err:     fmt.Errorf("redirect_uri %.200q is not registered", a.params.Get("redirect_uri"))}
	}
	a.dest = destination{uri: uri, mode: "query", state: a.params.Get("state")}
	switch mode := a.params.Get("response_mode"); {
	case mode == "fragment", mode == "form_post" && storage.Origin(uri) != "":
		a.dest.mode = mode
	}
	return nil
}

// checkAuthorization checks everything that the client may be told about by redirect.
func (o *OAuth) checkAuthorization(ctx context.Context, a *authorization) (err error) {
	p := a.params
	switch {
	case p.Has("request_uri"):
		return refuse(0, "request_uri_not_supported", "Only a request_uri that our pushed authorization request endpoint gave is offered.", nil)
	case a.client.RequirePushed && !p.Has(login.KeptPushed):
		return refuse(0, "invalid_request", "This client must push its authorization requests (RFC 9126).", nil)
	case a.client.RequireSignedRequest && !p.Has(login.KeptSigned):
		return refuse(0, "invalid_request", "This client must send its authorization requests as signed request objects (RFC 9101).", nil)
	case p.Has("registration"):
		return refuse(0, "registration_not_supported", "registration is not offered.", nil)
	case !p.Has("response_type"):
		return refuse(0, "invalid_request", "The parameter response_type is missing.", nil)
	case p.Get("response_type") != "code":
		return refuse(0, "unsupported_response_type", "Only response_type=code is offered.", nil)
	case !slices.Contains(a.client.GrantTypes, "authorization_code"):
		return refuse(0, "unauthorized_client", "This client may not use the authorization_code grant.", nil)
	case p.Has("response_mode") && p.Get("response_mode") != a.dest.mode:
		return refuse(0, "invalid_request", "This response_mode is not offered, or not for this redirect URI.", nil)
	}
	for _, check := range []func(*authorization) error{checkPKCE, checkPrompt, checkMaxAge, checkScope, checkClaims, checkACR} {
		if err := check(a); err != nil {
			return err
		}
	}
	if err := o.checkResources(ctx, a); err != nil {
		return err
	}
	a.hintUserID = p.Get(login.KeptHint) // of a kept request: verified when it came
	if p.Has("id_token_hint") {
		a.hintUserID, err = o.hintUser(ctx, a.client, p.Get("id_token_hint"))
	}
	return err
}

// kept are the parameters as they are kept: checked, without hints that hold claims of a person.
func (a *authorization) kept() url.Values {
	params := maps.Clone(a.params)
	delete(params, "id_token_hint")
	if a.hintUserID != "" {
		params.Set(login.KeptHint, a.hintUserID)
	}
	return params
}

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

// checkACR finds the classes of authentication that the sign-in must reach. acr_values is a wish, so
// names that we do not know are ignored; those that we know count as in RFC 9470, 5: whoever asks for
// more than a sign-in here can give hears so, instead of getting less. Of an essential acr claim
// (OpenID Connect Core, 5.5.1.1) no name is ignored: one of them must be reached.
func checkACR(a *authorization) error {
	if a.claims.acrEssential {
		a.acr = a.claims.acr
		return nil
	}
	asked := words(a.params.Get("acr_values"))
	if len(asked) == 0 {
		asked = a.claims.acr
	}
	if len(asked) == 0 {
		asked = a.client.DefaultACR
	}
	a.acr = slices.DeleteFunc(slices.Clone(asked), func(acr string) bool { return !login.KnownACR(acr) })
	return nil
}

// reachedACR is the class that tokens tell: the first of those asked for that the sign-in reaches,
// else the strongest.
func (a *authorization) reachedACR(s *storage.Session) string {
	for _, acr := range a.acr {
		if login.Reaches(s.Methods, acr) {
			return acr
		}
	}
	return s.ACR
}
