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

-- +goose Down
drop index grants_rule;
alter table grants drop column rule_id;
drop table trusts;
