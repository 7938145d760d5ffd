package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestGroupsAreLookedAfterFromTheCommandLine(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	var ada, bob storage.User
	o.json(&ada, "", "user", "create", "--username", "ada", "--email", "ada@example.test")
	o.json(&bob, "", "user", "create", "--username", "bob")
	var g groupView
	o.json(&g, "", "group", "create", "staff", "--claim-value", "acme:staff")
	if !strings.HasPrefix(g.ID, "grp_") || g.Name != "staff" || g.ClaimValue != "acme:staff" || g.Members != 0 {
		t.Errorf("made %+v", g)
	}
	o.json(&g, "", "group", "add", "staff", "ada@example.test", bob.ID)
	o.json(&g, "", "group", "add", g.ID, "ada") // again is no error
	if g.Members != 2 {
		t.Errorf("%d members, want 2", g.Members)
	}
	o.json(&g, "", "group", "show", "staff")
	if len(g.People) != 2 || g.People[0].Username != "ada" || g.People[1].Username != "bob" {
		t.Errorf("members %+v", g.People)
	}
	var shown userView
	o.json(&shown, "", "user", "show", "ada")
	if !slices.Equal(shown.Groups, []string{"staff"}) {
		t.Errorf("user show: groups %v", shown.Groups)
	}
	o.json(&g, "", "group", "update", "staff", "--name", "people", "--claim-value", "")
	if g.Name != "people" || g.ClaimValue != "people" || g.Members != 2 {
		t.Errorf("changed: %+v", g)
	}
	o.json(&g, "", "group", "remove", "people", "ada")
	o.json(&struct{}{}, "", "user", "delete", "bob")
	var all []storage.Group
	o.json(&all, "", "group", "list")
	if len(all) != 1 || all[0].Members != 0 {
		t.Errorf("a deleted user is a member yet: %+v", all)
	}
	if code, out, _ := o.run("", "group", "show", "people"); code != exitOK || !strings.Contains(out, "Claim value") {
		t.Errorf("group show: %d\n%s", code, out)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"group", "create", "people"}, exitConflict, "already"},
		{[]string{"group", "create", ""}, exitUsage, "1 to 64"},
		{[]string{"group", "create", "grp_x"}, exitUsage, "grp_"},
		{[]string{"group", "create", strings.Repeat("x", 65)}, exitUsage, "1 to 64"},
		{[]string{"group", "show", "nobody"}, exitNotFound, "idp group list"},
		{[]string{"group", "add", "people", "nobody"}, exitNotFound, "idp user list"},
		{[]string{"group", "add", "people", "bob"}, exitNotFound, "There is no user bob"},
		{[]string{"group", "add", "people"}, exitUsage, "user"},
	} {
		if code, _, errs := o.run("", tc.args...); code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("idp %s: %d %s; want %d, %q", strings.Join(tc.args, " "), code, errs, tc.code, tc.want)
		}
	}
	var events []storage.Event
	o.json(&events, "", "events")
	var kinds []string
	for _, e := range events {
		if strings.HasPrefix(e.Kind, "group.") {
			kinds = append(kinds, e.Kind)
			if e.Details["group"] != all[0].ID {
				t.Errorf("%s tells of no group: %v", e.Kind, e.Details)
			}
		}
	}
	slices.Reverse(kinds)
	want := []string{"group.created", "group.member_added", "group.member_added", "group.updated", "group.member_removed"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	o.json(&struct{}{}, "", "group", "delete", "people")
	o.json(&all, "", "group", "list")
	if len(all) != 0 {
		t.Errorf("after the deletion: %+v", all)
	}
}

