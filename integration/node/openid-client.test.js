// openid-client is the strictest client at hand: it refuses answers that
// others forgive. It drives the provider through everything an app does.
//
// Run with: go test ./integration -run TestNodeClients

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import * as jose from "jose";
import * as oidc from "openid-client";
import { Browser, parseForm } from "./browser.js";
import { client, dev, relyingParty } from "./idp.js";
import { ada, register, signIn } from "./person.js";

// authorize begins a request with everything that can be checked afterwards.
async function authorize(config, redirect, more = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier, expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce(), idTokenExpected: true };
  const address = oidc.buildAuthorizationUrl(config, {
    redirect_uri: redirect,
    scope: "openid profile email offline_access",
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...more,
  });
  return { address, checks };
}

// keyPair makes a key, and a file with its public half as a JWK set.
async function keyPair(alg = "ES256") {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true });
  const folder = await mkdtemp(join(tmpdir(), "idp-node-"));
  after(() => rm(folder, { recursive: true }));
  const file = join(folder, "jwks.json");
  await writeFile(file, JSON.stringify({ keys: [{ ...(await jose.exportJWK(publicKey)), kid: "node-1", use: "sig", alg }] }));
  return { key: { key: privateKey, kid: "node-1" }, file };
}

async function logIn(config, redirect, more) {
  const { address, checks } = await authorize(config, redirect, more);
  const page = await signIn(address, redirect);
  assert.ok(page.left, `sign-in ended at ${page.url} with ${page.status}:\n${page.html}`);
  return oidc.authorizationCodeGrant(config, page.url, checks);
}

test("discovery says what openid-client wants to know", async () => {
  const config = await relyingParty(client("demo-web").client_id, client("demo-web").client_secret);
  const server = config.serverMetadata();
  assert.equal(server.issuer, dev.issuer);
  assert.ok(server.supportsPKCE());
  assert.equal(server.authorization_response_iss_parameter_supported, true);
  for (const endpoint of ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "introspection_endpoint", "revocation_endpoint", "end_session_endpoint", "jwks_uri"]) {
    assert.ok(server[endpoint]?.startsWith(dev.issuer + "/"), `${endpoint} = ${server[endpoint]}`);
  }
  const keys = await (await fetch(server.jwks_uri)).json();
  assert.ok(keys.keys.length > 0);
  for (const key of keys.keys) assert.equal(key.d, undefined, "a private key is published");
});

// The ways in which a client may say who it is, each through a whole life of tokens.
const ways = {
  none: async () => {
    const spa = client("demo-spa");
    return { id: spa.client_id, authentication: oidc.None(), redirect: spa.redirect_uris[0] };
  },
  client_secret_basic: async () => {
    const web = client("demo-web");
    return { id: web.client_id, authentication: oidc.ClientSecretBasic(web.client_secret), redirect: web.redirect_uris[0] };
  },
  client_secret_post: async () => {
    const redirect = "https://post.test/cb";
    const made = await register("--preset", "web", "--redirect-uri", redirect, "--auth-method", "client_secret_post");
    return { id: made.client_id, authentication: oidc.ClientSecretPost(made.client_secret), redirect };
  },
  private_key_jwt: async () => {
    const redirect = "https://key.test/cb";
    const { key, file } = await keyPair();
    const made = await register("--preset", "web", "--redirect-uri", redirect, "--auth-method", "private_key_jwt", "--jwks", file);
    return { id: made.client_id, authentication: oidc.PrivateKeyJwt(key), redirect };
  },
};

for (const [method, way] of Object.entries(ways)) {
  test(`${method}: code, userinfo, refresh, revocation`, async () => {
    const { id, authentication, redirect } = await way();
    const config = await relyingParty(id, { token_endpoint_auth_method: method }, authentication);
    const tokens = await logIn(config, redirect);
    const claims = tokens.claims();
    assert.equal(claims.iss, dev.issuer);
    assert.equal(claims.aud, id);
    assert.equal(tokens.token_type, "bearer");
    assert.ok(tokens.expiresIn() > 0);

    const person = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub);
    assert.equal(person.preferred_username, ada.username);
    assert.ok(person.email.includes("@"));

    assert.ok(tokens.refresh_token, "offline_access was granted, but there is no refresh token");
    const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.notEqual(fresh.access_token, tokens.access_token);
    assert.notEqual(fresh.refresh_token, tokens.refresh_token);
    if (fresh.id_token) assert.equal(fresh.claims().sub, claims.sub);

    // An answer that got lost: the same token once more gives the same successor.
    const again = await oidc.refreshTokenGrant(config, tokens.refresh_token);
    assert.equal(again.refresh_token, fresh.refresh_token);

    await oidc.tokenRevocation(config, fresh.refresh_token);
    await assert.rejects(oidc.refreshTokenGrant(config, fresh.refresh_token), { error: "invalid_grant" });
    await assert.rejects(oidc.fetchUserInfo(config, fresh.access_token, claims.sub));
  });
}

