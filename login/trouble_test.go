package login

import (
	"testing"

	"idp/storage"
)

func TestTheWayBackLeadsToAPageOfTheApp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		kind, uri string
		redirects []string
		want      string
	}{
		{"its own address", storage.ClientWeb, "https://wiki.example/start", []string{"https://wiki.example/cb"}, "https://wiki.example/start"},
		{"where answers go", storage.ClientWeb, "", []string{"https://wiki.example:8443/cb?x=y"}, "https://wiki.example:8443/"},
		{"an address that is no page", storage.ClientWeb, "javascript:alert(1)", []string{"https://wiki.example/cb"}, "https://wiki.example/"},
		{"first page of several", storage.ClientNative, "", []string{"com.example.app:/cb", "http://127.0.0.1/cb", "https://app.example/cb"}, "https://app.example/"},
		{"native app", storage.ClientNative, "", []string{"com.example.app:/cb", "http://[::1]:1/cb", "http://localhost/cb"}, ""},
		{"site on this computer", storage.ClientWeb, "", []string{"http://localhost:8080/cb"}, "http://localhost:8080/"},
		{"none", storage.ClientWeb, "", nil, ""},
	} {
		client := &storage.Client{ID: "cli_x", ClientMetadata: storage.ClientMetadata{Name: "Acme Wiki", Type: tc.kind, URI: tc.uri, RedirectURIs: tc.redirects}}
		gone, other := Gone(client), OtherBrowser(client)
		if gone.ActionURL != tc.want || other.ActionURL != tc.want {
			t.Errorf("%s: the way back leads to %q and %q, want %q", tc.name, gone.ActionURL, other.ActionURL, tc.want)
		}
		if text := gone.ActionText; (text == "Go back to Acme Wiki") != (tc.want != "") {
			t.Errorf("%s: the way back is called %q", tc.name, text)
		}
	}
	if e := Gone(nil); e.ActionURL != "" || e.Status != 400 {
		t.Errorf("Gone(nil) = %+v, want no way back", e)
	}
}
