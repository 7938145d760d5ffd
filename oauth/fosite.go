package oauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"
	foauth "github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"

	"idp/storage"
)

// The seam. fosite v0.49.0 validates authorization requests, dispatches token requests to its code,
// refresh, client-credentials and OpenID handlers and to ours for devices, and knows nothing else: authentication of
// clients, PKCE, redirect matching, tokens, storage, errors and answers are ours. What its handlers
// do to storage goes to the unit of work in the context (unit.go).

func (o *OAuth) newProvider() fosite.OAuth2Provider {
	st := &store{o}
	cfg := &configurator{Config: &fosite.Config{
		MinParameterEntropy: 1,
		GlobalSecret:        make([]byte, 32), // fosite signs nothing of ours
		HTTPClient:          nil,
	}}
	at, rt, ac := accessStrategy{o}, refreshStrategy{o}, codeStrategy{}
	helper := &openid.IDTokenHandleHelper{IDTokenStrategy: idTokenStrategy{o}}
	code := &codeGrant{o, &foauth.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: at, RefreshTokenStrategy: rt, AuthorizeCodeStrategy: ac,
		CoreStorage: st, TokenRevocationStorage: st, Config: cfg,
	}}
	refresh := &refreshGrant{o, &foauth.RefreshTokenGrantHandler{
		AccessTokenStrategy: at, RefreshTokenStrategy: rt, TokenRevocationStorage: st, Config: cfg,
	}}
	client := &clientGrant{o, &foauth.ClientCredentialsGrantHandler{
		HandleHelper: &foauth.HandleHelper{AccessTokenStrategy: at, AccessTokenStorage: st, Config: cfg}, Config: cfg,
	}}
	idToken := &openid.OpenIDConnectExplicitHandler{OpenIDConnectRequestStorage: st, IDTokenHandleHelper: helper, Config: cfg}
	idTokenOnRefresh := &openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: helper, Config: cfg}
	cfg.authorize = fosite.AuthorizeEndpointHandlers{code}
	// The order counts: ID tokens carry a hash of the access token.
	cfg.token = fosite.TokenEndpointHandlers{code, refresh, client, assertionGrant{o}, exchangeGrant{o}, deviceGrant{o}, idToken, idTokenOnRefresh}
	return fosite.NewOAuth2Provider(st, cfg)
}

// configurator never changes after newProvider: fosite's own Config writes its defaults lazily,
// which is a data race.
type configurator struct {
	*fosite.Config
	authorize fosite.AuthorizeEndpointHandlers
	token     fosite.TokenEndpointHandlers
}

func (c *configurator) GetAuthorizeEndpointHandlers(context.Context) fosite.AuthorizeEndpointHandlers {
	return c.authorize
}
func (c *configurator) GetTokenEndpointHandlers(context.Context) fosite.TokenEndpointHandlers {
	return c.token
}
func (c *configurator) GetScopeStrategy(context.Context) fosite.ScopeStrategy {
	return fosite.ExactScopeStrategy
}
func (c *configurator) GetAudienceStrategy(context.Context) fosite.AudienceMatchingStrategy {
	return func(haystack, needle []string) error { return nil } // resources are checked by us (RFC 8707)
}
func (c *configurator) GetRedirectSecureChecker(context.Context) func(context.Context, *url.URL) bool {
	return func(context.Context, *url.URL) bool { return true } // judged at registration, compared by us
}
func (c *configurator) GetRefreshTokenScopes(context.Context) []string         { return nil } // the grant says it
func (c *configurator) GetAuthorizeCodeLifespan(context.Context) time.Duration { return codeLife }
func (c *configurator) GetAccessTokenLifespan(context.Context) time.Duration   { return accessTokenLife }
func (c *configurator) GetIDTokenLifespan(context.Context) time.Duration       { return idTokenLife }
func (c *configurator) GetRefreshTokenLifespan(context.Context) time.Duration  { return -1 } // the row says it
func (c *configurator) GetSanitationWhiteList(context.Context) []string {
	return []string{"redirect_uri"}
}
func (c *configurator) GetOmitRedirectScopeParam(context.Context) bool                    { return true }
func (c *configurator) GetJWKSFetcherStrategy(context.Context) fosite.JWKSFetcherStrategy { return nil }
func (c *configurator) GetClientAuthenticationStrategy(context.Context) fosite.ClientAuthenticationStrategy {
	return func(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
		return unitOf(ctx).clientView(), nil // the endpoint has authenticated it
	}
}

// clientView is a client as one request sees it: with the redirect URI that was matched for it, and
// with the refresh grant only if the grant in hand has a refresh token.
type clientView struct {
	client      *storage.Client
	redirectURI string
	grantTypes  []string
}

func (c *clientView) GetID() string                      { return c.client.ID }
func (c *clientView) GetHashedSecret() []byte            { return nil }
func (c *clientView) GetRedirectURIs() []string          { return []string{c.redirectURI} }
func (c *clientView) GetGrantTypes() fosite.Arguments    { return c.grantTypes }
func (c *clientView) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c *clientView) GetScopes() fosite.Arguments        { return c.client.Scopes }
func (c *clientView) IsPublic() bool                     { return c.client.Public() }
func (c *clientView) GetAudience() fosite.Arguments      { return c.client.Resources }
func (c *clientView) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeDefault, fosite.ResponseModeQuery, fosite.ResponseModeFormPost}
}

