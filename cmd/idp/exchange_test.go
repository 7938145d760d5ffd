package main

import (
	"strings"
	"testing"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestExchangesAreLookedAfterFromTheCommandLine(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	for _, uri := range []string{"https://notes.test", "https://mail.test"} {
		o.json(&struct{}{}, "", "resource", "create", "--uri", uri, "--name", uri)
	}
	o.json(&struct{}{}, "", "client", "create", "--preset", "machine", "--id", "notes", "--name", "Notes", "--scope", "plan", "--resource", "https://mail.test", "--audience", "https://notes.test",
		"--grant-type", "urn:ietf:params:oauth:grant-type:token-exchange")
	o.json(&struct{}{}, "", "client", "create", "--preset", "machine", "--id", "other", "--name", "Other")
	var list []storage.Exchange
	o.json(&list, "", "exchange", "list")
	if list == nil || len(list) != 0 {
		t.Errorf("an empty list is %v", list)
	}
	allow := func(client, from, to, scope string, more ...string) []string {
		return append([]string{"exchange", "allow", "--client", client, "--from", from, "--to", to, "--scope", scope}, more...)
	}
	var made storage.Exchange
	o.json(&made, "", allow("notes", "https://notes.test/", "https://mail.test", "plan", "--of", "other")...)
	if !strings.HasPrefix(made.ID, "exc_") || made.Source != "https://notes.test" || made.SubjectClient != "other" {
		t.Errorf("made %+v", made)
	}
	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{exitConflict, "may do that already", allow("notes", "https://notes.test", "https://mail.test", "plan", "--of", "other")},
		{exitNotFound, "no client nobody", allow("nobody", "https://notes.test", "https://mail.test", "plan")},
		{exitNotFound, "no client nobody", allow("notes", "https://notes.test", "https://mail.test", "plan", "--of", "nobody")},
		{exitUsage, "idp client update other --grant-type", allow("other", "https://notes.test", "https://mail.test", "plan")},
		{exitUsage, "--audience https://mail.test", allow("notes", "https://mail.test", "https://mail.test", "plan")},
		{exitUsage, "--resource https://notes.test", allow("notes", "https://notes.test", "https://notes.test", "plan")},
		{exitUsage, "not one of the client", allow("notes", "https://notes.test", "https://mail.test", "secret")},
		{exitUsage, "Name the scopes", allow("notes", "https://notes.test", "https://mail.test", "")},
		{exitNotFound, "idp exchange list", []string{"exchange", "revoke", "exc_x"}},
	} {
		if code, _, errs := o.run("", tc.args...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("idp %v: %d %s; want %d and %q", tc.args, code, errs, tc.code, tc.says)
		}
	}
	if code, out, _ := o.run("", "exchange", "list"); code != exitOK || !strings.Contains(out, "https://mail.test") {
		t.Errorf("for people: %d\n%s", code, out)
	}
	if code, _, errs := o.run("", "client", "create", "--preset", "spa", "--name", "Page", "--url", "https://page.test", "--grant-type", "authorization_code", "--grant-type", "urn:ietf:params:oauth:grant-type:token-exchange"); code != exitUsage || !strings.Contains(errs, "public client cannot exchange") {
		t.Errorf("a page that exchanges: %d %s", code, errs)
	}
	var revoked map[string]string
	o.json(&revoked, "", "exchange", "revoke", made.ID)
	o.json(&list, "", "exchange", "list")
	if revoked["revoked"] != made.ID || len(list) != 0 {
		t.Errorf("revoked %v, left %v", revoked, list)
	}
}
