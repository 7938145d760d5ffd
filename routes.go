package idp

import (
	"net/http"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/gorilla/mux"

	"idp/oauth"
	"idp/web"
)

// guard is what stands before a handler.
type guard int

const (
	open    guard = iota + 1 // a page for everybody, also by links and posts of other sites
	client                   // for programs: no cookies, errors as JSON, read by scripts of the client's own origins
	public                   // a document for programs: the same, read by scripts of every origin
	browser                  // a page that no other site can post to
	user                     // the same, for a signed-in person
)

func (g guard) String() string {
	return [...]string{open: "open", client: "client", public: "public", browser: "browser", user: "user"}[g]
}

// route is one line of the HTTP surface. Rows name no fields, so that one without a guard does not
// compile.
type route struct {
	name    string
	methods string // separated by spaces; GET answers HEAD too
	path    string
	guard   guard
	handler web.Handler
}

// routes is the whole HTTP surface. What belongs to the host and not to the issuer stands without
// the issuer's path.
func (s *Server) routes() []route {
	o, at := s.oauth, s.site.Issuer.Path
	rows := []route{
		{"authorize", "GET POST", at + "/authorize", open, o.Authorize}, // RFC 6749, 3.1; clients post here from their own pages
		{"consent", "GET POST", at + "/consent", browser, o.Consent},
		{"par", "POST", at + "/par", client, o.Push},                                                  // RFC 9126
		{"device authorization", "POST", at + "/device_authorization", client, o.DeviceAuthorization}, // RFC 8628, 3.1
		{"token", "POST", at + "/token", client, o.Token},                                             // RFC 6749, 3.2
		{"userinfo", "GET POST", at + "/userinfo", client, o.UserInfo},                                // OpenID Connect Core, 5.3
		{"introspect", "POST", at + "/introspect", client, o.Introspect},
		{"revoke", "POST", at + "/revoke", client, o.Revoke},
		{"register", "POST", at + "/register", client, o.Register},                          // RFC 7591, 3
		{"registration", "GET PUT DELETE", at + "/register/{client}", client, o.Registered}, // RFC 7592
		{"jwks", "GET", at + "/jwks", public, o.JWKS},
		{"jwks alias", "GET", at + "/.well-known/jwks.json", public, o.JWKS},
		{"logout", "GET POST", at + "/logout", open, o.Logout}, // asks before it acts on another site's wish
		{"logout done", "GET", at + "/logout/done", open, o.LogoutDone},

		{"login", "GET POST", at + "/login", browser, s.login.SignIn},
		{"login accounts", "GET POST", at + "/login/accounts", browser, s.login.Accounts},
		{"signup", "GET POST", at + "/signup", browser, s.login.SignUp},
		{"account", "GET", at + "/account", user, s.account.Home},
		{"account apps", "GET POST", at + "/account/apps", user, s.account.Apps},
		{"account security", "GET POST", at + "/account/security", user, s.account.Security},

		{"device", "GET POST", at + "/device", browser, o.Device}, // RFC 8628, 3.3
		{"device confirm", "GET POST", at + "/device/confirm", browser, o.DeviceConfirm},
		{"device done", "GET", at + "/device/done", browser, o.DeviceDone},

		{"home", "GET", at + "/", open, s.home},
		{"error", "GET", at + "/error", open, s.errorPage},
		{"assets", "GET", at + "/assets/{file}", open, s.site.Pages.Assets},

		{"change password", "GET", "/.well-known/change-password", open, s.changePassword},
		{"security contact", "GET", "/.well-known/security.txt", open, s.securityContact}, // RFC 9116
		{"robots", "GET", "/robots.txt", open, robots},
		{"icon", "GET", "/favicon.ico", open, s.site.Pages.Icon},
	}
	if at != "" {
		rows = append(rows, route{"home alias", "GET", at, open, s.home})
	}
	for _, path := range append(wellKnownPaths(at, "/.well-known/openid-configuration"), wellKnownPaths(at, "/.well-known/oauth-authorization-server")...) {
		rows = append(rows, route{"discovery", "GET", path, public, o.Discovery})
	}
	for _, path := range wellKnownPaths(at, oauth.ProtectedResource) {
		rows = append(rows, route{"resource", "GET", path, public, o.ProtectedResource})
	}
	for _, row := range rows { // scripts ask first whether they may call
		if row.forPrograms() {
			rows = append(rows, route{row.name + preflight, "OPTIONS", row.path, row.guard, o.Preflight})
		}
	}
	return rows
}

// wellKnownPaths are the places where clients look for metadata of ours: OpenID Connect Discovery, 4
// appends its name to the issuer, RFC 8414, 3 and RFC 9728, 3.1 insert it before the issuer's path,
// and clients mix them.
func wellKnownPaths(at, name string) []string {
	if at == "" {
		return []string{name}
	}
	return []string{at + name, name + at}
}

