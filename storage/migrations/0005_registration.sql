-- +goose Up

-- Clients that registered themselves (RFC 7591). The hash is of the registration access token that
-- manages the client (RFC 7592). unused_until is when the client is deleted unless somebody has
-- allowed it something by then; it is null from that moment on, and for all other clients.
alter table clients add column registration_hash bytea;
alter table clients add column unused_until timestamptz;
create index clients_unused on clients (unused_until) where unused_until is not null;

-- Initial access tokens: whoever holds one may register so many clients. The secret is random, so
-- its SHA-256 is all that is kept.
create table registration_tokens (
  id          text primary key,
  secret_hash bytea not null unique,
  uses        integer not null check (uses > 0), -- how often it counts
  used        integer not null default 0 check (used <= uses),
  created_at  timestamptz not null,
  expires_at  timestamptz not null
);
create index registration_tokens_expiry on registration_tokens (expires_at);

-- +goose Down
drop table registration_tokens;
drop index clients_unused;
alter table clients drop column unused_until, drop column registration_hash;
