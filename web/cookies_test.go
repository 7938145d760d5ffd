package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"idp/web"
)

func TestCookiesClaimWhatTheirTransportCanKeep(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		secure bool
		life   time.Duration
		clear  bool
		want   string
	}{
		"https":             {true, 0, false, "__Host-idp_sid=secret; Path=/; HttpOnly; Secure; SameSite=Lax"},
		"https, persistent": {true, time.Hour, false, "__Host-idp_sid=secret; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"},
		"https, cleared":    {true, 0, true, "__Host-idp_sid=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax"},
		"http":              {false, 0, false, "idp_sid=secret; Path=/; HttpOnly; SameSite=Lax"},
		"http, cleared":     {false, 0, true, "idp_sid=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
	} {
		w := httptest.NewRecorder()
		if c := (web.Cookies{Secure: row.secure}); row.clear {
			c.Clear(w, web.SessionCookie)
		} else {
			c.Set(w, web.SessionCookie, "secret", row.life)
		}
		if got := w.Header().Get("Set-Cookie"); got != row.want {
			t.Errorf("%s: Set-Cookie = %q, want %q", name, got, row.want)
		}
	}
}

func TestCookiesOfAnotherNameOrSizeAreNotRead(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil) // https
	for header, want := range map[string]string{
		"__Host-idp_sid=ours":                        "ours",
		"idp_sid=planted":                            "",
		"idp_sid=planted; __Host-idp_sid=ours":       "ours",
		"__Host-idp_sid=" + strings.Repeat("x", 256): strings.Repeat("x", 256),
		"__Host-idp_sid=" + strings.Repeat("x", 257): "",
		"": "",
	} {
		r := get("/")
		r.Header["Cookie"] = []string{header}
		if got := site.Cookies.Value(r, web.SessionCookie); got != want {
			t.Errorf("Cookie %q gives %q, want %q", header, got, want)
		}
	}
	bare := &http.Request{Header: http.Header{"Cookie": {"idp_sid=ours"}}}
	if got := (web.Cookies{}).Value(bare, web.SessionCookie); got != "ours" {
		t.Errorf("over http the cookie gives %q, want ours", got)
	}
}