func TestAGroupThatDecidesWhoMayUseAClientStays(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	var staff, board groupView
	o.json(&staff, "", "group", "create", "staff")
	o.json(&board, "", "group", "create", "board")
	var made clientView
	o.json(&made, "", "client", "create", "--id", "wiki", "--name", "Wiki", "--url", "https://wiki.test", "--access-group", "staff", "--access-group", board.ID, "--access-group", staff.ID)
	if want := []string{staff.ID, board.ID}; !slices.Equal(made.AccessGroups, want) {
		t.Errorf("access groups %v, want %v", made.AccessGroups, want)
	}
	if code, out, _ := o.run("", "client", "show", "wiki"); code != exitOK || !strings.Contains(out, "staff") || strings.Contains(out, "grp_") {
		t.Errorf("client show names no groups:\n%s", out)
	}
	code, _, errs := o.run("", "group", "delete", "staff")
	if code != exitConflict || !strings.Contains(errs, "wiki") || !strings.Contains(errs, "--access-group") {
		t.Errorf("group delete: %d %s", code, errs)
	}
	if code, _, errs := o.run("", "client", "update", "wiki", "--access-group", "nobody"); code != exitUsage || !strings.Contains(errs, "idp group create") {
		t.Errorf("an unknown group: %d %s", code, errs)
	}
	o.json(&made, "", "client", "update", "wiki", "--name", "Wiki 2")
	if len(made.AccessGroups) != 2 {
		t.Errorf("another change opened the client: %v", made.AccessGroups)
	}
	o.json(&made, "", "client", "update", "wiki", "--access-group", "board")
	o.json(&struct{}{}, "", "group", "delete", "staff")
	var open clientView
	o.json(&open, "", "client", "update", "wiki", "--access-group", "")
	if len(open.AccessGroups) != 0 {
		t.Errorf("access groups %v, want none", open.AccessGroups)
	}
}

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

func TestAPreviewTellsWhatTokensWouldHoldAndMakesNone(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	o.json(&struct{}{}, "", "user", "create", "--username", "ada", "--email", "ada@example.test", "--email-verified")
	o.json(&struct{}{}, "", "user", "create", "--username", "bob")
	o.json(&struct{}{}, "", "group", "create", "app-admin")
	o.json(&struct{}{}, "", "group", "add", "app-admin", "ada")
	o.json(&struct{}{}, "", "client", "create", "--id", "wiki", "--name", "Wiki", "--url", "https://wiki.test", "--scope", "openid email groups offline_access", "--access-group", "app-admin",
		"--claim", "roles=groups:app-;strip;in=id_token,access_token", "--claim", "tenant=value:acme", "--access-token-format", "jwt", "--userinfo-alg", "ES256")
	type preview struct {
		Scope       string
		MayUse      bool `json:"may_use"`
		Problems    []string
		IDToken     map[string]any `json:"id_token"`
		UserInfo    map[string]any
		AccessToken map[string]any `json:"access_token"`
	}
	var before, after []storage.Event
	o.json(&before, "", "events")
	var p preview
	o.json(&p, "", "client", "preview-claims", "--client", "wiki", "--user", "ada@example.test", "--scope", "openid groups", "--claims", `{"id_token":{"email":null}}`)
	if p.Scope != "openid groups" || !p.MayUse || len(p.Problems) > 0 {
		t.Errorf("%+v", p)
	}
	for place, tc := range map[string]struct {
		got  map[string]any
		want string
	}{
		"ID token":     {p.IDToken, `{"aud":"wiki","email":"ada@example.test","iss":"https://id.example.com","roles":["admin"],"tenant":"acme"}`},
		"userinfo":     {p.UserInfo, `{"aud":"wiki","groups":["app-admin"],"iss":"https://id.example.com","tenant":"acme"}`},
		"access token": {p.AccessToken, `{"aud":"https://id.example.com","client_id":"wiki","iss":"https://id.example.com","roles":["admin"],"scope":"openid groups"}`},
	} {
		if tc.got["sub"] == nil || place != "userinfo" && tc.got["exp"] == nil {
			t.Errorf("%s: %v", place, tc.got)
		}
		for _, example := range []string{"sub", "exp", "iat", "auth_time", "acr", "amr", "jti"} {
			delete(tc.got, example)
		}
		got, _ := json.Marshal(tc.got)
		if string(got) != tc.want {
			t.Errorf("%s: %s\nwant %s", place, got, tc.want)
		}
	}
	o.json(&p, "", "client", "preview-claims", "--client", "wiki", "--user", "bob", "--scope", "openid profile")
	if p.MayUse || len(p.Problems) != 2 || !strings.Contains(p.Problems[0], "may not use") || !strings.Contains(p.Problems[1], "not registered for profile") {
		t.Errorf("bob: %+v", p)
	}
	if code, out, errs := o.run("", "client", "preview-claims", "--client", "wiki", "--user", "ada"); code != exitOK || !strings.Contains(out, "Userinfo") || !strings.Contains(out, `["admin"]`) {
		t.Errorf("text: %d\n%s%s", code, out, errs)
	}
	o.json(&struct{}{}, "", "client", "create", "--id", "shy", "--name", "Shy", "--url", "https://shy.test", "--subject-type", "pairwise")
	o.json(&before, "", "events")
	for range 2 {
		o.json(&p, "", "client", "preview-claims", "--client", "shy", "--user", "ada")
		if sub, _ := p.IDToken["sub"].(string); !strings.HasPrefix(sub, "sub_(") { // none is drawn by looking
			t.Errorf("sub = %q, want it said that there is none yet", sub)
		}
	}
	for _, tc := range []struct {
		args string
		code int
		says string
	}{
		{"--client nobody --user ada", exitNotFound, "idp client list"}, {"--client wiki --user nobody", exitNotFound, "idp user list"},
		{"--client wiki --user ada --claims {", exitUsage, "not a JSON object"}, {"--client wiki --user ada --scope profile", exitUsage, "may not have any of the scopes"},
	} {
		if code, _, errs := o.run("", append([]string{"client", "preview-claims"}, strings.Fields(tc.args)...)...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: %d %s, want %d and %q", tc.args, code, errs, tc.code, tc.says)
		}
	}
	o.json(&after, "", "events")
	if len(after) != len(before) {
		t.Errorf("previews wrote %d events", len(after)-len(before))
	}
	var shown clientView
	o.json(&shown, "", "client", "show", "wiki")
	if len(shown.ClaimRules) != 2 || shown.UserInfoAlg != "ES256" {
		t.Errorf("shown: %+v", shown.ClientMetadata)
	}
	if _, out, _ := o.run("", "client", "show", "wiki"); !strings.Contains(out, "roles=groups:app-;strip;in=access_token,id_token") || !strings.Contains(out, "ES256") || !strings.Contains(out, "app-admin") {
		t.Errorf("client show:\n%s", out)
	}
	if code, _, errs := o.run("", "client", "update", "wiki", "--claim", "sub=value:x"); code != exitUsage || !strings.Contains(errs, "reserved") {
		t.Errorf("a reserved claim: %d %s", code, errs)
	}
	o.json(&shown, "", "client", "update", "wiki", "--claim", "", "--userinfo-alg", "")
	var cleared clientView
	o.json(&cleared, "", "client", "show", "wiki")
	if len(cleared.ClaimRules) != 0 || cleared.UserInfoAlg != "" {
		t.Errorf("cleared: %+v", cleared.ClientMetadata)
	}
}

