package oauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// protectedResource is the metadata of our own API, userinfo (RFC 9728, 2): what a client needs to
// know to get a token for it.
type protectedResource struct {
	Resource             string   `json:"resource"`
	Name                 string   `json:"resource_name,omitempty"`
	AuthorizationServers []string `json:"authorization_servers"`
	Scopes               []string `json:"scopes_supported"`
	BearerMethods        []string `json:"bearer_methods_supported"`
}

// ProtectedResource is where the metadata of a resource is found: the name stands before the path of
// the resource (RFC 9728, 3.1).
const ProtectedResource = "/.well-known/oauth-protected-resource"

// protectedResourceDocument describes the provider as the resource that its issuer names, with the
// scopes of its discovery document.
func protectedResourceDocument(discovery []byte, issuer, name string) ([]byte, error) {
	var doc struct {
		Scopes []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal(discovery, &doc); err != nil {
		return nil, err
	}
	return json.MarshalIndent(protectedResource{
		Resource: issuer, Name: name, AuthorizationServers: []string{issuer}, BearerMethods: []string{"header", "body"},
		// How long access lasts is between the client and us, not of the API.
		Scopes: slices.DeleteFunc(doc.Scopes, func(s string) bool { return s == "offline_access" }),
	}, "", "  ")
}

// protectedResourceURL is where the metadata of the provider as a resource is.
func protectedResourceURL(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return issuer + ProtectedResource
	}
	u.Path = ProtectedResource + u.Path
	return u.String()
}

// ProtectedResource serves the metadata of our own API (RFC 9728).
func (o *OAuth) ProtectedResource(w http.ResponseWriter, r *http.Request) error {
	return public(w, r, o.resource, o.resourceETag, "public, max-age=300")
}
