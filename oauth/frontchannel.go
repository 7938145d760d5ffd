package oauth

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"idp/login"
	"idp/storage"
	"idp/web"
)

// Front-channel logout (OpenID Connect Front-Channel Logout 1.0): after a sign-out, a page loads an
// address of each client of the session in a frame. In a frame of another site a browser keeps the
// client's cookies back, so that nothing would happen there: it is for clients of our own site alone.

// FramesPage is the data of signing_out.html.
type FramesPage struct{ Frames []Frame }

// Frame is one address that is loaded, of the app with that name.
type Frame struct{ Name, URL string }

const maxFrames = 20

// frames are what to load for the clients of sessions that have ended.
func (o *OAuth) frames(ctx context.Context, ended []login.SignedIn) ([]Frame, error) {
	apps, err := o.DB.SessionClients(ctx, sessionsOf(ended))
	if err != nil {
		return nil, err
	}
	var list []Frame
	for _, app := range apps {
		if address := o.frameOf(&app); address != "" && len(list) < maxFrames {
			list = append(list, Frame{login.NewClientView(&app.Client, "").Name, address})
		}
	}
	return list, nil
}

// frameOf is the address of a client for one session; "" when it has none that works.
func (o *OAuth) frameOf(app *storage.SessionClient) string {
	uri := app.Client.FrontchannelLogoutURI
	if uri == "" || !FrameLoads(uri, o.Issuer) {
		return ""
	}
	return withQuery(uri, url.Values{"iss": {o.Issuer}, "sid": {sessionID(app.SessionID, app.Client.ID)}})
}

// FrameLoads says whether the provider's sign-out page loads a client's page in a frame. One of
// another site would not find the app's cookies there.
func FrameLoads(uri, issuer string) bool { return sameSite(uri, issuer) && frameSource(uri) != "" }

// frameSource is the origin of an address as a policy spells it; "" when no policy can.
func frameSource(uri string) string {
	for _, source := range login.FormActionFor(uri) {
		if strings.Contains(source, "://") {
			return source
		}
	}
	return ""
}

// sameSite says whether browsers take two addresses for one site: the same scheme, and the same
// domain below a public suffix. Loopback hosts are one site here; for those it is only about trying
// things out.
func sameSite(a, b string) bool {
	ua, err := url.Parse(a)
	if err != nil {
		return false
	}
	ub, err := url.Parse(b)
	if err != nil || ua.Scheme != ub.Scheme {
		return false
	}
	ha, hb := strings.ToLower(ua.Hostname()), strings.ToLower(ub.Hostname())
	if ha == hb || isLoopbackHost(ha) && isLoopbackHost(hb) {
		return true
	}
	site, err := publicsuffix.EffectiveTLDPlusOne(ha)
	if err != nil {
		return false
	}
	other, err := publicsuffix.EffectiveTLDPlusOne(hb)
	return err == nil && site == other
}

// showFrames loads the frames and goes on by itself, without scripts too.
func (o *OAuth) showFrames(w http.ResponseWriter, r *http.Request, frames []Frame, to string) error {
	if strings.HasPrefix(to, "/") {
		to = o.Issuer + to
	}
	var sources []string
	for _, f := range frames {
		sources = append(sources, frameSource(f.URL))
	}
	return o.Site.Pages.Show(w, r, web.View{Name: "signing_out.html", Data: FramesPage{frames}, Frames: sources, Next: to})
}
