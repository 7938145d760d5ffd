package storage

import (
	"context"
	"errors"
	"time"
)

// PairwisePrefix begins the subjects that the clients of a sector know people by. Ids of people and
// of clients begin otherwise.
const PairwisePrefix = "sub_"

// Subject gives how the clients of a sector know a person (OpenID Connect Core, 8.1): a random
// name, drawn the first time and never changed.
func (db *DB) Subject(ctx context.Context, sector, userID string, now time.Time) (string, error) {
	var subject string
	err := db.scanOne(ctx, "draw subject", `
		insert into subjects (sector, user_id, subject, created_at)
		values ($1, $2, $3, $4)
		on conflict (sector, user_id) do nothing
		returning subject`, []any{sector, userID, NewID(PairwisePrefix), now}, &subject)
	if !errors.Is(err, ErrNotFound) {
		return subject, err
	}
	err = db.scanOne(ctx, "read subject", `
		select subject
		from subjects
		where sector = $1 and user_id = $2`, []any{sector, userID}, &subject)
	return subject, err
}

// SubjectUser gives the id of the person whom a sector knows by a subject. ErrNotFound when it
// knows nobody by it.
func (db *DB) SubjectUser(ctx context.Context, sector, subject string) (string, error) {
	var userID string
	err := db.scanOne(ctx, "read subject", `
		select user_id
		from subjects
		where subject = $2 and sector = $1`, []any{sector, subject}, &userID)
	return userID, err
}
