package oauth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"idp/storage"
	"idp/web"
)

// Token is the token endpoint (RFC 6749, 3.2).
func (o *OAuth) Token(w http.ResponseWriter, r *http.Request) error {
	arrived := o.now()
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if err := o.Ready(); err != nil {
		return notReady(err)
	}
	grantType := form.Get("grant_type")
	web.Note(r.Context(), "grant_type", grantType)
	if grantType == "" {
		return invalidRequest("The parameter grant_type is missing.")
	}
	if !slices.Contains(grantTypes, grantType) {
		return refuse(http.StatusBadRequest, "unsupported_grant_type", "This grant type is not offered here.", nil)
	}
	client, err := o.authenticate(w, r, form)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		u := &unit{client: client, ring: o.keys.Load(), form: form, arrived: arrived}
		answer, err := o.grantTokens(r, u)
		switch {
		case err == nil:
			return web.JSON(w, http.StatusOK, answer)
		case try == 2:
			return o.protocolError(err)
		case errors.Is(err, errStale):
			if client, err = o.refreshClient(w, r, form, client); err != nil {
				return err
			}
		case errors.Is(err, storage.ErrConflict):
			// Another request was first. What that makes of this one - a grace replay, a lost
			// race, a revocation - the row tells now.
		case try == 0 && refused(err):
			// What the cached client may not, the client may have been allowed since.
			fresh, problem := o.refreshClient(w, r, form, client)
			if problem != nil {
				return problem
			}
			if fresh.Version == client.Version {
				return o.protocolError(err)
			}
			client = fresh
		default:
			return o.protocolError(err)
		}
	}
}

// grantTypes are what clients may be registered for, and send.
var grantTypes = []string{"authorization_code", "refresh_token", "client_credentials", grantJWTBearer, grantExchange, grantDeviceCode}

// refused says that a request failed by what its client is registered for.
func refused(err error) bool {
	e, ok := errors.AsType[*web.Error](err)
	return ok && slices.Contains([]string{"unauthorized_client", "invalid_scope", "invalid_target"}, e.Code)
}

// tokenAnswer is RFC 6749, 5.1 with OpenID Connect's ID token.
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope"`

	IssuedTokenType string `json:"issued_token_type,omitempty"` // of an exchange (RFC 8693, 2.2.1)

	// With a refresh token (draft-ietf-oauth-refresh-token-expiration): how long it may lie unused,
	// and what is left of the authorization, in seconds.
	RefreshTimeout       int64 `json:"refresh_token_timeout,omitempty"`
	AuthorizationExpires int64 `json:"authorization_expires_in,omitempty"`
}

// grantTokens runs one attempt: fosite's handlers make the tokens, then the unit's one change is
// written. Nothing is answered before that has succeeded.
func (o *OAuth) grantTokens(r *http.Request, u *unit) (tokenAnswer, error) {
	ctx := withUnit(r.Context(), u)
	ar, err := o.provider.NewAccessRequest(ctx, r, newSession(u))
	if err != nil {
		return tokenAnswer{}, err
	}
	if len(u.scopes) < len(ar.GetGrantedScopes()) { // narrowed by a refresh
		ar.(*fosite.AccessRequest).GrantedScope = u.scopes
	}
	resp, err := o.provider.NewAccessResponse(ctx, ar)
	if err != nil {
		return tokenAnswer{}, err
	}
	if u.expiresIn < time.Second { // clients take 0 for nonsense
		return tokenAnswer{}, invalidGrant("the grant ends this second")
	}
	if err := u.flush(ctx, o); err != nil {
		return tokenAnswer{}, err
	}
	web.Note(ctx, "user_id", u.grant.UserID)
	answer := tokenAnswer{AccessToken: u.accessToken, TokenType: "Bearer", ExpiresIn: int64(u.expiresIn / time.Second), Scope: joinScopes(u.scopes)}
	if u.change == changeExchanged {
		answer.IssuedTokenType = accessTokenType
	}
	answer.RefreshToken, _ = resp.GetExtra("refresh_token").(string)
	answer.IDToken, _ = resp.GetExtra("id_token").(string)
	if answer.RefreshToken != "" && u.facts != nil && u.idleExpires != nil {
		now := o.now()
		answer.RefreshTimeout = int64(u.facts.Idles(*u.idleExpires).Sub(now) / time.Second)
		answer.AuthorizationExpires = int64(u.ends().Sub(now) / time.Second)
	}
	return answer, nil
}

func joinScopes(list []string) string { return strings.Join(list, " ") }

// protocolError gives fosite's errors our face. Ours pass as they are.
func (o *OAuth) protocolError(err error) error {
	var own *web.Error
	if errors.As(err, &own) || storage.Unavailable(err) {
		return err
	}
	if errors.Is(err, errNoKey) {
		return notReady(err)
	}
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, errStale) {
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: time.Second,
			Message: "The grant is changing at this moment. Try again.", Err: err}
	}
	var theirs *fosite.RFC6749Error
	if errors.As(err, &theirs) && theirs.CodeField < 500 && slices.Contains(knownErrors, theirs.ErrorField) {
		return refuse(theirs.CodeField, theirs.ErrorField, theirs.DescriptionField, err)
	}
	return err // unexpected: server_error, with a reference
}

// knownErrors are the codes that may leave us; fosite has more than the registries do.
var knownErrors = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "unsupported_response_type", "invalid_scope", "access_denied"}

func notReady(err error) error {
	return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", RetryAfter: 2 * time.Second,
		Message: "The service is starting. Try again in a moment.", Err: err}
}
