// What a person does in a browser on the provider's pages.

import { Browser } from "./browser.js";
import { dev, idp } from "./idp.js";

export const ada = dev.people[0];

// register makes a client the way an operator does.
export async function register(...args) {
  const made = await idp("client", "create", "--name", "Node test", ...args);
  return made.client ?? made;
}

// signIn takes a person from an authorization request to the redirect that
// comes back to the app.
export async function signIn(address, redirect, person = ada, browser = new Browser()) {
  let page = await browser.visit(address, redirect);
  if (!page.left && page.html.includes('id="current-password"')) {
    page = await browser.submit(page, { username: person.username, password: person.password }, redirect);
  }
  if (!page.left && page.html.includes('id="allow"')) {
    page = await browser.submit(page, { decision: "allow" }, redirect);
  }
  return page;
}
