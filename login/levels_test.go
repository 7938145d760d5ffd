package login

import "testing"

func TestALevelIsWhatWasReallyProved(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		methods []string
		want    string
	}{
		{nil, ""},
		{[]string{"pwd"}, "urn:idp:acr:1fa"},
		{[]string{"otp"}, "urn:idp:acr:1fa"},
		{[]string{"mfa"}, "urn:idp:acr:1fa"}, // a word is no factor
		{[]string{"swk"}, "urn:idp:acr:1fa"}, // a key that nobody had to unlock
		{[]string{"pwd", "otp", "mfa"}, "urn:idp:acr:mfa"},
		{[]string{"pwd", "hwk"}, "urn:idp:acr:mfa"},
		{[]string{"swk", "user", "mfa"}, "urn:idp:acr:phr"},
		{[]string{"hwk", "user", "mfa"}, "urn:idp:acr:phr"},
	} {
		got := ACR(tc.methods)
		if got != tc.want {
			t.Errorf("ACR(%v) = %q, want %q", tc.methods, got, tc.want)
		}
		reached := true // the levels are steps: whoever reaches one reaches those before it
		for _, l := range Levels {
			if r := Reaches(tc.methods, l.ACR); r && !reached {
				t.Errorf("%v reach %s and not the one before", tc.methods, l.ACR)
			} else {
				reached = r
			}
		}
	}
	if Reaches([]string{"pwd"}, "") || Reaches([]string{"pwd"}, "urn:x") || Offered("urn:x") || !Offered(ACRPassword) || !Reaches([]string{"swk", "user"}, "phr") {
		t.Error("a class that is in no table counts, or one that is does not")
	}
}
