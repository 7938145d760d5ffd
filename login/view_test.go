package login

import (
	"slices"
	"testing"

	"idp/storage"
)

func TestFormActionHoldsTheOriginAndNothingElse(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string][]string{
		"https://app.example/cb?x=1":    {"https://app.example"},
		"https://App.Example:8443/cb":   {"https://app.example:8443"},
		"http://127.0.0.1:5555/cb":      {"http://127.0.0.1:5555"},
		"http://localhost:1234":         {"http://localhost:1234"},
		"http://[::1]:1234/cb":          {"http:"}, // a policy cannot spell IPv6
		"com.example.app:/cb":           {"com.example.app:"},
		"com.example.app://cb":          {"com.example.app:"},
		"https://a.example;script-src/": {"https:"},
		"https://a.example,x/":          {"https:"},
		"https://*/":                    {"https:"},
		"https://bücher.example/":       {"https:"},
		"/relative":                     nil,
		"":                              nil,
		"https://a b/":                  nil,
	} {
		if got := FormActionFor(uri); !slices.Equal(got, want) {
			t.Errorf("FormActionFor(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestPagesTellOfAClientOnlyWhatIsSafe(t *testing.T) {
	t.Parallel()
	c := &storage.Client{ID: "cli_1", Source: "registration", ClientMetadata: storage.ClientMetadata{
		URI: "javascript:alert(1)", PolicyURI: "https://app.example/privacy", TosURI: "data:text/html,x",
	}}
	v := NewClientView(c, "https://app.example/cb")
	if v.Name != "cli_1" || v.Initial != "C" || v.URI != "" || v.PolicyURI == "" || v.TosURI != "" || v.Host != "app.example" || v.Verified {
		t.Errorf("view = %+v", v)
	}
	c.Source, c.Name, c.URI = "admin", "écrin", "https://www.example/"
	v = NewClientView(c, "https://app.example/cb")
	if v.Name != "écrin" || v.Initial != "É" || v.Host != "www.example" || !v.Verified {
		t.Errorf("view = %+v", v)
	}
}
