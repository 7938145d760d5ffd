package admin

import "idp/storage"

// Presets are the kinds of client with their defaults.
func Presets() []string {
	return []string{storage.ClientWeb, storage.ClientSPA, storage.ClientNative, storage.ClientMachine}
}

// preset gives the defaults of a kind. Explicit settings win over them.
func preset(kind string) (storage.ClientMetadata, error) {
	m := storage.ClientMetadata{
		Type:              kind,
		GrantTypes:        []string{"authorization_code", "refresh_token"},
		Scopes:            []string{"openid", "profile", "email", "offline_access"},
		IDTokenAlg:        "RS256", // every library knows it
		AccessTokenFormat: "opaque",
		Lifetimes:         storage.Lifetimes{AccessToken: 600},
	}
	switch kind {
	case storage.ClientWeb:
		m.AuthMethod = "client_secret_basic"
	case storage.ClientSPA:
		m.AuthMethod = "none"
		m.Scopes = []string{"openid", "profile", "email"}
		m.SessionRefresh = true                                           // so it needs no offline_access, and signing out ends what scripts hold
		m.Lifetimes.RefreshIdle, m.Lifetimes.RefreshMax = 8*3600, 24*3600 // RFC 10017: short in browsers
	case storage.ClientNative:
		m.AuthMethod = "none"
		m.RedirectURIs = []string{"http://127.0.0.1/callback", "http://localhost/callback"} // RFC 8252, 7.3: any port
	case storage.ClientMachine:
		m.AuthMethod = "client_secret_basic"
		m.GrantTypes = []string{"client_credentials"}
		m.Scopes = []string{}
	default:
		return m, impossible("There is no preset %q. Use web for a server, spa for a page that runs in the browser, native for an app or a command line, machine for a program without a person.", kind)
	}
	return m, nil
}
