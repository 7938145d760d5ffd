package main

import (
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
