package storage_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func addGroup(t testing.TB, db *storage.DB, name string, members ...storage.User) storage.Group {
	t.Helper()
	g := storage.Group{ID: storage.NewID("grp_"), Name: name, ClaimValue: name, CreatedAt: noon()}
	if err := db.CreateGroup(t.Context(), g, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, u := range members {
		if added, err := db.AddMember(t.Context(), g.ID, u.ID, storage.Event{}); err != nil || !added {
			t.Fatalf("add %s: %v, %v", u.Username, added, err)
		}
	}
	return g
}

func TestAGrantBringsGroupsAlongOnlyWhenSomethingNeedsThem(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	ada := addUser(t, db, "ada")
	addGroup(t, db, "staff", ada)
	addGroup(t, db, "board", ada)
	twin := addGroup(t, db, "board 2", ada)
	twin.ClaimValue = "board"
	if err := db.UpdateGroup(t.Context(), twin, storage.Event{}); err != nil {
		t.Fatal(err)
	}
	plain, ruled := addClient(t, db), addClient(t, db)
	ruled.ClaimRules = []storage.ClaimRule{{Claim: "roles", Groups: &storage.GroupsClaim{}, In: []string{"userinfo"}}}
	if err := db.UpdateClient(t.Context(), ruled, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		client storage.Client
		scopes []string
		claims string
		want   bool
	}{
		{"nothing", plain, []string{"openid", "email"}, "", false},
		{"the scope", plain, []string{"openid", "groups"}, "", true},
		{"a single claim in userinfo", plain, []string{"openid"}, `{"userinfo":{"groups":null}}`, true},
		{"a single claim in the ID token", plain, []string{"openid"}, `{"id_token":{"groups":["a"]}}`, true},
		{"another single claim", plain, []string{"openid"}, `{"id_token":{"email":["groups"]}}`, false},
		{"a claim rule", ruled, []string{"openid"}, "", true},
	} {
		g := &storage.Grant{ID: storage.NewRowID(), Kind: "code", ClientID: tc.client.ID, UserID: ada.ID, Subject: ada.ID, Scopes: tc.scopes,
			Seed: []byte("seed"), State: storage.GrantActive, Offline: true, ExpiresAt: noon().Add(time.Hour), CreatedAt: noon()}
		if tc.claims != "" {
			g.Claims = []byte(tc.claims)
		}
		if err := db.InsertGrant(t.Context(), g, "", storage.Touch{Before: noon(), IdleExpiresAt: noon()}); err != nil {
			t.Fatal(err)
		}
		f, err := db.GrantFacts(t.Context(), g.ID, 0, "", noon())
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Equal(f.Groups, []string{"board", "staff"}); got != tc.want || !tc.want && f.Groups != nil {
			t.Errorf("%s: groups = %v, want them: %v", tc.name, f.Groups, tc.want)
		}
	}
}

func TestAMembershipNeverOutlivesItsPersonOrGroup(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for i := range 10 {
		u := addUser(t, db, fmt.Sprint("user", i))
		g := addGroup(t, db, fmt.Sprint("group", i))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := db.AddMember(t.Context(), g.ID, u.ID, storage.Event{}); err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("add: %v", err)
			}
		})
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = db.DeleteGroup(t.Context(), g.ID, storage.Event{})
			} else {
				_, err = db.SetUserState(t.Context(), u.ID, storage.UserDeleted, noon(), storage.Event{})
			}
			if err != nil {
				t.Errorf("delete: %v", err)
			}
		})
		wg.Wait()
	}
	var left int
	if err := db.Pool().QueryRow(t.Context(), `select count(*) from members`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d memberships are left, %v", left, err)
	}
}

func TestAPersonIsInSoManyGroupsAtMost(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	u := addUser(t, db, "ada")
	for i := range storage.MaxGroups {
		addGroup(t, db, fmt.Sprint("group", i), u)
	}
	last := addGroup(t, db, "last")
	if _, err := db.AddMember(t.Context(), last.ID, u.ID, storage.Event{}); !errors.Is(err, storage.ErrTooMany) {
		t.Errorf("one more group: %v, want ErrTooMany", err)
	}
	if groups, err := db.UserGroups(t.Context(), u.ID); err != nil || len(groups) != storage.MaxGroups {
		t.Errorf("%d groups, %v", len(groups), err)
	}
}

func TestAGroupThatAClientNamesIsNotDeleted(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	g, c := addGroup(t, db, "staff"), addClient(t, db)
	c.AccessGroups = []string{g.ID}
	if err := db.UpdateClient(t.Context(), c, noon(), storage.Event{}); err != nil {
		t.Fatal(err)
	}
	err := db.DeleteGroup(t.Context(), g.ID, storage.Event{})
	if used, ok := errors.AsType[*storage.GroupInUse](err); !ok || !slices.Equal(used.ClientIDs, []string{c.ID}) {
		t.Errorf("delete: %v, want the client that names it", err)
	}
	if _, err := db.Group(t.Context(), "staff"); err != nil {
		t.Errorf("the group is gone: %v", err)
	}
	if err := db.DeleteGroup(t.Context(), "grp_nobody", storage.Event{}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an unknown group: %v", err)
	}
	if err := db.CreateGroup(t.Context(), storage.Group{ID: "grp_2", Name: "staff", ClaimValue: "x", CreatedAt: noon()}, storage.Event{}); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("the same name: %v", err)
	}
}
