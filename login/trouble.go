package login

import (
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"

	"idp/storage"
	"idp/web"
)

// Errors of kept requests. Sign-in and what comes after it say the same of them, and each shows a
// way on. A client may be nil where it is not known.

// Gone says that a kept request was answered already, or is not there any more.
func Gone(client *storage.Client) *web.Error {
	return wayBack(client, errors.New("kept request is gone"),
		"This request was answered already, or it has expired. Go back to the app: if you are not signed in there, start again.")
}

// OtherBrowser says that a kept request is not this browser's, or that its cookie is lost.
func OtherBrowser(client *storage.Client) *web.Error {
	return wayBack(client, errors.New("kept request is of another browser, or the cookie is lost"),
		"This request was started in another browser, or your browser blocked the cookie we need. Allow cookies for this site, then go back to the app and start again there.")
}

// Names that only kept requests have: a client's parameters of these names are dropped.
const (
	KeptSession = "chosen_session" // the session that was chosen for the request
	KeptHint    = "hint_subject"   // stands for id_token_hint: whom it named, and none of its claims
	KeptPushed  = "pushed"         // the client pushed it (RFC 9126)
	KeptSigned  = "signed"         // its parameters are those of a signed request object (RFC 9101)
)

// Expired says that a kept request of this browser has expired, and leads to the same one anew, or
// back to the app where only the app can make it: what it pushed, signed or hinted at is not kept in a
// form that could be sent again.
func Expired(client *storage.Client, kept *storage.Request) *web.Error {
	for _, name := range []string{KeptPushed, KeptSigned, KeptHint} {
		if kept.Params.Has(name) {
			return Gone(client)
		}
	}
	params := maps.Clone(kept.Params)
	delete(params, KeptSession)
	return &web.Error{Status: http.StatusBadRequest, ActionText: "Start again", ActionURL: "/authorize?" + params.Encode(), Err: errStale,
		Message: "This page was open for a long time, so the request has expired. Nothing was done: you can start it again."}
}

// cookieLost is the answer to a form of a page of our own that came without our cookie.
func cookieLost(to string) *web.Error {
	e := &web.Error{Status: http.StatusBadRequest, ActionText: "Try again", ActionURL: "/login",
		Message: "This page was open for a long time, or your browser blocked the cookie we need. Allow cookies for this site and try again."}
	if to != "" {
		e.ActionURL += "?to=" + url.QueryEscape(to)
	}
	return e
}

// wayBack is an error page with a way back to the app, if we know one.
func wayBack(client *storage.Client, cause error, message string) *web.Error {
	e := &web.Error{Status: http.StatusBadRequest, Message: message, Err: cause}
	if client == nil {
		return e
	}
	if home := homeOf(client); home != "" {
		e.ActionText, e.ActionURL = "Go back to "+NewClientView(client, "").Name, home
	}
	return e
}

// homeOf is where an app can be opened: its own address, else the start of the site that its
// answers go to. A native app has none on the loopback address: nothing listens there by now.
func homeOf(client *storage.Client) string {
	if home := webURL(client.URI); home != "" {
		return home
	}
	for _, uri := range client.RedirectURIs {
		u, err := url.Parse(uri)
		if err != nil || webURL(uri) == "" || client.Type == storage.ClientNative && onLoopback(u.Hostname()) {
			continue
		}
		return u.Scheme + "://" + u.Host + "/"
	}
	return ""
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
