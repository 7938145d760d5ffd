// Package demo is a small shop that lets people in with "Log in with": the
// application that `idp dev` starts beside the provider, so that a first login
// can be tried, and looked into, without writing anything.
//
// It is an honest relying party. It knows the provider only by its issuer URL
// and a client of its own, speaks to public endpoints alone, and uses the
// libraries that any Go application would use. It shows every token it holds
// to the person who is logged in, which a real shop would not do.
package demo

import (
	"cmp"
	"crypto/rand"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says where the shop is, whom it trusts and as what it is known there.
type Config struct {
	Issuer  string // issuer URL of the provider, such as http://localhost:8080
	BaseURL string // where browsers reach the shop, such as http://localhost:5555

	Web Client // confidential client of the server-side shop
	SPA Client // public client of the browser-only page; it has no secret

	Brand    string // name of the provider on the button: "Log in with <Brand>"
	Username string // who to sign in as, shown as a hint; empty shows none
	Password string // and with what

	Log *slog.Logger // failures go here; nil discards them
}

// Client is a registration at the provider.
type Client struct{ ID, Secret string }

// RedirectURIs are the addresses to register for the clients of a shop that
// is reached at base: for the web client, for the browser-only client, and the
// ones both return to after signing out.
func RedirectURIs(base string) (web, spa, postLogout []string) {
	base = strings.TrimSuffix(base, "/")
	return []string{base + "/callback"}, []string{base + "/spa/callback"}, []string{base + "/"}
}

const (
	// Logins under way and people logged in are kept in memory. The bounds
	// keep a forgotten shop small; the oldest entry makes room.
	maxTransactions = 1000
	maxSessions     = 1000

	transactionLifetime = 30 * time.Minute
	sessionLifetime     = 12 * time.Hour
	providerTimeout     = 10 * time.Second
	maxAnswerBytes      = 64 << 10
)

type app struct {
	Config
	web, spa, home string // our redirect URIs, and where sign-out returns to
	https          bool   // whether browsers reach us over TLS

	pages        map[string]*template.Template
	provider     lazyProvider
	transactions *memory[transaction]
	sessions     *memory[*session]
	told         *memory[time.Time] // sessions that the provider has ended, by name
	heard        *memory[struct{}]  // logout tokens that have come, by jti
	now          func() time.Time
}

// Handler returns the shop. It asks nothing of the provider until somebody
// logs in, so the two may start in any order.
func Handler(c Config) http.Handler {
	return newApp(c).handler()
}

func newApp(c Config) *app {
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	c.Brand = cmp.Or(c.Brand, "your account")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	web, spa, home := RedirectURIs(c.BaseURL)
	return &app{
		Config:       c,
		web:          web[0],
		spa:          spa[0],
		home:         home[0],
		https:        strings.HasPrefix(c.BaseURL, "https://"),
		pages:        parsePages(),
		provider:     lazyProvider{issuer: c.Issuer, client: &http.Client{Timeout: providerTimeout}},
		transactions: newMemory[transaction](maxTransactions, transactionLifetime),
		sessions:     newMemory[*session](maxSessions, sessionLifetime),
		told:         newMemory[time.Time](maxSessions, sessionLifetime),
		heard:        newMemory[struct{}](maxSessions, sessionLifetime),
		now:          time.Now,
	}
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /{$}":           a.showHome,
		"GET /login":         a.login,
		"GET /callback":      a.callback,
		"POST /callback":     a.callback,
		"POST /refresh":      a.refresh,
		"POST /userinfo":     a.userinfo,
		"POST /logout":       a.logout,
		"POST /forget":       a.forget,
		"POST " + logoutPath: a.toldLogout,
		"GET /spa":           a.showSPA,
		"GET /spa/callback":  a.showSPA,
		"/":                  a.nowhere,
	} {
		mux.Handle(pattern, a.handle(handle))
	}
	for _, name := range []string{"shop.css", "spa.js", "shop.svg", "icon.svg"} {
		mux.HandleFunc("GET /files/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, files, "files/"+name)
		})
	}

	// The form_post answer comes from the provider's page, which is another
	// origin. State and the browser's cookie guard it instead.
	guard := http.NewCrossOriginProtection()
	guard.AddInsecureBypassPattern("POST /callback")
	guard.SetDenyHandler(a.handle(func(http.ResponseWriter, *http.Request) error {
		return &failure{Status: http.StatusForbidden, Title: "That came from another site", Message: "Press the button here in the shop instead."}
	}))
	return a.headers(a.oneHost(guard.Handler(mux)))
}

