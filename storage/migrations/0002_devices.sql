-- +goose Up

-- Browsers in which people signed in before, one row for each person of a browser. All rows of one
-- browser carry the same id and the hash of its cookie.
create table devices (
  id          text not null,
  user_id     text not null,
  secret_hash bytea not null,
  created_at  timestamptz not null,
  seen_at     timestamptz not null,
  expires_at  timestamptz not null,
  primary key (id, user_id)
);
create index devices_secret on devices (secret_hash);
create index devices_user on devices (user_id, seen_at);
create index devices_expiry on devices (expires_at);

-- +goose Down
drop table devices;
