package storage

import (
	"context"
	"net/url"
	"time"
)

// Request is an authorization request that is kept while its person signs in and consents, or that
// its client has pushed for a browser to come.
type Request struct {
	ID          string
	ClientID    string
	Params      url.Values // as they were checked; no secrets
	BrowserHash []byte     // hash of the cookie of the browser it belongs to; empty until one took up a pushed request
	CreatedAt   time.Time  // of a pushed one that a browser took up, when it came: a sign-in after that was made for it
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

// Request finds the kept request of a browser, expired or not: the caller says what an expired one is
// good for.
func (db *DB) Request(ctx context.Context, id string) (Request, error) {
	r, err := db.PushedRequest(ctx, id)
	if err == nil && len(r.BrowserHash) == 0 { // nobody's: no browser may pass for its owner
		return Request{}, wrap("read request", ErrNotFound)
	}
	return r, err
}

// PushRequest stores a request that its client has pushed (RFC 9126), if the client is still as it
// was when it authenticated; ErrConflict otherwise.
func (db *DB) PushRequest(ctx context.Context, r Request, clientVersion int64) error {
	return db.change(ctx, "push request", `
		insert into requests (id, client_id, params, browser_hash, created_at, expires_at)
		select $1, c.id, $3, '', $4, $5
		from clients c
		where c.id = $2 and c.version = $6 and c.disabled_at is null`,
		r.ID, r.ClientID, r.Params, r.CreatedAt, r.ExpiresAt, clientVersion)
}

// PushedRequest finds a request whether a browser has taken it up or not.
func (db *DB) PushedRequest(ctx context.Context, id string) (Request, error) {
	r := Request{ID: id}
	err := db.scanOne(ctx, "read request", `
		select client_id, params, browser_hash, created_at, expires_at
		from requests
		where id = $1`, []any{id}, &r.ClientID, &r.Params, &r.BrowserHash, &r.CreatedAt, &r.ExpiresAt)
	return r, err
}

// BindRequest gives a pushed request to the browser that came with it now, which has until expiresAt
// to answer it; taking it up again changes nothing. ErrConflict when it is another browser's, or gone.
func (db *DB) BindRequest(ctx context.Context, id string, browserHash []byte, now, expiresAt time.Time) error {
	return db.change(ctx, "bind request", `
		update requests
		set browser_hash = $2,
		  created_at = case when browser_hash = '' then $3 else created_at end,
		  expires_at = case when browser_hash = '' then $4 else expires_at end
		where id = $1 and browser_hash in ('', $2)`, id, browserHash, now, expiresAt)
}

// SpendRequest removes a kept request; one caller ever succeeds, the others get ErrNotFound.
func (db *DB) SpendRequest(ctx context.Context, id string) error {
	n, err := db.exec(ctx, "spend request", `delete from requests where id = $1`, id)
	if err == nil && n == 0 || notText(err) {
		return wrap("spend request", ErrNotFound)
	}
	return err
}

// SetRequestParam notes something in a kept request of that browser, in the place of what the name
// held before. ErrNotFound when the request was spent, has expired, or is another browser's.
func (db *DB) SetRequestParam(ctx context.Context, id string, browserHash []byte, name, value string, now time.Time) error {
	n, err := db.exec(ctx, "note in request", `
		update requests
		set params = params || jsonb_build_object($3::text, jsonb_build_array($4::text))
		where id = $1 and browser_hash = $2 and expires_at > $5`, id, browserHash, name, value, now)
	if err == nil && n == 0 || notText(err) {
		return wrap("note in request", ErrNotFound)
	}
	return err
}
