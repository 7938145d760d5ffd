package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// LogoutPage is the data of logout.html.
type LogoutPage struct {
	Account string
	Others  []string // people who are signed in in this browser beside the account
	Client  *web.ClientView
	Told    []string // names of the apps that are told
	More    int      // apps beside those
	Fields  [][2]string
}

// LogoutDonePage is the data of logout_done.html.
type LogoutDonePage struct {
	storage.SignedOut
	Deaf  int      // apps that have no way to be told
	Still []string // people who are signed in in this browser yet
}

// signOut is a checked sign-out request.
type signOut struct {
	client *storage.Client // identified by a valid hint, or named by client_id
	hinted bool            // an ID token of ours for that client came along
	sid    string          // of the hint: which session
	target string          // post-logout redirect, known good; "" for none
	state  string
	params url.Values
}

// Logout ends sessions at the wish of a client or a person (OpenID Connect RP-Initiated Logout 1.0).
// A client that shows its ID token of a session that goes on in this browser ends that one. In every
// other case the person is asked, because other sites must not be able to sign anybody out; then all
// who are signed in in the browser are signed out.
func (o *OAuth) Logout(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		w.Header().Set("Allow", "GET, POST")
		return refuse(http.StatusMethodNotAllowed, "invalid_request", "Use GET or POST.", nil)
	}
	params, err := readParams(r)
	if err != nil {
		return err
	}
	confirming := r.Method == http.MethodPost && r.PostForm.Get("confirm") == "yes"
	params.Del("confirm")
	if r.Method == http.MethodPost && !confirming {
		return o.again(w, r, "/logout", params) // with the cookies that a cross-site POST lacks
	}
	if confirming { // a form of our own page, and of no other site's
		if err := o.Site.Browser(func(http.ResponseWriter, *http.Request) error { return nil })(w, r); err != nil {
			return err
		}
	}
	s, err := o.readSignOut(r, params)
	if err != nil {
		return err
	}
	here, err := o.Login.Here(r)
	if err != nil {
		return err
	}
	if len(here) == 0 {
		return o.signedOut(w, r, s, nil)
	}
	if s.hinted {
		ended, err := o.Login.EndOne(w, r, "signed_out", s.names)
		if err != nil {
			return err
		}
		if ended != nil {
			return o.signedOut(w, r, s, []login.SignedIn{*ended})
		}
	}
	if !confirming || o.Login.Browser(r) == nil {
		return o.askSignOut(w, r, s, here)
	}
	if _, err := o.Login.End(w, r, "signed_out"); err != nil {
		return err
	}
	return o.signedOut(w, r, s, here)
}

// names says whether the hint is of that session.
func (s signOut) names(in login.SignedIn) bool { return s.sid == sessionID(in.Session.ID, s.client.ID) }

func (o *OAuth) readSignOut(r *http.Request, params url.Values) (signOut, error) {
	s := signOut{state: params.Get("state"), params: params}
	var clientID string
	if hint, ok := o.hint(params.Get("id_token_hint")); ok && (!params.Has("client_id") || params.Get("client_id") == hint.Audience[0]) {
		s.hinted, s.sid, clientID = true, hint.SID, hint.Audience[0]
	} else {
		clientID = params.Get("client_id")
	}
	if clientID == "" {
		return s, nil
	}
	client, err := o.DB.Client(r.Context(), clientID) // where the browser may go is not for a cache to say
	if errors.Is(err, storage.ErrNotFound) || err == nil && client.DisabledAt != nil {
		s.hinted = false
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.client = client
	if target := params.Get("post_logout_redirect_uri"); s.hinted && slices.Contains(client.PostLogoutRedirectURIs, target) {
		s.target = target
	}
	return s, nil
}

// hintClaims are what we read of an ID token that comes back as a hint.
type hintClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	SID      string   `json:"sid"`
}

