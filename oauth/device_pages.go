package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// The pages of the device grant (RFC 8628, 3.3). A code that was typed belongs to the browser in
// which it was typed last; sign-in leads back to the confirmation without knowing of it.

const confirmPath = "/device/confirm"

// DevicePage is the data of device.html.
type DevicePage struct {
	UserCode string
	Error    string
	Field    bool // whether the error is about the code
}

// DeviceConfirmPage is the data of device_confirm.html.
type DeviceConfirmPage struct {
	Device    string // id of the request that it shows
	UserCode  string
	Person    string // whom the page was shown to; a form of somebody else is shown again
	Asked     string // what it showed
	Client    web.ClientView
	Account   string
	SwitchURL string
	Scopes    []ScopeView
	APIs      []APIView
	IP        string
	At        string
}

// DeviceDonePage is the data of device_done.html.
type DeviceDonePage struct{ Refused bool }

// saysNoCode is what people read of every code that does not count, whatever the reason.
const saysNoCode = "That code isn't right or has expired. Get a new one on your device."

// codeBudgets bound how often codes may be guessed (RFC 8628, 5.1), the narrowest first: in a
// browser, from a network, and by everybody together. A right code costs nothing.
func (o *OAuth) codeBudgets(r *http.Request, browser []byte) []storage.Budget {
	return []storage.Budget{
		{Key: "device:browser:" + hex.EncodeToString(browser), Every: time.Minute, Burst: 10},
		{Key: "device:net:" + web.ClientNetwork(r.Context()), Every: time.Minute, Burst: 10},
		{Key: "device:all", Every: 3600 * time.Millisecond, Burst: 400},
	}
}

// Device is the page where people type the code that a device shows (RFC 8628, 3.3). A code in its
// address is filled in, and nothing more: the person sends it.
func (o *OAuth) Device(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	browser := o.Login.EnsureBrowser(w, r)
	code := readUserCode(form.Get("user_code"))
	if r.Method != http.MethodPost {
		page := DevicePage{}
		if code != "" {
			page.UserCode = showUserCode(code)
		}
		return o.showDevice(w, r, page, 0)
	}
	if code == "" {
		message := saysNoCode
		if form.Get("user_code") == "" {
			message = "Enter the code that your device shows."
		}
		return o.showDevice(w, r, DevicePage{Error: message, Field: true}, http.StatusUnprocessableEntity)
	}
	ctx, budgets := r.Context(), o.codeBudgets(r, browser)
	wait, err := o.DB.Spend(ctx, o.now(), budgets...)
	if err != nil {
		return err
	}
	if wait > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int64(wait/time.Second)+1))
		return o.showDevice(w, r, DevicePage{UserCode: showUserCode(code), Error: "Too many wrong codes. Wait a few minutes, then try again."}, http.StatusTooManyRequests)
	}
	err = o.DB.ClaimDeviceRequest(ctx, code, browser, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return o.showDevice(w, r, DevicePage{UserCode: showUserCode(code), Error: saysNoCode, Field: true}, http.StatusUnprocessableEntity)
	}
	if err != nil {
		return err
	}
	if err := o.DB.Refund(ctx, budgets...); err != nil {
		return err
	}
	return web.See(w, r, confirmPath)
}

func (o *OAuth) showDevice(w http.ResponseWriter, r *http.Request, page DevicePage, status int) error {
	return o.Site.Pages.Show(w, r, web.View{Name: "device.html", Status: status, Data: page})
}

// deviceAsked is a device's request with what its decision is made on.
type deviceAsked struct {
	*authorization
	storage.DeviceRequest
	facts storage.Facts
}

