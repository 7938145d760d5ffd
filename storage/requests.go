package storage

import (
	"context"
	"net/url"
	"time"
)

// Request is an authorization request that is kept while its person signs in and consents.
type Request struct {
	ID          string
	ClientID    string
	Params      url.Values // as they were checked; no secrets
	BrowserHash []byte     // hash of the cookie of the browser it belongs to
	CreatedAt   time.Time
	ExpiresAt   time.Time
}

// KeepRequest stores a request.
func (db *DB) KeepRequest(ctx context.Context, r Request) error {
	_, err := db.exec(ctx, "keep request", `
		insert into requests (id, client_id, params, browser_hash, created_at, expires_at)
		values ($1, $2, $3, $4, $5, $6)`,
		r.ID, r.ClientID, r.Params, r.BrowserHash, r.CreatedAt, r.ExpiresAt)
	return err
}

// Request finds a kept request, expired or not: the caller says what an expired one is good for.
func (db *DB) Request(ctx context.Context, id string) (Request, error) {
	r := Request{ID: id}
	err := db.scanOne(ctx, "read request", `
		select client_id, params, browser_hash, created_at, expires_at
		from requests
		where id = $1`, []any{id}, &r.ClientID, &r.Params, &r.BrowserHash, &r.CreatedAt, &r.ExpiresAt)
	return r, err
}

// SpendRequest removes a kept request; one caller ever succeeds, the others get ErrNotFound.
func (db *DB) SpendRequest(ctx context.Context, id string) error {
	n, err := db.exec(ctx, "spend request", `delete from requests where id = $1`, id)
	if err == nil && n == 0 || notText(err) {
		return wrap("spend request", ErrNotFound)
	}
	return err
}
