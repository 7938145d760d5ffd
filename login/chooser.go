package login

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"unicode"

	"idp/storage"
	"idp/web"
)

// maxKnown is how many people who are not signed in are offered; those who were here last.
const maxKnown = 5

// ChooserPage is the data of accounts.html.
type ChooserPage struct {
	Purpose
	Accounts  []AccountRow
	Removing  bool   // rows take accounts away
	AddURL    string // signs in somebody who is not listed
	RemoveURL string // the same page, with Removing
	DoneURL   string // and back
	Error     string
}

// AccountRow is one account that a browser knows.
type AccountRow struct {
	Handle   string // names the account, in this browser only
	Name     string // "" when only the detail may be shown
	Detail   string // address or user name; of somebody who is not signed in, its first letter
	Initial  string
	SignedIn bool
	Present  bool // who the browser acts for now

	person SignedIn // of a row that is signed in
	user   *storage.User
}

// Accounts is where people choose which of their accounts to go on with (GET, POST
// /login/accounts). It lists who is signed in in this browser, then who was before.
func (l *Login) Accounts(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	why, err := l.live(r, form)
	if err != nil {
		return err
	}
	rows, err := l.accounts(r, l.EnsureBrowser(w, r))
	if err != nil {
		return err
	}
	page := ChooserPage{Accounts: rows, Removing: form.Get("mode") == "remove"}
	if r.Method != http.MethodPost {
		return l.showAccounts(w, r, why, page)
	}
	switch {
	case l.Browser(r) == nil:
		return cookieLost(why.to)
	case form.Get("remove") != "":
		return l.removeAccount(w, r, why, rows, form.Get("remove"))
	}
	err = l.chooseAccount(w, r, why, rows, form.Get("account"))
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if page.Accounts, err = l.accounts(r, l.Browser(r)); err != nil {
		return err
	}
	page.Error = "That account is not signed in here any more. Please choose again."
	return l.showAccounts(w, r, why, page)
}

// accounts lists the accounts of a browser.
func (l *Login) accounts(r *http.Request, browser []byte) ([]AccountRow, error) {
	here, err := l.Here(r)
	if err != nil {
		return nil, err
	}
	var rows []AccountRow
	listed := map[string]bool{}
	add := func(u *storage.User, person SignedIn, signedIn bool) {
		if listed[u.ID] {
			return
		}
		listed[u.ID] = true
		row := AccountRow{Handle: handle(browser, u.ID), Name: u.Profile.Name, Detail: cmp.Or(u.Email, u.Username), SignedIn: signedIn, Present: person.Present, person: person, user: u}
		for _, c := range cmp.Or(row.Name, row.Detail) {
			row.Initial = string(unicode.ToUpper(c))
			break
		}
		if !signedIn {
			row.Detail = masked(row.Detail)
		}
		rows = append(rows, row)
	}
	for _, s := range here {
		add(s.User, s, true)
	}
	device := l.cookie(r, web.DeviceCookie, deviceBytes)
	if device == nil {
		return rows, nil
	}
	known, err := l.DB.KnownPeople(r.Context(), device, l.now(), maxKnown+1+maxAside)
	if err != nil {
		return nil, err
	}
	most := len(rows) + maxKnown
	for i := range known {
		if len(rows) < most {
			add(&known[i], SignedIn{}, false)
		}
	}
	return rows, nil
}

// handle names an account to one browser. It is bound to the flow cookie, so that it names nobody
// anywhere else, and only accounts that the browser knows are compared with it.
func handle(browser []byte, userID string) string {
	mac := hmac.New(sha256.New, browser)
	mac.Write([]byte("account " + userID))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// masked is the first letter of an address or a name: enough for its owner to tell it from others at
// a glance. Who presses the row sees the user name in the sign-in form: this browser knows it.
func masked(s string) string {
	for _, c := range s {
		return string(c) + "•••"
	}
	return ""
}

func rowOf(rows []AccountRow, handle string) *AccountRow {
	for i := range rows {
		if hmac.Equal([]byte(rows[i].Handle), []byte(handle)) {
			return &rows[i]
		}
	}
	return nil
}

// chooseAccount goes on with an account: at once with one that is signed in, else over the sign-in
// page. storage.ErrNotFound says that the browser does not have that account, or not any more.
func (l *Login) chooseAccount(w http.ResponseWriter, r *http.Request, why purpose, rows []AccountRow, handle string) error {
	row := rowOf(rows, handle)
	if row == nil {
		return storage.ErrNotFound
	}
	web.Note(r.Context(), "user_id", row.user.ID)
	if !row.SignedIn {
		return web.See(w, r, why.url("/login", "add", "1", "account", handle))
	}
	if !row.Present {
		if err := l.present(w, r, sessionsOf(rows), row.person); err != nil {
			return err
		}
	}
	if err := l.choose(r, why.request, row.person.Session.ID); err != nil {
		return err
	}
	return web.See(w, r, why.next())
}

// sessionsOf are the sessions of the rows, as Here gives them.
func sessionsOf(rows []AccountRow) []SignedIn {
	var here []SignedIn
	for _, row := range rows {
		if row.SignedIn {
			here = append(here, row.person)
		}
	}
	return here
}

// removeAccount signs an account out, if it is signed in, and forgets that it was here. One that is
// not listed is gone already: the form may have been sent twice.
func (l *Login) removeAccount(w http.ResponseWriter, r *http.Request, why purpose, rows []AccountRow, handle string) error {
	row := rowOf(rows, handle)
	if row == nil {
		return web.See(w, r, why.url("/login/accounts"))
	}
	if row.SignedIn {
		if _, err := l.EndOne(w, r, "signed_out", func(s SignedIn) bool { return s.User.ID == row.user.ID }); err != nil {
			return err
		}
	}
	if device := l.cookie(r, web.DeviceCookie, deviceBytes); device != nil {
		if err := l.DB.ForgetPerson(r.Context(), device, row.user.ID); err != nil {
			return err
		}
	}
	if len(rows) == 1 {
		return web.See(w, r, why.url("/login/accounts"))
	}
	return web.See(w, r, why.url("/login/accounts", "mode", "remove"))
}

// nameOfKnown is what the account of a handle is called at sign-in; "" when the browser does not
// know it.
func (l *Login) nameOfKnown(r *http.Request, handle string) (string, error) {
	browser := l.Browser(r)
	if browser == nil {
		return "", nil
	}
	rows, err := l.accounts(r, browser)
	if err != nil {
		return "", err
	}
	if row := rowOf(rows, handle); row != nil {
		return row.user.Username, nil
	}
	return "", nil
}

func (l *Login) showAccounts(w http.ResponseWriter, r *http.Request, why purpose, page ChooserPage) error {
	if len(page.Accounts) == 0 { // nothing to choose from
		return web.See(w, r, why.url("/login", "switch", "1"))
	}
	view := web.View{Name: "accounts.html"}
	if page.Error != "" {
		view.Status = http.StatusUnprocessableEntity
	}
	page.Purpose = why.tell(&view)
	page.AddURL = why.url("/login", "add", "1")
	page.RemoveURL = why.url("/login/accounts", "mode", "remove")
	page.DoneURL = why.url("/login/accounts")
	view.Data = page
	return l.Site.Pages.Show(w, r, view)
}
