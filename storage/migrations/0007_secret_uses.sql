-- +goose Up

-- When a client's secret was last accepted, to the hour. It stands beside the client, so that noting
-- it neither makes a new version of the client nor gets in the way of somebody who changes it.
create table secret_uses (
  client_id    text not null references clients (id) on delete cascade,
  hash         bytea not null, -- as in clients.secrets
  last_used_at timestamptz not null,
  primary key (client_id, hash)
);

-- +goose Down
drop table secret_uses;
