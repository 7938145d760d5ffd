package main

import (
	"encoding/json"
	"strings"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

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
		for _, example := range []string{"sub", "exp", "iat", "auth_time", "acr", "amr"} {
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
