package login

import (
	"net/url"
	"strings"
	"unicode"

	"idp/storage"
	"idp/web"
)

// Purpose is what a page of this package was opened for.
type Purpose struct {
	Request   string          // id of the kept request, sent back with the form
	To        string          // page of our own to go to, sent back with the form
	Client    *web.ClientView // who asks; nil for the account itself
	CancelURL string          // back to the app without signing in
}

// LoginPage is the data of login.html.
type LoginPage struct {
	Purpose
	Identifier string
	Add        bool   // whoever is present stays signed in; sent back with the form
	Reauth     bool   // somebody is signed in and is asked to prove it again
	SwitchURL  string // signs in somebody else
	Remember   bool   // whether "Stay signed in on this device" is offered
	Remembered bool   // its state
	Error      string
	FieldError string // "username", "password" or ""
	ChooseURL  string // the accounts of this browser
	SignUpURL  string // where accounts are made; "" when people cannot make their own
	ByOperator bool   // somebody asked for an account, and only an operator makes them
}

// NewClientView is what pages tell of a client. Its host is that of its own address, or else of
// where the answer goes.
func NewClientView(c *storage.Client, redirectURI string) *web.ClientView {
	v := &web.ClientView{
		Name: c.Name, URI: webURL(c.URI), PolicyURI: webURL(c.PolicyURI), TosURI: webURL(c.TosURI),
		Verified: c.Source != "registration" && c.Source != "cimd",
	}
	if v.Name == "" {
		v.Name = c.ID
	}
	for _, c := range v.Name {
		v.Initial = string(unicode.ToUpper(c))
		break
	}
	for _, s := range []string{c.URI, redirectURI} {
		if u, err := url.Parse(s); err == nil && u.Host != "" {
			v.Host = u.Host
			break
		}
	}
	return v
}

// webURL is s if a page may link to it.
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return s
}

// FormActionFor lists what form-action must allow for a form whose answers may redirect, in the
// end, to redirectURI: its origin, or its scheme where a policy cannot spell the origin (private-use
// schemes, IPv6 addresses). Nothing of the URI can end the directive.
func FormActionFor(redirectURI string) []string {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil, u.Scheme == "":
		return nil
	case (u.Scheme == "https" || u.Scheme == "http") && plainHost(u.Host):
		return []string{u.Scheme + "://" + strings.ToLower(u.Host)}
	}
	return []string{u.Scheme + ":"}
}

// plainHost says that a host and port can stand in a policy as they are.
func plainHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != ':'
	})
}
