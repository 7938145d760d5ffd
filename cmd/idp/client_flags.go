package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"idp"
	"idp/storage"
)

// clientFlags is what an operator may say of a client. A flag that is not given changes nothing; an
// empty value clears.
type clientFlags struct {
	Name                  *string        `name:"name" placeholder:"NAME" help:"Name that people see when they sign in."`
	URL                   *string        `name:"url" placeholder:"URL" help:"Where the app is. At creation also gives the redirect URI URL/callback."`
	PolicyURI             *string        `name:"policy-uri" placeholder:"URL" help:"Privacy policy."`
	TosURI                *string        `name:"tos-uri" placeholder:"URL" help:"Terms of service."`
	RedirectURI           []string       `name:"redirect-uri" sep:"none" placeholder:"URI" help:"Where the app takes the answer; repeat for several. Replaces all."`
	PostLogoutRedirectURI []string       `name:"post-logout-redirect-uri" sep:"none" placeholder:"URI" help:"Where the app is after sign-out; repeat for several. Replaces all; \"\" clears."`
	Scope                 *string        `name:"scope" placeholder:"SCOPES" help:"Scopes the app may ask for, separated by spaces."`
	GrantType             []string       `name:"grant-type" placeholder:"GRANT" help:"Grants the app may use: authorization_code, refresh_token, client_credentials, urn:ietf:params:oauth:grant-type:jwt-bearer, urn:ietf:params:oauth:grant-type:token-exchange, urn:ietf:params:oauth:grant-type:device_code. Replaces all."`
	AuthMethod            *string        `name:"auth-method" placeholder:"METHOD" help:"client_secret_basic, client_secret_post, private_key_jwt or none."`
	AuthSigningAlg        *string        `name:"auth-signing-alg" placeholder:"ALG" help:"Only algorithm accepted of its assertions."`
	JWKS                  *string        `name:"jwks" placeholder:"FILE" help:"Its public keys as a JWK set; - reads standard input; \"\" clears."`
	JWKSURI               *string        `name:"jwks-uri" placeholder:"URL" help:"Where it publishes its public keys, instead of --jwks; \"\" clears."`
	IDTokenAlg            *string        `name:"id-token-alg" placeholder:"ALG" help:"RS256, ES256, PS256 or EdDSA."`
	AccessTokenFormat     *string        `name:"access-token-format" placeholder:"FORMAT" help:"opaque or jwt."`
	Resource              []string       `name:"resource" sep:"none" placeholder:"URI" help:"Resource it may ask tokens for; repeat for several. Replaces all; \"\" clears."`
	Audience              []string       `name:"audience" sep:"none" placeholder:"URI" help:"Resource that it is, when it introspects tokens; repeat for several. Replaces all; \"\" clears."`
	AllowedOrigin         []string       `name:"allowed-origin" sep:"none" placeholder:"ORIGIN" help:"Origin whose scripts may call as this client, instead of those of its redirect URIs. Replaces all; \"\" clears."`
	DefaultMaxAge         *optionalTime  `name:"default-max-age" placeholder:"TIME" help:"Ask people again when their sign-in is older; \"\" clears."`
	CodeLife              *time.Duration `name:"code-life" placeholder:"TIME" help:"Lifetime of codes; 0s is the default (1m)."`
	AccessTokenLife       *time.Duration `name:"access-token-life" placeholder:"TIME" help:"Lifetime of access tokens; 0s is the default (10m)."`
	IDTokenLife           *time.Duration `name:"id-token-life" placeholder:"TIME" help:"Lifetime of ID tokens; 0s is the default (10m)."`
	RefreshIdle           *time.Duration `name:"refresh-idle" placeholder:"TIME" help:"Refresh tokens end after this time without use; 0s is the default."`
	RefreshMax            *time.Duration `name:"refresh-max" placeholder:"TIME" help:"Refresh tokens end after this time in any case; 0s is the default."`

	SubjectType           *string  `name:"subject-type" placeholder:"TYPE" help:"public, or pairwise: the app's sector knows people by subjects of its own."`
	SectorIdentifierURI   *string  `name:"sector-identifier-uri" placeholder:"URL" help:"With pairwise: address of a JSON array with all redirect URIs of the sector; \"\" clears."`
	RequestObjectAlg      *string  `name:"request-object-alg" placeholder:"ALG" help:"Only algorithm accepted of its request objects; \"\" accepts all."`
	UserInfoAlg           *string  `name:"userinfo-alg" placeholder:"ALG" help:"Sign userinfo answers with this algorithm; \"\" gives plain JSON."`
	IntrospectionAlg      *string  `name:"introspection-alg" placeholder:"ALG" help:"Sign introspection answers that are asked for as a JWT with this algorithm (RS256 if missing)."`
	DefaultACR            *string  `name:"default-acr" placeholder:"LEVELS" help:"Levels of sign-in asked for when a request names none, separated by spaces; \"\" clears."`
	InitiateLoginURI      *string  `name:"initiate-login-uri" placeholder:"URL" help:"Where a sign-in to the app can be started from the list of apps; \"\" clears."`
	BackchannelLogoutURI  *string  `name:"backchannel-logout-uri" placeholder:"URL" help:"Where the app is told, server to server, that a session ended; \"\" clears."`
	FrontchannelLogoutURI *string  `name:"frontchannel-logout-uri" placeholder:"URL" help:"Page of the app that the sign-out page loads; same site as the provider only; \"\" clears."`
	AccessGroup           []string `name:"access-group" sep:"none" placeholder:"GROUP" help:"Group whose members may use the app; repeat for several. Replaces all; \"\" opens it to everybody."`
	Claim                 []string `name:"claim" sep:"none" placeholder:"RULE" help:"Claim of the app's own, such as 'roles=groups:app-;strip;in=id_token,userinfo', 'tenant=value:acme', 'mail=field:email;scope=email'; without in= it stands in id_token and userinfo. Repeat for several. Replaces all; \"\" clears."`

	RequirePushed             *bool `name:"require-pushed" negatable:"" help:"Accept authorization requests of the app through /par only."`
	RequireSignedRequest      *bool `name:"require-signed-request" negatable:"" help:"Accept signed request objects of the app only."`
	BackchannelLogoutSession  *bool `name:"backchannel-logout-session" negatable:"" help:"The app needs the session id (sid) in logout tokens."`
	FrontchannelLogoutSession *bool `name:"frontchannel-logout-session" negatable:"" help:"The app needs iss and sid when its sign-out page is loaded."`

	SkipConsent             *bool `name:"skip-consent" negatable:"" help:"Do not ask people for consent: for apps of your own."`
	SessionRefresh          *bool `name:"session-refresh" negatable:"" help:"Refresh tokens without offline_access, which end with the session."`
	KeepRefreshToken        *bool `name:"keep-refresh-token" negatable:"" help:"Do not rotate refresh tokens (confidential clients only)."`
	IDTokenClaims           *bool `name:"id-token-claims" negatable:"" help:"Put profile claims into ID tokens, for apps that do not ask userinfo."`
	IntrospectAll           *bool `name:"introspect-all" negatable:"" help:"May introspect the access tokens of all clients."`
	PKCEOptional            *bool `name:"pkce-optional" negatable:"" help:"Weakness: accept requests without PKCE (confidential clients only)."`
	LegacyAssertionAudience *bool `name:"legacy-assertion-audience" negatable:"" help:"Weakness: accept assertions with the token endpoint as audience."`
}