// DeviceConfirm asks the person, once they are signed in, whether the device may have what it asks
// for. Nobody is ever let past it: the device could be somebody else's (RFC 8628, 5.4).
func (o *OAuth) DeviceConfirm(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	browser := o.Login.EnsureBrowser(w, r)
	waiting, err := o.DB.ClaimedDeviceRequest(r.Context(), browser, o.now())
	if errors.Is(err, storage.ErrNotFound) {
		return o.deviceGone(w, r)
	}
	if err != nil {
		return err
	}
	web.Note(r.Context(), "client_id", waiting.ClientID)
	d, err := o.readDevice(r, waiting)
	if d == nil {
		return err
	}
	signedIn := d.facts.User != nil
	shown := r.Method == http.MethodPost && signedIn && form.Get("person") == d.facts.User.ID && form.Get("device") == d.ID.String()
	if shown && form.Get("decision") == "deny" { // before anything else: a refusal holds
		return o.denyDevice(w, r, d, browser)
	}
	switch next, refusal := nextStep(o.question(d.authorization, d.facts, true)); next {
	case stepGrant:
	case stepLogin:
		to := "/login?to=" + url.QueryEscape(confirmPath)
		if signedIn { // it is too long ago: the form itself, whoever is there
			to += "&add=1"
		}
		return web.See(w, r, to)
	case stepBarred:
		return o.barredDevice(w, r, d)
	default:
		return &web.Error{Status: http.StatusForbidden, Code: refusal, Message: "The app asks for a stronger sign-in than there is here. Tell whoever runs the app."}
	}
	if shown && form.Get("decision") == "allow" && form.Get("asked") == d.asked() {
		return o.allowDevice(w, r, d, browser)
	}
	return o.confirmDevice(w, r, d)
}

// readDevice checks a device's request against its client as it is now. Nil when the client may not
// have it any more.
func (o *OAuth) readDevice(r *http.Request, waiting storage.DeviceRequest) (*deviceAsked, error) {
	ctx := r.Context()
	gone := &web.Error{Status: http.StatusBadRequest, Code: "unauthorized_client",
		Message: "The app on your device is not known to us any more, or may not ask in this way now. Tell whoever runs the app."}
	for range 3 {
		client, err := o.DB.Client(ctx, waiting.ClientID)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, gone
		}
		if err != nil {
			return nil, err
		}
		facts, err := o.DB.AuthorizeFacts(ctx, client.ID, o.Login.SessionHash(r), o.now())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
		if err != nil || facts.ClientVersion != client.Version {
			continue // it is changing at this moment
		}
		catalog, err := o.DB.CatalogAt(ctx, facts.CatalogVersion)
		if err != nil {
			return nil, err
		}
		a := &authorization{client: client, params: url.Values{}, maxAge: client.DefaultMaxAge, catalog: catalog, arrived: *waiting.ClaimedAt}
		a.resources = within(waiting.Resources, allowedResources(client, catalog))
		a.scopes = scopesFor(within(waiting.Scopes, client.Scopes), a.resources, catalog)
		if facts.ClientDisabled || !slices.Contains(client.GrantTypes, grantDeviceCode) || len(a.scopes) == 0 {
			return nil, gone
		}
		if err := checkACR(a); err != nil {
			return nil, err
		}
		return &deviceAsked{a, waiting, facts}, nil
	}
	return nil, gone
}

// asked sums up what the page shows: when it has changed by the time of the answer, it is shown
// again.
func (d *deviceAsked) asked() string {
	sum := sha256.Sum256(mustJSON([]any{d.UserCode, d.scopes, d.apis(storage.Facts{}), d.client.Name}))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

func (o *OAuth) confirmDevice(w http.ResponseWriter, r *http.Request, d *deviceAsked) error {
	user := d.facts.User
	page := DeviceConfirmPage{
		Device: d.ID.String(), UserCode: showUserCode(d.UserCode), Person: user.ID, Asked: d.asked(), Client: *login.NewClientView(d.client, ""),
		Account: accountName(user), SwitchURL: "/login?to=" + url.QueryEscape(confirmPath) + "&switch=1",
		APIs: d.apis(d.facts), IP: d.IP, At: d.CreatedAt.UTC().Format("2 January 2006, 15:04 UTC"),
	}
	for _, s := range d.authorization.scopes {
		if s != "openid" && d.catalog.Owner(s) == nil {
			page.Scopes = append(page.Scopes, ScopeView{Name: s, Text: login.ScopeText(s), Detail: scopeDetail(s, user)})
		}
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "device_confirm.html", Account: page.Account, Data: page})
}

