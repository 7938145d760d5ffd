package oauth

import (
	"crypto/sha256"
	"encoding/base64"
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
	Asked        string // what it showed
	Client       web.ClientView
	Account      string
	SwitchURL    string
	RedirectHost string
	Loopback     bool
	Scopes       []ScopeView
	APIs         []APIView
	Known        bool
	Unverified   bool
}

// ScopeView is one line of what a client asks for.
type ScopeView struct {
	Name, Text, Detail string
	New                bool
}

// APIView is a resource that a client asks for, with what it may do there.
type APIView struct {
	Name, URI string
	Scopes    []ScopeView
}

// Consent asks a person whether a client may have what it asks for.
func (o *OAuth) Consent(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	a, err := o.readAuthorization(r, url.Values{"request": {form.Get("request")}})
	if a == nil {
		return err
	}
	if err == nil {
		err = o.consent(w, r, a, form)
	}
	if err != nil {
		return o.answerError(w, r, a, err)
	}
	return nil
}

func (o *OAuth) consent(w http.ResponseWriter, r *http.Request, a *authorization, form url.Values) error {
	facts, err := o.facts(r, a)
	if err != nil {
		return err
	}
	decision := ""
	if r.Method == http.MethodPost && facts.User != nil && form.Get("person") == facts.User.ID {
		decision = form.Get("decision")
	}
	if decision == "deny" { // before anything else: a refusal holds, whatever was allowed elsewhere
		return o.denied(w, r, a, facts)
	}
	if next, _ := nextStep(o.question(a, facts, false)); next != stepConsent {
		return web.See(w, r, "/authorize?request="+a.keptID)
	}
	if decision == "allow" && form.Get("asked") == a.asked() {
		return o.allow(w, r, a, facts)
	}
	return o.showConsent(w, r, a, facts)
}

// asked sums up what the page shows: when it has changed by the time of the answer, it is shown
// again.
func (a *authorization) asked() string {
	sum := sha256.Sum256(mustJSON([]any{a.consentScopes(), a.apis(storage.Facts{}), a.dest.uri, a.client.Name}))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

func (o *OAuth) allow(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	now := o.now()
	event := storage.Event{At: now, Kind: "consent.granted", UserID: f.User.ID, ClientID: a.client.ID, Actor: f.User.ID,
		IP: web.ClientIP(r.Context()), Details: map[string]any{"scopes": a.consentScopes()}}
	err := o.DB.RememberConsent(r.Context(), storage.Consent{
		UserID: f.User.ID, ClientID: a.client.ID, Scopes: a.consentScopes(), Resources: noneForNil(a.resources), GrantedAt: now,
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
		Request: a.keptID, Person: f.User.ID, Asked: a.asked(), APIs: a.apis(f), Client: *login.NewClientView(a.client, a.dest.uri), Account: accountName(f.User),
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
	for _, s := range a.consentScopes() {
		if s != "openid" && a.catalog.Owner(s) == nil {
			page.Scopes = append(page.Scopes, ScopeView{s, login.ScopeText(s), scopeDetail(s, f.User), f.Consented && !slices.Contains(f.ConsentScopes, s)})
		}
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "consent.html", Account: page.Account, Data: page, FormAction: login.FormActionFor(a.dest.uri)})
}

// apis are the resources of a request, each with its scopes. One without any is still asked for: that
// the app may use it.
func (a *authorization) apis(f storage.Facts) []APIView {
	var list []APIView
	for _, uri := range a.resources {
		r := a.catalog.Resource(uri)
		v := APIView{Name: r.Name, URI: uri}
		for _, s := range a.scopes {
			if owner := a.catalog.Owner(s); owner != nil && owner.URI == uri {
				v.Scopes = append(v.Scopes, ScopeView{Name: s, Text: a.catalog.Describe(s), New: f.Consented && !slices.Contains(f.ConsentScopes, s)})
			}
		}
		if v.Scopes == nil {
			v.Scopes = []ScopeView{{Text: "Use it in your name", New: f.Consented && !slices.Contains(f.ConsentRes, uri)}}
		}
		list = append(list, v)
	}
	return list
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
