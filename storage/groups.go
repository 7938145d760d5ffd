package storage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Group is a set of people. Clients learn of it by its claim value; who may use a client is said by
// its id.
type Group struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	ClaimValue string    `json:"claim_value"`
	CreatedAt  time.Time `json:"created_at"`
	Members    int       `json:"members"`
}

// MaxGroups is how many groups one person can be in: all of them stand in one token.
const MaxGroups = 200

const groupColumns = `gr.id, gr.name, gr.claim_value, gr.created_at, (select count(*) from members m where m.group_id = gr.id)`

func (g *Group) fields() []any {
	return []any{&g.ID, &g.Name, &g.ClaimValue, &g.CreatedAt, &g.Members}
}

func readGroup(row pgx.CollectableRow) (Group, error) {
	var g Group
	err := row.Scan(g.fields()...)
	return g, err
}

// CreateGroup stores a new group; a name that another one has gives ErrConflict.
func (db *DB) CreateGroup(ctx context.Context, g Group, e Event) error {
	return db.inTx(ctx, "create group "+g.ID, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			insert into groups (id, name, claim_value, created_at)
			values ($1, $2, $3, $4)`, g.ID, g.Name, g.ClaimValue, g.CreatedAt); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// Group finds a group by id or name.
func (db *DB) Group(ctx context.Context, idOrName string) (Group, error) {
	var g Group
	err := db.scanOne(ctx, "read group", `
		select `+groupColumns+`
		from groups gr
		where gr.id = $1 or gr.name = $1`, []any{idOrName}, g.fields()...)
	return g, err
}

// Groups lists groups by name.
func (db *DB) Groups(ctx context.Context, after string, limit int) ([]Group, error) {
	return list(ctx, db, "list groups", `
		select `+groupColumns+`
		from groups gr
		where gr.name > $1
		order by gr.name
		limit $2`, []any{after, limit}, readGroup)
}

// UserGroups lists the groups that a person is in, by name.
func (db *DB) UserGroups(ctx context.Context, userID string) ([]Group, error) {
	return list(ctx, db, "list groups of user "+userID, `
		select `+groupColumns+`
		from members u
		join groups gr on gr.id = u.group_id
		where u.user_id = $1
		order by gr.name`, []any{userID}, readGroup)
}

// GroupMembers lists the people of a group by user name.
func (db *DB) GroupMembers(ctx context.Context, groupID string, limit int) ([]User, error) {
	return list(ctx, db, "list members of "+groupID, `
		select `+userColumns+`
		from members m
		join users u on u.id = m.user_id
		where m.group_id = $1
		order by u.username, u.id
		limit $2`, []any{groupID, limit}, func(row pgx.CollectableRow) (User, error) {
		var u User
		err := row.Scan(u.fields()...)
		return u, err
	})
}

// UpdateGroup gives a group another name and claim value; its id and its members stay.
func (db *DB) UpdateGroup(ctx context.Context, g Group, e Event) error {
	return db.inTx(ctx, "update group "+g.ID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update groups set name = $2, claim_value = $3 where id = $1`, g.ID, g.Name, g.ClaimValue)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		return appendEvent(ctx, tx, e)
	})
}

// GroupInUse says that clients admit only people of a group, so that it cannot go.
type GroupInUse struct{ ClientIDs []string }

func (e *GroupInUse) Error() string {
	return "the group decides who may use " + strings.Join(e.ClientIDs, ", ")
}

