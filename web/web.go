// Package web is what every page and endpoint needs: handlers that return errors, one place that
// turns those errors into a page or into JSON, templates, cookies, guards and limits.
package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Handler answers a request, or returns why it could not. It writes at most once, at its end, and
// nothing when it returns an error.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Error has two faces: Message for the person (what happened and how to mend it), Err for the log.
type Error struct {
	Status     int
	Code       string        // machine-readable, such as "invalid_request"
	Message    string        // shown; never a secret, never a stranger's text
	ActionText string        // the way on, on pages
	ActionURL  string        // a path is one of ours, below the issuer
	RetryAfter time.Duration // sent with 429 and 503
	Err        error         // the cause; only logged
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Status, e.Message, e.Err)
	}
	return fmt.Sprintf("%d %s", e.Status, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Config is what a Site is made of.
type Config struct {
	Issuer         *url.URL // the public base URL; never derived from a request
	Pages          *Pages
	Log            *slog.Logger
	TrustedProxies []netip.Prefix   // whose X-Forwarded-For counts
	Unavailable    func(error) bool // says that an error is the database's, and may pass
}

// Site serves the product's HTTP surface.
type Site struct {
	Config
	Cookies    Cookies
	protection *http.CrossOriginProtection
}

// New makes a Site.
func New(c Config) *Site {
	return &Site{Config: c, Cookies: Cookies{Secure: c.Issuer.Scheme == "https"}, protection: http.NewCrossOriginProtection()}
}

type requestKey struct{}

// request is what the log line at the end of a request tells.
type request struct {
	id    string
	route string
	ip    string
	base  string // path of the issuer, before every path of ours
	notes []slog.Attr
}

func noted(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	if r == nil {
		r = &request{}
	}
	return r
}

// ourSecret is a code, token or client secret of ours: all begin with idp_ and two letters.
var ourSecret = regexp.MustCompile(`(idp_[a-z]{2}_)[A-Za-z0-9_-]+`)

// Note sets a field of the request's log line. Values of strangers are cut at 512 bytes, and secrets
// of ours at their prefix: people put them where a name belongs, and then they would stand there.
func Note(ctx context.Context, key, value string) {
	r := noted(ctx)
	if strings.Contains(value, "idp_") {
		value = ourSecret.ReplaceAllString(value, "$1…")
	}
	if len(value) > 512 {
		value = value[:512]
	}
	for i, n := range r.notes {
		if n.Key == key {
			r.notes[i].Value = slog.StringValue(value)
			return
		}
	}
	r.notes = append(r.notes, slog.String(key, value))
}

// Reference is the id of the request, for people to quote and operators to search for.
func Reference(ctx context.Context) string { return noted(ctx).id }

// ClientIP is the address of the browser or client, seen through trusted proxies only.
func ClientIP(ctx context.Context) string { return noted(ctx).ip }

// ClientNetwork is what limits count by: the address, or for IPv6 the /64 that one customer has.
func ClientNetwork(ctx context.Context) string {
	addr, err := netip.ParseAddr(ClientIP(ctx))
	if err != nil || addr.Is4() {
		return ClientIP(ctx)
	}
	prefix, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return ClientIP(ctx)
	}
	return prefix.String()
}

// bodyLimit is the largest body of any request (security: input caps); headers are bounded by the
// server.
const bodyLimit = 64 << 10

var referenceEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Root wraps the whole surface: it gives each request its reference, its limits and its log line,
// refuses foreign hosts, and makes of a panic one failed request.
func (s *Site) Root(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id [10]byte
		rand.Read(id[:])
		req := &request{id: referenceEncoding.EncodeToString(id[:]), ip: s.clientIP(r), base: s.Issuer.Path}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		start := time.Now()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Robots-Tag", "noindex")
		h.Set("X-Request-Id", req.id)
		if s.Cookies.Secure {
			h.Set("Strict-Transport-Security", "max-age=63072000; includeSubDomains")
		}
		r.Body = http.MaxBytesReader(rec, r.Body, bodyLimit)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.Log.Error("panic", "request", req.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if !rec.wrote {
					s.Fail(rec, r, wantsPage(r), fmt.Errorf("panic: %v", p))
				}
			}
			s.logRequest(r, req, rec.status, time.Since(start))
		}()
		if !strings.EqualFold(r.Host, s.Issuer.Host) {
			s.Fail(rec, r, wantsPage(r), &Error{
				Status: http.StatusMisdirectedRequest, Code: "invalid_request",
				Message:    "This server answers as " + s.Issuer.Host + " only. Open it by that address, or correct the issuer setting.",
				ActionText: "Open " + s.Issuer.Host, ActionURL: s.Issuer.String() + "/login",
			})
			return
		}
		next.ServeHTTP(rec, r)
	})
}

