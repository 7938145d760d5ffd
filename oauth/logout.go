package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// LogoutPage is the data of logout.html.
type LogoutPage struct {
	Account string
	Client  *web.ClientView
	Fields  [][2]string
}

// LogoutDonePage is the data of logout_done.html.
type LogoutDonePage struct {
	Client *web.ClientView
	Kept   bool
}

// signOut is a checked sign-out request.
type signOut struct {
	client  *storage.Client // identified by a valid hint, or named by client_id
	hinted  bool            // an ID token of ours for that client came along
	subject string          // of the hint
	sid     string          // of the hint: which session
	target  string          // post-logout redirect, known good; "" for none
	state   string
	params  url.Values
}

// Logout ends the session at the wish of a client or a person (OpenID Connect RP-Initiated Logout
// 1.0). Without an ID token of the person who is signed in, the person is asked: other sites must
// not be able to sign anybody out.
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
	session, user, err := o.Login.Current(r)
	if err != nil {
		return err
	}
	if session == nil {
		return o.signedOut(w, r, s)
	}
	confirmed := confirming && o.Login.Browser(r) != nil
	if !confirmed && !(s.hinted && s.subject == user.ID && s.sid == sessionID(session.ID, s.client.ID)) {
		return o.askSignOut(w, r, s, user)
	}
	if _, err := o.Login.End(w, r, "signed_out"); err != nil {
		return err
	}
	return o.signedOut(w, r, s)
}

func (o *OAuth) readSignOut(r *http.Request, params url.Values) (signOut, error) {
	s := signOut{state: params.Get("state"), params: params}
	var clientID string
	if hint, ok := o.hint(params.Get("id_token_hint")); ok && (!params.Has("client_id") || params.Get("client_id") == hint.Audience[0]) {
		s.hinted, s.subject, s.sid, clientID = true, hint.Subject, hint.SID, hint.Audience[0]
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

// hintSubject gives whom a hint names; an unverifiable one names nobody.
func (o *OAuth) hintSubject(s string) string {
	c, _ := o.hint(s)
	return c.Subject
}

func (o *OAuth) askSignOut(w http.ResponseWriter, r *http.Request, s signOut, user *storage.User) error {
	o.Login.EnsureBrowser(w, r)
	page := LogoutPage{Account: accountName(user), Fields: [][2]string{{"confirm", "yes"}}}
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

// signedOut sends the browser back to the client that asked, or to our own page.
func (o *OAuth) signedOut(w http.ResponseWriter, r *http.Request, s signOut) error {
	w.Header().Set("Clear-Site-Data", `"cache"`)
	if s.target == "" {
		return web.See(w, r, "/logout/done")
	}
	params := url.Values{}
	if s.state != "" {
		params.Set("state", s.state)
	}
	if len(params) == 0 {
		return web.See(w, r, s.target)
	}
	return web.See(w, r, withQuery(s.target, params))
}

// LogoutDone says that the person is signed out.
func (o *OAuth) LogoutDone(w http.ResponseWriter, r *http.Request) error {
	return o.Site.Pages.Show(w, r, web.View{Name: "logout_done.html", Data: LogoutDonePage{Kept: true}})
}
