package login

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"idp/storage"
	"idp/web"
)

// What the page says. The first sentence is the same whatever is wrong with the pair.
const (
	saysWrong     = "That user name and password don't match. Please check both."
	saysSuspended = "This account is switched off. Contact support."
	saysNoName    = "Enter your email or user name."
	saysNoWord    = "Enter your password."
	saysStale     = "This page was open for a while. Please try again."
)

// maxIdentifier is the longest identifier that is looked up, in characters; no account has a
// longer one.
const maxIdentifier = 254

// errStale says that the kept request is this browser's, but has expired.
var errStale = errors.New("kept request has expired")

// purpose is what somebody signs in for: an app's kept request, a page of our own, or nothing.
type purpose struct {
	request *storage.Request
	client  *storage.Client // who made the request
	to      string          // one of destinations, or ""
}

// next is where a finished sign-in leads. It comes from our own rows and lists only.
func (p purpose) next() string {
	if p.request != nil {
		return "/authorize?request=" + url.QueryEscape(p.request.ID)
	}
	return cmp.Or(p.to, destinations[0])
}

func (p purpose) cancelURL() string {
	return "/authorize?request=" + url.QueryEscape(p.request.ID) + "&cancel=1"
}

func (p purpose) param(name string) string {
	if p.request == nil {
		return ""
	}
	return p.request.Params.Get(name)
}

// redirectURI is where the app's answer goes: a request may leave it out when its client has only
// one (RFC 6749, 3.1.2.3).
func (p purpose) redirectURI() string {
	uri := p.param("redirect_uri")
	if uri == "" && len(p.client.RedirectURIs) == 1 {
		return p.client.RedirectURIs[0]
	}
	return uri
}

// SignIn is the page where people sign in (GET, POST /login).
func (l *Login) SignIn(w http.ResponseWriter, r *http.Request) error {
	form, err := web.Form(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		return l.signIn(w, r, form)
	}
	why, err := l.live(r, form)
	if err != nil {
		return err
	}
	here, err := l.Here(r)
	if err != nil {
		return err
	}
	about, chosen := why.about(here)
	add, another := form.Get("add") == "1", form.Get("switch") == "1"
	switch {
	case !add && len(here) > 1 && another,
		!add && len(here) > 0 && !another && (about == nil || !chosen && why.prompts("select_account")):
		return web.See(w, r, why.url("/login/accounts"))
	case about != nil && why.request == nil && !add && !another:
		return web.See(w, r, why.next())
	}
	l.EnsureBrowser(w, r)
	page := LoginPage{Identifier: hint(why.param("login_hint")), Add: add}
	if chosen {
		page.Identifier = ""
	}
	if about != nil {
		page.Remembered = about.Session.Persistent
		named := page.Identifier == "" && (chosen || why.names(about.User)) || isNameOf(page.Identifier, about.User)
		page.Reauth = !add && !another && named
		// Only "Not you?" ends the session of who is present: an app that names somebody else does not.
		page.Add = add || !about.Present || !another && !named
	}
	switch {
	case page.Reauth && page.Identifier == "":
		page.Identifier = about.User.Username
	case form.Get("account") != "":
		page.Identifier, err = l.nameOfKnown(r, form.Get("account"))
	}
	if err != nil {
		return err
	}
	return l.show(w, r, why, page, nil)
}

// about is whom of those signed in a sign-in is about, nil for nobody yet, and whether the person
// chose them.
func (p purpose) about(here []SignedIn) (about *SignedIn, chosen bool) {
	want := Wanted{Session: p.param(KeptSession), UserIDs: []string{p.param(KeptHint)}, Name: p.param("login_hint")}
	if s, ok := want.among(here); ok {
		return &s, s.Session.ID.String() == want.Session
	}
	if len(here) > 0 && here[0].Present {
		return &here[0], false
	}
	return nil, false
}

// names says whether the request is for that person: it names them, or nobody.
func (p purpose) names(u *storage.User) bool {
	return p.param(KeptHint) == "" || p.param(KeptHint) == u.ID
}

func (p purpose) prompts(value string) bool {
	return slices.Contains(strings.Fields(p.param("prompt")), value)
}