func (s *Site) logRequest(r *http.Request, req *request, status int, took time.Duration) {
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	attrs := append([]slog.Attr{
		slog.String("request", req.id),
		slog.String("method", r.Method),
		slog.String("route", req.route),
		slog.Int("status", status),
		slog.Duration("took", took),
		slog.String("ip", req.ip),
	}, req.notes...)
	s.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *recorder) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// clientIP walks X-Forwarded-For from its end, over trusted proxies only.
func (s *Site) clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := host
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusts(ip); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil { // some proxies add the port
			var withPort netip.AddrPort
			if withPort, err = netip.ParseAddrPort(strings.TrimSpace(hops[i])); err != nil {
				break
			}
			hop = withPort.Addr()
		}
		ip = hop.Unmap().String()
	}
	return ip
}

func (s *Site) trusts(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, p := range s.TrustedProxies {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// Route names a handler for the log and says how its errors are told: as a page, or as JSON.
func (s *Site) Route(name string, page bool, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		noted(r.Context()).route = name
		if err := h(w, r); err != nil {
			s.Fail(w, r, page, err)
		}
	})
}

// Browser is the guard of pages: no other site can post to them. Cross-origin posts are refused by
// what the browser says of them (Sec-Fetch-Site, Origin); browsers that say neither send no Lax
// cookie with a cross-site post, and every form of ours needs one.
func (s *Site) Browser(h Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := s.protection.Check(r); err != nil {
			return &Error{Status: http.StatusForbidden, Code: "invalid_request",
				Message: "This form was sent from another site, so nothing was done. Go back to the app and start again.", Err: err}
		}
		return h(w, r)
	}
}

func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// Fail turns an error into the answer, and into a field of the log line. It is the one place
// where that happens.
func (s *Site) Fail(w http.ResponseWriter, r *http.Request, page bool, err error) {
	e := s.face(err)
	Note(r.Context(), "error", err.Error())
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds()+0.999)))
	}
	if !page {
		JSON(w, e.Status, map[string]string{"error": e.Code, "error_description": plain(e.Message), "reference": Reference(r.Context())})
		return
	}
	action := e.ActionURL
	if strings.HasPrefix(action, "/") {
		action = s.Issuer.Path + action
	}
	s.Pages.Show(w, r, View{Name: "error.html", Status: e.Status, Data: ErrorPage{
		Message: e.Message, ActionText: e.ActionText, ActionURL: action, Code: e.Code,
		Status: e.Status, Time: time.Now().UTC().Format(time.RFC3339),
	}})
}

// face gives every error a face that can be shown.
func (s *Site) face(err error) *Error {
	var e *Error
	var big *http.MaxBytesError
	switch {
	case s.Unavailable != nil && s.Unavailable(err):
		return &Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: 2 * time.Second, Err: err,
			Message: "We can't reach our database at the moment. Nothing is lost: please try again in a minute."}
	case errors.As(err, &e):
		face := *e
		if face.Status == 0 {
			face.Status = http.StatusInternalServerError
		}
		face.Code = cmp.Or(face.Code, codeFor(face.Status))
		return &face
	case errors.As(err, &big):
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "invalid_request", Message: "The request is too large.", Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Status: 499, Code: "invalid_request", Message: "The request was cancelled.", Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Code: "server_error", Err: err,
		Message: "Something went wrong on our side, and we have written down what. Please try again; if it stays, give the reference below to whoever runs this service."}
}

func codeFor(status int) string {
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return "temporarily_unavailable"
	case status == http.StatusForbidden:
		return "access_denied"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request"
}

// plain keeps what error_description may hold (RFC 6749, 5.2): printable ASCII without quote and
// backslash.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, strings.NewReplacer("’", "'", "“", "'", "”", "'", "\"", "'").Replace(s))
}

// JSON writes v as the whole answer. Machine endpoints are never framed or sniffed, and neither
// cached nor loaded by other sites unless the handler has said so in the headers before.
func JSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return machine(w, status, "application/json", append(body, '\n'))
}

// Plain writes text of that type, such as a JWT, as JSON does its answer.
func Plain(w http.ResponseWriter, contentType, text string) error {
	return machine(w, http.StatusOK, contentType, []byte(text))
}

func machine(w http.ResponseWriter, status int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	if h.Get("Cross-Origin-Resource-Policy") == "" {
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	w.WriteHeader(status)
	w.Write(body)
	return nil
}

// See sends the browser on with GET (303; never 307, which would repeat a posted password). A path
// is one of ours, below the issuer.
func See(w http.ResponseWriter, r *http.Request, to string) error {
	if strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) {
		return fmt.Errorf("send the browser to %.200q: browsers read a host in that, not a path of ours", to)
	}
	if strings.HasPrefix(to, "/") {
		to = noted(r.Context()).base + to
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
