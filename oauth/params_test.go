package oauth

import (
	"net/url"
	"strings"
	"testing"
)

func TestParametersAreCheckedForEveryEndpoint(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, query string
		ok          bool
	}{
		{"plain", "client_id=a&scope=b", true},
		{"unknown ones may repeat", "extra=1&extra=2", true},
		{"a known one twice", "state=a&state=b", false},
		{"twice, one empty", "state=a&state=", false},
		{"redirect_uri twice", "redirect_uri=https://a&redirect_uri=https://b", false},
		{"resource may repeat", "resource=https://a&resource=https://b", true},
		{"too long", "state=" + strings.Repeat("x", 2049), false},
		{"long state", "state=" + strings.Repeat("x", 2048), true},
		{"claims on several lines", "claims=%7B%0A%09%7D%0D%0A", true},
		{"claims with a NUL", "claims=%7B%00%7D", false},
		{"a state on two lines", "state=a%0Ab", false},
		{"too many", strings.Repeat("a=1&", 101), false},
	} {
		form, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		if err := clean(form); (err == nil) != tc.ok {
			t.Errorf("%s: clean = %v, want accepted %v", tc.name, err, tc.ok)
		}
	}
	form := url.Values{"nonce": {""}, "state": {"x"}}
	if err := clean(form); err != nil || form.Has("nonce") {
		t.Errorf("an empty parameter stays: %v, %v", form, err)
	}
}

func TestScopeGrammar(t *testing.T) { // RFC 6749, 3.3; A-015
	t.Parallel()
	for _, tc := range []struct {
		in, want string
		ok       bool
	}{
		{"openid profile", "openid profile", true},
		{"openid  openid", "openid", true},
		{"", "", true},
		{`open"id`, "", false},
		{`a\b`, "", false},
		{"a\tb", "", false},
		{"ä", "", false},
		{strings.Repeat("x", 129), "", false},
		{strings.Repeat("x ", 4000), "x", true},
	} {
		got, ok := scopes(tc.in)
		if ok != tc.ok || strings.Join(got, " ") != tc.want {
			t.Errorf("scopes(%.20q) = %q, %v; want %q, %v", tc.in, got, ok, tc.want, tc.ok)
		}
	}
}

func FuzzScope(f *testing.F) {
	f.Add("openid profile")
	f.Fuzz(func(t *testing.T, s string) {
		list, ok := scopes(s)
		if ok && len(list) > 101 {
			t.Errorf("scopes(%q) has %d members", s, len(list))
		}
		for _, w := range list {
			if !scopeToken(w) {
				t.Errorf("scopes(%q) kept %q", s, w)
			}
		}
	})
}
