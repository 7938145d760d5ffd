package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"idp/storage"
)

// What a developer pastes into an app of each kind.
var snippets = map[string]string{
	storage.ClientWeb: `For the app's environment:

  export OIDC_ISSUER={{.Issuer}}
  export OIDC_CLIENT_ID={{.ID}}
{{- if .Secret}}
  export OIDC_CLIENT_SECRET={{.Secret}}
{{- end}}
  export OIDC_REDIRECT_URI={{.Redirect}}
  export OIDC_SCOPES="{{.Scopes}}"
`,
	storage.ClientSPA: `With oidc-client-ts:

  import { UserManager } from "oidc-client-ts";

  const users = new UserManager({
    authority: "{{.Issuer}}",
    client_id: "{{.ID}}",
    redirect_uri: "{{.Redirect}}",
{{- if .PostLogout}}
    post_logout_redirect_uri: "{{.PostLogout}}",
{{- end}}
    scope: "openid profile email",
  });
  await users.signinRedirect();  // on /callback: await users.signinRedirectCallback()

Tokens renew themselves with the refresh token until the sign-in ends; no iframe is needed.
`,
	storage.ClientNative: `For the app (any port of the loopback addresses will do):

  export OIDC_ISSUER={{.Issuer}}
  export OIDC_CLIENT_ID={{.ID}}
  export OIDC_REDIRECT_URI={{.Redirect}}
  export OIDC_SCOPES="{{.Scopes}}"
`,
	storage.ClientMachine: `{{if .Assertion}}To let its platform speak for it, without a secret:

  idp trust create --client {{.ID}} --iss https://PLATFORM --subject SUB --scope 'SCOPES'
{{else}}To get a token:

  curl --user '{{.ID}}:{{.Secret}}' --data grant_type=client_credentials {{.Issuer}}/token
{{end}}`,
}

// handOver writes all that the developer of a new client needs.
func handOver(w io.Writer, c storage.Client, secret, issuer string) {
	issuer = cmp.Or(issuer, "https://YOUR-ISSUER")
	describeClient(w, c, secret)
	fmt.Fprintf(w, "\nIssuer     %s\nDiscovery  %s/.well-known/openid-configuration\n", issuer, issuer)
	if slices.Contains(c.GrantTypes, "authorization_code") {
		fmt.Fprintf(w, "Authorize  %s/authorize\n", issuer)
	}
	if slices.Contains(c.GrantTypes, "urn:ietf:params:oauth:grant-type:device_code") {
		fmt.Fprintf(w, "Devices    %s/device_authorization\n", issuer)
	}
	fmt.Fprintf(w, "Token      %s/token\nUserinfo   %s/userinfo\nKeys       %s/jwks\nSign-out   %s/logout\n\n", issuer, issuer, issuer, issuer)
	first := func(list []string) string { return strings.Join(list[:min(1, len(list))], "") }
	template.Must(template.New("").Parse(snippets[c.Type])).Execute(w, map[string]string{
		"Assertion": first(slices.DeleteFunc(slices.Clone(c.GrantTypes), func(g string) bool { return g != "urn:ietf:params:oauth:grant-type:jwt-bearer" })),
		"Issuer":    issuer, "ID": c.ID, "Secret": secret, "Redirect": first(c.RedirectURIs),
		"PostLogout": first(c.PostLogoutRedirectURIs), "Scopes": strings.Join(c.Scopes, " "),
	})
}
