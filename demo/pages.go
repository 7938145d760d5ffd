package demo

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"
)

//go:embed files
var files embed.FS

// page is what every template gets.
type page struct {
	Title, Brand, Issuer string
	Data                 any
}

func parsePages() map[string]*template.Template {
	pages := make(map[string]*template.Template)
	for _, name := range []string{"home", "account", "problem", "spa"} {
		pages[name] = template.Must(template.New("layout").
			Funcs(template.FuncMap{"short": short, "clock": clock}).
			ParseFS(files, "files/layout.html", "files/parts.html", "files/"+name+".html"))
	}
	return pages
}

// render writes a whole page or nothing.
func (a *app) render(w http.ResponseWriter, status int, name, title string, data any) error {
	var out bytes.Buffer
	if err := a.pages[name].ExecuteTemplate(&out, "layout", page{title, a.Brand, a.Issuer, data}); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// The reader may be gone; there is nobody left to tell.
	_, _ = out.WriteTo(w)
	return nil
}

// choice is another way to ask the provider.
type choice struct{ ID, URL, Text, Note string }

func (a *app) choices() []choice {
	all := []choice{
		{"log-in-again", "/login?prompt=login", "Ask again who I am", "prompt=login"},
		{"log-in-consent", "/login?prompt=consent", "Ask for my consent again", "prompt=consent"},
		{"log-in-select", "/login?prompt=select_account", "With an account that I choose", "prompt=select_account"},
		{"log-in-create", "/login?prompt=create", "With a new account", "prompt=create"},
		{"log-in-silent", "/login?prompt=none", "Silently, without a page", "prompt=none"},
		{"log-in-fresh", "/login?max_age=60", "Anew after a minute", "max_age=60"},
		{"log-in-online", "/login?offline=no", "Without offline access", "no refresh token"},
		{"log-in-form-post", "/login?response_mode=form_post", "Answer as a form", "response_mode=form_post"},
	}
	if a.Username != "" {
		all = append(all, choice{"log-in-hint", "/login?login_hint=" + url.QueryEscape(a.Username), "As " + a.Username, "login_hint"})
	}
	return all
}

func (a *app) showHome(w http.ResponseWriter, r *http.Request) error {
	if s, ok := a.current(r); ok {
		return a.showAccount(w, s)
	}
	code, err := a.code()
	if err != nil {
		return err
	}
	left := false
	if state := r.URL.Query().Get("state"); state != "" {
		t, ok := a.transactions.take(cookie(r, browserCookie)+" "+state, a.now())
		left = ok && t.logout
	}
	return a.render(w, http.StatusOK, "home", "Demo shop", struct {
		SignedOut          bool
		Told               time.Time
		Username, Password string
		Choices            []choice
		Code               string
	}{left, a.toldAt(w, r), a.Username, a.Password, a.choices(), code})
}

// code is the login as an application of one's own would write it, with the
// values that work here.
func (a *app) code() (string, error) {
	t, err := texttemplate.New("login.go.tmpl").ParseFS(files, "files/login.go.tmpl")
	if err != nil {
		return "", fmt.Errorf("parse the code sample: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, struct{ Issuer, ClientID, RedirectURI string }{a.Issuer, a.Web.ID, a.web}); err != nil {
		return "", fmt.Errorf("write the code sample: %w", err)
	}
	return out.String(), nil
}

// row is a line of the card that says who is logged in.
type row struct{ ID, Name, Value string }

func (a *app) showAccount(w http.ResponseWriter, s *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := make(map[string]any)
	if err := s.id.token.Claims(&claims); err != nil {
		return fmt.Errorf("read claims: %w", err)
	}
	for name, value := range s.userinfo.claims {
		claims[name] = value
	}
	text := func(name string) string {
		value, _ := claims[name].(string)
		return value
	}
	email := text("email")
	if verified, _ := claims["email_verified"].(bool); verified && email != "" {
		email += " (verified)"
	}
	rows := []row{
		{"name", "Name", text("name")},
		{"username", "User name", text("preferred_username")},
		{"email", "E-mail", email},
		{"sub", "Subject (sub)", s.id.token.Subject},
		{"auth-time", "Signed in at " + a.Brand, a.authTime(claims)},
		{"acr", "How sure (acr)", text("acr")},
		{"amr", "How (amr)", words(claims["amr"])},
	}
	name := cmp.Or(text("name"), text("preferred_username"), text("email"), s.id.token.Subject)
	now, expires := a.now(), s.token.Expiry
	scope, _ := s.token.Extra("scope").(string)
	return a.render(w, http.StatusOK, "account", name, struct {
		Name                      string
		Rows                      []row
		AccessToken, RefreshToken string
		Scope                     string
		Expires, IDExpires        time.Time
		ExpiresIn, IDExpiresIn    string
		Refreshed                 int
		IDToken, Header, Claims   string
		Userinfo                  answer
		Choices                   []choice
	}{
		Name:         name,
		Rows:         filled(rows),
		AccessToken:  s.token.AccessToken,
		RefreshToken: s.token.RefreshToken,
		Scope:        scope,
		Expires:      expires,
		ExpiresIn:    until(expires, now),
		IDExpires:    s.id.token.Expiry,
		IDExpiresIn:  until(s.id.token.Expiry, now),
		Refreshed:    s.refreshed,
		IDToken:      s.id.raw,
		Header:       s.id.header,
		Claims:       s.id.claims,
		Userinfo:     s.userinfo,
		Choices:      a.choices(),
	})
}

func (a *app) authTime(claims map[string]any) string {
	seconds, ok := claims["auth_time"].(float64)
	if !ok {
		return ""
	}
	return clock(time.Unix(int64(seconds), 0))
}

func words(list any) string {
	values, _ := list.([]any)
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return strings.Join(out, ", ")
}

func filled(rows []row) []row {
	var out []row
	for _, r := range rows {
		if r.Value != "" {
			out = append(out, r)
		}
	}
	return out
}

// showSPA serves the browser-only application. Everything else happens in the
// browser, so the same page is also its redirect URI.
func (a *app) showSPA(w http.ResponseWriter, _ *http.Request) error {
	settings, err := json.Marshal(map[string]string{
		"issuer":   a.Issuer,
		"client":   a.SPA.ID,
		"redirect": a.BaseURL + "/spa/callback",
		"home":     a.home,
	})
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return a.render(w, http.StatusOK, "spa", "Browser app", string(settings))
}

// short is enough of a token to tell it from the next.
func short(token string) string {
	if len(token) <= 28 {
		return token
	}
	return token[:16] + "…" + token[len(token)-8:]
}

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

func until(t, now time.Time) string {
	left := t.Sub(now)
	switch {
	case t.IsZero():
		return ""
	case left <= 0:
		return "over"
	case left < 2*time.Minute:
		return fmt.Sprintf("in %d seconds", int(left.Seconds()))
	case left < 2*time.Hour:
		return fmt.Sprintf("in %d minutes", int(left.Round(time.Minute).Minutes()))
	case left < 48*time.Hour:
		return fmt.Sprintf("in %d hours", int(left.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("in %d days", int(left.Hours()/24))
}
