package storage

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// SecretUseStep is how exactly the last use of a secret is kept: a use is noted when the one before
// is older than that.
const SecretUseStep = time.Hour

// SecretUse says that a client's secret was accepted.
type SecretUse struct {
	ClientID string
	Hash     []byte
	At       time.Time
}

// NoteSecretUses keeps when secrets were last accepted, in one statement. Those that are gone, and
// those whose last use is less than SecretUseStep earlier, are left as they are.
func (db *DB) NoteSecretUses(ctx context.Context, uses []SecretUse) error {
	var ids []string
	var hashes [][]byte
	var times []time.Time
	for _, u := range uses {
		ids, hashes, times = append(ids, u.ClientID), append(hashes, u.Hash), append(times, u.At)
	}
	// In order, so that replicas that do this at once wait for one another and do not block.
	_, err := db.exec(ctx, "note secret uses", `
		insert into secret_uses as s (client_id, hash, last_used_at)
		select u.client_id, u.hash, max(u.at)
		from unnest($1::text[], $2::bytea[], $3::timestamptz[]) as u(client_id, hash, at)
		join clients c on c.id = u.client_id
		where c.secrets @> jsonb_build_array(jsonb_build_object('hash', encode(u.hash, 'base64')))
		group by u.client_id, u.hash
		order by u.client_id, u.hash
		on conflict (client_id, hash) do update set last_used_at = excluded.last_used_at
		where s.last_used_at <= excluded.last_used_at - $4::interval`, ids, hashes, times, SecretUseStep)
	return err
}

// FindSecretUses sets when the secrets of clients were last accepted. It changes nothing that a
// cache may hold: the clients get new lists of secrets.
func (db *DB) FindSecretUses(ctx context.Context, clients []Client) error {
	var ids []string
	for _, c := range clients {
		if len(c.Secrets) > 0 {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	uses, err := list(ctx, db, "find secret uses", `
		select client_id, hash, last_used_at
		from secret_uses
		where client_id = any($1)`, []any{ids}, func(row pgx.CollectableRow) (SecretUse, error) {
		var u SecretUse
		err := row.Scan(&u.ClientID, &u.Hash, &u.At)
		return u, err
	})
	if err != nil {
		return err
	}
	at := map[string]time.Time{}
	for _, u := range uses {
		at[u.ClientID+" "+string(u.Hash)] = u.At
	}
	for i := range clients {
		c := &clients[i]
		c.Secrets = slices.Clone(c.Secrets)
		for j := range c.Secrets {
			if t, ok := at[c.ID+" "+string(c.Secrets[j].Hash)]; ok {
				c.Secrets[j].LastUsedAt = &t
			}
		}
	}
	return nil
}