test("a used code is worth nothing, and ends what came from it", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  const { address, checks } = await authorize(config, web.redirect_uris[0]);
  const page = await signIn(address, web.redirect_uris[0]);
  const tokens = await oidc.authorizationCodeGrant(config, page.url, checks);
  await assert.rejects(oidc.authorizationCodeGrant(config, page.url, checks), { error: "invalid_grant" });
  await assert.rejects(oidc.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
});

test("a wrong secret is invalid_client", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic("not it"));
  // The answer to a failed Authorization header carries a challenge (RFC 6749, 5.2).
  await assert.rejects(oidc.clientCredentialsGrant(config), (err) => {
    assert.equal(err.status, 401);
    assert.ok(err instanceof oidc.WWWAuthenticateChallengeError || err.error === "invalid_client", String(err));
    return true;
  });
});

test("introspection tells a client about its own tokens", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  const tokens = await logIn(config, web.redirect_uris[0]);
  const alive = await oidc.tokenIntrospection(config, tokens.access_token);
  assert.equal(alive.active, true);
  assert.equal(alive.client_id, web.client_id);
  assert.equal(alive.sub, tokens.claims().sub);
  assert.ok(alive.scope.split(" ").includes("openid"));
  await oidc.tokenRevocation(config, tokens.access_token);
  assert.deepEqual(await oidc.tokenIntrospection(config, tokens.access_token), { active: false });
  assert.deepEqual(await oidc.tokenIntrospection(config, "nonsense"), { active: false });
});

test("client credentials are for machines", async () => {
  const machine = client("demo-machine");
  const config = await relyingParty(machine.client_id, undefined, oidc.ClientSecretBasic(machine.client_secret));
  const tokens = await oidc.clientCredentialsGrant(config);
  assert.ok(tokens.access_token);
  assert.equal(tokens.refresh_token, undefined);
  assert.equal(tokens.id_token, undefined);

  const web = client("demo-web");
  const other = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  await assert.rejects(oidc.clientCredentialsGrant(other), { error: "unauthorized_client" });
});

test("an answer by form_post is one that openid-client reads", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  const { address, checks } = await authorize(config, web.redirect_uris[0], { response_mode: "form_post" });
  const page = await signIn(address, web.redirect_uris[0]);
  const form = parseForm(page);
  assert.equal(form.action, web.redirect_uris[0]);
  const answer = new Request(form.action, { method: "POST", body: new URLSearchParams(form.fields) });
  const tokens = await oidc.authorizationCodeGrant(config, answer, checks);
  assert.ok(tokens.access_token);
});

test("signing out comes back to the app, and is final", async () => {
  const spa = client("demo-spa");
  const config = await relyingParty(spa.client_id, undefined, oidc.None());
  const browser = new Browser();
  const { address, checks } = await authorize(config, spa.redirect_uris[0]);
  const page = await signIn(address, spa.redirect_uris[0], ada, browser);
  const tokens = await oidc.authorizationCodeGrant(config, page.url, checks);

  const home = new URL("/", dev.demo_url).href;
  const leave = oidc.buildEndSessionUrl(config, { post_logout_redirect_uri: home, id_token_hint: tokens.id_token, state: "bye" });
  const gone = await browser.visit(leave, home);
  assert.ok(gone.left, `sign-out ended at ${gone.url} with ${gone.status}:\n${gone.html}`);
  assert.equal(gone.url.searchParams.get("state"), "bye");

  const silent = await authorize(config, spa.redirect_uris[0], { prompt: "none" });
  const refused = await browser.visit(silent.address, spa.redirect_uris[0]);
  await assert.rejects(oidc.authorizationCodeGrant(config, refused.url, silent.checks), { error: "login_required" });
});

