// A login without a server: authorization code with PKCE (RFC 7636) for a
// public client, in plain JavaScript.

const settings = JSON.parse(document.querySelector("#spa").dataset.settings);
const button = (name) => document.querySelector("#spa-" + name);
const status = document.querySelector("#spa-status");
const out = document.querySelector("#spa-out");
const scope = "openid profile email";

let tokens = null; // in memory alone: storage could be read by any script
let userinfo = null;
let refreshed = 0;

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const short = (token) => (token && token.length > 28 ? token.slice(0, 16) + "…" + token.slice(-8) : token);

function claims(idToken) {
  const text = atob(idToken.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
}

// answer reads JSON and turns an OAuth error into an exception.
async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw refused(body.error || "HTTP " + response.status, body.error_description);
  return body;
}

function refused(code, description) {
  return Object.assign(new Error(description ? code + ": " + description : code), { code });
}

async function discover() {
  const found = await answer(await fetch(settings.issuer + "/.well-known/openid-configuration"));
  if (found.issuer !== settings.issuer) throw new Error("The provider calls itself " + found.issuer + ".");
  return found;
}

async function logIn() {
  const provider = await discover();
  const login = { state: random(), nonce: random(), verifier: random() };
  sessionStorage.setItem("login", JSON.stringify(login));
  const challenge = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(login.verifier));
  location.assign(provider.authorization_endpoint + "?" + new URLSearchParams({
    response_type: "code", client_id: settings.client, redirect_uri: settings.redirect, scope,
    state: login.state, nonce: login.nonce,
    code_challenge: base64url(challenge), code_challenge_method: "S256",
  }));
}

// comeBack finishes the login if this page was opened by the provider.
async function comeBack() {
  const query = new URLSearchParams(location.search);
  if (location.pathname !== "/spa/callback") return;
  history.replaceState(null, "", "/spa"); // the code is nobody's business
  const login = JSON.parse(sessionStorage.getItem("login") || "null");
  sessionStorage.removeItem("login");
  if (!login || query.get("state") !== login.state) throw new Error("This login was not started here. Log in again.");
  const provider = await discover();
  const iss = query.get("iss"); // RFC 9207
  if (iss !== settings.issuer && (iss !== null || provider.authorization_response_iss_parameter_supported)) {
    throw new Error("This answer comes from somebody else.");
  }
  if (query.has("error")) throw refused(query.get("error"), query.get("error_description"));
  await take(provider, { grant_type: "authorization_code", code: query.get("code"), redirect_uri: settings.redirect, code_verifier: login.verifier }, login.nonce);
  await ask();
}

// take asks the token endpoint. The ID token comes straight from it over a
// connection we opened, so its signature need not be checked (OpenID Connect
// Core 1.0, 3.1.3.7); what it says still has to be.
async function take(provider, form, nonce) {
  const got = await answer(await fetch(provider.token_endpoint, { method: "POST", body: new URLSearchParams({ ...form, client_id: settings.client }) }));
  if (got.id_token) {
    const c = claims(got.id_token);
    const right = c.iss === settings.issuer && [].concat(c.aud).includes(settings.client) && c.exp > Date.now() / 1000 &&
      (nonce ? c.nonce === nonce : c.sub === claims(tokens.id_token).sub);
    if (!right) throw new Error("The ID token is not for this login.");
  }
  tokens = { ...tokens, ...got, expires_at: new Date(Date.now() + got.expires_in * 1000).toISOString() };
}

async function refresh() {
  try {
    await take(await discover(), { grant_type: "refresh_token", refresh_token: tokens.refresh_token });
  } catch (err) {
    if (err.code === "invalid_grant") tokens = userinfo = null; // the access was taken back
    throw err;
  }
  refreshed++;
}

async function ask() {
  const provider = await discover();
  userinfo = await answer(await fetch(provider.userinfo_endpoint, { headers: { Authorization: "Bearer " + tokens.access_token } }));
}

async function logOut() {
  const provider = await discover();
  const query = new URLSearchParams({ id_token_hint: tokens.id_token, client_id: settings.client, post_logout_redirect_uri: settings.home });
  tokens = userinfo = null;
  location.assign(provider.end_session_endpoint + "?" + query);
}

function show() {
  button("log-in").hidden = tokens !== null;
  button("refresh").hidden = !tokens?.refresh_token;
  button("userinfo").hidden = button("log-out").hidden = tokens === null;
  out.textContent = !tokens ? "Nothing." : JSON.stringify({
    claims: claims(tokens.id_token), userinfo, scope: tokens.scope, expires_at: tokens.expires_at,
    access_token: short(tokens.access_token), refresh_token: short(tokens.refresh_token), id_token: short(tokens.id_token), refreshed,
  }, null, 2);
}

// run does one thing at a time and says how it went.
async function run(task) {
  const buttons = document.querySelectorAll("button");
  buttons.forEach((b) => { b.disabled = true; });
  status.hidden = true;
  try {
    await task();
  } catch (err) {
    status.textContent = err instanceof TypeError ? "The provider does not answer. Is it running?" : err.message;
    status.hidden = false;
  }
  buttons.forEach((b) => { b.disabled = false; });
  show();
}

for (const [name, task] of Object.entries({ "log-in": logIn, refresh, userinfo: ask, "log-out": logOut })) {
  button(name).addEventListener("click", () => run(task));
}
// A page restored by the back button would keep its buttons disabled.
addEventListener("pageshow", (event) => { if (event.persisted) run(async () => {}); });
run(comeBack);
