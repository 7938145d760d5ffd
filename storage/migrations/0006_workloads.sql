-- +goose Up

-- Issuers of workload identities - a cluster, a CI service, another provider - whose assertions stand
-- for a client's own credentials (RFC 7523, 2.1). Without a row that fits, none counts.
create table trusts (
  id         text primary key,
  client_id  text not null, -- whom the workload acts as
  issuer     text not null,
  policy     jsonb not null,
  version    bigint not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index trusts_client on trusts (client_id, issuer);

-- Which rule a grant was made by, so that it ends with the rule. It never changes.
alter table grants add column rule_id text not null default '';
create index grants_rule on grants (rule_id) where rule_id <> '';

-- Which client, as which API, may exchange an access token that it was sent for one of another API
-- (RFC 8693), and for which scopes of those that the token has. Without a row that fits, none may.
create table exchanges (
  id             text primary key,
  client_id      text not null, -- who exchanges
  source         text not null, -- the resource that it is, and the token is for
  subject_client text not null default '', -- whose tokens; '': everybody's
  target         text not null,
  scopes         text[] not null,
  created_at     timestamptz not null
);
create unique index exchanges_client on exchanges (client_id, source, subject_client, target);

-- What an exchanged token's grant hangs on: the grants before it, the first of all first, the number
-- of the token of each that was exchanged, and who acts for whom. None of it changes.
alter table grants
  add column parents       uuid[] not null default '{}',
  add column parent_tokens bigint[] not null default '{}',
  add column actor         jsonb;

-- +goose Down
alter table grants drop column parents, drop column parent_tokens, drop column actor;
drop table exchanges;
drop index grants_rule;
alter table grants drop column rule_id;
drop table trusts;
