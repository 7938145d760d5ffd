package oauth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"idp/storage"
	"idp/web"
)

// CheckClient is the one validator of client metadata, for creation and update, whoever asks. Its
// errors are sentences that name the mend.
func CheckClient(c *storage.Client) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	oneOf := func(what, got string, allowed ...string) {
		if !slices.Contains(allowed, got) {
			say("%s %q is not known; use one of %s.", what, got, strings.Join(allowed, ", "))
		}
	}
	if c.Name == "" || len(c.Name) > 128 {
		say("The name must have 1 to 128 bytes: people see it when they sign in.")
	}
	oneOf("The application type", c.Type, storage.ClientWeb, storage.ClientSPA, storage.ClientNative, storage.ClientMachine)
	oneOf("The authentication method", c.AuthMethod, "client_secret_basic", "client_secret_post", "private_key_jwt", "none")
	oneOf("The ID token algorithm", c.IDTokenAlg, signingAlgs...)
	oneOf("The access token format", c.AccessTokenFormat, "opaque", "jwt")
	for _, g := range c.GrantTypes {
		oneOf("The grant type", g, grantTypes...)
	}
	if len(c.GrantTypes) == 0 {
		say("At least one grant type is needed.")
	}
	if c.AuthSigningAlg != "" {
		oneOf("The assertion algorithm", c.AuthSigningAlg, clientAlgNames()...)
	}
	checkRequestSettings(c, say)
	checkSubjects(c, say)
	checkInitiateLogin(c, say)
	checkDevices(c, say)
	code := slices.Contains(c.GrantTypes, "authorization_code")
	if code && len(c.RedirectURIs) == 0 {
		say("At least one redirect URI is needed: where the app takes the answer.")
	}
	if len(c.RedirectURIs) > 50 || len(c.PostLogoutRedirectURIs) > 50 {
		say("At most 50 redirect URIs are possible.")
	}
	for _, uri := range c.RedirectURIs {
		if problem := checkRedirectURI(c.Type, uri); problem != "" {
			say("The redirect URI %q %s.", uri, problem)
		}
	}
	for _, uri := range c.PostLogoutRedirectURIs {
		if problem := checkRedirectURI(c.Type, uri); problem != "" {
			say("The post-logout redirect URI %q %s.", uri, problem)
		}
	}
	for _, l := range []struct{ what, uri string }{{"client URI", c.URI}, {"logo URI", c.LogoURI}, {"policy URI", c.PolicyURI}, {"terms URI", c.TosURI}} {
		if l.uri == "" {
			continue
		}
		if u, err := url.Parse(l.uri); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopbackHost(u.Hostname())) {
			say("The %s %q must be an https URL.", l.what, l.uri)
		}
	}
	for _, o := range c.AllowedOrigins {
		if o == "" || storage.Origin(o) != o {
			say("The origin %q must be scheme://host[:port] in lower case, without a path.", o)
		}
	}
	if len(c.Scopes) > maxScopes {
		say("At most %d scopes are possible.", maxScopes)
	}
	for _, s := range c.Scopes {
		if !scopeToken(s) {
			say("The scope %q has a character that scopes cannot have.", s)
		}
	}
	if len(c.Resources) > maxResources {
		say("At most %d resources are possible.", maxResources)
	}
	for _, r := range append(slices.Clone(c.Resources), c.Audience...) {
		if !isResource(r) {
			say("The resource %q must be an absolute URI without a fragment.", r)
		}
	}
	if c.Public() {
		if slices.Contains(c.GrantTypes, "client_credentials") {
			say("A public client cannot use client_credentials: it has nothing to authenticate with.")
		}
		if slices.Contains(c.GrantTypes, grantExchange) {
			say("A public client cannot exchange tokens: anybody who has a token could do it in its name.")
		}
		if c.KeepRefreshToken || c.PKCEOptional || c.IntrospectAll {
			say("A public client must rotate refresh tokens, must use PKCE and cannot introspect.")
		}
	}
	if c.Type == storage.ClientSPA && !c.Public() {
		say("A browser app cannot keep a secret: its authentication method is none.")
	}
	checkKeys(c, say)
	checkSelfRegistered(c, say)
	wrong = append(wrong, checkTold(c)...)
	for _, l := range []struct {
		what          string
		value, lo, hi int
	}{
		{"code", c.Lifetimes.Code, 10, 300}, {"access token", c.Lifetimes.AccessToken, 60, 86400}, {"ID token", c.Lifetimes.IDToken, 60, 86400},
		{"idle refresh", c.Lifetimes.RefreshIdle, 60, 400 * 86400}, {"refresh", c.Lifetimes.RefreshMax, 60, 400 * 86400},
	} {
		if l.value != 0 && (l.value < l.lo || l.value > l.hi) {
			say("The %s lifetime must be from %d to %d seconds.", l.what, l.lo, l.hi)
		}
	}
	if l := c.Lifetimes; l.RefreshIdle > l.RefreshMax && l.RefreshMax != 0 {
		say("The idle refresh lifetime cannot be longer than the refresh lifetime.")
	}
	if c.DefaultMaxAge != nil && *c.DefaultMaxAge < 0 {
		say("The default max age cannot be negative.")
	}
	checkLogout(c, say)
	if len(wrong) == 0 {
		return nil
	}
	return &web.Error{Status: http.StatusUnprocessableEntity, Code: "invalid_client_metadata", Message: strings.Join(wrong, " ")}
}

// Weaknesses names the relaxations of a client, for whoever looks at it.
func Weaknesses(c *storage.Client) []string {
	var w []string
	if c.PKCEOptional {
		w = append(w, "PKCE is optional: a stolen code can be redeemed with the secret alone")
	}
	if c.LegacyAssertionAudience {
		w = append(w, "assertions may name the token endpoint as audience (against RFC 10070)")
	}
	if c.IntrospectAll {
		w = append(w, "may introspect the access tokens of every client")
	}
	if c.IDTokenClaims {
		w = append(w, "profile claims stand in the ID token")
	}
	return w
}

func isResource(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "") && !strings.Contains(s, "#") && len(s) <= 2048
}

// rotates says whether a refresh of this client gives a new refresh token.
func rotates(c *storage.Client) bool { return c.Public() || !c.KeepRefreshToken }
