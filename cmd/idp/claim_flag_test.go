package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idp/storage"
)

func TestAClaimRuleReadsAsItIsWritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]storage.ClaimRule{
		"roles=groups:app-;strip;in=id_token,userinfo": {Claim: "roles", Groups: &storage.GroupsClaim{Prefix: "app-", Strip: true}, In: []string{"id_token", "userinfo"}},
		"teams=groups":                              {Claim: "teams", Groups: &storage.GroupsClaim{}, In: []string{"id_token", "userinfo"}},
		"teams=groups;in=access_token":              {Claim: "teams", Groups: &storage.GroupsClaim{}, In: []string{"access_token"}},
		"teams=groups:a:b;scope=groups;in=userinfo": {Claim: "teams", Groups: &storage.GroupsClaim{Prefix: "a:b"}, In: []string{"userinfo"}, Scope: "groups"},
		"tenant=value:acme":                         {Claim: "tenant", Value: json.RawMessage(`"acme"`), In: []string{"id_token", "userinfo"}},
		"level=value:7":                             {Claim: "level", Value: json.RawMessage(`7`), In: []string{"id_token", "userinfo"}},
		`level=value:"7";in=userinfo`:               {Claim: "level", Value: json.RawMessage(`"7"`), In: []string{"userinfo"}},
		`x=value:{"a":"b;c=d"}`:                     {Claim: "x", Value: json.RawMessage(`{"a":"b;c=d"}`), In: []string{"id_token", "userinfo"}},
		"x=value:a;b;scope=email":                   {Claim: "x", Value: json.RawMessage(`"a;b"`), In: []string{"id_token", "userinfo"}, Scope: "email"},
		"mail=field:email;scope=email":              {Claim: "mail", Field: "email", In: []string{"id_token", "userinfo"}, Scope: "email"},
		"https://acme.test/r=field:locale":          {Claim: "https://acme.test/r", Field: "locale", In: []string{"id_token", "userinfo"}},
	} {
		got, problem := claimRule(text)
		if problem != "" || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %+v, %q", text, got, problem)
		}
		if again, problem := claimRule(writeClaimRule(got)); problem != "" || cmp.Diff(got, again) != "" {
			t.Errorf("%s: written as %s and read as %+v, %q", text, writeClaimRule(got), again, problem)
		}
	}
	for _, text := range []string{"roles", "=value:a", "a=value:", "a=value", "a=field", "a=thing:b", "a=field:email;unknown", "a=groups:x;strip=no"} {
		if rule, problem := claimRule(text); problem == "" {
			t.Errorf("%q is accepted: %+v", text, rule)
		}
	}
}
