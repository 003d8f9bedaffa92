// The server goes away and comes back; so does Redis.

import { Fleet, Redis, Server, ensure, until } from "../programs.mjs";

const FAILED = [/net::ERR_/, /status of 503/];

/** Stops the server under the eyes of the page, and starts it again. */
export async function away({ path, browser }) {
  const server = await Server.start(path, "--drain-timeout", "1s");
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open({}, FAILED);
    await tab.show(server);
    await tab.waitForText("#health", /All is well/);
    await busy(tab);
    await server.stop();
    await tab.waitFor('#pulse[data-state="away"]');
    await tab.waitForText("#health", /The server is away since \d\d:\d\d:\d\d.*Trying again/);
    await tab.waitForText("#announcements", /The server is away/);
    await backsOff(tab);
    await tab.picture("away");
    await server.start();
    await tab.waitFor('#pulse[data-state="live"]', 35_000);
    await tab.waitForText("#health", /All is well/);
    // It is another process: what the page knew of the first is gone.
    await tab.waitFor(".welcome");
    await server.post({ device_id: "d2", cpu: 1, rps: 1 });
    await tab.waitForText('[data-figure="accepted"] dl', /total\s*1\b/);
    await tab.close();
    return "said so, waited longer each time, and went on by itself";
  } finally {
    await server.stop();
  }
}

/** A part of the answers is refused, again and again: the page says so, and not each second that
 * all is well. */
async function busy(tab) {
  await tab.page.route("**/anomalies?*", (route) => route.fulfill({ status: 503 }));
  await tab.waitForText("#health", /The server answers 503 since/);
  await tab.page.evaluate(() => {
    const pulse = document.getElementById("pulse");
    window.changes = [];
    new MutationObserver(() => window.changes.push(pulse.dataset.state))
      .observe(pulse, { attributes: true });
  });
  const asked = tab.requests.length;
  await until(() => tab.requests.length >= asked + 4, "two tries");
  const changes = await tab.page.evaluate(() => window.changes.join());
  ensure(!changes.includes("live"), `it stays away: ${changes}`);
  await tab.page.unroute("**/anomalies?*");
  await tab.waitFor('#pulse[data-state="live"]');
  await tab.waitForText("#health", /All is well/);
}

/** The pauses between tries grow. */
async function backsOff(tab) {
  const from = tab.requests.length;
  const times = [];
  const stop = performance.now() + 12_000;
  await until(() => {
    while (tab.requests.length > from + times.length) times.push(performance.now());
    return times.length >= 3 || performance.now() > stop;
  }, "three tries", 20_000);
  ensure(times.length === 3, `three tries: ${times.length}`);
  const [first, second] = [times[1] - times[0], times[2] - times[1]];
  ensure(second > first * 1.5, `the second pause is longer: ${first} ms, ${second} ms`);
}

/** Starts the server again with other fields, and as another program. */
export async function restarted({ path, browser }) {
  const server = await Server.start(path, "--drain-timeout", "1s", "--fields", "cpu,rps");
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open({}, FAILED);
    await tab.show(server, "#/anomalies");
    await tab.turnTo("#/devices");
    const head = () => tab.page.locator(".devices thead th.field").allInnerTexts();
    await until(async () => (await head()).join() === "cpu,rps", "a column for each field");
    await server.stop();
    await tab.waitFor('#pulse[data-state="away"]');
    server.flags[server.flags.indexOf("cpu,rps")] = "load,rps,temperature?";
    await server.start();
    await server.post({ device_id: "d1", load: 1, rps: 7 });
    await tab.waitFor('#pulse[data-state="live"]', 35_000);
    await until(async () => (await head()).join() === "load,rps,temperature", "other columns");
    await tab.waitFor('.devices tbody td.field:nth-child(3) :text-is("7.00")');
    const offered = (of) => tab.page.locator(`${of} option`).allInnerTexts();
    ensure((await offered("#device-field")).join() === "any field,load,rps,temperature", "orders");
    await tab.turnTo("#/anomalies");
    await until(async () =>
      (await offered("#anomaly-field")).join() === "all fields,load,rps,temperature", "filters");
    await tab.turnTo("#/");
    await until(async () => (await tab.count("[data-field]")) === 3, "a panel for each field");
    await anotherVersion(tab);
    await tab.close();
    return "other fields in each view, and another page of another version";
  } finally {
    await server.stop();
  }
}

/** The page of another program is another page: it is loaded. */
async function anotherVersion(tab) {
  await tab.page.evaluate(() => {
    window.isOld = true;
  });
  await tab.page.route("**/stats?*", async (route) => {
    try {
      const response = await route.fetch();
      const json = { ...(await response.json()), version: "99.0.0" };
      await route.fulfill({ response, json });
    } catch {
      // The page was loaded again meanwhile, and its request ended with it.
      await route.abort().catch(() => undefined);
    }
  });
  await until(() => tab.page.evaluate(() => window.isOld !== true), "it loads itself again");
  await tab.page.evaluate(() => {
    window.isOld = true;
  });
  await tab.waitForText("#instance", /99\.0\.0/);
  const asked = tab.requests.length;
  await until(() => tab.requests.length > asked + 4, "it goes on");
  ensure(await tab.page.evaluate(() => window.isOld), "and not again and again");
}

/** Stops Redis, and starts it again. */
export async function redis({ path, browser }) {
  const store = await Redis.start();
  const server = await Server.start(path, "--redis-url", store.url);
  const fleet = await new Fleet(server, 10).start();
  try {
    const tab = await browser.open();
    await tab.show(server);
    await tab.waitForText('[data-figure="pending"]', /up\s*redis/);
    await store.stop();
    await tab.waitForText("#health", /Redis/, 20_000);
    await tab.waitForText('[data-figure="pending"]', /away\s*redis, since/);
    await tab.picture("redis-away");
    await store.start();
    await tab.waitForText("#health", /All is well/, 40_000);
    await tab.waitForText('[data-figure="pending"]', /up\s*redis/);
    await tab.close();
    return "said so, and that all is well again";
  } finally {
    await fleet.stop();
    await server.stop("SIGKILL");
    await store.stop("SIGKILL");
  }
}
