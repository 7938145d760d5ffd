// What the tests know of the running provider, and the operator's command line.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import * as oidc from "openid-client";

if (!process.env.IDP_DEV_JSON) {
  throw new Error("IDP_DEV_JSON is not set. Run these tests with: go test ./integration -run TestNode");
}

// dev is the object that `idp dev --json` printed.
export const dev = JSON.parse(process.env.IDP_DEV_JSON);

// client is a registration of `idp dev`.
export function client(id) {
  const found = dev.clients.find((c) => c.client_id === id);
  if (!found) throw new Error(`idp dev registered no client ${id}`);
  return found;
}

// idp runs a command of the binary and reads its JSON.
export async function idp(...args) {
  const { stdout } = await promisify(execFile)(process.env.IDP_BINARY, [...args, "--json"]);
  return JSON.parse(stdout);
}

// relyingParty discovers the provider, for a client and the way it
// authenticates itself. The ID token's signature is checked as well, which
// openid-client leaves out by itself when the token came over TLS.
export async function relyingParty(id, metadata, authentication) {
  const config = await oidc.discovery(new URL(dev.issuer), id, metadata, authentication, {
    execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks],
    timeout: 30,
  });
  return config;
}
