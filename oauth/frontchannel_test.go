package oauth

import "testing"

func TestSitesAreToldApartAsBrowsersDo(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"https://wiki.example.com/x", "https://id.example.com", true},
		{"https://example.com", "https://id.example.com", true},
		{"https://wiki.example.com:8443/x", "https://id.example.com", true},
		{"http://wiki.example.com", "https://id.example.com", false},
		{"https://wiki.example.org", "https://id.example.com", false},
		{"https://evilexample.com", "https://id.example.com", false},
		{"https://a.github.io", "https://b.github.io", false}, // public suffixes
		{"https://a.co.uk", "https://b.co.uk", false},
		{"https://co.uk", "https://co.uk", true},
		{"https://x.a.co.uk", "https://y.a.co.uk", true},
		{"https://10.0.0.1", "https://10.0.0.1", true},
		{"https://10.0.0.1", "https://10.0.0.2", false},
		{"http://localhost:5555", "http://127.0.0.1:8080", true},
		{"http://[::1]:5555", "http://localhost:8080", true},
		{"http://localhost.example.com", "http://localhost:8080", false},
		{"https://wiki", "https://id", false},
	} {
		if got := sameSite(tc.a, tc.b); got != tc.want {
			t.Errorf("sameSite(%s, %s) = %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
}
