package oauth

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestMembersOfARequestObjectHaveTheFormOfParameters(t *testing.T) { // RFC 9101, 4; trap F14
	t.Parallel()
	for _, tc := range []struct {
		name, value string
		want        []string
	}{
		{"state", `"a b"`, []string{"a b"}},
		{"state", `""`, []string{""}},
		{"state", `5`, nil},
		{"state", `null`, nil},
		{"state", `{"a":1}`, nil},
		{"max_age", `0`, []string{"0"}},
		{"max_age", `"0"`, []string{"0"}},
		{"max_age", `null`, nil},
		{"max_age", `[0]`, nil},
		{"claims", `{"userinfo":{"email":null}}`, []string{`{"userinfo":{"email":null}}`}},
		{"claims", `[]`, nil},
		{"resource", `["https://a.test","https://b.test"]`, []string{"https://a.test", "https://b.test"}},
		{"resource", `"https://a.test"`, []string{"https://a.test"}},
		{"resource", `[]`, nil},
		{"resource", `[1]`, nil},
		{"scope", `["openid"]`, nil},
	} {
		if got := paramValues(tc.name, json.RawMessage(tc.value)); !slices.Equal(got, tc.want) {
			t.Errorf("%s = %s: %q, want %q", tc.name, tc.value, got, tc.want)
		}
	}
}

func FuzzMembersOfARequestObject(f *testing.F) {
	for _, s := range []string{`{"state":"a","max_age":0}`, `{"claims":{"userinfo":null}}`, `{"resource":["a"]}`, `{"scope":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var all map[string]json.RawMessage
		if decodeStrict([]byte(s), &all) != nil {
			return
		}
		for name, value := range all {
			if list := paramValues(name, value); len(list) > 1 && name != "resource" {
				t.Errorf("%s = %s has %d values", name, value, len(list))
			}
		}
	})
}
