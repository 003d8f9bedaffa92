// Three replicas with one Redis: the page shows all of them as one, and says who is missing.

import { Balancer, Fleet, Redis, Server, ensure, until } from "../programs.mjs";

const NAMES = ["pod-a", "pod-b", "pod-c"];
const DEVICES = 30;
const SECONDS_MAX = 2;
const SMALL = { width: 360, height: 740 };
const LARGE = { width: 1920, height: 1080 };
const SAID = "#scope .said";
const WRONG = "#scope .wrong";

/** Looks at the fleet while it is whole, while a replica is missing, and while Redis is away. */
export async function fleet({ path, browser }) {
  await alone(path, browser);
  const store = await Redis.start();
  const replicas = [];
  const loads = [];
  try {
    for (const name of NAMES) {
      const flags = ["--fleet", "edge", "--instance", name, "--redis-url", store.url];
      replicas.push(await Server.start(path, ...flags));
    }
    const [first] = replicas;
    await until(() => isWhole(first), "the fleet is whole");
    const tab = await browser.open({ bypassCSP: true }, [/status of (404|503)/]);
    const slowest = await planted(tab, replicas);
    for (const [index, server] of replicas.entries()) {
      const name = ({ index: device }) => `${"abc"[index]}-${String(device).padStart(2, "0")}`;
      loads.push(await new Fleet(server, DEVICES, name).start());
    }
    await devices(tab, first);
    await scopes(tab, first);
    await refused(tab);
    await balanced(browser, replicas);
    await looks(browser, first, "whole");
    for (const load of loads) await load.stop();
    const count = await figures(tab, first);
    await missing(tab, browser, replicas);
    await apart(tab, browser, first, store);
    await tab.close();
    return `${count} figures of three replicas, an anomaly of another one after `
      + `${(slowest / 1000).toFixed(1)} s, who is missing by name, and one that is left alone`;
  } finally {
    for (const load of loads) await load.stop();
    for (const server of replicas) await server.stop("SIGKILL");
    await store.stop("SIGKILL");
  }
}

const isWhole = async (server) => {
  const { complete, members } = await server.ask("stats?scope=fleet");
  return complete && members.length === NAMES.length;
};

/** Without a fleet there is nothing to switch, whatever the address says. */
async function alone(path, browser) {
  const server = await Server.start(path);
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open();
    await tab.show(server, "#/devices?scope=instance");
    await tab.waitFor(".devices tbody tr");
    ensure(!(await tab.page.locator("#scope").isVisible()), "no switch without a fleet");
    await tab.close();
  } finally {
    await server.stop();
  }
}

/** Something odd happens at another replica than the one that the page came from; nothing else
 * happens, which might push it out of the latest ones. */
async function planted(tab, [first, second]) {
  const usual = Array.from({ length: 30 }, (_, index) =>
    ({ device_id: "planted", cpu: 40 + (index % 3), rps: 1000 + (index % 5) }));
  await second.post(usual);
  // New devices are judged in a moment: the others are asked for their windows.
  await until(async () => (await second.ask("devices/planted?scope=fleet")).complete,
    "the planted one is known to the fleet");
  let slowest = 0;
  for (const [value, view] of [[401, "#/"], [402, "#/anomalies"]]) {
    await tab.show(first, view);
    await tab.waitForText(SAID, /^edge: 3 replicas, pod-a, pod-b, pod-c$/);
    await second.post(usual);
    const answer = await second.post({ device_id: "planted", cpu: value, rps: 1000 });
    ensure(answer.anomalies === 1, `the planted one is an anomaly: ${JSON.stringify(answer)}`);
    const began = performance.now();
    const row = `tr:has(.device :text-is("planted")):has(td:text-is("${value}")):visible`;
    await until(async () => (await tab.count(row)) === 1, `${view} shows ${value}`,
      SECONDS_MAX * 1000);
    slowest = Math.max(slowest, performance.now() - began);
    ensure((await tab.text(`${row} .holder`)) === "pod-b", "it says who has it");
  }
  return slowest;
}

/** The devices of all, by pages; and one that another replica holds. */
async function devices(tab, first) {
  const ids = () => tab.page.locator(".devices tbody th a").allInnerTexts();
  await tab.show(first, "#/devices?sort=id");
  await tab.waitForText(".pages .hint", /^1 to 25 of 91$/);
  const seen = new Set(await ids());
  for (const range of [/^26 to 50 of 91$/, /^51 to 75 of 91$/, /^76 to 91 of 91$/]) {
    await tab.page.getByRole("button", { name: "Next" }).click();
    await tab.waitForText(".pages .hint", range);
    for (const id of await ids()) seen.add(id);
  }
  ensure(seen.size === 3 * DEVICES + 1, `${seen.size} devices on all pages`);
  await tab.turnTo("#/devices/c-07");
  await tab.waitForText(".device-view .facts", /held by\s*pod-c/);
  await tab.waitFor('.device-view [data-field="cpu"] .chart .line');
  await tab.waitForText(".device-view pre", /"device_id": "c-07"/);
  await tab.turnTo("#/devices/nobody");
  await tab.waitForText(".device-view .empty", /No replica knows such a device/);
}