test("errors come back with state and iss, so that openid-client believes them", async () => {
  const spa = client("demo-spa");
  const config = await relyingParty(spa.client_id, undefined, oidc.None());
  for (const [more, error] of [
    [{ prompt: "none" }, "login_required"],
    [{ code_challenge_method: "plain" }, "invalid_request"],
    [{ response_type: "token" }, /^unsupported_response_type$|^unauthorized_client$/],
    [{ scope: "made_up" }, "invalid_scope"],
    [{ request: "eyJhbGciOiJub25lIn0.e30." }, "request_not_supported"],
  ]) {
    const { address, checks } = await authorize(config, spa.redirect_uris[0], more);
    const page = await new Browser().visit(address, spa.redirect_uris[0]);
    assert.ok(page.left, `${JSON.stringify(more)} ended at ${page.url} with ${page.status}`);
    await assert.rejects(oidc.authorizationCodeGrant(config, page.url, checks), (err) => {
      assert.match(err.error ?? String(err), error instanceof RegExp ? error : new RegExp(`^${error}$`), JSON.stringify(more));
      return true;
    });
  }
});

test("every algorithm that can be chosen for ID tokens verifies", async () => {
  const config = await relyingParty(client("demo-web").client_id, client("demo-web").client_secret);
  const algorithms = config.serverMetadata().id_token_signing_alg_values_supported;
  assert.ok(algorithms.includes("RS256"));
  for (const alg of algorithms) {
    const redirect = `https://${alg.toLowerCase()}.test/cb`;
    const made = await register("--preset", "web", "--redirect-uri", redirect, "--id-token-alg", alg);
    const rp = await relyingParty(made.client_id, { id_token_signed_response_alg: alg }, oidc.ClientSecretBasic(made.client_secret));
    const tokens = await logIn(rp, redirect);
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, alg);
  }
});

// pushed and signed requests go through the same sign-in as others.
async function finish(config, address, redirect, checks) {
  const page = await signIn(address, redirect);
  assert.ok(page.left, `sign-in ended at ${page.url} with ${page.status}:\n${page.html}`);
  return { page, tokens: await oidc.authorizationCodeGrant(config, page.url, checks) };
}

async function request(redirect, more) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier, expectedState: oidc.randomState(), expectedNonce: oidc.randomNonce(), idTokenExpected: true };
  const parameters = {
    redirect_uri: redirect, scope: "openid email", state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: "S256", ...more,
  };
  return { parameters, checks };
}

test("a pushed request: the address shows nothing, and is good once", async () => {
  const redirect = "https://par.test/cb";
  const made = await register("--preset", "web", "--redirect-uri", redirect, "--require-pushed");
  const config = await relyingParty(made.client_id, undefined, oidc.ClientSecretBasic(made.client_secret));
  assert.equal(config.serverMetadata().require_pushed_authorization_requests, false); // not of everybody
  const { parameters, checks } = await request(redirect);
  const address = await oidc.buildAuthorizationUrlWithPAR(config, parameters);
  assert.deepEqual([...address.searchParams.keys()].sort(), ["client_id", "request_uri"]);
  const { tokens } = await finish(config, address, redirect, checks);
  assert.equal(tokens.claims().aud, made.client_id);

  const again = await new Browser().visit(address, redirect);
  assert.ok(!again.left || again.url.searchParams.has("error"), "a pushed request was good twice");
  const plain = await new Browser().visit(oidc.buildAuthorizationUrl(config, (await request(redirect)).parameters), redirect);
  assert.ok(!plain.left || plain.url.searchParams.has("error"), "a client that has to push did not have to");
  const bad = await request("https://elsewhere.test/cb");
  await assert.rejects(oidc.buildAuthorizationUrlWithPAR(config, bad.parameters), { error: "invalid_request" });
});

for (const alg of ["ES256", "RS256", "PS256", "Ed25519"]) {
  test(`a request object signed with ${alg}, directly and pushed`, async () => {
    const redirect = `https://jar-${alg.toLowerCase()}.test/cb`;
    const { key, file } = await keyPair(alg);
    const made = await register("--preset", "web", "--redirect-uri", redirect, "--auth-method", "private_key_jwt", "--jwks", file, "--require-signed-request");
    const config = await relyingParty(made.client_id, { token_endpoint_auth_method: "private_key_jwt" }, oidc.PrivateKeyJwt(key));
    const direct = await request(redirect);
    const signed = await oidc.buildAuthorizationUrlWithJAR(config, direct.parameters, key);
    assert.deepEqual([...signed.searchParams.keys()].sort(), ["client_id", "request"]);
    assert.ok((await finish(config, signed, redirect, direct.checks)).tokens.access_token);

    const second = await request(redirect);
    const object = (await oidc.buildAuthorizationUrlWithJAR(config, second.parameters, key)).searchParams;
    const pushed = await oidc.buildAuthorizationUrlWithPAR(config, object);
    assert.ok((await finish(config, pushed, redirect, second.checks)).tokens.access_token);

    const other = await keyPair(alg);
    const forged = await oidc.buildAuthorizationUrlWithJAR(config, second.parameters, other.key);
    const refused = await signIn(forged, redirect);
    assert.ok(!refused.left || refused.url.searchParams.get("error") === "invalid_request_object", `${refused.url}`);
  });
}

