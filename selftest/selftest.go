package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"idp/admin"
)

// Config is what a selftest needs.
type Config struct {
	Issuer string       // as apps know it
	Admin  *admin.Admin // makes the throw-away clients and the person, and removes them
}

// Check is one promise and how it is tried.
type Check struct {
	ID      string
	Promise string
	How     string
	Mend    string
	Needs   []string // checks that have to pass before this one says anything
	try     func(*run) error
}

// Status is how a check ended.
type Status string

// How a check may end. One is skipped when a check that it needs did not pass, or when there is
// nothing to try, such as secure cookies on plain http.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Result is what came of one check.
type Result struct {
	ID      string  `json:"id"`
	Promise string  `json:"promise"`
	How     string  `json:"how"`
	Status  Status  `json:"status"`
	Why     string  `json:"why,omitempty"`  // it failed or was skipped
	Mend    string  `json:"mend,omitempty"` // when it failed
	Seconds float64 `json:"seconds"`

	needed bool // skipped because of a check that it needs
}

// Report is what came of a selftest.
type Report struct {
	Issuer  string    `json:"issuer"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
	Results []Result  `json:"results"`
}

// Checks is the table of all checks, in the order in which they are tried.
func Checks() []Check {
	return slices.Concat(discoveryChecks, headerChecks, errorChecks, corsChecks, enterChecks, authorizeChecks, signInChecks, codeChecks, refreshChecks, apiChecks, logoutChecks)
}

// Run tries every check. What it made in the database it removes again, also when it fails or ctx
// ends. The error is of that making and removing: what the provider does wrong is in the report.
func Run(ctx context.Context, c Config) (report *Report, err error) {
	started := time.Now()
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("the issuer %q is not a URL", c.Issuer)
	}
	r := &run{ctx: ctx, issuer: c.Issuer, site: issuer, admin: c.Admin}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	r.http = &http.Client{Transport: transport, Timeout: patience, CheckRedirect: stay}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, r.remove(clean))
	}()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	report = &Report{Issuer: c.Issuer, Started: started.UTC()}
	ended := map[string]Status{}
	for _, check := range Checks() {
		result := r.attempt(check, ended)
		if ctx.Err() != nil {
			return report, errors.New("interrupted before all checks were tried")
		}
		ended[check.ID] = result.Status
		report.add(result)
	}
	report.Seconds = time.Since(started).Seconds()
	return report, nil
}

func (r *Report) add(result Result) {
	r.Results = append(r.Results, result)
	switch result.Status {
	case Passed:
		r.Passed++
	case Failed:
		r.Failed++
	case Skipped:
		r.Skipped++
	}
}

// attempt tries one check, unless one that it needs did not pass.
func (r *run) attempt(c Check, ended map[string]Status) Result {
	result := Result{ID: c.ID, Promise: c.Promise, How: c.How, Status: Passed}
	for _, need := range c.Needs {
		if ended[need] != Passed {
			result.Status, result.Why, result.needed = Skipped, need+" did not pass", true
			return result
		}
	}
	start := time.Now()
	err := c.try(r)
	result.Seconds = time.Since(start).Seconds()
	if nothing, ok := errors.AsType[skip](err); ok {
		result.Status, result.Why = Skipped, string(nothing)
	} else if err != nil {
		result.Status, result.Why, result.Mend = Failed, err.Error(), c.Mend
	}
	return result
}

// skip says why there is nothing to try.
type skip string

func (s skip) Error() string { return string(s) }

// run is one selftest under way: its fixtures, and what earlier checks found for later ones.
type run struct {
	ctx    context.Context
	issuer string
	site   *url.URL
	admin  *admin.Admin
	http   *http.Client // no cookies, no redirects followed

	fixtures

	doc       map[string]any // discovery, fresh
	docReply  *reply
	front     *page       // where the browser is: at the sign-in page, later at consent
	first     *flow       // the sign-in that later checks go on from
	firstCode string      // its code, until it is redeemed
	answers   []answered  // what /authorize answered to apps, good and bad
	tokens    *reply      // of the first code
	refreshed *reply      // of its first rotation
	browser   *browser    // signed in
	signedOut url.Values  // what the app gets after a sign-out
	session   string      // the address that the provider saw at the sign-in
	cookies   []setCookie // every cookie that was set
}

type answered struct {
	f      *flow
	params url.Values
}

// endpoint is an address of the discovery document.
func (r *run) endpoint(name string) string {
	s, _ := r.doc[name].(string)
	return s
}

func (r *run) list(name string) []string {
	var out []string
	values, _ := r.doc[name].([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func (r *run) secure() bool { return r.site.Scheme == "https" }

// get and post are for endpoints of programs.
func (r *run) get(address string, header http.Header) (*reply, error) {
	return fetch(r.ctx, r.http, http.MethodGet, address, header, "")
}

func (r *run) post(endpoint string, as credentials, form url.Values) (*reply, error) {
	return fetchAs(r.ctx, r.http, r.endpoint(endpoint), as, nil, form)
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// want is nil when the answer has that status and, unless it is "", that error.
func (r *reply) want(status int, code string) error {
	if r.status == status && (code == "" || r.text("error") == code) {
		return nil
	}
	return r.unlike(strings.TrimSpace(fmt.Sprintf("%d %s", status, code)))
}