// tell gives what the page says of the purpose, and lets its form lead there.
func (p purpose) tell(view *web.View) Purpose {
	if p.request == nil {
		return Purpose{To: p.to}
	}
	redirect := p.redirectURI()
	view.FormAction = FormActionFor(redirect)
	return Purpose{p.request.ID, p.to, NewClientView(p.client, redirect), p.cancelURL()}
}

// url is a page of ours that goes on with the same purpose. More are further parameters, as names
// and values in turn.
func (p purpose) url(path string, more ...string) string {
	q := url.Values{}
	if p.request != nil {
		q.Set("request", p.request.ID)
	}
	if p.to != "" {
		q.Set("to", p.to)
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func (l *Login) signIn(w http.ResponseWriter, r *http.Request, form url.Values) error {
	page := LoginPage{Identifier: form.Get("username"), Remembered: form.Get("remember") == "1", Add: form.Get("add") == "1"}
	why, err := l.purpose(r, form)
	if errors.Is(err, errStale) {
		if why.request, err = l.renew(r.Context(), why); err == nil {
			return l.show(w, r, why, page, &web.Error{Status: http.StatusUnprocessableEntity, Message: saysStale})
		}
	}
	if err != nil {
		return err
	}
	if l.Browser(r) == nil {
		return cookieLost(why.to)
	}
	l.EnsureBrowser(w, r)
	err = l.authenticate(w, r, why, page, form.Get("password"))
	if _, ok := errors.AsType[*web.Error](err); ok {
		if err := l.markReauth(r, why, &page); err != nil {
			return err
		}
		return l.show(w, r, why, page, err)
	}
	if err != nil {
		return err
	}
	return web.See(w, r, why.next())
}

// authenticate checks name and password and begins the session. It gives a *web.Error for the
// page: 422, 429 or 503.
func (l *Login) authenticate(w http.ResponseWriter, r *http.Request, why purpose, page LoginPage, password string) error {
	ctx := r.Context()
	switch {
	case strings.TrimSpace(page.Identifier) == "":
		return &fieldError{"username", refusal(saysNoName)}
	case password == "":
		return &fieldError{"password", refusal(saysNoWord)}
	case utf8.RuneCountInString(page.Identifier) > maxIdentifier:
		return &fieldError{"password", refusal(saysWrong)}
	}
	p, err := l.DB.PasswordByIdentifier(ctx, page.Identifier)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if p.User.ID != "" {
		web.Note(ctx, "user_id", p.User.ID)
	}
	event := storage.Event{At: l.now(), UserID: p.User.ID, IP: web.ClientIP(ctx)}
	if why.request != nil {
		event.ClientID = why.request.ClientID
	}
	err = l.prove(r, page.Identifier, p, password)
	if errors.Is(err, errWrongPassword) {
		return l.failed(ctx, event, "password", &fieldError{"password", refusal(saysWrong)})
	}
	if err != nil {
		return err
	}
	if p.User.State == storage.UserActive {
		succeeded := event
		succeeded.Kind, succeeded.Actor = "login.succeeded", p.User.ID
		succeeded.Details = map[string]any{"methods": []string{"pwd"}, "remembered": page.Remembered}
		err := l.begin(w, r, arrival{proved: p, remember: page.Remembered, add: page.Add, request: why.request, event: succeeded})
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		// While the password was being checked, it was replaced or the account switched off.
		if p, err = l.DB.PasswordByUser(ctx, p.User.ID); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	if p.User.State == storage.UserSuspended {
		return l.failed(ctx, event, "suspended", refusal(saysSuspended))
	}
	return l.failed(ctx, event, "password", &fieldError{"password", refusal(saysWrong)})
}

// failed writes down why a sign-in failed, and returns what the person is told.
func (l *Login) failed(ctx context.Context, e storage.Event, reason string, told error) error {
	e.Kind, e.Details = "login.failed", map[string]any{"reason": reason}
	if err := l.DB.AppendEvent(ctx, e); err != nil {
		return err
	}
	return told
}

func refusal(message string) *web.Error {
	return &web.Error{Status: http.StatusUnprocessableEntity, Message: message}
}

// fieldError is a refusal that belongs to one field of the form.
type fieldError struct {
	field string
	face  *web.Error
}

func (e *fieldError) Error() string { return e.field + ": " + e.face.Error() }
func (e *fieldError) Unwrap() error { return e.face }

// purpose reads what the browser says it signs in for. A request that is not this browser's, or is
// gone, gives a *web.Error; one that has only expired gives errStale together with the purpose.
func (l *Login) purpose(r *http.Request, form url.Values) (purpose, error) {
	var why purpose
	if to := form.Get("to"); slices.Contains(destinations[:], to) {
		why.to = to
	}
	id := form.Get("request")
	if id == "" {
		return why, nil
	}
	if len(id) > 128 {
		return why, Gone(nil)
	}
	request, err := l.DB.Request(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return why, Gone(nil)
	}
	if err != nil {
		return why, err
	}
	client, err := l.DB.CachedClient(r.Context(), request.ClientID)
	if errors.Is(err, storage.ErrNotFound) {
		return why, &web.Error{Status: http.StatusBadRequest, Message: "The app that sent you here is not known here any more."}
	}
	if err != nil {
		return why, err
	}
	if subtle.ConstantTimeCompare(l.Browser(r), request.BrowserHash) != 1 {
		return why, OtherBrowser(client)
	}
	why.request, why.client = &request, client
	if !request.ExpiresAt.After(l.now()) {
		return why, errStale
	}
	return why, nil
}

// live is purpose, where an expired request is an error that leads to the same one anew.
func (l *Login) live(r *http.Request, form url.Values) (purpose, error) {
	why, err := l.purpose(r, form)
	if errors.Is(err, errStale) {
		err = Expired(why.client, why.request)
	}
	return why, err
}

// renew keeps an expired request anew, for the person who only took their time over the form. It
// has a new id, and everything in it is checked again when it is taken up.
func (l *Login) renew(ctx context.Context, why purpose) (*storage.Request, error) {
	old := *why.request
	err := l.DB.SpendRequest(ctx, old.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, Gone(why.client)
	}
	if err != nil {
		return nil, err
	}
	life := old.ExpiresAt.Sub(old.CreatedAt)
	renewed := old
	renewed.ID = storage.NewID("")
	renewed.CreatedAt = l.now()
	renewed.ExpiresAt = renewed.CreatedAt.Add(life)
	if err := l.DB.KeepRequest(ctx, renewed); err != nil {
		return nil, err
	}
	return &renewed, nil
}

// hint is a login_hint that fits the field. It is a stranger's text: a prefill, never more.
func hint(s string) string {
	if utf8.RuneCountInString(s) > maxIdentifier {
		return ""
	}
	return strings.TrimSpace(s)
}

func isNameOf(identifier string, u *storage.User) bool {
	key := storage.CanonicalIdentifier(identifier)
	return key == storage.CanonicalIdentifier(u.Username) || u.Email != "" && key == storage.CanonicalIdentifier(u.Email)
}

// markReauth keeps a page a re-authentication when the signed-in person failed at it.
func (l *Login) markReauth(r *http.Request, why purpose, page *LoginPage) error {
	if why.request == nil {
		return nil
	}
	here, err := l.Here(r)
	if err != nil {
		return err
	}
	if about, _ := why.about(here); about != nil {
		page.Reauth = isNameOf(page.Identifier, about.User)
	}
	return nil
}

// show writes the sign-in page, with what went wrong if anything did.
func (l *Login) show(w http.ResponseWriter, r *http.Request, why purpose, page LoginPage, problem error) error {
	view := web.View{Name: "login.html"}
	view.Status, page.Error, page.FieldError = told(w, r.Context(), problem)
	page.Purpose = why.tell(&view)
	page.Remember = true
	page.ByOperator = why.prompts("create") && !l.SignUpOpen
	if !page.Reauth && page.Add {
		page.ChooseURL = why.url("/login/accounts")
	}
	if !page.Reauth && l.SignUpOpen {
		page.SignUpURL = why.url("/signup")
	}
	if page.Reauth {
		view.Account = page.Identifier
		page.SwitchURL = why.url("/login", "switch", "1")
	}
	view.Data = page
	return l.Site.Pages.Show(w, r, view)
}
