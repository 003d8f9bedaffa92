// A read token: asked for once, and kept for the tab alone.

import { Server, ensure, until } from "../programs.mjs";

const TOKEN = "read-me";
const REFUSED = [/status of 401/];

/** Gives no token, a wrong one, and the right one. */
export async function token({ path, browser }) {
  const server = await Server.start(path, "--read-token", TOKEN);
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open({}, REFUSED);
    await tab.page.goto(server.url);
    await tab.waitFor("dialog[open]");
    await tab.page.getByRole("button", { name: "Cancel" }).click();
    await tab.waitForText("#health", /token/);
    const asked = tab.requests.length;
    await tab.page.waitForTimeout(2_500);
    ensure(tab.requests.length === asked, "nobody is asked again who has none");
    await tab.page.getByRole("button", { name: "Try now" }).click();
    await give(tab, "wrong");
    await give(tab, TOKEN);
    await tab.waitFor('#pulse[data-state="live"]');
    await tab.waitForText('[data-figure="accepted"] dl', /total\s*1\b/);
    const kept = await tab.page.evaluate(() => ({
      session: JSON.stringify({ ...sessionStorage }),
      local: JSON.stringify({ ...localStorage }) + document.cookie,
    }));
    ensure(kept.session.includes(TOKEN), "the tab keeps it");
    ensure(!kept.local.includes(TOKEN), `nothing else does: ${kept.local}`);
    ensure(!tab.requests.some((url) => url.includes(TOKEN)), "it is in no address");
    await tab.page.reload();
    await tab.waitFor('#pulse[data-state="live"]');
    ensure((await tab.count("dialog[open]")) === 0, "asked once");
    await tab.close();
    const fresh = await browser.open({}, REFUSED);
    await fresh.page.goto(server.url);
    await fresh.waitFor("dialog[open]");
    await fresh.close();
    return "asked for once, kept for the session alone";
  } finally {
    await server.stop();
  }
}

async function give(tab, value) {
  await tab.waitFor("dialog[open]");
  const box = tab.page.getByRole("textbox", { name: "Token" });
  await until(async () => (await box.inputValue()) === "", "an empty box");
  await box.fill(value);
  await tab.page.getByRole("button", { name: "Continue" }).click();
}
