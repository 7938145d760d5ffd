// A page on oidc-client-ts, as its documentation has it: all tabs share the
// user in localStorage, tokens are renewed with the refresh token, and a page
// that knows nobody asks the provider once, at top level, without a page.
"use strict";

const { issuer, client } = document.body.dataset;
const here = location.origin;
const users = new oidc.UserManager({
  authority: issuer,
  client_id: client,
  redirect_uri: here + "/callback",
  popup_redirect_uri: here + "/callback",
  post_logout_redirect_uri: here + "/",
  scope: "openid profile email",
  response_mode: sessionStorage.getItem("mode") || "query",
  userStore: new oidc.WebStorageStateStore({ store: localStorage }),
  automaticSilentRenew: true,
  loadUserInfo: true,
  filterProtocolClaims: false,
});
const key = `oidc.user:${issuer}:${client}`;

function show(status, user, reason) {
  document.querySelector("#who").innerText = user ? user.profile.preferred_username : "";
  document.querySelector("#reason").innerText = reason || "";
  document.querySelector("#status").innerText = status;
}

async function start() {
  if (location.pathname === "/callback") {
    try {
      await users.signinCallback();
      if (window.opener) return; // the page that opened this window goes on, and closes it
    } catch (err) { // of prompt=none: nobody is signed in
      history.replaceState(null, "", "/");
      return show("signed out", null, err.error || String(err));
    }
    history.replaceState(null, "", "/"); // the code is nobody's business
  }
  const user = await users.getUser();
  if (user) return show("signed in", user);
  if (sessionStorage.getItem("asked")) return show("signed out");
  sessionStorage.setItem("asked", "yes");
  await users.signinRedirect({ prompt: "none" });
}

// refresh gets new tokens, or notices that the sign-in is over.
async function refresh() {
  try {
    const user = await users.signinSilent();
    show("signed in", user);
    return user;
  } catch (err) {
    if (err.error === "invalid_grant") await users.removeUser();
    show(err.error === "invalid_grant" ? "signed out" : "in trouble", null, `${err.error}: ${err.error_description}`);
    return null;
  }
}

async function userinfo() {
  const user = await users.getUser();
  const found = await fetch(await users.metadataService.getUserInfoEndpoint(), { headers: { authorization: "Bearer " + (user?.access_token ?? "none") } });
  const challenge = found.headers.get("www-authenticate");
  document.querySelector("#answer").innerText = JSON.stringify({ status: found.status, challenge, ...(await found.json()) });
}

// Another tab signed out: it took the user out of the storage.
addEventListener("storage", (event) => {
  if (event.key === key && event.newValue === null) show("signed out", null, "signed out in another tab");
});

document.querySelector("#sign-in").onclick = () => users.signinRedirect();
document.querySelector("#pop-up").onclick = () => users.signinPopup().then((user) => show("signed in", user), (err) => show("in trouble", null, String(err)));
document.querySelector("#sign-out").onclick = () => users.signoutRedirect();
document.querySelector("#refresh").onclick = refresh;
document.querySelector("#userinfo").onclick = userinfo;
start().catch((err) => show("in trouble", null, String(err)));
