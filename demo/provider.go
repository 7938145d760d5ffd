package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// provider is what discovery told about the identity provider.
type provider struct {
	*oidc.Provider
	endSession string // end_session_endpoint, OpenID Connect RP-Initiated Logout 1.0; empty if there is none
	sendsIss   bool   // authorization_response_iss_parameter_supported, RFC 9207, 3
}

// lazyProvider reads the discovery document when it is first needed and keeps
// it. A failed attempt is not kept, so the next login tries again.
type lazyProvider struct {
	issuer string
	client *http.Client

	mu    sync.Mutex
	known *provider
}

func (l *lazyProvider) discover(ctx context.Context) (*provider, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known != nil {
		return l.known, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.issuer)
	if err != nil {
		return nil, fmt.Errorf("discover %s: %w", l.issuer, err)
	}
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
		SendsIss   bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("read metadata of %s: %w", l.issuer, err)
	}
	l.known = &provider{Provider: found, endSession: metadata.EndSession, sendsIss: metadata.SendsIss}
	return l.known, nil
}

// discover returns the provider, and a context in which the libraries use a
// client that does not wait for ever.
func (a *app) discover(ctx context.Context) (*provider, context.Context, error) {
	ctx = oidc.ClientContext(ctx, a.provider.client)
	p, err := a.provider.discover(ctx)
	if err != nil {
		return nil, ctx, &failure{
			Status:  http.StatusBadGateway,
			Title:   a.Brand + " does not answer",
			Message: "The shop could not read " + a.Issuer + "/.well-known/openid-configuration. Is the provider running? Then try again.",
			Err:     err,
		}
	}
	return p, ctx, nil
}

func (a *app) oauth(p *provider) *oauth2.Config {
	endpoint := p.Endpoint()
	// The library's automatic choice sends a failed request twice.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return &oauth2.Config{
		ClientID:     a.Web.ID,
		ClientSecret: a.Web.Secret,
		Endpoint:     endpoint,
		RedirectURL:  a.web,
	}
}

// refused describes a token endpoint's answer that is not a token.
func (a *app) refused(doing string, err error) *failure {
	f := &failure{
		Status:  http.StatusBadGateway,
		Title:   a.Brand + " gave no tokens",
		Message: "The shop could not " + doing + ". You can try again.",
		Err:     fmt.Errorf("%s: %w", doing, err),
	}
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		f.Code, f.Description = answer.ErrorCode, answer.ErrorDescription
	}
	return f
}
