package login

import "testing"

func TestAUserNameIsOfOneScript(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"cleo": true, "José.2": true, "алла-1": true, "山田たろう": true, "yamada山田": true, "김철수": true, "ａｄａ": true, "42": true, "नीरज": true, "محمد": true,
		"\u0430da": false, "u\u0455r_x": false, "αda": false, "алла山田": true, "..": false, "--": false, "\u0301\u0301": false, "ad\u0966": false,
	} {
		if got := checkUsername(name) == nil; got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}