// hint verifies an id_token_hint: ours, signed by any key of the last year that was not revoked, expired or not.
func (o *OAuth) hint(s string) (hintClaims, bool) {
	var c hintClaims
	if s == "" {
		return c, false
	}
	payload, err := o.verifyHint(s)
	if err != nil || json.Unmarshal(payload, &c) != nil || c.Issuer != o.Issuer || len(c.Audience) != 1 || c.Subject == "" {
		return c, false
	}
	return c, true
}

// namedApps is how many apps a page names.
const namedApps = 12

func (o *OAuth) askSignOut(w http.ResponseWriter, r *http.Request, s signOut, here []login.SignedIn) error {
	apps, err := o.DB.SessionClients(r.Context(), sessionsOf(here))
	if err != nil {
		return err
	}
	o.Login.EnsureBrowser(w, r)
	page := LogoutPage{Account: accountName(here[0].User), Fields: [][2]string{{"confirm", "yes"}}}
	for _, other := range here[1:] {
		page.Others = append(page.Others, accountName(other.User))
	}
	told, _ := o.whoIsTold(apps)
	for _, client := range told[:min(len(told), namedApps)] {
		page.Told = append(page.Told, login.NewClientView(client, "").Name)
	}
	page.More = len(told) - len(page.Told)
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if v := s.params.Get(name); v != "" {
			page.Fields = append(page.Fields, [2]string{name, v})
		}
	}
	if s.client != nil {
		page.Client = login.NewClientView(s.client, s.target)
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "logout.html", Account: page.Account, Data: page, FormAction: login.FormActionFor(s.target)})
}

// whoIsTold divides the clients of sessions, each named once, into those that are told when these
// end, and those that have no way to be told.
func (o *OAuth) whoIsTold(apps []storage.SessionClient) (told, deaf []*storage.Client) {
	seen := map[string]bool{}
	for _, app := range apps {
		switch client := &app.Client; {
		case seen[client.ID]:
		case client.BackchannelLogoutURI != "" || o.frameOf(&app) != "":
			told = append(told, client)
		default:
			deaf = append(deaf, client)
		}
		seen[app.Client.ID] = true
	}
	return told, deaf
}

func sessionsOf(list []login.SignedIn) []uuid.UUID {
	var ids []uuid.UUID
	for _, s := range list {
		ids = append(ids, s.Session.ID)
	}
	return ids
}

// signedOut sends the browser back to the client that asked, or to our own page; by way of a page
// with frames, when clients of the sessions that ended want that.
func (o *OAuth) signedOut(w http.ResponseWriter, r *http.Request, s signOut, ended []login.SignedIn) error {
	w.Header().Set("Clear-Site-Data", `"cache"`)
	to := s.target
	switch {
	case to == "":
		to = "/logout/done"
		if len(ended) > 0 {
			o.Login.NoteEnded(w, ended)
		}
	case s.state != "":
		to = withQuery(to, url.Values{"state": {s.state}})
	}
	if len(ended) == 0 {
		return web.See(w, r, to)
	}
	frames, err := o.frames(r.Context(), ended)
	if err != nil { // they are signed out, and that is what counts
		web.Note(r.Context(), "frames", err.Error())
	}
	if len(frames) == 0 {
		return web.See(w, r, to)
	}
	return o.showFrames(w, r, frames, to)
}

// LogoutDone says that the person is signed out, what ended with that and what goes on.
func (o *OAuth) LogoutDone(w http.ResponseWriter, r *http.Request) error {
	var page LogoutDonePage
	ended, err := o.Login.JustEnded(r)
	if err != nil {
		return err
	}
	if len(ended) > 0 {
		if page.SignedOut, err = o.DB.SignedOut(r.Context(), ended, o.now()); err != nil {
			return err
		}
		apps, err := o.DB.SessionClients(r.Context(), ended)
		if err != nil {
			return err
		}
		_, deaf := o.whoIsTold(apps)
		page.Deaf = len(deaf)
	}
	here, err := o.Login.Here(r)
	if err != nil {
		return err
	}
	for _, s := range here {
		page.Still = append(page.Still, accountName(s.User))
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "logout_done.html", Data: page})
}
