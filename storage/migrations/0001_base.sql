-- +goose Up

-- People. What they sign in with stands in identifiers and credentials, so that neither a
-- second e-mail address nor a new kind of factor changes this table.
create table users (
  id                text primary key,
  username          text not null,
  email             text,
  email_verified_at timestamptz,
  profile           jsonb not null default '{}',
  state             text not null default 'active' check (state in ('active', 'suspended', 'deleted')),
  created_at        timestamptz not null,
  updated_at        timestamptz not null
);

-- One namespace for user names and e-mail addresses, in their canonical form: nobody can take
-- a user name that is somebody else's address.
create table identifiers (
  key     text primary key,
  user_id text not null,
  kind    text not null check (kind in ('username', 'email'))
);
create index identifiers_user on identifiers (user_id);

create table credentials (
  id           uuid primary key,
  user_id      text not null,
  kind         text not null check (kind in ('password', 'totp', 'webauthn', 'recovery')),
  data         bytea not null,
  created_at   timestamptz not null,
  updated_at   timestamptz not null,
  last_used_at timestamptz
);
create index credentials_user on credentials (user_id);
create unique index credentials_one_password on credentials (user_id) where kind = 'password';

create table sessions (
  id              uuid primary key,
  secret_hash     bytea not null unique,
  user_id         text not null,
  auth_time       timestamptz not null,
  methods         text[] not null,
  acr             text not null,
  ip              text not null default '',
  user_agent      text not null default '',
  device_id       text not null default '',
  persistent      boolean not null default false,
  created_at      timestamptz not null,
  seen_at         timestamptz not null,
  idle_expires_at timestamptz not null,
  expires_at      timestamptz not null,
  ended_at        timestamptz,
  end_reason      text not null default ''
) with (fillfactor = 80);
create index sessions_user on sessions (user_id);
create index sessions_expiry on sessions (expires_at);

create table groups (
  id          text primary key,
  name        text not null unique,
  claim_value text not null,
  created_at  timestamptz not null
);
create table members (
  group_id text not null,
  user_id  text not null,
  primary key (group_id, user_id)
);
create index members_user on members (user_id);

create table clients (
  id          text primary key,
  metadata    jsonb not null,
  secrets     jsonb not null default '[]',
  source      text not null check (source in ('admin', 'file', 'registration', 'cimd', 'preset')),
  version     bigint not null default 1,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  disabled_at timestamptz
);

-- A grant is one row; code, refresh token and access tokens are derived from it (oauth/token.go).
-- No index stands on a column that redemption or rotation changes, so those updates stay HOT.
create table grants (
  id              uuid primary key,
  kind            text not null check (kind in ('code', 'client', 'device', 'exchange', 'assertion')),
  client_id       text not null,
  user_id         text,
  session_id      uuid,
  subject         text not null,
  scopes          text[] not null,
  resources       text[] not null default '{}',
  claims          jsonb,
  auth_time       timestamptz,
  acr             text not null default '',
  amr             text[] not null default '{}',
  nonce           text not null default '',
  redirect_uri    text not null default '',
  code_challenge  text not null default '',
  cnf             jsonb,
  seed            bytea not null,
  offline         boolean not null default false,
  state           text not null check (state in ('issued', 'active', 'revoked')),
  generation      integer not null default 0,
  token_key       smallint not null,
  rotated_at      timestamptz,
  code_failures   smallint not null default 0,
  code_expires_at timestamptz,
  idle_expires_at timestamptz,
  expires_at      timestamptz not null,
  created_at      timestamptz not null,
  revoked_at      timestamptz,
  revoke_reason   text not null default ''
) with (fillfactor = 70);
create index grants_user on grants (user_id, client_id);
create index grants_session on grants (session_id);

create table revoked_tokens (
  grant_id   uuid not null,
  number     bigint not null,
  expires_at timestamptz not null,
  primary key (grant_id, number)
);
create index revoked_tokens_expiry on revoked_tokens (expires_at);

-- Requests kept while a person signs in and consents (and, later, pushed ones).
create table requests (
  id           text primary key,
  client_id    text not null,
  params       jsonb not null,
  browser_hash bytea not null,
  created_at   timestamptz not null,
  expires_at   timestamptz not null
);
create index requests_expiry on requests (expires_at);

create table consents (
  user_id    text not null,
  client_id  text not null,
  scopes     text[] not null,
  resources  text[] not null default '{}',
  snapshot   jsonb not null default '{}',
  granted_at timestamptz not null,
  expires_at timestamptz,
  primary key (user_id, client_id)
);

create table keys (
  kid          text primary key,
  use          text not null check (use in ('sign', 'token', 'seal')),
  alg          text not null,
  number       smallint not null default 0,
  public       jsonb,
  private      bytea,
  state        text not null check (state in ('next', 'current', 'retired')),
  created_at   timestamptz not null,
  activates_at timestamptz,
  retired_at   timestamptz,
  expires_at   timestamptz
);
create unique index keys_one_current on keys (use, alg) where state = 'current';
create unique index keys_one_next on keys (use, alg) where state = 'next';
create unique index keys_token_number on keys (number) where use = 'token';

create table events (
  id         uuid primary key,
  at         timestamptz not null,
  kind       text not null,
  user_id    text not null default '',
  client_id  text not null default '',
  actor      text not null default '',
  ip         text not null default '',
  details    jsonb not null default '{}'
);
create index events_user on events (user_id, at);
create index events_at on events (at);

-- Throttling (GCRA): one row a key. Losing it in a crash costs an attacker's delay, not a promise.
create unlogged table attempts (
  key text primary key,
  tat timestamptz not null
);
create index attempts_tat on attempts (tat);

-- Client assertions that were accepted, until they expire (RFC 7523, 3).
create table assertions (
  client_id  text not null,
  jti_hash   bytea not null,
  expires_at timestamptz not null,
  primary key (client_id, jti_hash)
);
create index assertions_expiry on assertions (expires_at);

-- Which replica runs which background job.
create table leases (
  job    text primary key,
  holder text not null,
  until  timestamptz not null,
  cursor text not null default ''
);

-- +goose Down
drop table leases, assertions, attempts, events, keys, consents, requests, revoked_tokens, grants,
  clients, members, groups, sessions, credentials, identifiers, users;
