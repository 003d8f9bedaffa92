// The server goes away and comes back; so does Redis.

import { Fleet, Redis, Server, ensure, until } from "../programs.mjs";

const FAILED = [/net::ERR_/];

/** Stops the server under the eyes of the page, and starts it again. */
export async function away({ path, browser }) {
  const server = await Server.start(path, "--drain-timeout", "1s");
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open({}, FAILED);
    await tab.show(server);
    await tab.waitForText("#health", /All is well/);
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
