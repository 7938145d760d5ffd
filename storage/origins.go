package storage

import (
	"context"
	"net/url"
	"slices"
	"strings"
)

// Origin gives scheme://host[:port] of an http(s) URL as browsers write it in the Origin header: in
// lower case, without the scheme's own port. It is "" for every other URL.
func Origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return ""
	}
	return scheme + "://" + host
}

// Origins are those whose scripts may read answers to the client: the registered ones, else those
// of its redirect URIs.
func (c *ClientMetadata) Origins() []string {
	if len(c.AllowedOrigins) > 0 {
		return c.AllowedOrigins
	}
	list := []string{}
	for _, uri := range c.RedirectURIs {
		if o := Origin(uri); o != "" && !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

// OriginRegistered says whether scripts of that origin belong to any client, a disabled one too. It
// is a look into an index, whatever strangers ask for.
func (db *DB) OriginRegistered(ctx context.Context, origin string) (bool, error) {
	var yes bool
	err := db.scanOne(ctx, "find origin", `
		select exists (select 1 from clients where origins @> array[$1::text])`, []any{origin}, &yes)
	return yes, err
}
