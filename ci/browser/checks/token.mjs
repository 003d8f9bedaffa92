// A read token: asked for once, and kept for the tab alone.

import { Server, ensure, until } from "../programs.mjs";

const TOKEN = "read-me";
const OTHER = "read-me-too";
const REFUSED = [/status of 401/, /net::ERR_/];

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
    const asked = () => tab.requests.filter((url) => url.includes("/stats")).length;
    const before = asked();
    await tab.page.waitForTimeout(2_500);
    await tab.setHidden(true);
    await tab.setHidden(false);
    await tab.turnTo("#/devices");
    await tab.turnTo("#/");
    ensure(asked() === before, "nobody is asked again who has none");
    ensure((await tab.count("dialog[open]")) === 0, "nor by another tab or view");
    await tab.page.getByRole("button", { name: "Try now" }).click();
    await give(tab, "wrong");
    // No header line can have these: they are refused, as any other that is wrong.
    await give(tab, "geheim€");
    await give(tab, "two words");
    await tab.waitFor("dialog[open]");
    // The token is in another tab, from which it is copied.
    await tab.setHidden(true);
    await tab.setHidden(false);
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
    await changed(tab, server);
    await tab.close();
    for (const colorScheme of ["light", "dark"]) {
      const fresh = await browser.open({ colorScheme, bypassCSP: true }, REFUSED);
      await fresh.page.goto(server.url);
      await fresh.waitFor("dialog[open]");
      await fresh.checkAccess(`the dialog, ${colorScheme}`);
      await fresh.page.keyboard.press("Escape");
      await fresh.waitForText("#health", /token/);
      await fresh.checkAccess(`without a token, ${colorScheme}`);
      await fresh.close();
    }
    return "asked for once, kept for the session alone";
  } finally {
    await server.stop();
  }
}

/** The server is started again with another token, under the eyes of the page. */
async function changed(tab, server) {
  await server.stop();
  const at = server.flags.indexOf(TOKEN);
  server.flags[at] = OTHER;
  await server.start();
  await tab.waitFor("dialog[open]", 20_000);
  await tab.picture("token");
  await give(tab, OTHER);
  await tab.waitFor('#pulse[data-state="live"]');
}

async function give(tab, value) {
  await tab.waitFor("dialog[open]");
  const box = tab.page.getByRole("textbox", { name: "Token" });
  await until(async () => (await box.inputValue()) === "", "an empty box");
  await box.fill(value);
  await tab.page.getByRole("button", { name: "Continue" }).click();
}
