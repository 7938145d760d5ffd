// A person's browser as far as HTTP goes: cookies, redirects, and forms that
// are filled in and sent.

export class Browser {
  #cookies = new Map(); // by origin's host, then by name

  // visit goes to an address and follows redirects, until a page comes or a
  // redirect leads to an address that begins with stop.
  async visit(address, stop, options = {}) {
    let url = new URL(address);
    for (let hops = 0; hops < 15; hops++) {
      if (stop && url.href.startsWith(stop)) return { url, left: true };
      const response = await this.#fetch(url, options);
      const location = response.headers.get("location");
      if (!location) return { url, status: response.status, html: await response.text() };
      url = new URL(location, url);
      options = {}; // 303: whatever it was, go on with GET
    }
    throw new Error(`too many redirects, at ${url}`);
  }

  // submit sends the first form of a page, with values added and, if need be,
  // the button that was pressed.
  async submit(page, values, stop) {
    const form = parseForm(page);
    const body = new URLSearchParams({ ...form.fields, ...values });
    const to = new URL(form.action, page.url);
    return this.visit(to, stop, { method: "POST", body });
  }

  async #fetch(url, options) {
    const jar = this.#cookies.get(url.host) ?? new Map();
    this.#cookies.set(url.host, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, {
      ...options,
      redirect: "manual",
      headers: { accept: "text/html", ...(cookie && { cookie }) },
      signal: AbortSignal.timeout(30_000),
    });
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(";");
      const at = pair.indexOf("=");
      const name = pair.slice(0, at).trim();
      if (attributes.some((a) => /^\s*max-age=(0|-\d+)\s*$/i.test(a))) jar.delete(name);
      else jar.set(name, pair.slice(at + 1).trim());
    }
    return response;
  }
}

// parseForm reads the form of a page: where it goes and its hidden fields.
export function parseForm(page) {
  const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(page.html ?? "");
  if (!form) throw new Error(`no form at ${page.url} (status ${page.status}):\n${page.html}`);
  const fields = {};
  for (const [, tag] of form[2].matchAll(/<input\b([^>]*)>/gi)) {
    if (attribute(tag, "type") === "hidden") fields[attribute(tag, "name")] = attribute(tag, "value") ?? "";
  }
  return { action: attribute(form[1], "action"), fields };
}

function attribute(tag, name) {
  const found = new RegExp(`\\s${name}="([^"]*)"`, "i").exec(tag);
  return found ? unescape(found[1]) : undefined;
}

function unescape(text) {
  const names = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) =>
    name ? (names[name] ?? whole) : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal)));
}