// session is fosite's session over a unit of work. It holds nothing that outlives the request.
type session struct {
	unit    *unit
	claims  jwt.IDTokenClaims
	headers jwt.Headers
	expires map[fosite.TokenType]time.Time
}

func newSession(u *unit) *session {
	return &session{unit: u, expires: map[fosite.TokenType]time.Time{}}
}

func (s *session) SetExpiresAt(k fosite.TokenType, t time.Time) { s.expires[k] = t }
func (s *session) GetExpiresAt(k fosite.TokenType) time.Time    { return s.expires[k] }
func (s *session) GetUsername() string                          { return "" }
func (s *session) GetSubject() string                           { return s.claims.Subject }
func (s *session) Clone() fosite.Session                        { c := *s; return &c }
func (s *session) IDTokenClaims() *jwt.IDTokenClaims            { return &s.claims }
func (s *session) IDTokenHeaders() *jwt.Headers                 { return &s.headers }

// The strategies make tokens out of the unit's grant. What fosite calls a token's signature is the
// token itself; nobody stores it.

type codeStrategy struct{}

func (codeStrategy) AuthorizeCodeSignature(_ context.Context, t string) string { return t }
func (codeStrategy) GenerateAuthorizeCode(ctx context.Context, _ fosite.Requester) (string, string, error) {
	code, err := unitOf(ctx).deriveCode()
	return code, code, err
}
func (codeStrategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error {
	return nil // codeGrant did
}

type accessStrategy struct{ o *OAuth }

func (accessStrategy) AccessTokenSignature(_ context.Context, t string) string { return t }
func (s accessStrategy) GenerateAccessToken(ctx context.Context, r fosite.Requester) (string, string, error) {
	t, err := unitOf(ctx).makeAccessToken(s.o, r.GetGrantedScopes())
	return t, t, err
}
func (accessStrategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrTokenSignatureMismatch // introspection is ours; fosite is never asked
}

type refreshStrategy struct{ o *OAuth }

func (refreshStrategy) RefreshTokenSignature(_ context.Context, t string) string { return t }
func (s refreshStrategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (string, string, error) {
	t, err := unitOf(ctx).deriveRefreshToken(ctx, s.o)
	return t, t, err
}
func (refreshStrategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error {
	return nil // refreshGrant did
}

type idTokenStrategy struct{ o *OAuth }

func (s idTokenStrategy) GenerateIDToken(ctx context.Context, _ time.Duration, r fosite.Requester) (string, error) {
	return unitOf(ctx).makeIDToken(s.o, r.GetGrantedScopes())
}

// store gives fosite's handlers the storage they ask for: the unit of work.
type store struct{ o *OAuth }

func (*store) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	if u := unitOf(ctx); u.client != nil && u.client.ID == id {
		return u.clientView(), nil
	}
	return nil, fosite.ErrNotFound
}
func (*store) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }
func (*store) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}
func (*store) CreateAuthorizeCodeSession(ctx context.Context, _ string, r fosite.Requester) error {
	u := unitOf(ctx)
	u.grant.Scopes = slices.Clone(r.GetGrantedScopes())
	u.change = changeInsert
	return nil
}
func (*store) GetAuthorizeCodeSession(ctx context.Context, _ string, s fosite.Session) (fosite.Requester, error) {
	return unitOf(ctx).requester(s), nil
}
func (*store) InvalidateAuthorizeCodeSession(ctx context.Context, _ string) error {
	unitOf(ctx).change = changeRedeem
	return nil
}
func (*store) CreateAccessTokenSession(context.Context, string, fosite.Requester) error { return nil }
func (*store) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}
func (*store) DeleteAccessTokenSession(context.Context, string) error { return nil }
func (*store) CreateRefreshTokenSession(context.Context, string, string, fosite.Requester) error {
	return nil
}
func (*store) GetRefreshTokenSession(ctx context.Context, _ string, s fosite.Session) (fosite.Requester, error) {
	return unitOf(ctx).requester(s), nil
}
func (*store) DeleteRefreshTokenSession(context.Context, string) error { return nil }
func (*store) RotateRefreshToken(ctx context.Context, _, _ string) error {
	u := unitOf(ctx)
	switch {
	case u.successor: // the row was rotated already
	case rotates(u.client):
		u.change = changeRotate
	default:
		u.change = changeTouch
	}
	return nil
}
func (*store) RevokeRefreshToken(context.Context, string) error { return nil } // verdicts are the grants'
func (*store) RevokeAccessToken(context.Context, string) error  { return nil }
func (*store) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error {
	return nil
}
func (*store) GetOpenIDConnectSession(ctx context.Context, _ string, r fosite.Requester) (fosite.Requester, error) {
	if !r.GetGrantedScopes().Has("openid") {
		return nil, openid.ErrNoSessionFound
	}
	return r, nil
}
func (*store) DeleteOpenIDConnectSession(context.Context, string) error { return nil }