// DeleteGroup removes a group and its memberships. As long as a client names it as one of its
// access groups, that is refused with *GroupInUse: without the name, the client would be open to
// everybody. A client that comes to name it at the same moment admits nobody by it, as a group
// that is not there has no members.
func (db *DB) DeleteGroup(ctx context.Context, id string, e Event) error {
	return db.inTx(ctx, "delete group "+id, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			select c.id
			from clients c
			where c.metadata -> 'access_groups' ? $1
			order by c.id
			limit 20`, id)
		if err != nil {
			return err
		}
		clients, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(clients) > 0 {
			return fmt.Errorf("delete group: %w", &GroupInUse{clients})
		}
		tag, err := tx.Exec(ctx, `delete from groups where id = $1`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if _, err := tx.Exec(ctx, `delete from members where group_id = $1`, id); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// AddMember puts a person into a group and says whether that changed anything. ErrNotFound when the
// group or the account is not there (any more); ErrTooMany when the person is in MaxGroups already.
func (db *DB) AddMember(ctx context.Context, groupID, userID string, e Event) (added bool, err error) {
	err = db.inTx(ctx, "add member to "+groupID, func(tx pgx.Tx) error {
		// The locks make a deletion of either wait, or be seen: no membership is left behind.
		var in int
		err := tx.QueryRow(ctx, `select 1 from groups where id = $1 for update`, groupID).Scan(&in)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			select (select count(*) from members m where m.user_id = u.id)
			from users u
			where u.id = $1 and u.state <> 'deleted'
			for update`, userID).Scan(&in)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			insert into members (group_id, user_id)
			values ($1, $2)
			on conflict (group_id, user_id) do nothing`, groupID, userID)
		if err != nil {
			return err
		}
		if added = tag.RowsAffected() > 0; !added {
			return nil
		}
		if in >= MaxGroups {
			return ErrTooMany
		}
		return appendEvent(ctx, tx, e)
	})
	return added, err
}

// RemoveMember takes a person out of a group and says whether they were in it.
func (db *DB) RemoveMember(ctx context.Context, groupID, userID string, e Event) (removed bool, err error) {
	err = db.inTx(ctx, "remove member from "+groupID, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from members where group_id = $1 and user_id = $2`, groupID, userID)
		if err != nil {
			return err
		}
		if removed = tag.RowsAffected() > 0; !removed {
			return nil
		}
		return appendEvent(ctx, tx, e)
	})
	return removed, err
}

// PersonFacts reads what AuthorizeFacts tells, but of any person instead of the one who is signed
// in, with the claim values of all their groups. It answers questions of operators and draws nothing.
func (db *DB) PersonFacts(ctx context.Context, clientID, userID string) (Facts, []string, error) {
	f := Facts{User: &User{}}
	var groups []string
	err := db.scanOne(ctx, "read facts of user "+userID, `
		select c.version, c.disabled_at is not null, (select version from catalog where id = 1), coalesce(p.subject, ''), `+userColumns+`, `+mayUse+`,
		  array(select distinct gr.claim_value from members m join groups gr on gr.id = m.group_id where m.user_id = u.id order by 1)
		from clients c
		join users u on u.id = $2
		left join subjects p on p.sector = c.metadata ->> 'sector_identifier' and p.user_id = u.id
		where c.id = $1`, []any{clientID, userID},
		append(append([]any{&f.ClientVersion, &f.ClientDisabled, &f.CatalogVersion, &f.Subject}, f.User.fields()...), &f.MayUse, &groups)...)
	return f, groups, err
}

// groupClaims and mayUse are parts of the statements that decide on grants and requests. Both cost
// nothing where nobody asks for them.

// groupClaims are the claim values of the groups of the person u, when the grant g or its client c
// has a use for them; null otherwise.
const groupClaims = `case when 'groups' = any(g.scopes) or g.claims -> 'id_token' ? 'groups' or g.claims -> 'userinfo' ? 'groups' or c.metadata ? 'claim_rules'
		  then array(select distinct gr.claim_value from members m join groups gr on gr.id = m.group_id where m.user_id = u.id order by 1) end`

// mayUse says whether the person u may use the client c: everybody, or the members of some groups.
// Where there is no person, the client acts for itself.
const mayUse = `(u.id is null or coalesce(c.metadata -> 'access_groups', '[]') = '[]'
		    or exists (select 1 from members m where m.user_id = u.id and c.metadata -> 'access_groups' ? m.group_id))`
