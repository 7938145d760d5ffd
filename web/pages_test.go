package web_test

import (
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/net/html"

	"idp/account"
	"idp/login"
	"idp/oauth"
	"idp/web"
)

// pageData is what each template is shown with.
func pageData() map[string]any {
	return map[string]any{
		"account.html":        account.AccountPage{},
		"accounts.html":       login.ChooserPage{},
		"apps.html":           account.AppsPage{},
		"barred.html":         oauth.BarredPage{},
		"consent.html":        oauth.ConsentPage{},
		"device.html":         oauth.DevicePage{},
		"device_confirm.html": oauth.DeviceConfirmPage{},
		"device_done.html":    oauth.DeviceDonePage{},
		"error.html":          web.ErrorPage{},
		"form_post.html":      oauth.FormPostPage{},
		"login.html":          login.LoginPage{},
		"logout.html":         oauth.LogoutPage{},
		"logout_done.html":    oauth.LogoutDonePage{},
		"security.html":       account.SecurityPage{},
		"signing_out.html":    oauth.FramesPage{},
		"signup.html":         login.SignUpPage{},
		"unverified.html":     oauth.UnverifiedPage{},
	}
}

func show(site *web.Site, v web.View) reply {
	return ask(site, true, get("/"), func(w http.ResponseWriter, r *http.Request) error { return site.Pages.Show(w, r, v) })
}

// filled is a copy of a page's data with text in every string, true in every bool and one element
// in every list.
func filled(data any, text string) any {
	v := reflect.New(reflect.TypeOf(data)).Elem()
	fill(v, text)
	return v.Interface()
}

func fill(v reflect.Value, text string) {
	if !v.CanSet() { // no template sees it
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	}
}