// headers sets what every response carries. Chrome holds redirects after a
// form to form-action too, so sign-out needs the provider's origin there; the
// browser-only page needs it in connect-src.
func (a *app) headers(next http.Handler) http.Handler {
	provider := origin(a.Issuer)
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' " + provider +
		"; form-action 'self' " + provider + "; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// oneHost sends a person who typed 127.0.0.1 to localhost, or the other way
// round. A browser keeps cookies for each apart, so the login would begin at
// one and come back to the other.
func (a *app) oneHost(next http.Handler) http.Handler {
	base, err := url.Parse(a.BaseURL)
	if err != nil || !loopback(base.Host) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.Host != base.Host && loopback(r.Host) {
			http.Redirect(w, r, a.BaseURL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// failure is an error with two faces: Title and Message for the person, Err
// for the log. Code and Description repeat what the provider answered.
type failure struct {
	Status         int
	Title, Message string

	Code, Description string // error and error_description, RFC 6749, 4.1.2.1
	Err               error
}

func (f *failure) Error() string {
	if f.Err != nil {
		return f.Err.Error()
	}
	if f.Code != "" {
		return strings.TrimSpace(f.Code + " " + f.Description)
	}
	return f.Title
}

func (f *failure) Unwrap() error { return f.Err }

// handle turns what a handler returns into one answer.
func (a *app) handle(handler func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handler(w, r)
		if err == nil {
			return
		}
		f := &failure{}
		if !errors.As(err, &f) {
			f = &failure{Status: http.StatusInternalServerError, Title: "Something went wrong", Message: "The log of the demo app says what.", Err: err}
		}
		level := slog.LevelWarn
		if f.Status == http.StatusOK || f.Status == http.StatusNotFound {
			level = slog.LevelInfo
		}
		a.Log.Log(r.Context(), level, "demo shop", "path", r.URL.Path, "status", f.Status, "error", f)
		if err := a.render(w, f.Status, "problem", f.Title, f); err != nil {
			a.Log.Error("demo shop", "path", r.URL.Path, "error", err)
			http.Error(w, "Something went wrong.", http.StatusInternalServerError)
		}
	})
}

func (a *app) nowhere(http.ResponseWriter, *http.Request) error {
	return &failure{Status: http.StatusNotFound, Title: "Nothing is sold here", Message: "This page does not exist."}
}

// The cookies carry random names of things kept in memory, nothing else.
const (
	browserCookie = "demo_browser" // ties logins under way to this browser
	sessionCookie = "demo_session" // names the session of the person logged in
)

func (a *app) setCookie(w http.ResponseWriter, name, value string, sameSite http.SameSite) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: a.https, SameSite: sameSite}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// browser names the browser for the logins it begins. The form_post answer is
// a POST from the provider's site: where that is another site, only a
// SameSite=None cookie comes along, and that needs TLS. On localhost both are
// the same site whatever their ports, so Lax is enough.
func (a *app) browser(w http.ResponseWriter, r *http.Request) string {
	id := cookie(r, browserCookie)
	if id == "" {
		id = rand.Text()
	}
	sameSite := http.SameSiteLaxMode
	if a.https {
		sameSite = http.SameSiteNoneMode
	}
	a.setCookie(w, browserCookie, id, sameSite)
	return id
}
