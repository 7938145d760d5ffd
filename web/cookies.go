package web

import (
	"net/http"
	"time"
)

// Cookies sets and reads our cookies. Over https their names carry the __Host- prefix, so that no
// other host or path can plant them. On plain http, which only a loopback issuer may use, browsers
// refuse that prefix; there the cookies have the bare name and claim no more than they are.
type Cookies struct{ Secure bool }

// Names of our cookies, without the prefix.
const (
	SessionCookie  = "idp_sid"      // the signed-in session
	AccountsCookie = "idp_accounts" // further sessions of this browser, put aside
	EndedCookie    = "idp_ended"    // the sessions that ended a moment ago
	FlowCookie     = "idp_flow"     // binds kept requests and forms to the browser
	DeviceCookie   = "idp_dev"      // tells that people signed in here before
)

func (c Cookies) name(n string) string {
	if c.Secure {
		return "__Host-" + n
	}
	return n
}

// Set sends a cookie. With life 0 it ends with the browser session.
func (c Cookies) Set(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: c.name(name), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// Clear removes a cookie.
func (c Cookies) Clear(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: c.name(name), Path: "/", MaxAge: -1, HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// Value reads a cookie; "" when it is missing or longer than any of ours.
func (c Cookies) Value(r *http.Request, name string) string {
	k, err := r.Cookie(c.name(name))
	if err != nil || len(k.Value) > 256 {
		return ""
	}
	return k.Value
}
