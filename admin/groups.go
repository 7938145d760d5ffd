package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"idp/storage"
	"idp/web"
)

// CreateGroup makes a group. Without a claim value, apps learn of it by its name.
func (a *Admin) CreateGroup(ctx context.Context, name, claimValue string) (storage.Group, error) {
	g := storage.Group{ID: storage.NewID("grp_"), Name: strings.TrimSpace(name), CreatedAt: a.now()}
	g.ClaimValue = cmp.Or(strings.TrimSpace(claimValue), g.Name)
	if err := checkGroup(&g); err != nil {
		return g, err
	}
	return g, taken(groupTaken, a.DB.CreateGroup(ctx, g, a.groupEvent("group.created", g)))
}

const groupTaken = "There is a group of this name already. Choose another one."

func (a *Admin) groupEvent(kind string, g storage.Group) storage.Event {
	e := a.event(kind)
	e.Details = map[string]any{"group": g.ID, "name": g.Name, "claim_value": g.ClaimValue}
	return e
}

// maxGroupName bounds names and claim values, in bytes: a person's groups stand in one token.
const maxGroupName = 64

func checkGroup(g *storage.Group) error {
	for _, f := range []struct{ what, text string }{{"name", g.Name}, {"claim value", g.ClaimValue}} {
		if f.text == "" || len(f.text) > maxGroupName || !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, unicode.IsControl) {
			return impossible("The %s of a group must be text of 1 to %d bytes.", f.what, maxGroupName)
		}
	}
	if strings.HasPrefix(g.Name, "grp_") {
		return impossible("The name of a group cannot begin with grp_: ids do.")
	}
	return nil
}

// Group finds a group by id or name.
func (a *Admin) Group(ctx context.Context, idOrName string) (storage.Group, error) {
	g, err := a.DB.Group(ctx, idOrName)
	return g, noGroup(idOrName, err)
}

func noGroup(idOrName string, err error) error {
	err = missing("group", fmt.Sprintf("There is no group %s.", idOrName), err)
	return taken("Somebody else changes this group at the moment. Try again.", err)
}

// Groups lists all groups by name.
func (a *Admin) Groups(ctx context.Context) ([]storage.Group, error) {
	var all []storage.Group
	for after := ""; ; {
		some, err := a.DB.Groups(ctx, after, page)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < page {
			return all, nil
		}
		after = some[len(some)-1].Name
	}
}

// maxMembers is how many members are listed of one group.
const maxMembers = 10_000

// Members lists the people of a group by user name, 10 000 at most.
func (a *Admin) Members(ctx context.Context, g storage.Group) ([]storage.User, error) {
	return a.DB.GroupMembers(ctx, g.ID, maxMembers)
}

// UpdateGroup gives a group another name or claim value; nil leaves it. Clients that admit its
// members go on to do so: they name it by its id.
func (a *Admin) UpdateGroup(ctx context.Context, idOrName string, name, claimValue *string) (storage.Group, error) {
	g, err := a.Group(ctx, idOrName)
	if err != nil {
		return g, err
	}
	if name != nil {
		g.Name = strings.TrimSpace(*name)
	}
	if claimValue != nil {
		g.ClaimValue = cmp.Or(strings.TrimSpace(*claimValue), g.Name)
	}
	if err := checkGroup(&g); err != nil {
		return g, err
	}
	err = a.DB.UpdateGroup(ctx, g, a.groupEvent("group.updated", g))
	return g, taken(groupTaken, missing("group", fmt.Sprintf("There is no group %s.", idOrName), err))
}

// DeleteGroup removes a group, unless it decides who may use a client.
func (a *Admin) DeleteGroup(ctx context.Context, idOrName string) (storage.Group, error) {
	g, err := a.Group(ctx, idOrName)
	if err != nil {
		return g, err
	}
	err = a.DB.DeleteGroup(ctx, g.ID, a.groupEvent("group.deleted", g))
	if used, ok := errors.AsType[*storage.GroupInUse](err); ok {
		return g, &web.Error{Status: http.StatusConflict, Code: "conflict", Err: err, Message: fmt.Sprintf(
			"The group %s decides who may use %s. Without it they would be open to everybody, so say first who may use them: idp client update %s --access-group OTHER, or --access-group \"\" for everybody.",
			g.Name, strings.Join(used.ClientIDs, ", "), used.ClientIDs[0])}
	}
	return g, noGroup(idOrName, err)
}

// AddMembers puts people, by id, user name or e-mail address, into a group. It stops at the first
// that is not there; those before are in. In it already is no error.
func (a *Admin) AddMembers(ctx context.Context, idOrName string, people []string) (storage.Group, error) {
	return a.changeMembers(ctx, idOrName, people, "group.member_added", a.DB.AddMember)
}

// RemoveMembers takes people out of a group: userinfo and new tokens tell so from then on.
func (a *Admin) RemoveMembers(ctx context.Context, idOrName string, people []string) (storage.Group, error) {
	return a.changeMembers(ctx, idOrName, people, "group.member_removed", a.DB.RemoveMember)
}

func (a *Admin) changeMembers(ctx context.Context, idOrName string, people []string, kind string,
	change func(ctx context.Context, groupID, userID string, e storage.Event) (bool, error)) (storage.Group, error) {
	g, err := a.Group(ctx, idOrName)
	if err != nil {
		return g, err
	}
	for _, identifier := range people {
		u, err := a.User(ctx, identifier)
		if err != nil {
			return g, err
		}
		e := a.groupEvent(kind, g)
		e.UserID = u.ID
		_, err = change(ctx, g.ID, u.ID, e)
		if errors.Is(err, storage.ErrTooMany) {
			return g, impossible("%s is in %d groups, which is the most that a token can tell. Take them out of another one first: idp group remove GROUP %s.", u.Username, storage.MaxGroups, u.Username)
		}
		if err != nil {
			return g, missing("group", fmt.Sprintf("The group %s or the user %s is gone.", g.Name, identifier), err)
		}
	}
	return a.Group(ctx, g.ID)
}

// resolveGroups gives the ids of groups that are named by id or name.
func (a *Admin) resolveGroups(ctx context.Context, named []string) ([]string, error) {
	var ids []string
	for _, n := range named {
		g, err := a.DB.Group(ctx, n)
		if errors.Is(err, storage.ErrNotFound) {
			return nil, impossible("There is no group %q. Make it first: idp group create %q.", n, n)
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, g.ID) {
			ids = append(ids, g.ID)
		}
	}
	return ids, nil
}