// Handler is the whole HTTP surface.
func (s *Server) Handler() http.Handler {
	router := mux.NewRouter().SkipClean(true) // a path has one spelling
	rows := s.routes()
	allowed := map[string][]string{}
	for _, row := range rows {
		router.Handle(row.path, s.guarded(row)).Methods(row.allows()...)
		allowed[row.path] = append(allowed[row.path], row.allows()...)
	}
	for _, row := range rows {
		allow := strings.Join(allowed[row.path], ", ")
		row.handler = func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", allow)
			return &web.Error{Status: http.StatusMethodNotAllowed, Code: "invalid_request", Message: "This address does not answer " + known(r.Method) + " requests, only " + allow + "."}
		}
		if !row.forPrograms() {
			row.guard = open // there is nothing to protect
		}
		router.Handle(row.path, s.guarded(row))
	}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.site.Route("", strings.Contains(r.Header.Get("Accept"), "text/html"), notFound).ServeHTTP(w, r)
	})
	return s.site.Root(router)
}

const preflight = " preflight"

func (row route) forPrograms() bool { return row.guard == client || row.guard == public }

func (row route) allows() []string {
	methods := strings.Fields(row.methods)
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	return methods
}

// known keeps a stranger's invented method out of our sentence.
func known(method string) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method) {
		return method
	}
	return "such"
}

func (s *Server) guarded(row route) http.Handler {
	h := row.handler
	switch row.guard {
	case browser:
		h = s.site.Browser(h)
	case user:
		h = s.site.Browser(s.login.User(h))
	}
	if !strings.HasSuffix(row.name, preflight) && row.name != "assets" { // these need no database
		h = s.whenReady(h)
	}
	switch row.guard { // last, so that scripts can read every error
	case client:
		h = s.oauth.ForScripts(h)
	case public:
		h = s.oauth.ForEverybody(h)
	}
	handler := s.site.Route(row.name, !row.forPrograms(), h)
	// To handlers, all paths are ours.
	if at := s.site.Issuer.Path; strings.HasPrefix(row.path, at+"/") {
		return http.StripPrefix(at, handler)
	}
	return handler
}

// whenReady answers 503 until the schema and the keys are there, so that a server may start before
// its database does.
func (s *Server) whenReady(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !s.prepared.Load() {
			return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: 2 * time.Second,
				Message: "We are just starting and wait for our database. Please try again in a moment.", Err: errStarting}
		}
		return h(w, r)
	}
}

func notFound(http.ResponseWriter, *http.Request) error {
	return &web.Error{Status: http.StatusNotFound, Code: "invalid_request", Message: "There is nothing at this address. Check it for a typing error, or go back to where you came from."}
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) error { return web.See(w, r, "/account") }

// changePassword is where password managers lead people (W3C, A Well-Known URL for Changing
// Passwords): a temporary redirect, never a page.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", s.site.Issuer.String()+"/account/security#password")
	w.WriteHeader(http.StatusFound)
	return nil
}

// errorPage explains an error code that somebody put in a link. It shows our own words only: what
// the link says beside the code is a stranger's.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request) error {
	code := r.URL.Query().Get("error")
	explained := map[string]string{
		"access_denied":           "The app was not allowed to use your account. Go back to the app to try again.",
		"invalid_request":         "The app sent a request that we don't understand. Go back to the app and start again; if it stays, tell whoever runs the app.",
		"server_error":            "Something went wrong on our side. Go back to the app and start again.",
		"temporarily_unavailable": "We are busy at the moment. Please try again in a minute.",
	}
	message, ok := explained[code]
	if !ok {
		code, message = "invalid_request", "Something went wrong on the way between the app and us. Go back to the app and start again."
	}
	return &web.Error{Status: http.StatusBadRequest, Code: code, Message: message}
}

func robots(w http.ResponseWriter, _ *http.Request) error {
	plainText(w)
	_, err := w.Write([]byte("User-agent: *\nDisallow: /\n"))
	return err
}

// securityContact tells where to report security problems (RFC 9116), where that is configured.
func (s *Server) securityContact(w http.ResponseWriter, r *http.Request) error {
	if s.config.SecurityContact == "" {
		return notFound(w, r)
	}
	t, err := template.ParseFS(files, ".well-known/security.txt.tmpl")
	if err != nil {
		return err
	}
	plainText(w)
	return t.Execute(w, map[string]string{
		"Contact":   s.config.SecurityContact,
		"Expires":   s.now().UTC().AddDate(0, 6, 0).Format(time.RFC3339),
		"Canonical": s.site.Issuer.Scheme + "://" + s.site.Issuer.Host + "/.well-known/security.txt",
	})
}

func plainText(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=86400")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
}
