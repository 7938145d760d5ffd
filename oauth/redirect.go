package oauth

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"idp/storage"
)

// Redirect URIs are compared byte by byte with those registered (RFC 9700, 4.1.3). The one
// exception is the port of a native app's loopback redirect (RFC 8252, 7.3): we also let it vary
// for "localhost", which command lines and MCP clients register, though the RFC advises the IP
// literals.

// redirectMatches says whether a client may be answered at uri.
func redirectMatches(c *storage.Client, uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	return c.Type == storage.ClientNative && slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		r, ok := splitLoopback(registered)
		if !ok {
			return false
		}
		u, ok := splitLoopback(uri)
		return ok && u == r
	})
}

// loopback is a loopback redirect URI without its port.
type loopback struct{ host, rest string }

// splitLoopback takes http://<loopback host>[:port]<rest> apart without decoding anything: no
// userinfo, no fragment, a port from 1 to 65535 without leading zeros.
func splitLoopback(uri string) (loopback, bool) {
	rest, ok := strings.CutPrefix(uri, "http://")
	if !ok || strings.ContainsAny(uri, "#\\\t\r\n ") {
		return loopback{}, false
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	for _, host := range []string{"127.0.0.1", "[::1]", "localhost"} {
		port, ok := strings.CutPrefix(authority, host)
		if !ok {
			continue
		}
		if port == "" {
			return loopback{host, rest}, true
		}
		n, err := strconv.Atoi(strings.TrimPrefix(port, ":"))
		if port[0] == ':' && err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == port[1:] {
			return loopback{host, rest}, true
		}
	}
	return loopback{}, false
}

// reservedQuery are names that a response uses itself: a registered URI must not carry them.
var reservedQuery = []string{"code", "state", "iss", "error", "error_description", "error_uri", "id_token", "access_token", "session_state", "response"}

// checkRedirectURI says what is wrong with a redirect URI at registration; "" when nothing is.
func checkRedirectURI(kind, uri string) string {
	u, err := url.Parse(uri)
	switch {
	case uri == "" || len(uri) > 2048:
		return "is empty or longer than 2048 bytes"
	case err != nil || u.Scheme == "" || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '"' || r == '<' || r == '>' }):
		return "is not an absolute URI"
	case strings.Contains(uri, "#"):
		return "has a fragment"
	case u.User != nil:
		return "has a user name in it"
	case strings.Contains(uri, "*"):
		return "has a wildcard; register each address"
	}
	for name := range u.Query() {
		if slices.Contains(reservedQuery, name) {
			return "has the query parameter " + name + ", which responses use"
		}
	}
	switch scheme := strings.ToLower(u.Scheme); {
	case scheme == "https":
		if u.Hostname() == "" {
			return "has no host"
		}
	case scheme == "http":
		if !isLoopbackHost(u.Hostname()) {
			return "uses http, which only loopback addresses (127.0.0.1, [::1], localhost) may; use https"
		}
	case kind == storage.ClientNative && strings.Contains(scheme, "."):
		// a private-use scheme in reverse-domain form (RFC 8252, 7.1)
	case kind == storage.ClientNative:
		return "needs a scheme in reverse-domain form, such as com.example.app"
	default:
		return "needs https"
	}
	return ""
}

func isLoopbackHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
