package oauth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"idp/storage"
	"idp/web"
)

// Which scripts may read what we answer to programs (RFC 10017, 9.3). Metadata and keys: those of
// every origin. Everything else: those of the client's own origins, errors included, because an
// error that a script cannot read looks to it like a network that is down. Where a request does not
// tell its client - a token that is none, a body that cannot be read - the origins of all clients
// may read the error, which has nothing in it that is anybody's. No answer of ours ever allows
// credentials: cookies mean nothing at these endpoints.

// ForScripts guards an endpoint that clients' scripts may call. It puts the right origin on every
// answer that its handler has not, whatever went wrong.
func (o *OAuth) ForScripts(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) (err error) {
		w.Header().Add("Vary", "Origin")
		if r.Header.Get("Origin") == "" {
			return h(w, r)
		}
		told := false
		r = r.WithContext(context.WithValue(r.Context(), toldKey{}, &told))
		answered := false
		defer func() { // a panic is told as an error too
			if !answered && !told {
				o.allowUnidentified(w, r, err)
			}
		}()
		err = h(w, r)
		answered = err == nil
		return err
	}
}

// ForEverybody guards a document that scripts of every origin may read, and its errors.
func (o *OAuth) ForEverybody(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
		return h(w, r)
	}
}

// Preflight answers the CORS preflight of every endpoint that scripts may call: any origin, without
// credentials. Which origin may read the answer is decided when the client is known.
func (o *OAuth) Preflight(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	if strings.HasPrefix(r.URL.Path, "/register/") {
		h.Set("Access-Control-Allow-Methods", "GET, PUT, DELETE")
	}
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, MCP-Protocol-Version")
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// toldKey finds, in the context of a script's request, whether its client is known.
type toldKey struct{}

// allowClientOrigin lets scripts of the client's own origins read the answer, and no others. The
// client is the one that the request names; it need not have authenticated yet.
func (o *OAuth) allowClientOrigin(w http.ResponseWriter, r *http.Request, c *storage.Client) {
	told, _ := r.Context().Value(toldKey{}).(*bool)
	if told == nil {
		return // no script asks
	}
	*told = true
	origin := r.Header.Get("Origin")
	if !slices.Contains(c.Origins(), origin) {
		w.Header().Del("Access-Control-Allow-Origin")
		return
	}
	allow(w, origin)
}

func allow(w http.ResponseWriter, origin string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce, Retry-After")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// allowUnidentified is for errors that came before the client was looked up: it may still be named
// in the request, be it a form that was refused.
func (o *OAuth) allowUnidentified(w http.ResponseWriter, r *http.Request, cause error) {
	form := r.PostForm
	id := form.Get("client_id")
	if id == "" {
		cred, _ := readCredentials(r, form)
		id = cred.clientID
	}
	unavailable := storage.Unavailable(cause)
	if id != "" && len(id) <= paramLimits["client_id"] && plainText(id) && !unavailable {
		if c, err := o.DB.CachedClient(r.Context(), id); err == nil {
			o.allowClientOrigin(w, r, c)
			return
		}
	}
	if origin := r.Header.Get("Origin"); o.origins.anyClients(r.Context(), origin, unavailable) {
		allow(w, origin)
	}
}

// origins remembers which origins belong to some client, and which do not. Strangers can send any
// number of different ones: they only push out one another, and from one network only so many are
// looked for in a minute.
type origins struct {
	ask func(context.Context, string) (bool, error)
	now func() time.Time

	mu        sync.Mutex
	clients   map[string]time.Time // until when it is believed
	strangers map[string]time.Time
	silent    time.Time // until when the database is not asked, after it did not answer

	misses *limit
}

const (
	originLife   = time.Minute
	maxOrigins   = 10_000                 // remembered, of each kind
	maxMisses    = 60                     // a minute: looked for in vain, from one network
	maxOriginLen = 300                    // bytes: a host name has at most 253
	originWait   = 500 * time.Millisecond // an error must not wait long for the right to be read
)

func newOrigins(ask func(context.Context, string) (bool, error), now func() time.Time) *origins {
	return &origins{ask: ask, now: now, clients: map[string]time.Time{}, strangers: map[string]time.Time{}, misses: newLimit(maxMisses)}
}

// anyClients says whether the origin is any client's. When in doubt it is not. With unavailable,
// the database is known to be down; what was true when it last answered is true then.
func (l *origins) anyClients(ctx context.Context, origin string, unavailable bool) bool {
	if origin == "" || len(origin) > maxOriginLen || storage.Origin(origin) != origin {
		return false
	}
	now, network := l.now(), web.ClientNetwork(ctx)
	l.mu.Lock()
	until, known := l.clients[origin]
	stranger := now.Before(l.strangers[origin])
	unavailable = unavailable || now.Before(l.silent)
	l.mu.Unlock()
	switch {
	case known && (unavailable || now.Before(until)):
		return true
	case stranger || unavailable || l.misses.wait(network, now) > 0:
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, originWait)
	defer cancel()
	yes, err := l.ask(ctx, origin)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.silent = now.Add(2 * time.Second)
		return known
	case yes:
		remember(l.clients, origin, now)
	default:
		delete(l.clients, origin)
		remember(l.strangers, origin, now)
		l.misses.add(network, now)
	}
	return yes
}

func remember(m map[string]time.Time, origin string, now time.Time) {
	if len(m) >= maxOrigins {
		clear(m) // simple and rare; the next minute fills it with what is used
	}
	m[origin] = now.Add(originLife)
}
