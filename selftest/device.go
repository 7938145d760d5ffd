package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Device is one request of a device that has no browser (RFC 8628).
type Device struct {
	UserCode string // what the person types
	URL      string // where
	Complete string // the same with the code in it; "" when the provider gives none

	s        *SignIn
	code     string
	interval time.Duration
	findings []Finding
}

// BeginDevice asks for the codes.
func (rp *RelyingParty) BeginDevice(ctx context.Context) (*Device, error) {
	p, err := rp.discover(ctx)
	if err != nil {
		return nil, err
	}
	if p.meta.Device == "" {
		return nil, errors.New("the provider has no device_authorization_endpoint")
	}
	r, err := fetchAs(ctx, rp.http(), p.meta.Device, credentials{rp.ClientID, rp.Secret, rp.AuthMethod}, nil, url.Values{"scope": {strings.Join(rp.scopes(), " ")}})
	if err != nil {
		return nil, err
	}
	if r.status != http.StatusOK {
		return nil, r.unlike("200")
	}
	d := &Device{
		UserCode: r.text("user_code"), URL: r.text("verification_uri"), Complete: r.text("verification_uri_complete"),
		s: &SignIn{rp: rp, p: p}, code: r.text("device_code"), interval: 5 * time.Second,
	}
	if d.UserCode == "" || d.URL == "" || d.code == "" {
		return nil, errors.New("the answer has no device_code, user_code or verification_uri")
	}
	if n, ok := r.body["interval"].(float64); ok && n > 0 && n < 600 {
		d.interval = time.Duration(n * float64(time.Second))
	}
	o := &Outcome{}
	var lives, store error
	if n, ok := r.body["expires_in"].(float64); !ok || n <= 0 {
		lives = fmt.Errorf("expires_in is %v", r.body["expires_in"])
	}
	if !strings.Contains(r.header.Get("Cache-Control"), "no-store") {
		store = fmt.Errorf("Cache-Control is %q", r.header.Get("Cache-Control"))
	}
	o.check("device.lifetime", "expires_in is a number of seconds (RFC 8628, 3.2).", lives)
	o.check("device.store", "Nobody keeps a copy of the codes (RFC 8628, 3.2).", store)
	d.findings = o.Findings
	return d, nil
}

// Wait asks until somebody has answered, and checks the tokens as a sign-in does.
func (d *Device) Wait(ctx context.Context) (*Outcome, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, errors.New("nobody has answered in time")
		case <-time.After(d.interval):
		}
		r, err := d.s.rp.token(ctx, d.s.p, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.code}})
		if err == nil && r.status == http.StatusBadRequest {
			switch r.text("error") {
			case "slow_down":
				d.interval += 5 * time.Second
				continue
			case "authorization_pending":
				continue
			}
		}
		o := &Outcome{Findings: d.findings}
		if d.s.tokens(o, r, err) {
			d.s.idToken(ctx, o, r)
			d.s.userInfo(ctx, o, r.text("access_token"))
		}
		return o, nil
	}
}
