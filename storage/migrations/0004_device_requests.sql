-- +goose Up

-- Devices that wait for a person (RFC 8628). An approval deletes the row and makes a grant with its
-- id and seed; until then nothing is granted.
create table device_requests (
  id           uuid primary key,
  client_id    text not null,
  user_code    text not null unique, -- as people type it: it is on a screen, and gives nothing without a sign-in
  scopes       text[] not null,
  resources    text[] not null,
  seed         bytea not null,
  token_key    smallint not null,
  ip           text not null,
  wait_seconds integer not null, -- between two polls; grows when the device does not keep to it
  polled_at    timestamptz,
  browser_hash bytea, -- of the browser that the code was last typed in
  claimed_at   timestamptz,
  denied_at    timestamptz,
  created_at   timestamptz not null,
  expires_at   timestamptz not null
) with (fillfactor = 80);
create index device_requests_browser on device_requests (browser_hash) where browser_hash is not null;
create index device_requests_expiry on device_requests (expires_at);

-- +goose Down
drop table device_requests;
