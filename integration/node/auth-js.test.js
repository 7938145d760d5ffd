// Auth.js (next-auth) as a relying party: its core under a plain server, a
// person's browser before it, the provider behind.
//
// Run with: go test ./integration -run TestNodeClients

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Auth } from "@auth/core";
import * as jose from "jose";
import { Browser, parseForm } from "./browser.js";
import { dev } from "./idp.js";
import { ada, register, signIn } from "./person.js";

// site is an app with sign-in by Auth.js.
async function site(args, provider) {
  const problems = [];
  let config;
  const server = http.createServer(async (req, res) => {
    const body = req.method === "POST" ? await new Response(req).text() : undefined;
    const answer = await Auth(new Request(new URL(req.url, base), { method: req.method, headers: req.headers, body }), config);
    const headers = Object.fromEntries(answer.headers);
    res.writeHead(answer.status, { ...headers, "set-cookie": answer.headers.getSetCookie() }).end(await answer.text());
  });
  await new Promise((listening) => server.listen(0, "localhost", listening));
  after(() => server.close());
  const base = `http://localhost:${server.address().port}`;
  const made = await register("--preset", "web", "--redirect-uri", `${base}/auth/callback/idp`, "--post-logout-redirect-uri", `${base}/`, ...args);
  config = {
    trustHost: true,
    secret: "only for this test",
    basePath: "/auth",
    providers: [{
      id: "idp", name: "idp", type: "oidc", issuer: dev.issuer,
      clientId: made.client_id, clientSecret: made.client_secret, checks: ["pkce", "state", "nonce"],
      ...provider,
    }],
    callbacks: {
      jwt: ({ token, account, profile }) => (account ? { ...token, sub: profile.sub, id_token: account.id_token, rights: account.scope } : token),
      session: ({ session, token }) => ({ ...session, sub: token.sub, id_token: token.id_token }),
    },
    logger: { error: (err) => problems.push(err), warn() {}, debug() {} },
  };
  return { base, made, problems };
}

async function begin(app, browser) {
  const { csrfToken } = await json(browser, `${app.base}/auth/csrf`);
  const body = new URLSearchParams({ csrfToken, callbackUrl: `${app.base}/auth/session` });
  return browser.visit(`${app.base}/auth/signin/idp`, `${dev.issuer}/authorize`, { method: "POST", body });
}

// logIn goes from the app's button to its session.
async function logIn(app, browser = new Browser()) {
  const { url } = await begin(app, browser);
  const page = await signIn(url, `${app.base}/auth/callback/idp`, ada, browser);
  assert.ok(page.left, `sign-in ended at ${page.url} with ${page.status}:\n${page.html}`);
  await browser.visit(page.url);
  assert.deepEqual(app.problems.map(String), []);
  return { browser, callback: page.url, session: await json(browser, `${app.base}/auth/session`) };
}

async function json(browser, address) {
  return JSON.parse((await browser.visit(address)).html);
}

test("Auth.js: sign-in, session with claims from userinfo, sign-out here and there", async () => {
  const app = await site([], { idToken: false });
  const { browser, callback, session } = await logIn(app);
  assert.equal(session.user.email, `${ada.username}@example.test`);
  assert.ok(session.user.name);
  assert.ok(session.sub);

  // The same answer once more: the cookies that went with it are spent.
  await browser.visit(callback);
  assert.ok(app.problems.length > 0, "a replayed answer was accepted");
  app.problems.length = 0;

  const { csrfToken } = await json(browser, `${app.base}/auth/csrf`);
  await browser.visit(`${app.base}/auth/signout`, undefined, { method: "POST", body: new URLSearchParams({ csrfToken, callbackUrl: `${app.base}/auth/session` }) });
  assert.equal(await json(browser, `${app.base}/auth/session`), null);
  const leave = new URL(`${dev.issuer}/logout`);
  leave.search = new URLSearchParams({ id_token_hint: session.id_token, post_logout_redirect_uri: `${app.base}/`, state: "bye" });
  const gone = await browser.visit(leave, `${app.base}/`);
  assert.ok(gone.left, `sign-out ended at ${gone.url} with ${gone.status}`);
  assert.equal(gone.url.searchParams.get("state"), "bye");
  const again = await browser.visit((await begin(app, browser)).url, `${app.base}/auth/callback/idp`);
  assert.ok(again.html?.includes('id="current-password"'), "nobody was asked to sign in again");
});

test("Auth.js: claims from the ID token, where the client is set so", async () => {
  const app = await site(["--id-token-claims"], {});
  const { session } = await logIn(app);
  assert.equal(session.user.email, `${ada.username}@example.test`);
});

test("Auth.js: the same person keeps the same sub", async () => {
  const app = await site([], { idToken: false });
  const [one, two] = [await logIn(app), await logIn(app)];
  assert.equal(one.session.sub, two.session.sub);
});

test("Auth.js: client_secret_post", async () => {
  const app = await site(["--auth-method", "client_secret_post"], { client: { token_endpoint_auth_method: "client_secret_post" } });
  assert.ok((await logIn(app)).session.sub);
});

test("Auth.js: private_key_jwt names two audiences, which takes the relaxation", async () => {
  const { publicKey, privateKey } = await jose.generateKeyPair("ES256");
  const folder = await mkdtemp(join(tmpdir(), "idp-auth-js-"));
  after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "jwks.json"), JSON.stringify({ keys: [{ ...(await jose.exportJWK(publicKey)), use: "sig", alg: "ES256" }] }));
  const provider = { idToken: false, client: { token_endpoint_auth_method: "private_key_jwt" }, token: { clientPrivateKey: privateKey } };
  const keys = ["--auth-method", "private_key_jwt", "--jwks", join(folder, "jwks.json")];
  const old = await site([...keys, "--legacy-assertion-audience"], provider);
  assert.ok((await logIn(old)).session.sub);
  const strict = await site(keys, provider);
  await assert.rejects(logIn(strict));
  assert.match(JSON.stringify(strict.problems.map((p) => p.cause?.err?.cause ?? p.cause)), /invalid_client/);
});

test("Auth.js: an answer by form_post", async () => {
  const app = await site([], { idToken: false, authorization: { params: { scope: "openid profile email", response_mode: "form_post" } } });
  const browser = new Browser();
  const callback = `${app.base}/auth/callback/idp`;
  const page = await signIn((await begin(app, browser)).url, callback, ada, browser);
  assert.equal(parseForm(page).action, callback);
  await browser.submit(page, {});
  assert.deepEqual(app.problems.map(String), []);
  assert.equal((await json(browser, `${app.base}/auth/session`)).user.email, `${ada.username}@example.test`);
});

test("Auth.js: a refusal comes back as one", async () => {
  const app = await site([], { authorization: { params: { scope: "openid", prompt: "none" } } });
  const browser = new Browser();
  const page = await browser.visit((await begin(app, browser)).url, `${app.base}/auth/callback/idp`);
  assert.equal(page.url.searchParams.get("error"), "login_required");
  await browser.visit(page.url);
  assert.match(String(app.problems[0]), /OAuthCallbackError|OAuth Provider returned an error/);
});
