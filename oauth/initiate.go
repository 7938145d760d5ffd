package oauth

import (
	"net/url"
	"strings"

	"idp/storage"
)

// checkInitiateLogin checks where a sign-in to the client can begin with us (OpenID Connect Core,
// 4). The list of a person's apps links to it with iss, so it must not have one of its own.
func checkInitiateLogin(c *storage.Client, say func(format string, args ...any)) {
	uri := c.InitiateLoginURI
	if uri == "" {
		return
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil, u.Host == "", u.User != nil, len(uri) > 2048, u.Scheme != "https" && !(u.Scheme == "http" && isLoopbackHost(u.Hostname())):
		say("The initiate-login URI %q must be an https URL.", uri)
	case strings.Contains(uri, "#"):
		say("The initiate-login URI %q has a fragment: leave out everything from the # on.", uri)
	case u.Query().Has("iss"):
		say("The initiate-login URI %q has an iss of its own: leave it out, as we add ours.", uri)
	}
}
