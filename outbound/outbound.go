// Package outbound calls addresses that somebody else names: a client's sign-out address, or a
// document that a client points to. Whoever can name an address must not be able to make this
// process look into the network it stands in.
//
// Rules of the area. Only https, on port 443, at public addresses; what an operator has allowed is
// excepted, and plain http is for allowed loopback hosts alone. Every address is checked when it is
// connected to, so that no name can change its mind in between. No redirect is followed, no proxy
// of the environment is used, no cookie is kept, nothing is decompressed; size, time and number of
// calls are bounded.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	timeout  = 3 * time.Second // of a whole call, when nothing else is asked for
	dialTime = time.Second     // of the look-up of a name and one connection
	maxURL   = 2048
	maxHead  = 8 << 10  // bytes of an answer's header
	maxBody  = 64 << 10 // bytes of an answer's body

	inParallel = 10 // calls of this process at once
	perHost    = 2  // of those, to one host and port
)

// ErrAddress is wrapped by errors that say that an address may not be called, now or ever.
var ErrAddress = errors.New("this address may not be called")

// Client makes the calls. It is safe for concurrent use.
type Client struct {
	allow Allow
	http  *http.Client
	all   chan struct{} // a place for each call that runs

	mu    sync.Mutex
	hosts map[string]*places // of hosts that are called now
}

type places struct {
	running chan struct{}
	users   int // calls that run or wait
}

// New makes a Client that calls public addresses, and those that allow names.
func New(allow Allow) *Client {
	c := &Client{allow: allow, all: make(chan struct{}, inParallel), hosts: map[string]*places{}}
	c.http = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would look names up where we cannot check them
			DialContext:            c.dial,
			DisableKeepAlives:      true, // a connection is checked when it is made, and serves one call
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHead,
		},
	}
	return c
}

// Request is one call.
type Request struct {
	Method  string // "" is GET
	URL     string
	Accept  string        // media type to ask for; "" is any
	Form    url.Values    // sent as the body of a POST
	Timeout time.Duration // of the whole call, waiting for a place included; 0 means 3 s
}

// Answer is what came back, whatever its status.
type Answer struct {
	Status       int
	MediaType    string // in lower case, without parameters
	CacheControl string // the header, as it came
	Body         []byte // 64 KiB at most; a longer one is an error
}

// Do makes a call. An answer of any status is no error, redirects included, which are not followed.
// Errors wrap ErrAddress when the address may not be called.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	u, err := c.check(r.URL)
	if err != nil {
		return Answer{}, err
	}
	wait := r.Timeout
	if wait == 0 {
		wait = timeout
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	leave, err := c.enter(ctx, u.Host)
	if err != nil {
		return Answer{}, err
	}
	defer leave()

	var body io.Reader
	if r.Form != nil {
		body = strings.NewReader(r.Form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), body)
	if err != nil {
		return Answer{}, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", "idp")
	if r.Form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.Accept != "" {
		req.Header.Set("Accept", r.Accept)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	return read(resp)
}

// JSON fetches a JSON document: status 200, a JSON media type, 64 KiB at most.
func (c *Client) JSON(ctx context.Context, address string) ([]byte, error) {
	a, err := c.Document(ctx, address, "application/json")
	return a.Body, err
}

// Document is JSON with the media types to ask for, and the whole answer.
func (c *Client) Document(ctx context.Context, address, accept string) (Answer, error) {
	a, err := c.Do(ctx, Request{URL: address, Accept: accept})
	switch {
	case err != nil:
		return Answer{}, err
	case a.Status != http.StatusOK:
		return Answer{}, fmt.Errorf("%s answers with status %d, not 200", address, a.Status)
	case a.MediaType != "application/json" && !strings.HasSuffix(a.MediaType, "+json"):
		return Answer{}, fmt.Errorf("%s answers with %q, not with application/json", address, a.MediaType)
	}
	return a, nil
}

func read(resp *http.Response) (Answer, error) {
	a := Answer{Status: resp.StatusCode, CacheControl: strings.Join(resp.Header.Values("Cache-Control"), ", ")}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil {
		a.MediaType = kind
	}
	// Nobody asked for it, and unpacking is where a small answer grows.
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return a, fmt.Errorf("the answer is encoded as %.20q, which was not asked for", e)
	}
	var err error
	if a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1)); err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	if len(a.Body) > maxBody {
		return a, fmt.Errorf("the answer is larger than %d KiB", maxBody>>10)
	}
	return a, nil
}

// check looks at what can be seen of an address before it is connected to.
func (c *Client) check(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(address) > maxURL:
		return nil, fmt.Errorf("%w: it is no URL with a host", ErrAddress)
	case u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("%w: it has a user name or a fragment", ErrAddress)
	case u.Scheme == "https":
		return u, nil
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return u, nil // whether it is allowed is seen when it is connected to, as for all addresses that are not public
	}
	return nil, fmt.Errorf("%w: it is not https", ErrAddress)
}

// dial connects to a host and port, if each address that is tried may be called.
func (c *Client) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTime, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %q is no address", ErrAddress, address)
		}
		return c.admit(hostPort, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	}}
	return d.DialContext(ctx, network, hostPort)
}

// admit decides on one address that a host's name has led to.
func (c *Client) admit(hostPort string, to netip.AddrPort) error {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAddress, err)
	}
	refuse := func(why string) error {
		return fmt.Errorf("%w: %s %s; an operator can allow it with IDP_OUTBOUND_ALLOW", ErrAddress, to, why)
	}
	switch {
	case Loopback(host) && !to.Addr().IsLoopback():
		return refuse("is not on this machine, as the name " + host + " says")
	case c.allow.has(host, to):
		return nil
	case !public(to.Addr()):
		return refuse("is not a public address")
	case own(to.Addr()):
		return refuse("is this machine's own address")
	case to.Port() != 443:
		return refuse("is not port 443")
	}
	return nil
}

// enter waits for a place among the calls to the host and among all; leave gives it back.
func (c *Client) enter(ctx context.Context, host string) (leave func(), err error) {
	c.mu.Lock()
	p := c.hosts[host]
	if p == nil {
		p = &places{running: make(chan struct{}, perHost)}
		c.hosts[host] = p
	}
	p.users++
	c.mu.Unlock()
	forget := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if p.users--; p.users == 0 {
			delete(c.hosts, host)
		}
	}
	// The host's place first: calls that wait for one slow host take no place of the others.
	for _, place := range []chan struct{}{p.running, c.all} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			if place == c.all {
				<-p.running
			}
			forget()
			return nil, fmt.Errorf("wait for other calls: %w", ctx.Err())
		}
	}
	return func() { <-c.all; <-p.running; forget() }, nil
}
