package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// Pushed authorization requests (RFC 9126) are kept requests without a browser. The first browser
// that comes with the request_uri takes the row; from there on it is a kept request like any other,
// spent when the code is issued or the request is refused, not when a page is loaded.

// pushedURI begins every request_uri that we give (RFC 9126, 2.2).
const pushedURI = "urn:ietf:params:oauth:request_uri:"

// pushedLife is how long a pushed request waits for its browser.
const pushedLife = 90 * time.Second

func isPushedURI(s string) bool { return strings.HasPrefix(s, pushedURI) }

// pushedAnswer is RFC 9126, 2.2.
type pushedAnswer struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"`
}

// Push is the pushed authorization request endpoint (RFC 9126): it checks all of a request at once,
// and keeps it for a browser to come.
func (o *OAuth) Push(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	if form.Has("request_uri") {
		return invalidRequest("A pushed request cannot refer to another one: leave out request_uri.")
	}
	key, limit := "client "+client.ID, o.pushed
	if client.Public() {
		key, limit = web.ClientNetwork(r.Context()), o.kept
	}
	if wait := limit.wait(key, o.Now()); wait > 0 {
		return &web.Error{Status: http.StatusTooManyRequests, Code: "temporarily_unavailable", RetryAfter: wait, Message: "Too many requests were pushed in the last minute. Wait a little, then try again."}
	}
	limit.add(key, o.Now())
	for try := 0; ; try++ {
		answer, err := o.push(r, client, form)
		if try == 2 || !errors.Is(err, storage.ErrConflict) {
			if err != nil {
				return o.machineError(err)
			}
			return web.JSON(w, http.StatusCreated, answer)
		}
		if client, err = o.refreshClient(w, r, form, client); err != nil { // it changed since it was cached
			return err
		}
	}
}

func (o *OAuth) push(r *http.Request, client *storage.Client, form url.Values) (pushedAnswer, error) {
	a := &authorization{sent: authorizationParams(form), arrived: o.now()}
	a.sent.Set("client_id", client.ID)
	a.sent.Set(login.KeptPushed, "1")
	if _, err := o.judge(r, a, func(context.Context, string) (*storage.Client, error) { return client, nil }); err != nil {
		if fresh, problem := o.DB.Client(r.Context(), client.ID); problem == nil && fresh.Version != client.Version {
			return pushedAnswer{}, storage.ErrConflict // what was refused may have been allowed since
		}
		return pushedAnswer{}, err
	}
	id := storage.NewID("")
	err := o.DB.PushRequest(r.Context(), storage.Request{
		ID: id, ClientID: client.ID, Params: a.kept(), CreatedAt: a.arrived, ExpiresAt: a.arrived.Add(pushedLife),
	}, client.Version)
	return pushedAnswer{pushedURI + id, int64(pushedLife / time.Second)}, err
}

// machineError gives errors that the authorization endpoint would send by redirect a status: here,
// the client hears them itself.
func (o *OAuth) machineError(err error) error {
	var e *web.Error
	if errors.As(err, &e) && e.Status == 0 {
		told := *e
		told.Status = http.StatusBadRequest
		if _, fetching := keysUnavailable(e); fetching {
			told.Status = http.StatusServiceUnavailable
		}
		return &told
	}
	return o.protocolError(err)
}

// errPushedGone is what a person sees whose app sent them with a request_uri that does not count.
var errPushedGone = &web.Error{Status: http.StatusBadRequest, Code: "invalid_request_uri",
	Message: "The app's request has expired, or it was answered already. Go back to the app: if you are not signed in there, start again."}

// pushedRequest finds the pushed request that a browser comes with. Nothing else of what it brings
// counts (RFC 9126, 4). A request of another client, and one that another browser has, stay as they
// are.
func (o *OAuth) pushedRequest(r *http.Request, params url.Values) (*storage.Request, error) {
	id := strings.TrimPrefix(params.Get("request_uri"), pushedURI)
	if params.Get("client_id") == "" {
		return nil, &web.Error{Status: http.StatusBadRequest, Code: "invalid_request",
			Message: "The app that sent you here did not say who it is (client_id is missing). Go back to the app and try again."}
	}
	if len(id) > 64 {
		return nil, errPushedGone
	}
	kept, err := o.DB.PushedRequest(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errPushedGone
	}
	if err != nil {
		return nil, err
	}
	web.Note(r.Context(), "client_id", params.Get("client_id"))
	if kept.ClientID != params.Get("client_id") || !kept.Params.Has(login.KeptPushed) || !kept.ExpiresAt.After(o.now()) {
		return nil, errPushedGone
	}
	if len(kept.BrowserHash) > 0 && subtle.ConstantTimeCompare(kept.BrowserHash, o.Login.Browser(r)) != 1 {
		client, err := o.DB.CachedClient(r.Context(), kept.ClientID)
		if err != nil {
			client = nil // only the way back is missing then
		}
		return nil, login.OtherBrowser(client)
	}
	return &kept, nil
}

// bindPushed gives a pushed request to the browser that came with it.
func (o *OAuth) bindPushed(w http.ResponseWriter, r *http.Request, a *authorization) error {
	err := o.DB.BindRequest(r.Context(), a.keptID, o.Login.EnsureBrowser(w, r), a.arrived, a.arrived.Add(requestLife))
	if errors.Is(err, storage.ErrConflict) {
		return login.OtherBrowser(a.client)
	}
	a.unbound = false
	return err
}
