package oauth

import (
	"net/url"
	"strings"

	"idp/storage"
)

// Addresses that clients register beside their redirect URIs: where they hear of sign-outs, and where
// a sign-in can begin.

// checkLogout says what is wrong with a client's addresses for sign-out.
func checkLogout(c *storage.Client, say func(format string, args ...any)) {
	if uri := c.BackchannelLogoutURI; uri != "" {
		if problem := checkAddress(uri); problem != "" {
			say("The back-channel logout URI %q %s.", uri, problem)
		}
	}
	uri := c.FrontchannelLogoutURI
	if uri == "" {
		return
	}
	problem := checkAddress(uri)
	for name := range queryOf(uri) {
		if name == "iss" || name == "sid" {
			problem = "has a parameter that we add: iss and sid"
		}
	}
	if problem != "" {
		say("The front-channel logout URI %q %s.", uri, problem)
		return
	}
	for _, redirect := range c.RedirectURIs {
		if storage.Origin(redirect) == storage.Origin(uri) {
			return
		}
	}
	say("The front-channel logout URI %q must have the scheme, host and port of one of the redirect URIs.", uri)
}

// checkAddress says what is wrong with an address of a client's own that browsers or we are sent to;
// "" when nothing is.
func checkAddress(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return "is no URL; write it like https://app.example.com/path"
	case len(uri) > 2048:
		return "is longer than 2048 bytes"
	case strings.Contains(uri, "#"):
		return "has a fragment, which is never sent"
	case u.User != nil:
		return "carries a user name"
	case u.Scheme == "http" && !isLoopbackHost(u.Hostname()):
		return "uses http, which only loopback addresses (127.0.0.1, [::1], localhost) may; use https"
	case u.Scheme != "https" && u.Scheme != "http":
		return "needs https"
	}
	return ""
}

func queryOf(uri string) url.Values {
	u, err := url.Parse(uri)
	if err != nil {
		return nil
	}
	return u.Query()
}

// checkInitiateLogin checks where a sign-in to the client can begin with us (OpenID Connect Core,
// 4). The list of a person's apps links to it with iss, so it must not have one of its own.
func checkInitiateLogin(c *storage.Client, say func(format string, args ...any)) {
	uri := c.InitiateLoginURI
	if uri == "" {
		return
	}
	switch problem := checkAddress(uri); {
	case problem != "":
		say("The initiate-login URI %q must be an https URL: it %s.", uri, problem)
	case queryOf(uri).Has("iss"):
		say("The initiate-login URI %q has an iss of its own: leave it out, as we add ours.", uri)
	}
}