test("the claims parameter puts a claim where it was asked for", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  const claims = JSON.stringify({ userinfo: { given_name: { essential: true }, made_up: null }, id_token: { email: null, auth_time: { essential: true } } });
  const { parameters, checks } = await request(web.redirect_uris[0], { scope: "openid", claims });
  const { tokens } = await finish(config, oidc.buildAuthorizationUrl(config, parameters), web.redirect_uris[0], checks);
  assert.equal(tokens.claims().email, `${ada.username}@example.test`);
  assert.equal(typeof tokens.claims().auth_time, "number");
  assert.equal(tokens.claims().given_name, undefined);
  const person = await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
  assert.deepEqual(Object.keys(person).sort(), ["given_name", "sub"]);
});

test("signed answers of userinfo and introspection verify", async () => {
  const config = await relyingParty(client("demo-web").client_id, client("demo-web").client_secret);
  const server = config.serverMetadata();
  for (const alg of server.userinfo_signing_alg_values_supported) {
    const redirect = `https://signed-${alg.toLowerCase()}.test/cb`;
    const made = await register("--preset", "web", "--redirect-uri", redirect, "--userinfo-alg", alg, "--introspection-alg", alg);
    const metadata = { userinfo_signed_response_alg: alg, introspection_signed_response_alg: alg };
    const rp = await relyingParty(made.client_id, metadata, oidc.ClientSecretBasic(made.client_secret));
    const { parameters, checks } = await request(redirect);
    const { tokens } = await finish(rp, oidc.buildAuthorizationUrl(rp, parameters), redirect, checks);
    const person = await oidc.fetchUserInfo(rp, tokens.access_token, tokens.claims().sub);
    assert.equal(person.email, `${ada.username}@example.test`);
    const told = await oidc.tokenIntrospection(rp, tokens.access_token);
    assert.equal(told.active, true);
    assert.equal(told.client_id, made.client_id);
    assert.equal((await oidc.tokenIntrospection(rp, "nonsense")).active, false);
  }
});

test("a refresh token that was rotated away twice ends everything", async () => {
  const spa = client("demo-spa");
  const config = await relyingParty(spa.client_id, undefined, oidc.None());
  const first = await logIn(config, spa.redirect_uris[0]);
  const second = await oidc.refreshTokenGrant(config, first.refresh_token);
  const third = await oidc.refreshTokenGrant(config, second.refresh_token);
  await assert.rejects(oidc.refreshTokenGrant(config, first.refresh_token), { error: "invalid_grant" });
  await assert.rejects(oidc.refreshTokenGrant(config, third.refresh_token), { error: "invalid_grant" });
  await assert.rejects(oidc.fetchUserInfo(config, third.access_token, first.claims().sub));
});

test("max_age brings an auth_time that openid-client believes", async () => {
  const web = client("demo-web");
  const config = await relyingParty(web.client_id, undefined, oidc.ClientSecretBasic(web.client_secret));
  const { address, checks } = await authorize(config, web.redirect_uris[0], { max_age: "3600" });
  const { tokens } = await finish(config, address, web.redirect_uris[0], { ...checks, maxAge: 3600 });
  const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token);
  if (fresh.id_token) assert.equal(fresh.claims().auth_time, tokens.claims().auth_time);
});

test("an app registers itself, and people sign in to it", async () => {
  const redirect = "http://127.0.0.1:9/callback";
  const config = await oidc.dynamicClientRegistration(
    new URL(dev.issuer),
    { client_name: "Node registers itself", redirect_uris: [redirect], grant_types: ["authorization_code", "refresh_token"], token_endpoint_auth_method: "client_secret_post" },
    undefined,
    { execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks], timeout: 30 },
  );
  const metadata = config.clientMetadata();
  assert.ok(metadata.client_id && metadata.client_secret);
  assert.equal(metadata.client_secret_expires_at, 0);
  assert.ok(metadata.registration_client_uri.startsWith(dev.issuer + "/register/"));
  const tokens = await logIn(config, redirect, { scope: "openid profile" });
  assert.equal(tokens.claims().aud, metadata.client_id);
  const answer = await fetch(metadata.registration_client_uri, { method: "DELETE", headers: { authorization: `Bearer ${metadata.registration_access_token}` } });
  assert.equal(answer.status, 204);
});
