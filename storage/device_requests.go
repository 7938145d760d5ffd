package storage

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// DeviceRequest is a device that waits for a person to allow it something (RFC 8628). Its device code
// is derived from id, key and seed, as the tokens of a grant are; an approval moves all three to one.
type DeviceRequest struct {
	ID        uuid.UUID
	ClientID  string
	UserCode  string // eight letters, without the dash
	Scopes    []string
	Resources []string
	Seed      []byte
	TokenKey  int16
	IP        string // where the device, or its server, asked from
	Wait      time.Duration
	ClaimedAt *time.Time // when the code was typed in the browser that has it now
	DeniedAt  *time.Time
	CreatedAt time.Time
	ExpiresAt time.Time
}

const deviceRequestColumns = `d.id, d.client_id, d.user_code, d.scopes, d.resources, d.seed, d.token_key, d.ip, d.wait_seconds, d.claimed_at, d.denied_at, d.created_at, d.expires_at`

// InsertDeviceRequest stores a request; ErrConflict when its user code is in use.
func (db *DB) InsertDeviceRequest(ctx context.Context, d DeviceRequest) error {
	return db.change(ctx, "insert device request", `
		insert into device_requests (id, client_id, user_code, scopes, resources, seed, token_key, ip, wait_seconds, created_at, expires_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		on conflict (user_code) do nothing`,
		d.ID, d.ClientID, d.UserCode, noneForNil(d.Scopes), noneForNil(d.Resources), d.Seed, d.TokenKey, d.IP, int(d.Wait/time.Second), d.CreatedAt, d.ExpiresAt)
}

func (db *DB) deviceRequest(ctx context.Context, where string, args ...any) (DeviceRequest, error) {
	var d DeviceRequest
	var wait int
	err := db.scanOne(ctx, "read device request", `select `+deviceRequestColumns+` from device_requests d where `+where, args,
		&d.ID, &d.ClientID, &d.UserCode, &d.Scopes, &d.Resources, &d.Seed, &d.TokenKey, &d.IP, &wait, &d.ClaimedAt, &d.DeniedAt, &d.CreatedAt, &d.ExpiresAt)
	d.Wait = time.Duration(wait) * time.Second
	return d, err
}

// DeviceRequest finds a request that nobody has approved, in whatever state; ErrNotFound otherwise.
func (db *DB) DeviceRequest(ctx context.Context, id uuid.UUID) (DeviceRequest, error) {
	return db.deviceRequest(ctx, `d.id = $1`, id)
}

// ClaimDeviceRequest gives the open request with that user code to the browser in which it was typed,
// away from another one if need be. ErrNotFound when there is none.
func (db *DB) ClaimDeviceRequest(ctx context.Context, userCode string, browserHash []byte, now time.Time) error {
	n, err := db.exec(ctx, "claim device request", `
		update device_requests
		set browser_hash = $2, claimed_at = $3
		where user_code = $1 and denied_at is null and expires_at > $3`, userCode, browserHash, now)
	if err == nil && n == 0 || notText(err) {
		return wrap("claim device request", ErrNotFound)
	}
	return err
}

// ClaimedDeviceRequest is the open request whose code was last typed in that browser.
func (db *DB) ClaimedDeviceRequest(ctx context.Context, browserHash []byte, now time.Time) (DeviceRequest, error) {
	return db.deviceRequest(ctx, `d.browser_hash = $1 and d.denied_at is null and d.expires_at > $2 order by d.claimed_at desc limit 1`, browserHash, now)
}

// DenyDeviceRequest refuses an open request of that browser; ErrConflict when it is not open, or not
// that browser's, any more.
func (db *DB) DenyDeviceRequest(ctx context.Context, id uuid.UUID, browserHash []byte, now time.Time) error {
	return db.change(ctx, "deny device request", `
		update device_requests
		set denied_at = $3
		where id = $1 and browser_hash = $2 and denied_at is null and expires_at > $3`, id, browserHash, now)
}

// ApproveDeviceRequest turns an open request of that browser into the grant, which has its id.
// ErrConflict when it is not open any more, or the session or its person is not live.
func (db *DB) ApproveDeviceRequest(ctx context.Context, g *Grant, browserHash []byte, touch Touch) error {
	return db.insertGrant(ctx, g, touch, `
		delete from device_requests
		where id = $1 and browser_hash = $28 and denied_at is null and expires_at > $23 and $24 <> '' and exists (select 1 from live)`,
		"device", browserHash)
}

// pollLeeway is how much too early a poll may come: an answer and the next question do not take the
// same time.
const pollLeeway = time.Second

// PollDeviceRequest notes that a device has asked. Early says that it had to wait longer; then it has
// to wait five seconds more from now on (RFC 8628, 3.5). ErrNotFound when the request was approved.
func (db *DB) PollDeviceRequest(ctx context.Context, id uuid.UUID, now time.Time) (early bool, err error) {
	err = db.scanOne(ctx, "poll device request", `
		update device_requests d
		set polled_at = $2, wait_seconds = case when b.early then least(d.wait_seconds + 5, 600) else d.wait_seconds end
		from (
		  select id, coalesce(polled_at + make_interval(secs => wait_seconds) > $3, false) as early
		  from device_requests
		  where id = $1
		  for update -- polls at the same moment are told apart
		) b
		where d.id = b.id
		returning b.early`, []any{id, now, now.Add(pollLeeway)}, &early)
	if errors.Is(err, ErrNotFound) {
		return false, wrap("poll device request", ErrNotFound)
	}
	return early, err
}
