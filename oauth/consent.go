package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// ConsentPage is the data of consent.html.
type ConsentPage struct {
	Request      string
	Person       string // whom the page was shown to; a form of somebody else is shown again
	Client       web.ClientView
	Account      string
	SwitchURL    string
	RedirectHost string
	Loopback     bool
	Scopes       []ScopeView
	Known        bool
	Unverified   bool
}

// ScopeView is one line of what a client asks for.
type ScopeView struct {
	Name, Text, Detail string
	New                bool
}

// Consent asks a person whether a client may have what it asks for.
func (o *OAuth) Consent(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		if err := isForm(r); err != nil {
			return err
		}
	}
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	if repeated(r.Form["request"]) && r.Form["request"][0] != r.Form["request"][1] || repeated(r.PostForm["decision"]) {
		return invalidRequest("A field stands more than once.")
	}
	a, err := o.readAuthorization(w, r, url.Values{"request": {r.Form.Get("request")}})
	if a == nil {
		return err
	}
	if err != nil {
		return o.answerError(w, r, a, err)
	}
	facts, err := o.facts(r, a)
	if err != nil {
		return err
	}
	if next, _ := nextStep(o.question(a, facts, false)); next != stepConsent {
		return web.See(w, r, "/authorize?request="+a.keptID)
	}
	if r.Method != http.MethodPost || r.PostForm.Get("person") != facts.User.ID {
		return o.showConsent(w, r, a, facts)
	}
	switch r.PostForm.Get("decision") {
	case "allow":
		return o.allow(w, r, a, facts)
	case "deny":
		return o.denied(w, r, a, facts)
	}
	return o.showConsent(w, r, a, facts)
}

func (o *OAuth) allow(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	now := o.now()
	event := storage.Event{At: now, Kind: "consent.granted", UserID: f.User.ID, ClientID: a.client.ID, Actor: f.User.ID,
		IP: web.ClientIP(r.Context()), Details: map[string]any{"scopes": a.scopes}}
	err := o.DB.RememberConsent(r.Context(), storage.Consent{
		UserID: f.User.ID, ClientID: a.client.ID, Scopes: a.scopes, Resources: noneForNil(a.resources), GrantedAt: now,
		Snapshot: map[string]any{"client_name": a.client.Name, "redirect_uri": a.dest.uri},
	}, event)
	if err != nil {
		return err
	}
	return o.decide(w, r, a, true)
}

func noneForNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (o *OAuth) denied(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	err := o.DB.AppendEvent(r.Context(), storage.Event{At: o.now(), Kind: "consent.denied", UserID: f.User.ID, ClientID: a.client.ID, Actor: f.User.ID, IP: web.ClientIP(r.Context())})
	if err != nil {
		return err
	}
	return o.deny(w, r, a)
}

func (o *OAuth) showConsent(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	page := ConsentPage{
		Request: a.keptID, Person: f.User.ID, Client: *login.NewClientView(a.client, a.dest.uri), Account: accountName(f.User),
		SwitchURL: "/login?request=" + a.keptID + "&switch=1", Known: f.Consented,
	}
	page.Unverified = !page.Client.Verified
	if u, err := url.Parse(a.dest.uri); err == nil {
		page.RedirectHost = u.Host
		page.Loopback = isLoopbackHost(u.Hostname()) && (a.client.Type == storage.ClientNative || page.Unverified)
		if u.Host == "" {
			page.RedirectHost = u.Scheme + ":"
		}
	}
	for _, s := range a.scopes {
		if s != "openid" {
			page.Scopes = append(page.Scopes, ScopeView{s, scopeText(s), scopeDetail(s, f.User), f.Consented && !slices.Contains(f.ConsentScopes, s)})
		}
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "consent.html", Account: page.Account, Data: page, FormAction: login.FormActionFor(a.dest.uri)})
}

// scopeTexts say in a person's words what a scope gives.
var scopeTexts = map[string]string{
	"profile":        "See your name and picture",
	"email":          "See your email address",
	"address":        "See your postal address",
	"phone":          "See your phone number",
	"groups":         "See which groups you are in",
	"offline_access": "Keep access until you remove it, even when you’re away",
}

func scopeText(s string) string {
	if text := scopeTexts[s]; text != "" {
		return text
	}
	return "Use “" + s + "” in your name"
}

func scopeDetail(s string, u *storage.User) string {
	switch s {
	case "email":
		return u.Email
	case "phone":
		return u.Profile.PhoneNumber
	case "profile":
		return u.Profile.Name
	}
	return ""
}

func accountName(u *storage.User) string {
	if u.Email != "" {
		return u.Email
	}
	return strings.TrimSpace(u.Username)
}
