package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// Pages renders the templates and serves their assets, whose names carry a hash of their content.
type Pages struct {
	brand  string
	dev    bool
	log    *slog.Logger
	pages  map[string]*template.Template
	assets map[string]asset  // by served name
	named  map[string]string // app.css -> /assets/app.<hash>.css
}

type asset struct {
	kind string
	body []byte
}

// PagesConfig says what the pages look like.
type PagesConfig struct {
	Files fs.FS // templates/: *.html and assets/
	Brand string
	Base  string // path of the issuer, before every path of ours; usually ""
	Dev   bool   // shows the development banner
	Log   *slog.Logger
}

// NewPages parses all templates; a template that does not parse is an error at start, not on a page.
func NewPages(c PagesConfig) (*Pages, error) {
	p := &Pages{brand: c.Brand, dev: c.Dev, log: c.Log, pages: map[string]*template.Template{}, assets: map[string]asset{}, named: map[string]string{}}
	if err := p.loadAssets(c); err != nil {
		return nil, err
	}
	names, err := fs.Glob(c.Files, "*.html")
	if err != nil {
		return nil, err
	}
	funcs := template.FuncMap{"asset": p.asset, "join": strings.Join, "url": func(path string) string { return c.Base + path }}
	for _, name := range names {
		if name == "layout.html" {
			continue
		}
		t, err := template.New(name).Funcs(funcs).Option("missingkey=error").ParseFS(c.Files, "layout.html", name)
		if err != nil {
			return nil, fmt.Errorf("read template %s: %w", name, err)
		}
		p.pages[name] = t
	}
	return p, nil
}

func (p *Pages) loadAssets(c PagesConfig) error {
	files := c.Files
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("read asset %s: %w", name, err)
		}
		sum := sha256.Sum256(body)
		base, ext := path.Base(name), path.Ext(name)
		served := strings.TrimSuffix(base, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		p.named[base] = c.Base + "/assets/" + served
		p.assets[served] = asset{mime.TypeByExtension(ext), body}
	}
	return nil
}

func (p *Pages) asset(name string) (string, error) {
	served, ok := p.named[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return served, nil
}

// Assets serves the files that pages refer to.
func (p *Pages) Assets(w http.ResponseWriter, r *http.Request) error {
	a, ok := p.assets[path.Base(r.URL.Path)]
	if !ok {
		return &Error{Status: http.StatusNotFound, Message: "There is no such file."}
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
	w.Write(a.body)
	return nil
}

// Icon serves the site's icon at the path that browsers ask for by themselves.
func (p *Pages) Icon(w http.ResponseWriter, r *http.Request) error {
	return See(w, r, strings.TrimPrefix(p.named["icon.svg"], noted(r.Context()).base))
}

// Page is what every template sees.
type Page struct {
	Brand, Lang, Dir string
	Dev              bool
	Reference        string
	Account          string
	Next             template.URL // as View has it
	Data             any
}

// View is one page to show.
type View struct {
	Name       string // template file
	Status     int    // 0 means 200
	Account    string // who is signed in, for the header
	Data       any
	FormAction []string // origins besides our own that a form of this page may lead to
	Frames     []string // origins of frames on this page
	Next       string   // where the browser goes by itself after a moment, known good; "" for pages that stay
}

// nextAfter is the time until a page gives way to the next one.
const nextAfter = 2 * time.Second

// Show writes a page with its security headers.
func (p *Pages) Show(w http.ResponseWriter, r *http.Request, v View) error {
	t, ok := p.pages[v.Name]
	if !ok {
		return fmt.Errorf("no template %q", v.Name)
	}
	var body bytes.Buffer
	err := t.ExecuteTemplate(&body, "layout", Page{
		Brand: p.brand, Lang: "en", Dir: "ltr", Dev: p.dev, Reference: Reference(r.Context()), Account: v.Account, Next: template.URL(v.Next), Data: v.Data,
	})
	if err != nil {
		p.log.Error("page does not render", "page", v.Name, "error", err.Error())
		http.Error(w, "Something went wrong on our side. Reference: "+Reference(r.Context()), http.StatusInternalServerError)
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Content-Language", "en")
	h.Set("Permissions-Policy", "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=(), payment=(), usb=()")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", contentSecurityPolicy(v.FormAction, v.Frames))
	if v.Next != "" { // the header says what a meta element says, and needs no place in the layout
		h.Set("Refresh", fmt.Sprintf("%d; url=%s", int(nextAfter.Seconds()), v.Next))
	}
	if v.Status != 0 {
		w.WriteHeader(v.Status)
	}
	w.Write(body.Bytes())
	return nil
}

// contentSecurityPolicy lists, in form-action, also where a form's answer redirects to: browsers
// apply it to the whole chain.
func contentSecurityPolicy(formAction, frames []string) string {
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self' " +
		strings.Join(formAction, " ") + "; base-uri 'none'; frame-ancestors 'none'"
	if len(frames) > 0 {
		policy += "; frame-src " + strings.Join(frames, " ")
	}
	return policy
}

// ErrorPage is shown when nothing better can be done than to say so.
type ErrorPage struct {
	Message               string
	ActionText, ActionURL string
	Code                  string
	Status                int
	Time                  string
}

// ClientView is what pages tell of a client.
type ClientView struct {
	Name, Host, URI, PolicyURI, TosURI string
	Verified                           bool
	Initial                            string
}