// changes reads the files that flags name and gives what the flags do to a client.
func (f *clientFlags) changes(c *console) (func(*storage.ClientMetadata), error) {
	var jwks []byte
	if value(f.JWKS) != "" {
		var err error
		if jwks, err = readFile(c, *f.JWKS); err != nil {
			return nil, idp.ConfigError(fmt.Sprintf("The JWK set cannot be read: %v.", err))
		}
	}
	rules, err := claimRules(f.Claim)
	if err != nil {
		return nil, err
	}
	return func(m *storage.ClientMetadata) {
		if f.Claim != nil {
			m.ClaimRules = rules
		}
		if f.JWKS != nil {
			m.JWKS = jwks
		}
		for _, s := range []struct {
			to   *string
			from *string
		}{
			{&m.PolicyURI, f.PolicyURI}, {&m.TosURI, f.TosURI}, {&m.AuthMethod, f.AuthMethod},
			{&m.AuthSigningAlg, f.AuthSigningAlg}, {&m.JWKSURI, f.JWKSURI}, {&m.IDTokenAlg, f.IDTokenAlg}, {&m.AccessTokenFormat, f.AccessTokenFormat},
			{&m.SubjectType, f.SubjectType}, {&m.SectorURI, f.SectorIdentifierURI}, {&m.RequestObjectAlg, f.RequestObjectAlg},
			{&m.UserInfoAlg, f.UserInfoAlg}, {&m.IntrospectionAlg, f.IntrospectionAlg}, {&m.InitiateLoginURI, f.InitiateLoginURI},
			{&m.BackchannelLogoutURI, f.BackchannelLogoutURI}, {&m.FrontchannelLogoutURI, f.FrontchannelLogoutURI},
		} {
			if s.from != nil {
				*s.to = *s.from
			}
		}
		if f.Scope != nil {
			m.Scopes = orNone(strings.Fields(*f.Scope))
		}
		if f.DefaultACR != nil {
			m.DefaultACR = strings.Fields(*f.DefaultACR)
		}
		for _, s := range []struct {
			to   *[]string
			from []string
		}{
			{&m.RedirectURIs, f.RedirectURI}, {&m.PostLogoutRedirectURIs, f.PostLogoutRedirectURI}, {&m.GrantTypes, f.GrantType},
			{&m.Resources, f.Resource}, {&m.Audience, f.Audience}, {&m.AllowedOrigins, f.AllowedOrigin},
			{&m.AccessGroups, f.AccessGroup},
		} {
			if s.from != nil {
				*s.to = slices.DeleteFunc(slices.Clone(s.from), func(s string) bool { return s == "" })
			}
		}
		for _, s := range []struct {
			to   *bool
			from *bool
		}{
			{&m.SkipConsent, f.SkipConsent}, {&m.SessionRefresh, f.SessionRefresh}, {&m.KeepRefreshToken, f.KeepRefreshToken},
			{&m.IDTokenClaims, f.IDTokenClaims}, {&m.IntrospectAll, f.IntrospectAll},
			{&m.RequirePushed, f.RequirePushed}, {&m.RequireSignedRequest, f.RequireSignedRequest},
			{&m.BackchannelLogoutSession, f.BackchannelLogoutSession}, {&m.FrontchannelLogoutSession, f.FrontchannelLogoutSession},
			{&m.PKCEOptional, f.PKCEOptional}, {&m.LegacyAssertionAudience, f.LegacyAssertionAudience},
		} {
			if s.from != nil {
				*s.to = *s.from
			}
		}
		for _, s := range []struct {
			to   *int
			from *time.Duration
		}{
			{&m.Lifetimes.Code, f.CodeLife}, {&m.Lifetimes.AccessToken, f.AccessTokenLife}, {&m.Lifetimes.IDToken, f.IDTokenLife},
			{&m.Lifetimes.RefreshIdle, f.RefreshIdle}, {&m.Lifetimes.RefreshMax, f.RefreshMax},
		} {
			if s.from != nil {
				*s.to = wholeSeconds(*s.from)
			}
		}
		if f.DefaultMaxAge != nil {
			m.DefaultMaxAge = nil
			if d := f.DefaultMaxAge.d; d != nil {
				seconds := int(math.Floor(d.Seconds()))
				m.DefaultMaxAge = &seconds
			}
		}
	}, nil
}

// wholeSeconds rounds up: a part of a second is not the 0 that stands for the default.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// optionalTime is a duration, or nothing.
type optionalTime struct{ d *time.Duration }

// UnmarshalText reads the value of a flag.
func (o *optionalTime) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		o.d = nil
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no time such as 90s, 15m or 12h", text)
	}
	o.d = &d
	return nil
}

const maxFile = 1 << 20

// readFile reads a file, or standard input for "-".
func readFile(c *console, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(c.in, maxFile))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
