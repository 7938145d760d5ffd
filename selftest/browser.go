package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"strings"

	"crypto/rand"

	"golang.org/x/net/html"
)

// browser is a person's browser as far as HTTP goes: cookies, redirects, forms. It stops where a
// redirect leaves the provider, which is where the app takes over.
type browser struct {
	r      *run
	http   *http.Client
	header http.Header // goes along with every request

	local, remote string // addresses of the connection
}

func (r *run) newBrowser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it has no way to fail
	}
	return &browser{r: r, http: &http.Client{Transport: r.http.Transport, Jar: jar, Timeout: patience, CheckRedirect: stay}}
}

// page is where a browser ended up: a page of the provider, or a redirect that leaves it.
type page struct {
	*reply
	b    *browser
	url  *url.URL
	left *url.URL // set when a redirect left the provider
}

// setCookie is a cookie as it was set, and whereby.
type setCookie struct {
	*http.Cookie
	line string
}

func (b *browser) get(address string) (*page, error) {
	return b.follow(http.MethodGet, address, nil, "")
}

// follow sends a request, and goes where its answer leads.
func (b *browser) follow(method, address string, header http.Header, body string) (*page, error) {
	for range 12 {
		p, err := b.send(method, address, header, body)
		if err != nil {
			return nil, err
		}
		location := p.header.Get("Location")
		if location == "" {
			return p, nil
		}
		next, err := p.url.Parse(location)
		if err != nil {
			return nil, fmt.Errorf("it leads to %q, which is no address", location)
		}
		if next.Scheme != b.r.site.Scheme || next.Host != b.r.site.Host {
			p.left = next
			return p, nil
		}
		method, address, header, body = http.MethodGet, next.String(), nil, ""
	}
	return nil, fmt.Errorf("the redirects of %s go round in circles", withoutQuery(address))
}

// send sends one request and keeps what it learns of connection and cookies.
func (b *browser) send(method, address string, header http.Header, body string) (*page, error) {
	h := http.Header{"Accept": {"text/html,application/xhtml+xml"}}
	for _, more := range []http.Header{b.header, header} {
		for name, values := range more {
			h[name] = values
		}
	}
	ctx := httptrace.WithClientTrace(b.r.ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		b.local, b.remote = hostOf(c.Conn.LocalAddr()), hostOf(c.Conn.RemoteAddr())
	}})
	answer, err := fetch(ctx, b.http, method, address, h, body)
	if err != nil {
		return nil, err
	}
	for _, line := range answer.header.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil {
			b.r.cookies = append(b.r.cookies, setCookie{c, line})
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return &page{reply: answer, b: b, url: u}, nil
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// has says whether the page has an element with that id.
func (p *page) has(id string) bool { return p.element(id) != nil }

func (p *page) element(id string) *html.Node {
	doc, err := html.Parse(bytes.NewReader(p.raw))
	if err != nil {
		return nil
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && attribute(n, "id") == id {
			return n
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// press presses the button with that id, after filling in the fields with those ids.
func (p *page) press(button string, fill map[string]string) (*page, error) {
	b := p.element(button)
	if b == nil {
		return nil, fmt.Errorf("the page at %s (%d) has no button #%s", p.url.Path, p.status, button)
	}
	form := b
	for form != nil && form.Data != "form" {
		form = form.Parent
	}
	if form == nil {
		return nil, fmt.Errorf("the button #%s at %s is in no form", button, p.url.Path)
	}
	values := url.Values{}
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" || attribute(n, "name") == "" || attribute(n, "type") == "checkbox" {
			continue
		}
		value := attribute(n, "value")
		if typed, ok := fill[attribute(n, "id")]; ok {
			value = typed
		}
		values.Set(attribute(n, "name"), value)
	}
	if name := attribute(b, "name"); name != "" {
		values.Set(name, attribute(b, "value"))
	}
	target, err := p.url.Parse(attribute(form, "action"))
	if err != nil {
		return nil, err
	}
	return p.b.follow(http.MethodPost, target.String(), p.b.formHeader(p.b.r.site.Scheme+"://"+p.b.r.site.Host), values.Encode())
}

func (b *browser) formHeader(origin string) http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {origin}}
}

