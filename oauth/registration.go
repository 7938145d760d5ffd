package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"idp/storage"
	"idp/web"
)

// sourceRegistration is the source of clients that registered themselves.
const sourceRegistration = "registration"

// selfRegistered says that nobody here has looked at the client: it described itself.
func selfRegistered(c *storage.Client) bool {
	return c.Source == sourceRegistration || c.Source == "cimd"
}

// checkSelfRegistered refuses what a client that described itself can never have, whoever asks for it.
func checkSelfRegistered(c *storage.Client, say func(format string, args ...any)) {
	if !selfRegistered(c) {
		return
	}
	for _, f := range []struct {
		on   bool
		text string
	}{
		{c.SkipConsent, "always asks for consent"},
		{c.PKCEOptional, "must use PKCE"},
		{c.IntrospectAll, "cannot introspect tokens of other clients"},
		{c.LegacyAssertionAudience, "must name the issuer as the audience of assertions"},
	} {
		if f.on {
			say("A client that registered itself %s.", f.text)
		}
	}
}

// registrationScopes are those that a client may give itself.
var registrationScopes = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

// registrationGrants are the grant types that a client may give itself: those where a person decides.
var registrationGrants = []string{"authorization_code", "refresh_token"}

// clientInformation is what a client may say of itself (RFC 7591, 2; OpenID Connect Registration, 2),
// and what it is answered. Members that are not here are ignored, as the RFC wants: nothing else of a
// client's settings can be reached from outside.
type clientInformation struct {
	RedirectURIs              []string        `json:"redirect_uris,omitempty"`
	ResponseTypes             []string        `json:"response_types,omitempty"`
	GrantTypes                []string        `json:"grant_types,omitempty"`
	ApplicationType           string          `json:"application_type,omitempty"`
	Name                      string          `json:"client_name,omitempty"`
	URI                       string          `json:"client_uri,omitempty"`
	LogoURI                   string          `json:"logo_uri,omitempty"`
	PolicyURI                 string          `json:"policy_uri,omitempty"`
	TosURI                    string          `json:"tos_uri,omitempty"`
	Scope                     string          `json:"scope,omitempty"`
	AuthMethod                string          `json:"token_endpoint_auth_method,omitempty"`
	AuthSigningAlg            string          `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS                      json.RawMessage `json:"jwks,omitempty"`
	JWKSURI                   string          `json:"jwks_uri,omitempty"`
	SubjectType               string          `json:"subject_type,omitempty"`
	SectorURI                 string          `json:"sector_identifier_uri,omitempty"`
	IDTokenAlg                string          `json:"id_token_signed_response_alg,omitempty"`
	UserInfoAlg               string          `json:"userinfo_signed_response_alg,omitempty"`
	RequestObjectAlg          string          `json:"request_object_signing_alg,omitempty"`
	IntrospectionAlg          string          `json:"introspection_signed_response_alg,omitempty"`
	DefaultMaxAge             *int            `json:"default_max_age,omitempty"`
	RequireAuthTime           bool            `json:"require_auth_time,omitempty"`
	DefaultACR                []string        `json:"default_acr_values,omitempty"`
	InitiateLoginURI          string          `json:"initiate_login_uri,omitempty"`
	PostLogoutRedirectURIs    []string        `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI      string          `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession  bool            `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelLogoutURI     string          `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSession bool            `json:"frontchannel_logout_session_required,omitempty"`
	RequirePushed             bool            `json:"require_pushed_authorization_requests,omitempty"`
	RequireSignedRequest      bool            `json:"require_signed_request_object,omitempty"`
}

// unregistrable is an error of RFC 7591, 3.2.2.
func unregistrable(code, format string, args ...any) error {
	return refuse(http.StatusBadRequest, code, fmt.Sprintf(format, args...), nil)
}

// describeClient lays what a client says of itself over what it was: old is an empty client for a new
// one. What an operator has given the client beside that stays.
func (in *clientInformation) describeClient(old *storage.Client) (storage.Client, error) {
	c := *old
	if len(in.JWKS) > 0 && string(in.JWKS) != "null" && in.JWKSURI != "" {
		return c, unregistrable("invalid_client_metadata", "jwks and jwks_uri cannot stand together: send the keys, or where they are.")
	}
	if len(in.ResponseTypes) > 0 && !slices.Contains(in.ResponseTypes, "code") {
		return c, unregistrable("invalid_client_metadata", "Only the response type code is offered.")
	}
	if err := in.settleType(&c); err != nil {
		return c, err
	}
	c.RedirectURIs, c.PostLogoutRedirectURIs = in.RedirectURIs, in.PostLogoutRedirectURIs
	if err := checkRegisteredURIs(&c); err != nil {
		return c, err
	}
	// What a client asks for beyond what it may have is left out, and the answer says so (RFC 7591, 2).
	c.GrantTypes = within(in.GrantTypes, append(slices.Clone(registrationGrants), old.GrantTypes...))
	if len(in.GrantTypes) == 0 {
		c.GrantTypes = []string{"authorization_code"}
	}
	if !slices.Contains(c.GrantTypes, "authorization_code") {
		return c, unregistrable("invalid_client_metadata", "The grant type authorization_code is needed: clients that register themselves act for a person.")
	}
	if err := in.settleScopes(&c, old); err != nil {
		return c, err
	}
	if err := in.settleName(&c); err != nil {
		return c, err
	}
	c.URI, c.LogoURI, c.PolicyURI, c.TosURI = in.URI, in.LogoURI, in.PolicyURI, in.TosURI
	c.AuthSigningAlg, c.JWKS, c.JWKSURI = in.AuthSigningAlg, in.JWKS, in.JWKSURI
	if string(c.JWKS) == "null" {
		c.JWKS = nil
	}
	if len(c.JWKS) > 0 {
		if _, err := clientKeys(&c); err != nil { // be they of use or not: a private key must not stay here
			return c, unregistrable("invalid_client_metadata", "jwks is no set of public keys: %v.", err)
		}
	}
	c.SubjectType, c.SectorURI = in.SubjectType, in.SectorURI
	c.IDTokenAlg, c.AccessTokenFormat = cmp.Or(in.IDTokenAlg, "RS256"), cmp.Or(old.AccessTokenFormat, "opaque")
	c.UserInfoAlg, c.RequestObjectAlg, c.IntrospectionAlg = in.UserInfoAlg, in.RequestObjectAlg, in.IntrospectionAlg
	c.DefaultMaxAge, c.RequireAuthTime, c.DefaultACR = in.DefaultMaxAge, in.RequireAuthTime, in.DefaultACR
	c.InitiateLoginURI = in.InitiateLoginURI
	c.BackchannelLogoutURI, c.BackchannelLogoutSession = in.BackchannelLogoutURI, in.BackchannelLogoutSession
	c.FrontchannelLogoutURI, c.FrontchannelLogoutSession = in.FrontchannelLogoutURI, in.FrontchannelLogoutSession
	c.RequirePushed, c.RequireSignedRequest = in.RequirePushed, in.RequireSignedRequest
	for _, l := range []struct{ name, uri string }{
		{"client_uri", c.URI}, {"logo_uri", c.LogoURI}, {"jwks_uri", c.JWKSURI}, {"policy_uri", c.PolicyURI}, {"tos_uri", c.TosURI}, {"initiate_login_uri", c.InitiateLoginURI},
		{"backchannel_logout_uri", c.BackchannelLogoutURI}, {"frontchannel_logout_uri", c.FrontchannelLogoutURI},
	} {
		if u, err := url.Parse(l.uri); l.uri != "" && (err != nil || u.Scheme != "https" || u.Hostname() == "") {
			return c, unregistrable("invalid_client_metadata", "%s must be an https URL.", l.name)
		}
	}
	return c, asRegistration(CheckClient(&c))
}

// settleType finds where the client's code runs. Command lines and MCP clients leave application_type
// out although their redirect URIs are those of native apps, so these tell it then.
func (in *clientInformation) settleType(c *storage.Client) error {
	native := slices.ContainsFunc(in.RedirectURIs, func(uri string) bool {
		u, err := url.Parse(uri)
		return err == nil && (u.Scheme == "http" && isLoopbackHost(u.Hostname()) || u.Scheme != "https" && u.Scheme != "http" && strings.Contains(u.Scheme, "."))
	})
	c.AuthMethod = cmp.Or(in.AuthMethod, "client_secret_basic")
	switch in.ApplicationType {
	case "native":
		native = true
	case "web":
		native = false
	case "":
	default:
		return unregistrable("invalid_client_metadata", "application_type must be web or native.")
	}
	switch {
	case native:
		c.Type = storage.ClientNative
	case c.AuthMethod == "none":
		c.Type = storage.ClientSPA // it keeps no secret: short lives, as in browsers
	default:
		c.Type = storage.ClientWeb
	}
	return nil
}

func checkRegisteredURIs(c *storage.Client) error {
	if len(c.RedirectURIs) == 0 {
		return unregistrable("invalid_redirect_uri", "redirect_uris is missing: where the client takes the answer.")
	}
	if len(c.RedirectURIs) > 50 {
		return unregistrable("invalid_redirect_uri", "At most 50 redirect URIs are possible.")
	}
	for _, uri := range c.RedirectURIs {
		problem := checkRedirectURI(c.Type, uri)
		if u, err := url.Parse(uri); problem == "" && err == nil && c.Type != storage.ClientNative && u.Scheme != "https" {
			problem = "needs https; loopback addresses are for clients with application_type native"
		}
		if problem != "" {
			return unregistrable("invalid_redirect_uri", "The redirect URI %.200s %s.", uri, problem)
		}
	}
	return nil
}

// settleScopes takes the scopes that a client may give itself, with those that an operator has given
// it. Without any in the request, it gets or keeps all of these.
func (in *clientInformation) settleScopes(c, old *storage.Client) error {
	may := append(slices.Clone(registrationScopes), old.Scopes...)
	switch asked, ok := scopes(in.Scope); {
	case !ok:
		return unregistrable("invalid_client_metadata", "scope is malformed, or has too many words.")
	case len(asked) > 0:
		c.Scopes = within(asked, may)
	case old.ID == "":
		c.Scopes = slices.Clone(registrationScopes)
	}
	if !slices.Contains(c.GrantTypes, "refresh_token") {
		c.Scopes = slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return s == "offline_access" })
	}
	if len(c.Scopes) == 0 {
		return unregistrable("invalid_client_metadata", "Clients that register themselves can have the scopes %s, and none of these is among those asked for.", joinScopes(registrationScopes))
	}
	return nil
}

// settleName gives a client without a name that of the place its answers go to. Characters that
// nobody sees, or that turn text around, have no place in a name that people read.
func (in *clientInformation) settleName(c *storage.Client) error {
	c.Name = strings.TrimSpace(in.Name)
	if c.Name == "" {
		c.Name = cmp.Or(hostOf(c.RedirectURIs[0]), "An app on your device")
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool {
		return unicode.IsControl(r) || r >= 0x200b && r <= 0x200f && r != 0x200d || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff || r == unicode.ReplacementChar
	}) {
		return unregistrable("invalid_client_metadata", "client_name has characters that cannot be seen.")
	}
	return nil
}

// asRegistration gives what is wrong with a client the status of RFC 7591, 3.2.2. What came of a call
// to an address that a stranger named is for the log alone, as text: it tells of our network, and
// must not be taken for a database that does not answer.
func asRegistration(err error) error {
	e, ok := err.(*web.Error)
	switch {
	case !ok || e.Status != http.StatusUnprocessableEntity:
		return err
	case e.Err != nil:
		return refuse(http.StatusBadRequest, "invalid_client_metadata", "The sector identifier URI cannot be fetched from here.", errors.New(e.Err.Error()))
	}
	return refuse(http.StatusBadRequest, "invalid_client_metadata", e.Message, nil)
}

// settleRegistration checks what rests on more than the client itself: the sector, whose document must
// list all redirect URIs even where subjects are public (OpenID Connect Registration, 5).
func (o *OAuth) settleRegistration(ctx context.Context, c, old *storage.Client) error {
	if err := SettleSector(ctx, c, old, o.Outbound.JSON); err != nil {
		return asRegistration(err)
	}
	if c.SectorURI != "" && !pairwise(c) && (c.SectorURI != old.SectorURI || !slices.Equal(c.RedirectURIs, old.RedirectURIs)) {
		return asRegistration(listedInSector(ctx, c, o.Outbound.JSON))
	}
	return nil
}

// informationOf is what a client is told of itself: what counts, which may be less than it asked for.
func informationOf(c *storage.Client) clientInformation {
	kind := "web"
	if c.Type == storage.ClientNative {
		kind = "native"
	}
	return clientInformation{
		RedirectURIs: c.RedirectURIs, ResponseTypes: []string{"code"}, GrantTypes: c.GrantTypes, ApplicationType: kind, Name: c.Name,
		URI: c.URI, LogoURI: c.LogoURI, PolicyURI: c.PolicyURI, TosURI: c.TosURI, Scope: joinScopes(c.Scopes),
		AuthMethod: c.AuthMethod, AuthSigningAlg: c.AuthSigningAlg, JWKS: c.JWKS, JWKSURI: c.JWKSURI, SubjectType: cmp.Or(c.SubjectType, subjectPublic), SectorURI: c.SectorURI,
		IDTokenAlg: c.IDTokenAlg, UserInfoAlg: c.UserInfoAlg, RequestObjectAlg: c.RequestObjectAlg, IntrospectionAlg: c.IntrospectionAlg,
		DefaultMaxAge: c.DefaultMaxAge, RequireAuthTime: c.RequireAuthTime, DefaultACR: c.DefaultACR, InitiateLoginURI: c.InitiateLoginURI,
		PostLogoutRedirectURIs: c.PostLogoutRedirectURIs, BackchannelLogoutURI: c.BackchannelLogoutURI, BackchannelLogoutSession: c.BackchannelLogoutSession,
		FrontchannelLogoutURI: c.FrontchannelLogoutURI, FrontchannelLogoutSession: c.FrontchannelLogoutSession,
		RequirePushed: c.RequirePushed, RequireSignedRequest: c.RequireSignedRequest,
	}
}
