package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Exchange allows a client to exchange access tokens that it was sent, as the API that it is, for
// tokens of another API (RFC 8693). It is made and revoked, never changed.
type Exchange struct {
	ID            string    `json:"id"`
	ClientID      string    `json:"client_id"`                // who exchanges
	Source        string    `json:"source"`                   // the resource that the client is, and the token is for
	SubjectClient string    `json:"subject_client,omitempty"` // whose tokens; "" means everybody's
	Target        string    `json:"target"`                   // the resource that the new token is for
	Scopes        []string  `json:"scopes"`                   // at most, of those that the token has
	CreatedAt     time.Time `json:"created_at"`
}

const exchangeColumns = `id, client_id, source, subject_client, target, scopes, created_at`

// MaxExchanges bounds the exchanges that one client is allowed, which are all looked at when it asks.
const MaxExchanges = 100

// CreateExchange stores a new rule. ErrConflict when the client has one for the same, or MaxExchanges
// already; ErrNotFound when there is no such client.
func (db *DB) CreateExchange(ctx context.Context, x Exchange, e Event) error {
	return db.inTx(ctx, "create exchange", func(tx pgx.Tx) error {
		var count int
		err := tx.QueryRow(ctx, `
			with owner as (select id from clients where id = $1 for no key update)
			select (select count(*) from exchanges where client_id = owner.id) from owner`, x.ClientID).Scan(&count)
		if err != nil {
			return err
		}
		if count >= MaxExchanges {
			return ErrConflict
		}
		_, err = tx.Exec(ctx, `
			insert into exchanges (id, client_id, source, subject_client, target, scopes, created_at)
			values ($1, $2, $3, $4, $5, $6, $7)`, x.ID, x.ClientID, x.Source, x.SubjectClient, x.Target, noneForNil(x.Scopes), x.CreatedAt)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// DeleteExchange removes a rule and ends the grants that were made by it.
func (db *DB) DeleteExchange(ctx context.Context, id string, now time.Time, e Event) error {
	return db.inTx(ctx, "delete exchange", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from exchanges where id = $1`, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if err := revokeRuleGrants(ctx, tx, id, "exchange_revoked", now); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
}

// Exchanges lists rules by id.
func (db *DB) Exchanges(ctx context.Context, after string, limit int) ([]Exchange, error) {
	return list(ctx, db, "list exchanges", `
		select `+exchangeColumns+`
		from exchanges
		where id > $1
		order by id
		limit $2`, []any{after, limit}, pgx.RowToStructByPos[Exchange])
}

// ExchangesOf gives what one client may exchange; those for the tokens of a certain client first.
func (db *DB) ExchangesOf(ctx context.Context, clientID string) ([]Exchange, error) {
	return list(ctx, db, "read exchanges", `
		select `+exchangeColumns+`
		from exchanges
		where client_id = $1
		order by subject_client = '', created_at, id`, []any{clientID}, pgx.RowToStructByPos[Exchange])
}

// InsertExchangedGrant stores the grant of an exchanged token. Allowed is false when its person may
// not use the client that exchanges. ErrConflict when the rule is gone, or the client is not as it
// was read. Whether the grants before it live, every use of it asks.
func (db *DB) InsertExchangedGrant(ctx context.Context, g *Grant, clientVersion int64, e Event) (allowed bool, err error) {
	err = db.inTx(ctx, "insert exchanged grant", func(tx pgx.Tx) error {
		// Whoever changes either waits, and then sees the grant and ends it.
		rows, err := tx.Query(ctx, `
			select `+mayUse+`
			from exchanges x
			join clients c on c.id = x.client_id and c.version = $2 and c.disabled_at is null
			left join users u on u.id = $3
			where x.id = $1
			for share of x, c`, g.RuleID, clientVersion, g.UserID)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[bool])
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return ErrConflict
		}
		if allowed = found[0]; !allowed {
			return nil
		}
		if err := insertOwnGrant(ctx, tx, g); err != nil {
			return err
		}
		return appendEvent(ctx, tx, e)
	})
	return allowed, err
}

// parentDead says whether one of the grants that the grant g hangs on does not count at the moment $3,
// or a token of theirs that was exchanged: what Alive asks of a grant itself. The person u is that of
// all of them. Where there are none, nothing is looked at.
const parentDead = `case when g.parents = '{}' then false else exists (
		    select 1
		    from unnest(g.parents, g.parent_tokens) as p(id, number)
		    left join grants pg on pg.id = p.id and pg.state = 'active' and pg.expires_at > $3
		    left join clients pc on pc.id = pg.client_id and pc.disabled_at is null
		    left join sessions ps on ps.id = pg.session_id and ps.ended_at is null and ps.expires_at > $3 and ps.idle_expires_at > $3
		    left join revoked_tokens pt on pt.grant_id = p.id and pt.number = p.number
		    where pc.id is null or pt.number is not null
		      or not pg.offline and pg.session_id is not null and ps.id is null
		      or u.id is not null and coalesce(pc.metadata -> 'access_groups', '[]') <> '[]'
		        and not exists (select 1 from members m where m.user_id = u.id and pc.metadata -> 'access_groups' ? m.group_id)
		  ) end`

// insertOwnGrant stores a grant that was made by a rule, without a session.
func insertOwnGrant(ctx context.Context, tx pgx.Tx, g *Grant) error {
	_, err := tx.Exec(ctx, `
		insert into grants (id, kind, client_id, user_id, subject, scopes, resources, auth_time, acr, amr, seed, state, token_key, expires_at, created_at,
		  rule_id, parents, parent_tokens, actor)
		values ($1, $2, $3, nullif($4, ''), $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`,
		g.ID, g.Kind, g.ClientID, g.UserID, g.Subject, g.Scopes, noneForNil(g.Resources), g.AuthTime, g.ACR, noneForNil(g.AMR), g.Seed, g.State,
		g.TokenKey, g.ExpiresAt, g.CreatedAt, g.RuleID, noneForNil(g.Parents), noneForNil(g.ParentTokens), g.Actor)
	return err
}

func revokeRuleGrants(ctx context.Context, tx pgx.Tx, ruleID, reason string, now time.Time) error {
	_, err := tx.Exec(ctx, `
		update grants
		set state = 'revoked', revoked_at = $2, revoke_reason = $3
		where rule_id = $1 and rule_id <> '' and state <> 'revoked'`, ruleID, now, reason)
	return err
}
