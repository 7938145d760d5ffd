package oauth

import (
	"strings"
	"testing"

	"idp/storage"
)

func client(kind string, uris ...string) *storage.Client {
	return &storage.Client{ID: "c", ClientMetadata: storage.ClientMetadata{Type: kind, RedirectURIs: uris, AuthMethod: "none"}}
}

func TestRedirectURIsMatchByteForByte(t *testing.T) {
	t.Parallel()
	web := client(storage.ClientWeb, "https://rp1.test/cb", "https://rp1.test/q?a=1", "https://127.0.0.1/s", "http://127.0.0.1/web")
	for _, uri := range []string{"https://rp1.test/cb", "https://rp1.test/q?a=1"} {
		if !redirectMatches(web, uri) {
			t.Errorf("redirectMatches(%q) = false, want true: it is registered", uri)
		}
	}
	for _, uri := range []string{
		"https://rp1.test.evil1.test/cb", "https://rp1.testevil1.test/cb", "https://evil1.test",
		"https://rp1.test/cb/../evil", "https://rp1.test/cb/..;/evil", "https://rp1.test/cb%2f..%2fevil", "https://rp1.test//cb", "https://rp1.test/cb/",
		"https://rp1.test@evil1.test/cb", "https://u:p@rp1.test/cb", "https://a@b@rp1.test/cb",
		`https://rp1.test\@evil1.test/cb`, `https:\\rp1.test\cb`, "https://rp1.test/cb\t", "https://rp1.test/cb\n",
		"HTTPS://rp1.test/cb", "https://RP1.test/cb", "https://rp1.test:443/cb", "https://rp1.test/CB",
		"http://127.0.0.1:9/s", "http://127.0.0.1:9/web", "https://127.0.0.1:9/s", // not a native app
		"https://rp1.test/cb#x", "https://rp1.test/cb#",
		"https://rp1.test/q", "https://rp1.test/q?a=1&b=2", "https://rp1.test/q?a=2", "", "javascript:alert(1)",
	} {
		if redirectMatches(web, uri) {
			t.Errorf("redirectMatches(%q) = true, want false", uri)
		}
	}
}

func TestLoopbackRedirectsOfNativeAppsVaryInThePortOnly(t *testing.T) { // RFC 8252, 7.3; trap P9
	t.Parallel()
	native := client(storage.ClientNative, "http://127.0.0.1/cb", "http://localhost:8000/cb?x=1", "http://[::1]/cb", "com.test.nat1:/cb")
	for _, uri := range []string{
		"http://127.0.0.1/cb", "http://127.0.0.1:51234/cb", "http://localhost/cb?x=1", "http://localhost:1/cb?x=1", "http://[::1]:65535/cb", "com.test.nat1:/cb",
	} {
		if !redirectMatches(native, uri) {
			t.Errorf("redirectMatches(%q) = false, want true", uri)
		}
	}
	for _, uri := range []string{
		"http://127.0.0.1:51234/c%62", "http://127.0.0.1:51234/cb%2F", "http://127.0.0.1:51234/cb/",
		"http://x:y@127.0.0.1:5/cb", "http://127.0.0.1:5/cb?", "http://127.0.0.1:5/cb#", "http://127.0.0.1:0/cb", "http://127.0.0.1:99999/cb",
		"http://127.0.0.1:05/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:+5/cb", "http://127.0.0.1:5 /cb", "http://127.0.0.1.evil.test:5/cb", "http://localhost.evil.test/cb?x=1",
		"https://127.0.0.1:5/cb", "http://127.0.0.2:5/cb", "http://localhost:5/cb", "http://[::1]:5/cb?x=1", "com.test.nat1:/cb2", "com.test.nat1://cb",
	} {
		if redirectMatches(native, uri) {
			t.Errorf("redirectMatches(%q) = true, want false", uri)
		}
	}
}

// FuzzRedirectMatch holds the matcher against what it stands for: equal bytes, or equal but for
// the digits of a port.
func FuzzRedirectMatch(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:80/cb", "http://127.0.0.1/cb", "http://localhost:1/cb", "http://127.0.0.1:1@evil/cb", "http://127.0.0.1:1/cb#"} {
		f.Add(s)
	}
	native := client(storage.ClientNative, "http://127.0.0.1/cb", "http://localhost/cb")
	f.Fuzz(func(t *testing.T, uri string) {
		if !redirectMatches(native, uri) {
			return
		}
		for _, host := range []string{"127.0.0.1", "localhost"} {
			rest, ok := strings.CutPrefix(uri, "http://"+host)
			if !ok {
				continue
			}
			rest = strings.TrimPrefix(rest, ":")
			if strings.TrimLeft(rest, "0123456789") == "/cb" {
				return
			}
		}
		t.Errorf("redirectMatches(%q) = true", uri)
	})
}

func TestDangerousRedirectURIsAreRefusedAtRegistration(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind, uri string
		ok        bool
	}{
		{storage.ClientWeb, "https://rp.test/cb", true},
		{storage.ClientWeb, "https://rp.test/cb?tenant=1", true},
		{storage.ClientWeb, "http://localhost:3000/cb", true},
		{storage.ClientNative, "com.example.app:/cb", true},
		{storage.ClientNative, "http://127.0.0.1/cb", true},
		{storage.ClientWeb, "com.example.app:/cb", false},
		{storage.ClientNative, "myapp:/cb", false},
		{storage.ClientNative, "javascript:alert(1)", false},
		{storage.ClientNative, "JavaScript://x/%0aalert(1)", false},
		{storage.ClientWeb, "data:text/html,x", false},
		{storage.ClientWeb, "vbscript:x", false},
		{storage.ClientWeb, "http://rp.test/cb", false},
		{storage.ClientWeb, "https://*.rp.test/cb", false},
		{storage.ClientWeb, "https://rp.test/*", false},
		{storage.ClientWeb, "https://rp.test/cb#", false},
		{storage.ClientWeb, "https://u@rp.test/cb", false},
		{storage.ClientWeb, "https://rp.test/cb?code=x", false},
		{storage.ClientWeb, "https://rp.test/cb?state=x", false},
		{storage.ClientWeb, "https://rp.test/cb?error=x", false},
		{storage.ClientWeb, "https://rp.test/cb?iss=x", false},
		{storage.ClientWeb, "https:///cb", false},
		{storage.ClientWeb, "/cb", false},
		{storage.ClientWeb, "https://rp.test/" + strings.Repeat("a", 5000), false},
		{storage.ClientWeb, "https://rp.test/a b", false},
	} {
		if problem := checkRedirectURI(tc.kind, tc.uri); (problem == "") != tc.ok {
			t.Errorf("checkRedirectURI(%s, %.60q) = %q, want accepted %v", tc.kind, tc.uri, problem, tc.ok)
		}
	}
}
