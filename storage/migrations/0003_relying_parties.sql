-- +goose Up

-- APIs that tokens may be asked for (RFC 8707), with the scopes that are theirs alone. The URI is
-- written as tokens name it in aud.
create table resources (
  uri          text primary key,
  name         text not null,
  scopes       jsonb not null default '[]', -- [{"name": …, "description": …}]
  token_format text not null default '' check (token_format in ('', 'opaque', 'jwt')), -- '': as the client has it
  token_life   integer not null default 0, -- seconds; 0: as the client has it
  created_at   timestamptz not null,
  updated_at   timestamptz not null
);

-- One row. Its version moves with every change of resources, so that a statement that reads it
-- along tells a process that what it remembers of them is out of date.
create table catalog (
  id      smallint primary key check (id = 1),
  version bigint not null
);
insert into catalog (id, version) values (1, 1);

-- Until now, clients named resources that nobody had registered.
insert into resources (uri, name, created_at, updated_at)
select distinct r.uri, r.uri, now(), now()
from clients c
cross join lateral jsonb_array_elements_text(coalesce(c.metadata -> 'resources', '[]')) as r(uri);

-- Which clients were signed in to in a session, and as whom they know the person. Grants are swept
-- earlier than sessions, and sign-out has to reach all.
create table session_clients (
  session_id uuid not null,
  client_id  text not null,
  subject    text not null,
  first_at   timestamptz not null,
  primary key (session_id, client_id)
);
insert into session_clients (session_id, client_id, subject, first_at)
select g.session_id, g.client_id, min(g.subject), min(g.created_at)
from grants g
where g.session_id is not null
group by g.session_id, g.client_id;

-- Pairwise subjects (OpenID Connect Core, 8.1): how the clients of a sector know a person. Drawn
-- once, never changed.
create table subjects (
  sector     text not null,
  user_id    text not null,
  subject    text not null unique,
  created_at timestamptz not null,
  primary key (sector, user_id)
);
create index subjects_user on subjects (user_id);

-- What has to be told to others, written in the transaction of what it tells of, and sent until it
-- arrives. A row without next_at is settled: delivered, or given up.
create table outbox (
  id           uuid primary key,
  kind         text not null,
  client_id    text not null default '',
  user_id      text not null default '',
  session_id   uuid,
  payload      jsonb not null default '{}',
  created_at   timestamptz not null,
  next_at      timestamptz,
  attempts     integer not null default 0,
  delivered_at timestamptz,
  failed_at    timestamptz,
  last_error   text not null default ''
) with (fillfactor = 80);
create index outbox_due on outbox (next_at) where next_at is not null;
create index outbox_created on outbox (created_at);
create index outbox_session on outbox (session_id) where session_id is not null;

-- From where scripts may read answers to the client, as browsers write it: for the question whether
-- an origin belongs to any client.
alter table clients add column origins text[] not null default '{}';
update clients c set origins = coalesce((
  select array_agg(distinct regexp_replace(regexp_replace(lower(substring(u from '^[A-Za-z]+://[^/?]+')), '^(https://[^/]*):443$', '\1'), '^(http://[^/]*):80$', '\1'))
  from jsonb_array_elements_text(
    case when jsonb_array_length(coalesce(c.metadata -> 'allowed_origins', '[]')) > 0 then c.metadata -> 'allowed_origins'
      else coalesce(c.metadata -> 'redirect_uris', '[]') end) as t(u)
  where u ~* '^https?://[^/?]'), '{}');
create index clients_origins on clients using gin (origins);

-- +goose Down
drop index clients_origins;
alter table clients drop column origins;
drop table outbox, subjects, session_clients, catalog, resources;