func (o *OAuth) allowDevice(w http.ResponseWriter, r *http.Request, d *deviceAsked, browser []byte) error {
	ctx, now, a, f := r.Context(), o.now(), d.authorization, d.facts
	g := &storage.Grant{ID: d.ID, Kind: "device", ClientID: a.client.ID, Seed: d.Seed, TokenKey: d.TokenKey, CreatedAt: now}
	if err := o.describe(ctx, g, a, f, now, d.ExpiresAt); err != nil {
		return err
	}
	err := o.DB.RememberConsent(ctx, storage.Consent{
		UserID: f.User.ID, ClientID: a.client.ID, Scopes: a.scopes, Resources: noneForNil(a.resources), GrantedAt: now,
		Snapshot: map[string]any{"client_name": a.client.Name},
	}, o.deviceEvent(r, d, "consent.granted"))
	if err != nil {
		return err
	}
	err = o.DB.ApproveDeviceRequest(ctx, g, browser, o.Login.NextTouch(f.Session))
	if errors.Is(err, storage.ErrConflict) { // answered elsewhere, or expired; or the session ended
		return web.See(w, r, confirmPath)
	}
	if err != nil {
		return err
	}
	web.Note(ctx, "user_id", g.UserID)
	return web.See(w, r, "/device/done")
}

func (o *OAuth) denyDevice(w http.ResponseWriter, r *http.Request, d *deviceAsked, browser []byte) error {
	err := o.DB.DenyDeviceRequest(r.Context(), d.ID, browser, o.now())
	if errors.Is(err, storage.ErrConflict) {
		return o.deviceGone(w, r)
	}
	if err != nil {
		return err
	}
	if err := o.DB.AppendEvent(r.Context(), o.deviceEvent(r, d, "consent.denied")); err != nil {
		return err
	}
	return web.See(w, r, "/device/done?refused=1")
}

func (o *OAuth) deviceEvent(r *http.Request, d *deviceAsked, kind string) storage.Event {
	return storage.Event{At: o.now(), Kind: kind, UserID: d.facts.User.ID, ClientID: d.client.ID, Actor: d.facts.User.ID, IP: web.ClientIP(r.Context()),
		Details: map[string]any{"scopes": d.authorization.scopes, "device": d.IP}}
}

// barredDevice tells a person that the account they are signed in with may not use the client.
func (o *OAuth) barredDevice(w http.ResponseWriter, r *http.Request, d *deviceAsked) error {
	web.Note(r.Context(), "user_id", d.facts.User.ID)
	web.Note(r.Context(), "error", "access_denied")
	page := BarredPage{
		Client: *login.NewClientView(d.client, ""), Account: accountName(d.facts.User),
		SwitchURL: "/login?to=" + url.QueryEscape(confirmPath) + "&switch=1",
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "barred.html", Status: http.StatusForbidden, Account: page.Account, Data: page})
}

// deviceGone asks for another code.
func (o *OAuth) deviceGone(w http.ResponseWriter, r *http.Request) error {
	return o.showDevice(w, r, DevicePage{Error: saysNoCode}, http.StatusUnprocessableEntity)
}

// DeviceDone is the last page: the rest happens on the device.
func (o *OAuth) DeviceDone(w http.ResponseWriter, r *http.Request) error {
	return o.Site.Pages.Show(w, r, web.View{Name: "device_done.html", Data: DeviceDonePage{Refused: r.URL.Query().Get("refused") == "1"}})
}
