package integration

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// browser is a person's browser as far as HTTP goes: cookies, redirects, forms. It stops where a
// redirect leaves the provider, which is where the client takes over.
type browser struct {
	t    testing.TB
	w    *world
	http *http.Client
	jar  http.CookieJar
}

func (w *world) browser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, w, &http.Client{Transport: w.transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, jar}
}

// page is where a browser ended up: a page of the provider, or a redirect that leaves it.
type page struct {
	b      *browser
	status int
	url    *url.URL
	header http.Header
	body   string
	left   *url.URL // set when a redirect left the provider
	hops   []string // paths on the way
}

func (b *browser) get(address string) *page {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.w.issuer + address
	}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.follow(req)
}

func (b *browser) post(address string, form url.Values) *page {
	b.t.Helper()
	return b.follow(b.request(b.t, http.MethodPost, address, form))
}

// request makes a request as a form of our own pages does.
func (b *browser) request(t testing.TB, method, address string, form url.Values) *http.Request {
	t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.w.issuer + address
	}
	req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.w.issuer)
	return req
}

func (b *browser) follow(req *http.Request) *page {
	b.t.Helper()
	var hops []string
	for range 12 {
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
		hops = append(hops, req.URL.Path)
		resp, err := b.http.Do(req)
		if err != nil {
			b.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			b.t.Fatal(err)
		}
		p := &page{b: b, status: resp.StatusCode, url: req.URL, header: resp.Header, body: string(body), hops: hops}
		location := resp.Header.Get("Location")
		if location == "" {
			return p
		}
		next, err := req.URL.Parse(location)
		if err != nil {
			b.t.Fatalf("Location %q: %v", location, err)
		}
		if next.Scheme+"://"+next.Host != b.w.issuer {
			p.left = next
			return p
		}
		if req, err = http.NewRequest(http.MethodGet, next.String(), nil); err != nil {
			b.t.Fatal(err)
		}
	}
	b.t.Fatalf("redirect loop: %v", hops)
	return nil
}

// form reads the hidden fields of the page's first form with an action.
func (p *page) form() (action string, fields url.Values) {
	p.b.t.Helper()
	doc, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		p.b.t.Fatal(err)
	}
	fields = url.Values{}
	var inForm bool
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode && n.Data == "form" && action == "" {
			action, inForm = attr(n, "action"), true
			defer func() { inForm = false }()
		}
		if n.Type == html.ElementNode && n.Data == "input" && inForm && attr(n, "name") != "" {
			if kind := attr(n, "type"); kind != "checkbox" && kind != "submit" {
				fields.Add(attr(n, "name"), attr(n, "value"))
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	if action == "" {
		p.b.t.Fatalf("no form on %s (%d):\n%s", p.url, p.status, p.body)
	}
	return action, fields
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// submit fills in the page's form and posts it.
func (p *page) submit(values map[string]string) *page {
	p.b.t.Helper()
	action, fields := p.form()
	for k, v := range values {
		fields.Set(k, v)
	}
	target, err := p.url.Parse(action)
	if err != nil {
		p.b.t.Fatal(err)
	}
	return p.b.post(target.String(), fields)
}

// at fails the test unless the browser shows that path.
func (p *page) at(path string) *page {
	p.b.t.Helper()
	if p.left != nil || p.url.Path != path {
		p.b.t.Fatalf("at %s (left to %v, status %d), want %s\n%s", p.url, p.left, p.status, path, p.body)
	}
	return p
}

// answer gives the parameters with which the browser went back to the client.
func (p *page) answer() url.Values {
	p.b.t.Helper()
	if p.left == nil {
		p.b.t.Fatalf("still at %s (%d), want to be back at the client\n%s", p.url, p.status, p.body)
	}
	if p.left.Fragment != "" { // response_mode=fragment
		params, err := url.ParseQuery(p.left.EscapedFragment())
		if err != nil {
			p.b.t.Fatal(err)
		}
		return params
	}
	return p.left.Query()
}

// pass goes through sign-in and consent, whichever are asked, until the client has its answer. Of the
// accounts of the browser it uses another one.
func (p *page) pass(who *person) url.Values {
	p.b.t.Helper()
	for range 4 {
		switch {
		case p.left != nil:
			return p.answer()
		case p.url.Path == "/login/accounts":
			p = p.b.get("/login?" + p.url.RawQuery + "&add=1")
		case p.url.Path == "/login":
			p = p.submit(map[string]string{"username": who.Username, "password": who.Password})
		case p.url.Path == "/consent":
			p = p.submit(map[string]string{"decision": "allow"})
		default:
			p.b.t.Fatalf("stuck at %s (%d)\n%s", p.url, p.status, p.body)
		}
	}
	p.b.t.Fatalf("never came back to the client; at %s", p.url)
	return nil
}
