// The table of devices: paged, searched, ordered; and one device with its window.

import { Fleet, Server, ensure, until } from "../programs.mjs";

const COUNT = 60;
const PAGE = 25;
/** So many that the list is asked for every five seconds. */
const MANY = 20_000;

const ids = (tab) => tab.page.locator(".devices tbody th a").allInnerTexts();

/** Waits until the table has other rows than it had. */
async function other(tab, before, what) {
  await until(async () => {
    const now = await ids(tab);
    return now.length > 0 && now.join() !== before.join();
  }, what);
  return ids(tab);
}

/** Goes through the pages and back, searches, and looks at one. */
export async function devices({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, COUNT).start();
  try {
    const tab = await browser.open();
    await tab.show(server, "#/devices?sort=id");
    await until(async () => (await ids(tab)).length === PAGE, "a page of devices");
    const seen = new Set(await ids(tab));
    let page = await ids(tab);
    for (const expected of [PAGE, COUNT - 2 * PAGE]) {
      await tab.page.getByRole("button", { name: "Next" }).click();
      page = await other(tab, page, "the next page");
      ensure(page.length === expected, `${page.length} devices, not ${expected}`);
      for (const id of page) seen.add(id);
    }
    ensure(seen.size === COUNT, `${seen.size} devices on all pages, not ${COUNT}`);
    ensure(await tab.page.getByRole("button", { name: "Next" }).isDisabled(), "the last page");
    await tab.page.getByRole("button", { name: "Previous" }).click();
    await other(tab, page, "the page before");
    await search(tab);
    await lookAtOne(tab, server);
    await many(tab, server);
    await tab.close();
    return `${COUNT} devices on three pages, searched, and one with its window`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

async function search(tab) {
  const box = tab.page.getByLabel("Search");
  await box.fill("device-04");
  const found = /^device-04\d$/;
  await until(async () => {
    const now = await ids(tab);
    return now.length === 10 && now.every((id) => found.test(id));
  }, "ten devices begin so");
  ensure(tab.page.url().includes("prefix=device-04"), "the address names the search");
  await box.fill("nobody");
  await tab.waitForText(".devices .empty", /No device begins with nobody/);
  await box.fill("device-042");
  await until(async () => (await ids(tab)).join() === "device-042", "that device");
}

/** Each point of the chart is what the server has, by the pointer and by the keyboard. */
async function lookAtOne(tab, server) {
  await tab.page.getByRole("link", { name: "device-042" }).click();
  await tab.waitForText("h1.id", /^device-042$/);
  const chart = tab.page.locator('[data-field="cpu"] .chart');
  await chart.waitFor();
  await until(async () => Number(await chart.getAttribute("aria-valuemax")) > 10, "points");
  await chart.focus();
  await tab.page.keyboard.press("End");
  const told = await chart.getAttribute("aria-valuetext");
  ensure(/^\d\d:\d\d:\d\d {2}\S+ {2}z [+−\d]/.test(told), `a time, a value, a z: ${told}`);
  await tab.page.keyboard.press("ArrowLeft");
  const now = Number(await chart.getAttribute("aria-valuenow"));
  ensure(now === Number(await chart.getAttribute("aria-valuemax")) - 1, "one to the left");
  await tab.page.keyboard.press("Escape");
  const box = await chart.boundingBox();
  await tab.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await tab.waitFor('[data-field="cpu"] .readout >> visible=true');
  await tab.waitForText(".device-view pre", /"device_id": "device-042"/);
  const { accepted } = (await server.ask("devices/device-042")).totals;
  await until(async () => {
    const title = await tab.title('.facts div:has(> dt:text-is("metrics")) dd');
    return Number(title.split(" ")[0]) >= accepted;
  }, "the count of its metrics");
}

/** Of many devices the list is asked for seldom: it says so, and nobody is said to be silent. */
async function many(tab, server) {
  for (let from = 0; from < MANY; from += 1000) {
    const idle = Array.from({ length: 1000 }, (_, at) =>
      ({ device_id: `idle-${from + at}`, cpu: 1, rps: 1 }));
    await server.post(idle);
  }
  await tab.turnTo("#/devices?sort=id");
  await until(async () => (await ids(tab)).length === PAGE, "a page of many devices");
  await tab.waitForText(".pages", /as it was [345] s ago/);
  const ages = await tab.page.locator(".devices tbody tr td:last-child").allInnerTexts();
  ensure(ages.every((age) => /^(now|2 s ago)$/.test(age)), `as of then: ${ages}`);
}
