package oauth

import (
	"strings"
	"testing"

	"idp/storage"
)

func TestATokenHasExactlyOneSpelling(t *testing.T) { // A-040; trap F7
	t.Parallel()
	key, seed := storage.RandomBytes(32), storage.RandomBytes(16)
	for _, tok := range []token{
		{kind: codeToken, key: 1, grant: storage.NewRowID()},
		{kind: refreshToken, key: 300, grant: storage.NewRowID(), number: 7},
		{kind: accessToken, key: 1, grant: storage.NewRowID(), number: 1 << 31, issued: 1 << 30, expires: 1 << 31, scopes: 1<<63 | 1, resources: 5},
	} {
		s := tok.derive(key, seed)
		got, err := parseToken(tok.kind, s)
		if err != nil {
			t.Fatalf("parseToken(%q): %v", s, err)
		}
		if again := got.derive(key, seed); again != s {
			t.Errorf("derived %q, then %q from what was parsed", s, again)
		}
		genuine := func(s string) bool {
			p, err := parseToken(tok.kind, s)
			return err == nil && string(p.mac) == string(p.sum(p.body(), key, seed))
		}
		if !genuine(s) {
			t.Errorf("%q is not genuine", s)
		}
		for i := range len(s) { // every cut, every changed character
			if genuine(s[:i]) || genuine(s[i+1:]) {
				t.Errorf("a cut of %q at %d is genuine", s, i)
			}
			for _, c := range "AaBb09-_=+/ \r\n" {
				if m := s[:i] + string(c) + s[i+1:]; m != s && genuine(m) {
					t.Errorf("%q with %q at %d is genuine", s, c, i)
				}
			}
		}
		for _, m := range []string{s + "=", s + "A", "\n" + s, s + "\n", strings.ToUpper(s), strings.Replace(s, string(tok.kind), "ory_rt_", 1), strings.TrimPrefix(s, string(tok.kind))} {
			if genuine(m) {
				t.Errorf("%q is genuine", m)
			}
		}
		for _, other := range []tokenKind{codeToken, refreshToken, accessToken} {
			p, err := parseToken(other, strings.Replace(s, string(tok.kind), string(other), 1))
			if other != tok.kind && err == nil && string(p.mac) == string(p.sum(p.body(), key, seed)) {
				t.Errorf("a %s token is genuine as %s", tok.kind, other)
			}
		}
		if wrong, _ := parseToken(tok.kind, s); string(wrong.mac) == string(wrong.sum(wrong.body(), key, storage.RandomBytes(16))) {
			t.Errorf("%q is genuine for another grant's seed", s)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(token{kind: accessToken, grant: storage.NewRowID()}.derive(make([]byte, 32), nil))
	f.Add("idp_rt_")
	f.Fuzz(func(t *testing.T, s string) {
		for _, kind := range []tokenKind{codeToken, refreshToken, accessToken} {
			p, err := parseToken(kind, s)
			if err == nil && len(p.body())+len(p.mac) != (len(s)-len(kind))*6/8 {
				t.Errorf("parseToken(%s, %q) lost bytes", kind, s)
			}
		}
	})
}

func TestScopeBitmapsGiveBackTheScopes(t *testing.T) {
	t.Parallel()
	all := []string{"openid", "profile", "email", "offline_access"}
	if got := strings.Join(members(all, bitmap(all, []string{"email", "openid"})), " "); got != "openid email" {
		t.Errorf("members(bitmap) = %q, want %q", got, "openid email")
	}
}
