package selftest

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Loopback takes a browser's answers on this machine (RFC 8252, 7.3).
type Loopback struct {
	CallbackURI  string // redirect URI
	SignedOutURI string // post-logout redirect URI

	server  *http.Server
	answers chan arrival
}

// arrival is a browser that came with an answer and waits to be told where to go on.
type arrival struct {
	path   string
	params url.Values
	next   chan func(http.ResponseWriter, *http.Request)
}

// Listen opens the redirect URI, or one on any port when it is "". It must be http on a loopback
// address.
func Listen(redirectURI string) (*Loopback, error) {
	l := &Loopback{CallbackURI: redirectURI, answers: make(chan arrival)}
	address, path := "127.0.0.1:0", "/callback"
	if redirectURI != "" {
		u, err := url.Parse(redirectURI)
		if err != nil || u.Scheme != "http" || !isLoopback(u.Hostname()) || u.Port() == "" {
			return nil, fmt.Errorf("the redirect URI %q is not on this machine: it must be like http://127.0.0.1:3000/callback", redirectURI)
		}
		address, path = u.Host, u.Path
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	base := "http://" + listener.Addr().String()
	if redirectURI == "" {
		l.CallbackURI = base + path
	} else {
		u, _ := url.Parse(redirectURI)
		base = "http://" + u.Host
	}
	l.SignedOutURI = base + "/signed-out"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+orRoot(path), l.arrive)
	if path != "/signed-out" {
		mux.HandleFunc("GET /signed-out", l.arrive)
	}
	l.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go l.server.Serve(listener)
	return l, nil
}

func orRoot(path string) string {
	if path == "" || path == "/" {
		return "/{$}"
	}
	return path
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (l *Loopback) arrive(w http.ResponseWriter, r *http.Request) {
	a := arrival{r.URL.Path, r.URL.Query(), make(chan func(http.ResponseWriter, *http.Request), 1)}
	select {
	case l.answers <- a:
	case <-r.Context().Done():
		return
	case <-time.After(patience):
		showPage(w, "Nobody waits for this answer", "Start the command again.")
		return
	}
	select {
	case next := <-a.next:
		next(w, r)
	case <-r.Context().Done():
	}
}

// Answer waits for the browser to come with an answer, and gives it. Next says where the browser
// goes on; "" tells the person to go back to the command.
func (l *Loopback) Answer(ctx context.Context) (params url.Values, next func(address string), err error) {
	select {
	case a := <-l.answers:
		return a.params, func(address string) {
			a.next <- func(w http.ResponseWriter, r *http.Request) {
				if address != "" {
					http.Redirect(w, r, address, http.StatusSeeOther)
					return
				}
				showPage(w, "Done", "The result is where you started the command. You can close this window.")
			}
		}, nil
	case <-ctx.Done():
		return nil, nil, errors.New("the browser did not come back in time")
	}
}

func showPage(w http.ResponseWriter, title, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	fmt.Fprintf(w, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>%s</title><h1>%[1]s</h1><p>%s</p></html>\n", html.EscapeString(title), html.EscapeString(text))
}

// Close ends it, after the last page was sent.
func (l *Loopback) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		l.server.Close()
	}
}