// signIn fills in the sign-in page.
func (p *page) signIn(password string) (*page, error) {
	return p.press("sign-in", map[string]string{"username": p.b.r.person.Username, "current-password": password})
}

// answer goes through sign-in and consent, whichever are asked, and gives what the app gets.
func (p *page) answer() (url.Values, error) {
	for range 4 {
		var err error
		switch {
		case p.left != nil && p.left.Fragment != "":
			return url.ParseQuery(p.left.EscapedFragment())
		case p.left != nil:
			return p.left.Query(), nil
		case p.has("sign-in"):
			p, err = p.signIn(p.b.r.password)
		case p.has("allow"):
			p, err = p.press("allow", nil)
		default:
			return nil, fmt.Errorf("the browser is stuck at %s (%d)", p.url.Path, p.status)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the browser is asked again and again and never gets back to the app")
}

// flow is one authorization request of a client, with its secrets.
type flow struct {
	r        *run
	party    party
	verifier string
	params   url.Values
}

// begin makes an authorization request; pairs replace parameters, or with "-" leave them out.
func (r *run) begin(p party, pairs ...string) *flow {
	f := &flow{r: r, party: p, verifier: rand.Text() + rand.Text()}
	f.params = url.Values{
		"client_id": {p.id}, "redirect_uri": {p.redirectURI}, "response_type": {"code"}, "scope": {"openid email offline_access"},
		"state": {rand.Text()}, "nonce": {rand.Text()}, "code_challenge": {challenge(f.verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if f.params.Set(pairs[i], pairs[i+1]); pairs[i+1] == "-" {
			f.params.Del(pairs[i])
		}
	}
	return f
}

func (f *flow) url() string { return f.r.endpoint("authorization_endpoint") + "?" + f.params.Encode() }

// through sends the request through a browser to its answer.
func (f *flow) through(b *browser) (url.Values, error) {
	p, err := b.get(f.url())
	if err != nil {
		return nil, err
	}
	params, err := p.answer()
	if err == nil {
		f.r.answers = append(f.r.answers, answered{f, params})
	}
	return params, err
}

// code is through, for requests that have to give a code.
func (f *flow) code(b *browser) (string, error) {
	params, err := f.through(b)
	if err != nil {
		return "", err
	}
	if params.Get("code") == "" {
		return "", fmt.Errorf("the app gets %s (%s), want a code", params.Get("error"), params.Get("error_description"))
	}
	return params.Get("code"), nil
}

// refused is through, for requests that have to give an error.
func (f *flow) refused(b *browser, codes ...string) error {
	params, err := f.through(b)
	if err != nil {
		return err
	}
	for _, code := range codes {
		if params.Get("error") == code {
			return nil
		}
	}
	got := params.Get("error")
	if params.Get("code") != "" {
		got = "a code"
	}
	return fmt.Errorf("the app gets %s, want %s", got, strings.Join(codes, " or "))
}

// redeem exchanges a code; pairs as in begin.
func (f *flow) redeem(code string, as credentials, pairs ...string) (*reply, error) {
	form := with(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {f.verifier}, "redirect_uri": {f.party.redirectURI}}, pairs...)
	return f.r.post("token_endpoint", as, form)
}

// tokensOf runs a whole sign-in of a browser that is signed in.
func (r *run) tokensOf(p party, pairs ...string) (*reply, error) {
	f := r.begin(p, pairs...)
	code, err := f.code(r.browser)
	if err != nil {
		return nil, err
	}
	tokens, err := f.redeem(code, p.credentials)
	if err != nil {
		return nil, err
	}
	return tokens, tokens.want(http.StatusOK, "")
}
