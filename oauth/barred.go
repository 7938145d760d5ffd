package oauth

import (
	"net/http"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// BarredPage is the data of barred.html.
type BarredPage struct {
	Client    web.ClientView
	Account   string // who is signed in
	SwitchURL string // chooses another account
	CancelURL string // back to the app, which hears access_denied; "" when it is on another device
}

// barred tells a person that the account they are signed in with may not use the client. A bare
// answer to the client would leave them without a way to use another one. The request is kept
// first, so that the page has an address of its own.
func (o *OAuth) barred(w http.ResponseWriter, r *http.Request, a *authorization, f storage.Facts) error {
	if a.keptID == "" || a.unbound {
		return o.sendTo(w, r, a, "/authorize")
	}
	web.Note(r.Context(), "user_id", f.User.ID)
	web.Note(r.Context(), "error", "access_denied")
	page := BarredPage{
		Client: *login.NewClientView(a.client, a.dest.uri), Account: accountName(f.User),
		SwitchURL: "/login/accounts?request=" + a.keptID, CancelURL: "/authorize?request=" + a.keptID + "&cancel=1",
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "barred.html", Status: http.StatusForbidden, Account: page.Account, Data: page})
}
