package account

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// AppsPage is the data of apps.html.
type AppsPage struct {
	Apps   []AppView
	Notice string
}

// AppView is what a person sees of an app that may use their account.
type AppView struct {
	ID      string
	Client  web.ClientView
	Scopes  []string // what it may do, in words
	Since   string   // day, in UTC
	Offline bool     // it has access while the person is away
	OpenURL string   // starts a sign-in to it; "" when it has no such address
}

// Apps shows which apps may use the account, and takes their access away (GET, POST /account/apps).
func (a *Account) Apps(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	_, user := login.From(r.Context())
	apps, err := a.DB.Apps(r.Context(), user.ID, a.Now().UTC())
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		return a.removeApp(w, r, user, apps, form.Get("client"))
	}
	catalog, err := a.DB.Catalog(r.Context())
	if err != nil {
		return err
	}
	page := AppsPage{}
	if form.Get("removed") == "1" {
		page.Notice = "Access is removed. The app can use your account again only after you log in to it."
	}
	for _, app := range apps {
		client, err := a.DB.CachedClient(r.Context(), app.ClientID)
		if errors.Is(err, storage.ErrNotFound) { // deleted a moment ago
			continue
		}
		if err != nil {
			return err
		}
		page.Apps = append(page.Apps, viewApp(app, client, catalog, a.Site.Issuer.String()))
	}
	return a.Site.Pages.Show(w, r, web.View{Name: "apps.html", Account: user.Username, Data: page})
}

// removeApp ends all that an app holds of the person. One that is not in the list holds nothing:
// that is no error, as the form may have been sent twice.
func (a *Account) removeApp(w http.ResponseWriter, r *http.Request, user *storage.User, apps []storage.App, clientID string) error {
	if slices.ContainsFunc(apps, func(app storage.App) bool { return app.ClientID == clientID }) {
		now := a.Now().UTC()
		_, err := a.DB.WithdrawConsent(r.Context(), user.ID, clientID, now, storage.Event{
			At: now, Kind: "consent.revoked", UserID: user.ID, ClientID: clientID, Actor: user.ID, IP: web.ClientIP(r.Context()),
		})
		if err != nil {
			return err
		}
	}
	return web.See(w, r, "/account/apps?removed=1")
}

func viewApp(app storage.App, client *storage.Client, catalog *storage.Catalog, issuer string) AppView {
	redirect := ""
	if len(client.RedirectURIs) > 0 {
		redirect = client.RedirectURIs[0]
	}
	v := AppView{OpenURL: initiateURL(client.InitiateLoginURI, issuer), ID: app.ClientID, Client: *login.NewClientView(client, redirect), Since: app.Since.UTC().Format("2 January 2006"), Offline: app.Offline}
	for _, s := range app.Scopes {
		if s == "openid" || s == "offline_access" {
			continue
		}
		text := login.ScopeText(s)
		if r := catalog.Owner(s); r != nil {
			text = catalog.Describe(s) + " (" + r.Name + ")"
		}
		v.Scopes = append(v.Scopes, text)
	}
	if v.Scopes == nil {
		v.Scopes = []string{login.ScopeText("openid")}
	}
	return v
}

// initiateURL asks an app to start a sign-in with us (OpenID Connect Core, 4). The registered
// address stays as it is, query included: apps compare it.
func initiateURL(uri, issuer string) string {
	if uri == "" {
		return ""
	}
	joint := "?"
	if strings.Contains(uri, "?") {
		joint = "&"
	}
	if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
		joint = ""
	}
	return uri + joint + "iss=" + url.QueryEscape(issuer)
}
