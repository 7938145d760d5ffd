package oauth

import (
	"net/http"
	"net/url"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// UnverifiedPage is the data of unverified.html.
type UnverifiedPage struct {
	Client web.ClientView
	Host   string      // where the answer would go
	URL    string      // goes there, with the answer; "" where only a form does, or no page can lead there
	Action string      // takes the answer as a form
	Fields [][2]string // that form
	Error  string
}

// unseen says that the answer would lead a person straight on to an address that a stranger
// registered: by a link to us, which people trust, to a page that they do not (RFC 9700, 4.11.2).
// Whoever has seen a page of ours has been told where they go. What is loaded inside a page of the
// client's own leads nobody anywhere.
func unseen(r *http.Request, a *authorization) bool {
	return selfRegistered(a.client) && (a.keptID == "" || a.unbound) && r.Header.Get("Sec-Fetch-Dest") != "iframe"
}

// unverified asks the person before it goes on with an error to a client that described itself.
func (o *OAuth) unverified(w http.ResponseWriter, r *http.Request, a *authorization, e *web.Error) error {
	params := url.Values{"error": {e.Code}, "error_description": {e.Message}, "iss": {o.Issuer}}
	if a.dest.state != "" {
		params.Set("state", a.dest.state)
	}
	page := UnverifiedPage{Client: *login.NewClientView(a.client, a.dest.uri), Host: redirectHost(a.dest.uri), Error: e.Code}
	view := web.View{Name: "unverified.html", Status: http.StatusBadRequest}
	switch {
	case storage.Origin(a.dest.uri) == "": // of an app on the device: a page cannot name it safely
	case a.dest.mode == "form_post":
		page.Action, page.Fields = a.dest.uri, formFields(params)
		view.FormAction = login.FormActionFor(a.dest.uri)
	case a.dest.mode == "fragment":
		page.URL = a.dest.uri + "#" + params.Encode()
	default:
		page.URL = withQuery(a.dest.uri, params)
	}
	view.Data = page
	return o.Site.Pages.Show(w, r, view)
}

// redirectHost is what people are told of where an answer goes: the host, or the scheme of an app.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return ""
	case u.Host == "":
		return u.Scheme + ":"
	}
	return u.Host
}