func TestASignOutPageOfAnotherSiteIsSaidToBeUseless(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	for host, loads := range map[string]bool{"wiki.example.com": true, "wiki.test": false} {
		_, _, made := o.run("", "client", "create", "--id", host, "--name", "Wiki", "--url", "https://"+host, "--frontchannel-logout-uri", "https://"+host+"/out")
		_, _, shown := o.run("", "client", "show", host)
		for _, errs := range []string{made, shown} {
			if strings.Contains(errs, "--backchannel-logout-uri") == loads {
				t.Errorf("a page of %s, which the provider loads: %v: %s", host, loads, errs)
			}
		}
	}
}

func TestEveryRelaxationIsShownAsAWeakness(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	o.json(&struct{}{}, "", "client", "create", "--id", "old", "--name", "Old", "--url", "https://old.test")
	var before, after clientView
	o.json(&before, "", "client", "show", "old")
	if len(before.Weaknesses) != 0 {
		t.Errorf("a new client has weaknesses: %v", before.Weaknesses)
	}
	flags := []string{"--pkce-optional", "--legacy-assertion-audience", "--id-token-claims", "--introspect-all"}
	for i, flag := range flags {
		o.json(&after, "", "client", "update", "old", flag)
		if len(after.Weaknesses) != i+1 {
			t.Errorf("after %s: %v", flag, after.Weaknesses)
		}
	}
	if _, out, _ := o.run("", "client", "show", "old"); strings.Count(out, "Weakness  ") != len(flags) {
		t.Errorf("client show:\n%s", out)
	}
}
