// The keyboard alone, and the browser's own buttons.

import { Fleet, Server, ensure, until } from "../programs.mjs";

const COUNT = 60;
const TABS_MAX = 60;
const SCROLL_MS_MAX = 2_000;

/** Goes through the page without a pointer. */
export async function keyboard({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, COUNT).start();
  try {
    const tab = await browser.open({ viewport: { width: 900, height: 500 } });
    await skip(tab, server);
    const seen = await through(tab);
    await back(tab, server);
    await tab.close();
    return `${seen} places by the tabulator, back and forward`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

const focus = (tab) => tab.page.evaluate(() => {
  const now = document.activeElement;
  const box = now.getBoundingClientRect();
  const x = box.left + Math.min(box.width / 2, 20);
  const y = box.top + Math.min(box.height, innerHeight - box.top) / 2;
  const top = document.elementFromPoint(x, y);
  return {
    name: `${now.localName}${now.id && "#"}${now.id} ${(now.innerText ?? "").slice(0, 20)}`,
    isSeen: top !== null && (now.contains(top) || top.contains(now)),
    isUnderHeader: top?.closest("header") != null && now.closest("header") === null,
  };
});

/** The link at the top leads past the header, and not to another view. */
async function skip(tab, server) {
  await tab.show(server, "#/devices");
  await tab.waitFor(".devices tbody tr");
  await tab.page.keyboard.press("Tab");
  ensure((await focus(tab)).name.startsWith("a Skip"), "the first place is the link past it");
  await tab.page.keyboard.press("Enter");
  ensure((await tab.page.evaluate(() => document.activeElement.id)) === "main", "it leads to main");
  ensure(tab.page.url().endsWith("#/devices"), `and nowhere else: ${tab.page.url()}`);
  await tab.waitFor(".devices tbody tr");
}

/** Whatever has the focus can be seen, on the way forth and back, and nothing takes it away: the
 * rows that one comes from and goes to stay, although others are the worst by then. */
async function through(tab) {
  let seen = 0;
  for (const [key, end] of [["Tab", "button Next"], ["Shift+Tab", "a Skip"]]) {
    let name = "";
    for (let at = 0; at < TABS_MAX && !name.startsWith(end); at += 1) {
      await tab.page.keyboard.press(key);
      ({ name } = await focus(tab));
      // The browser scrolls to it a moment later.
      const isSeen = async () => {
        const now = await focus(tab);
        return now.isSeen && !now.isUnderHeader;
      };
      await until(isSeen, `${key} to ${name}: it can be seen`, SCROLL_MS_MAX);
      if (at % 10 === 5) await another(tab);
      ensure((await focus(tab)).name === name, `${name} keeps the focus`);
      seen += 1;
    }
    ensure(name.startsWith(end), `${key} leads to the end: ${name}`);
  }
  return seen;
}

/** Waits for another answer, and for what it changes. */
async function another(tab) {
  const asked = () => tab.requests.filter((url) => url.includes("/stats")).length;
  const before = asked();
  await until(() => asked() > before + 1, "two more turns", 5_000);
}

/** The second page of devices is there again after a look at one of them, and after a reload. */
async function back(tab, server) {
  const ids = () => tab.page.locator(".devices tbody th a").allInnerTexts();
  await tab.show(server, "#/devices?sort=id");
  await until(async () => (await ids())[0] === "device-001", "the first page");
  await tab.page.getByRole("button", { name: "Next" }).press("Enter");
  await until(async () => (await ids())[0] === "device-026", "the second page");
  await tab.page.getByRole("link", { name: "device-030" }).press("Enter");
  await tab.waitForText("h1.id", /^device-030$/);
  await tab.page.goBack();
  await until(async () => (await ids())[0] === "device-026", "the second page again");
  await tab.waitForText(".pages .hint", /^26 to 50 of 60$/);
  await tab.page.goForward();
  await tab.waitForText("h1.id", /^device-030$/);
  await tab.page.goBack();
  await tab.page.reload();
  await until(async () => (await ids())[0] === "device-026", "and after a reload");
  await tab.page.getByRole("button", { name: "Previous" }).press("Enter");
  await until(async () => (await ids())[0] === "device-001", "and back to the first");
}