func TestEveryTemplateHasItsData(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../templates/*.html")
	if err != nil || len(files) < 2 {
		t.Fatalf("templates = %v, %v", files, err)
	}
	data := pageData()
	for _, file := range files {
		if name := filepath.Base(file); name != "layout.html" && data[name] == nil {
			t.Errorf("%s is shown by no test of this file", name)
		}
	}
}

func TestEveryTemplateRendersWithNothing(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for name, data := range pageData() {
		r := show(site, web.View{Name: name, Data: data})
		if r.status != 200 || !strings.Contains(r.body, "<title>") || !strings.HasSuffix(strings.TrimSpace(r.body), "</html>") || strings.Contains(r.body, "ZgotmplZ") {
			t.Errorf("%s: %d\n%s", name, r.status, r.body)
		}
	}
}

// structure is what a browser makes of a page, without its text: tags, names of attributes, comments.
func structure(page string) []string {
	var all []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return all
		case html.TextToken, html.DoctypeToken:
			continue
		}
		token := z.Token()
		line := token.Type.String() + " "
		if token.Type != html.CommentToken {
			line += token.Data
		}
		for _, a := range token.Attr {
			line += " " + a.Key
		}
		all = append(all, line)
	}
}

func TestStrangersTextStaysTextOnEveryPage(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for _, text := range []string{`"><script>alert(1)</script>`, `' onmouseover='alert(1)`, `x onclick=alert(1) `, `</title><img src=x onerror=alert(1)>`, `{{.Brand}}</script><!--`} {
		for name, data := range pageData() {
			r := show(site, web.View{Name: name, Account: text, Data: filled(data, text)})
			calm := show(site, web.View{Name: name, Account: "x", Data: filled(data, "x")})
			if r.status != 200 || calm.status != 200 {
				t.Errorf("%s with %q: %d and %d, want 200", name, text, r.status, calm.status)
			}
			if got, want := structure(r.body), structure(calm.body); !slices.Equal(got, want) {
				t.Errorf("%s with %q is another page: %v, want %v as with calm text", name, text, got, want)
			}
			ours := name == "device_done.html" // has no words but our own
			if strings.Contains(html.UnescapeString(r.body), text) == ours {
				t.Errorf("%s with %q: whether it shows it is %v", name, text, !ours)
			}
		}
	}
}

func TestNoPageLinksToScript(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	for _, address := range []string{"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x"} {
		for name, data := range pageData() {
			r := show(site, web.View{Name: name, Data: filled(data, address)})
			for _, m := range regexp.MustCompile(`(?i)(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(r.body, -1) {
				if target := strings.ToLower(html.UnescapeString(m[1])); strings.HasPrefix(target, strings.ToLower(address[:5])) {
					t.Errorf("%s leads to %q", name, m[1])
				}
			}
		}
	}
}

func TestPagesAreNeverKeptFramedOrScriptedFromElsewhere(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	r := show(site, web.View{Name: "login.html", Status: 422, Data: login.LoginPage{}, FormAction: []string{"https://app.example"}})
	if r.status != 422 {
		t.Errorf("status = %d, want that of the view", r.status)
	}
	wantHeaders(t, "page", r.header, map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Content-Language": "en",
	})
	policy := map[string]string{}
	for _, directive := range strings.Split(r.header.Get("Content-Security-Policy"), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
		policy[key] = strings.TrimSpace(value)
	}
	want := map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'",
		"form-action": "'self' https://app.example", "base-uri": "'none'", "frame-ancestors": "'none'",
	}
	if !reflect.DeepEqual(policy, want) {
		t.Errorf("Content-Security-Policy = %v, want %v", policy, want)
	}
	if inline := regexp.MustCompile(`(?i)<style|\sstyle=|<script(?:>|[^>]*>[^<])`).FindString(r.body); inline != "" {
		t.Errorf("the policy forbids what the page has inline: %q", inline)
	}
}

func TestAPageThatDoesNotRenderSaysSoWithItsReference(t *testing.T) {
	t.Parallel()
	site, log := newSite(t, nil)
	r := show(site, web.View{Name: "login.html", Data: map[string]string{"cause": "4711"}})
	if r.status != 500 || !strings.Contains(r.body, r.header.Get("X-Request-Id")) || strings.Contains(r.body, "<html") || !strings.Contains(log.String(), "page=login.html") {
		t.Errorf("%d %s; want a whole sentence with the reference, and a log line", r.status, r.body)
	}
	if r := show(site, web.View{Name: "none.html"}); r.status != 500 || !strings.Contains(r.body, "<main") {
		t.Errorf("a missing template: %d %s; want the error page", r.status, r.body)
	}
}

func TestAssetsAreNamedByTheirContentAndKeptForever(t *testing.T) {
	t.Parallel()
	site, _ := newSite(t, nil)
	fetch := func(path string) reply {
		r := get(path)
		return ask(site, false, r, site.Pages.Assets)
	}
	page := show(site, web.View{Name: "login.html", Data: login.LoginPage{}})
	names := regexp.MustCompile(`"(/assets/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(names) < 3 {
		t.Fatalf("the page refers to %v, want style, script and icon", names)
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, m := range names {
		path := m[1]
		if !regexp.MustCompile(`^/assets/[a-z_]+\.[0-9a-f]{12}\.[a-z]+$`).MatchString(path) {
			t.Errorf("asset %q carries no hash in its name", path)
		}
		r := fetch(path)
		wantHeaders(t, path, r.header, map[string]string{
			"Content-Type": kinds[filepath.Ext(path)], "Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
		})
		if r.status != 200 || r.body == "" {
			t.Errorf("%s: %d with %d bytes", path, r.status, len(r.body))
		}
	}
	for _, path := range []string{"/assets/app.css", "/assets/app.000000000000.css", "/assets/", "/assets/../login.html", "/assets/..%2flayout.html"} {
		if r := fetch(path); r.status != 404 || strings.Contains(r.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, Cache-Control %q; want 404 that is not kept", path, r.status, r.header.Get("Cache-Control"))
		}
	}
}

func TestAnAssetThatChangesChangesItsName(t *testing.T) {
	t.Parallel()
	name := func(css string) string {
		t.Helper()
		pages, err := web.NewPages(web.PagesConfig{Base: "/auth", Files: fstest.MapFS{
			"layout.html":    {Data: []byte(`{{define "layout"}}{{asset "app.css"}} {{url "/login"}}{{template "main" .}}{{end}}`)},
			"page.html":      {Data: []byte(`{{define "main"}}{{end}}`)},
			"assets/app.css": {Data: []byte(css)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		site, _ := newSite(t, func(c *web.Config) { c.Pages = pages })
		return show(site, web.View{Name: "page.html"}).body
	}
	one, two := name("a{}"), name("b{}")
	if one == two || !strings.HasPrefix(one, "/auth/assets/app.") || !strings.HasSuffix(one, " /auth/login") {
		t.Errorf("names = %q and %q; want two below the issuer's path", one, two)
	}
}

func TestATemplateThatDoesNotParseStopsTheStart(t *testing.T) {
	t.Parallel()
	_, err := web.NewPages(web.PagesConfig{Files: fstest.MapFS{"layout.html": {Data: []byte(`{{define "layout"}}{{end}}`)}, "bad.html": {Data: []byte(`{{if}}`)}}})
	if err == nil || !strings.Contains(err.Error(), "bad.html") {
		t.Errorf("NewPages = %v, want an error that names bad.html", err)
	}
}