/** The switch, by the keyboard; the browser's buttons; and an address that names a scope. */
async function scopes(tab, first) {
  await tab.show(first, "#/devices?sort=id");
  await tab.waitForText(".pages .hint", /of 91$/);
  const one = tab.page.getByRole("link", { name: "One replica" });
  await one.press("Enter");
  await tab.waitForText(SAID, /^pod-a alone, one of 3 replicas$/);
  await tab.waitForText(".pages .hint", /of 30$/);
  ensure(tab.page.url().endsWith("#/devices?sort=id&scope=instance"), `kept: ${tab.page.url()}`);
  ensure((await one.getAttribute("aria-current")) === "true", "the switch says so");
  ensure(await one.evaluate((link) => link === document.activeElement), "and keeps the focus");
  const from = tab.requests.length;
  await until(() => tab.requests.length > from + 6, "more turns");
  const others = tab.requests.slice(from).filter((url) => !url.includes("scope=instance"));
  ensure(others.length === 0, `asked of one replica alone: ${others}`);
  await tab.page.getByRole("link", { name: "a-00" }).click();
  await tab.waitForText("h1.id", /^a-00$/);
  ensure(tab.page.url().endsWith("?scope=instance"), `links keep to it: ${tab.page.url()}`);
  await tab.page.goBack();
  await tab.page.goBack();
  await tab.waitForText(SAID, /^edge: 3 replicas/);
  await tab.waitForText(".pages .hint", /of 91$/);
  await tab.page.goForward();
  await tab.waitForText(".pages .hint", /of 30$/);
  await tab.show(first, "#/devices/b-01?scope=instance");
  await tab.page.reload();
  await tab.waitForText(".device-view .empty", /This server knows no such device/);
  await tab.page.getByRole("link", { name: "Whole fleet" }).click();
  await tab.waitForText(".device-view .facts", /held by\s*pod-b/);
}

/** The fleet is too busy to answer: then there is what one replica knows, and a word about it. */
async function refused(tab) {
  await tab.turnTo("#/");
  await tab.waitFor(".overview .figure");
  await tab.page.route("**/stats?*scope=fleet", (route) => route.fulfill({ status: 503 }));
  await tab.waitForText(WRONG, /The whole fleet did not answer: 503/);
  await tab.waitForText(SAID, /^pod-a alone/);
  await tab.waitForText('[data-figure="accepted"] h2', /Metrics\s*pod-a/);
  ensure((await tab.page.locator("#pulse").getAttribute("data-state")) === "live", "it goes on");
  await tab.page.unroute("**/stats?*scope=fleet");
  await tab.waitForText(SAID, /^edge: 3 replicas/);
  await tab.waitForText(WRONG, /^$/);
}

/** Each request meets another replica: of the whole fleet nothing jumps, and each anomaly is listed
 * once; of one replica the page says that it is another one each time. */
async function balanced(browser, replicas) {
  const balancer = await Balancer.start(replicas);
  try {
    const tab = await browser.open();
    await tab.show(balancer, "#/anomalies");
    await tab.waitForText(SAID, /^edge: 3 replicas/);
    await tab.waitFor(".anomalies tbody tr");
    const total = () => tab.page.locator(".anomalies tbody tr").count();
    const before = await total();
    const polls = () => tab.requests.filter((url) => url.includes("/anomalies?")).length;
    const from = polls();
    await until(() => polls() >= from + 6, "six more polls");
    const rows = await tab.page.locator(".anomalies tbody tr").allInnerTexts();
    ensure(rows.length > before, `anomalies are added, and not begun anew: ${rows.length}`);
    const since = tab.requests.filter((url) => url.includes("/anomalies?")).slice(1);
    ensure(since.every((url) => url.includes("since=f")), `by the cursor: ${since}`);
    await tab.turnTo("#/");
    await tab.waitFor('.overview [data-field="cpu"] .chart .line');
    await tab.turnTo("#/?scope=instance");
    await tab.waitForText(SAID, /^pod-. alone, .*; at times another one answers/);
    await tab.close();
  } finally {
    balancer.stop();
  }
}

