package main

import (
	"strings"
	"testing"

	"idp/storage/storagetest"
)

func TestResourcesAreLookedAfterFromTheCommandLine(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	type scope struct{ Name, Description string }
	type view struct {
		URI, Name, Token_Format string
		Token_Life              int
		Scopes                  []scope
	}
	var made, shown, updated view
	var list []view
	o.json(&list, "", "resource", "list")
	if list == nil || len(list) != 0 {
		t.Errorf("an empty list is %v", list)
	}
	o.json(&made, "", "resource", "create", "--uri", "https://notes.test", "--name", "Notes", "--scope", "notes:read=Read your notes", "--scope", "notes:write=Change a=b, in your notes", "--token-format", "jwt", "--token-life", "5m")
	if made.URI != "https://notes.test" || len(made.Scopes) != 2 || made.Scopes[1] != (scope{"notes:write", "Change a=b, in your notes"}) || made.Token_Format != "jwt" || made.Token_Life != 300 {
		t.Errorf("made: %+v", made)
	}
	o.json(&shown, "", "resource", "show", "https://notes.test/")
	if shown.Name != "Notes" {
		t.Errorf("shown: %+v", shown)
	}
	if code, out, _ := o.run("", "resource", "show", "https://notes.test"); code != exitOK || !strings.Contains(out, "notes:read  Read your notes") || !strings.Contains(out, "jwt") {
		t.Errorf("for people: %d\n%s", code, out)
	}
	o.json(&updated, "", "resource", "update", "https://notes.test", "--name", "My notes")
	if updated.Name != "My notes" || len(updated.Scopes) != 2 || updated.Token_Format != "jwt" {
		t.Errorf("updated: %+v", updated)
	}
	var cleared view
	o.json(&cleared, "", "resource", "update", "https://notes.test", "--scope", "", "--token-format", "", "--token-life", "0s")
	if len(cleared.Scopes) != 0 || cleared.Token_Format != "" || cleared.Token_Life != 0 {
		t.Errorf("cleared: %+v", cleared)
	}
	o.json(&list, "", "resource", "list")
	if len(list) != 1 {
		t.Errorf("list: %+v", list)
	}
	for _, tc := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "--scope 'notes:read=", []string{"create", "--uri", "https://a.test", "--name", "A", "--scope", "notes:read"}},
		{exitUsage, "--name", []string{"create", "--uri", "https://a.test"}},
		{exitUsage, "absolute", []string{"create", "--uri", "notes", "--name", "A"}},
		{exitUsage, "from 60 to 86400 seconds", []string{"create", "--uri", "https://a.test", "--name", "A", "--token-life", "500ms"}},
		{exitConflict, "idp resource update", []string{"create", "--uri", "https://notes.test", "--name", "A"}},
		{exitNotFound, "idp resource list", []string{"show", "https://nobody.test"}},
		{exitNotFound, "idp resource list", []string{"update", "https://nobody.test", "--name", "A"}},
		{exitNotFound, "idp resource list", []string{"delete", "https://nobody.test"}},
	} {
		if code, _, errs := o.run("", append([]string{"resource"}, tc.args...)...); code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("idp resource %v: %d %s; want %d and %q", tc.args, code, errs, tc.code, tc.says)
		}
	}
	if code, _, errs := o.run("", "client", "create", "--name", "App", "--url", "https://app.test", "--resource", "https://other.test"); code != exitUsage || !strings.Contains(errs, "idp resource create --uri https://other.test") {
		t.Errorf("a client with an unregistered resource: %d %s", code, errs)
	}
	var deleted map[string]string
	o.json(&deleted, "", "resource", "delete", "https://notes.test/")
	if deleted["deleted"] != "https://notes.test" {
		t.Errorf("deleted: %v", deleted)
	}
	var kinds []struct{ Kind string }
	o.json(&kinds, "", "events")
	seen := ""
	for _, e := range kinds {
		seen += " " + e.Kind
	}
	for _, kind := range []string{"resource.created", "resource.updated", "resource.deleted"} {
		if !strings.Contains(seen, kind) {
			t.Errorf("no event %s in %s", kind, seen)
		}
	}
}

func TestAPairwiseClientShowsItsSector(t *testing.T) {
	t.Parallel()
	o := newOperator(t, storagetest.URL(t))
	var made map[string]any
	o.json(&made, "", "client", "create", "--id", "app", "--name", "App", "--url", "https://app.test", "--subject-type", "pairwise")
	if made["subject_type"] != "pairwise" || made["sector_identifier"] != "app.test" {
		t.Errorf("made: %v", made)
	}
	if code, out, _ := o.run("", "client", "show", "app"); code != exitOK || !strings.Contains(out, "app.test") || !strings.Contains(out, "pairwise") {
		t.Errorf("show: %d\n%s", code, out)
	}
	if code, _, errs := o.run("", "client", "update", "app", "--redirect-uri", "https://elsewhere.test/cb"); code != exitUsage || !strings.Contains(errs, "somebody new") {
		t.Errorf("a move to another sector: %d %s", code, errs)
	}
	if code, _, errs := o.run("", "client", "update", "app", "--add-redirect-uri", "https://elsewhere.test/cb"); code != exitUsage || !strings.Contains(errs, "sector identifier URI") {
		t.Errorf("a second host: %d %s", code, errs)
	}
	if code, _, errs := o.run("", "client", "create", "--name", "App", "--url", "https://b.test", "--subject-type", "pairwise", "--sector-identifier-uri", "https://127.0.0.1:9/sector.json"); code != exitUsage || !strings.Contains(errs, "cannot be fetched") {
		t.Errorf("a sector document on this machine: %d %s", code, errs)
	}
}