/** Each figure is what any replica says of all. */
async function figures(tab, first) {
  await tab.turnTo("#/");
  const stats = await first.ask("stats?scope=fleet");
  const detail = (figure, name) =>
    `[data-figure="${figure}"] dl > div:has(dt:text-is("${name}")) dd`;
  const { totals, store, devices: held } = stats;
  const expected = [
    [detail("accepted", "total"), `${totals.accepted} metrics accepted`],
    [detail("anomalies", "points"), `${totals.anomalies} anomalous values`],
    [detail("anomalies", "episodes"), `${totals.episodes} episodes`],
    [detail("pending", "stored"), `${store.stored} metrics stored`],
    ['.meter:has-text("devices") .amount', `${held.held} of ${held.max} devices`],
    ...stats.members.map(({ instance, accepted }) =>
      [`.group:has(h3:text-is("${instance}")) .replica .aside`, `${accepted} metrics accepted`]),
    ...stats.fields.map((field) =>
      [`.overview [data-field="${field.name}"] .main .value`, String(field.rolling_average)]),
  ];
  ensure(totals.anomalies > 0 && held.held === 3 * DEVICES + 1, "the fleet has something to show");
  for (const [selector, title] of expected) {
    await until(async () => (await tab.title(selector)) === title,
      `${selector} is "${title}", not "${await tab.title(selector)}"`, 5_000);
  }
  ensure((await tab.count(".group .cores li")) === stats.cores.length, "each core of each replica");
  await tab.waitForText('[data-figure="accepted"] h2', /Metrics\s*whole fleet/);
  return expected.length;
}

/** A replica is killed: it is named, and its totals stay. */
async function missing(tab, browser, [first, , third]) {
  const { totals } = await first.ask("stats?scope=fleet");
  await third.stop("SIGKILL");
  await tab.waitForText(WRONG, /^pod-c \(\d\d:\d\d:\d\d\) is missing: its totals/);
  await tab.waitForText(SAID, /^edge: 2 of 3 replicas, pod-a, pod-b$/);
  await tab.waitForText("#health", /A replica of the fleet is missing.*told by pod-a, pod-b/);
  await tab.waitForText('.group:has(h3:text-is("pod-c")) .state', /^last heard \d\d:/);
  await tab.waitForText('[data-figure="accepted"] h2', /2 of 3 replicas/);
  const total = await tab.title('[data-figure="accepted"] dl > div:has(dt:text-is("total")) dd');
  ensure(total === `${totals.accepted} metrics accepted`, `totals stay: ${total}`);
  await looks(browser, first, "missing");
}

/** Redis is stopped: the page says so, and the figures of its own replica go on. */
async function apart(tab, browser, first, store) {
  await store.stop();
  await tab.waitForText("#health", /The other replicas of the fleet cannot be asked/, 20_000);
  await tab.waitForText(SAID, /^edge: 1 of 3 replicas, pod-a$/);
  await tab.waitForText(WRONG, /^pod-b \S+ and pod-c \S+ are missing/);
  const total = () => tab.title('[data-figure="accepted"] dl > div:has(dt:text-is("total")) dd');
  const before = parseInt(await total(), 10);
  await first.post({ device_id: "a-00", cpu: 20, rps: 1000 });
  await until(async () => parseInt(await total(), 10) === before + 1, "its own figures go on");
  await tab.turnTo("#/devices/b-01");
  await tab.waitForText(".device-view .empty", /missing is .*pod-b/);
  await looks(browser, first, "apart");
  await store.start();
  await tab.waitForText(SAID, /pod-a, pod-b/, 20_000);
  await tab.waitForText(".device-view .facts", /held by\s*pod-b/, 20_000);
}

/** Nothing is cut off, and everybody can use it. */
async function looks(browser, first, state) {
  for (const [colorScheme, viewport] of [["light", LARGE], ["dark", SMALL]]) {
    // The newest metric of a device may not be in Redis yet, or Redis away.
    const expected = [/status of (404|503) .*\/devices\/b-01/];
    const tab = await browser.open({ colorScheme, viewport, bypassCSP: true }, expected);
    for (const view of ["overview", "anomalies", "devices/b-01"]) {
      await tab.show(first, view === "overview" ? "#/" : `#/${view}`);
      await tab.waitFor(`${SAID}:not(:empty)`);
      const what = `${state}, ${view}, ${viewport.width} px`;
      await tab.fits(what);
      const name = `fleet-${state}-${view.replace(/\W.*/, "")}-${viewport.width}-${colorScheme}`;
      await tab.picture(name, { fullPage: view === "overview" });
      await tab.checkAccess(what);
    }
    await tab.close();
  }
}
