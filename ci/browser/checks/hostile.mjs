// Nothing that a device sends, or that Redis holds, is ever markup.

import { Redis, Server, ensure, until } from "../programs.mjs";

const MARKUP =
  '<img src=x onerror="document.title=`broken`"><script>document.title="broken"</script>';
/** Ids that the grammar takes and a careless page would stumble over. */
const ODD_IDS = ["__proto__", "constructor", "toString", "..", ".", "-", ":", "a:b:1",
  "x".repeat(128)];

/** Posts ids that would be markup, ids that are names of JavaScript, and a value in Redis. */
export async function hostile({ path, browser }) {
  const store = await Redis.start();
  const server = await Server.start(path, "--redis-url", store.url);
  try {
    for (const id of [MARKUP, "<b>", "&lt;b&gt;", "javascript:alert(1)//<"]) {
      const answer = await server.post({ device_id: id, cpu: 1, rps: 1 });
      ensure(answer.status === 400, `${id}: ${answer.status}`);
    }
    const usual = Array.from({ length: 30 }, (_, index) => ({ cpu: 40 + (index % 3), rps: 1000 }));
    for (const id of ODD_IDS) {
      const spike = { cpu: 400, rps: 1000 };
      const answer = await server.post([...usual, spike].map((of) => ({ ...of, device_id: id })));
      ensure(answer.status === 202, `${id}: ${answer.status}`);
    }
    const expected = [/status of 40[04]/];
    const tab = await browser.open({}, expected);
    await tab.show(server, "#/anomalies");
    for (const id of ODD_IDS) {
      const link = tab.page.getByRole("link", { name: id, exact: true });
      await until(async () => (await link.count()) > 0, `${id} is listed`);
    }
    await tab.turnTo("#/devices");
    await until(async () => (await tab.count(".devices tbody tr")) === ODD_IDS.length, "all rows");
    for (const id of ODD_IDS) {
      await tab.turnTo(`#/devices/${encodeURIComponent(id)}`);
      await until(async () => (await tab.text("h1.id")) === id, `${id} is shown`);
      await tab.waitForText(".device-view .side", /1 episode of 1 anomalous value/);
    }
    await spoofed(tab, server, store);
    for (const view of [`#/devices/${encodeURIComponent(MARKUP)}`, `#/${MARKUP}`,
      `#/devices?prefix=${encodeURIComponent(MARKUP)}`, "#/devices/%E0%A4%A"]) {
      await tab.turnTo(view);
      await untouched(tab, view);
    }
    await tab.close();
    return `${ODD_IDS.length} odd ids, and markup in six places`;
  } finally {
    await server.stop("SIGKILL");
    await store.stop("SIGKILL");
  }
}

/** Puts markup where the latest metric of a device should be. */
async function spoofed(tab, server, store) {
  const timestamp = Date.now();
  await server.post({ device_id: "spoofed", timestamp, cpu: 1, rps: 1 });
  const key = `metric:spoofed:${timestamp}`;
  await until(async () => (await store.ask("EXISTS", key)) === "1", "it is stored");
  const values = [
    MARKUP,
    `{"timestamp":${timestamp},"cpu":1,"rps":1,"device_id":"${MARKUP.replaceAll('"', "'")}"}`,
    `{"timestamp":${timestamp},"cpu":1,"rps":1,"device_id":"spoofed","note":"</code><b>"}`,
  ];
  for (const value of values) {
    await store.ask("SET", key, value);
    await tab.turnTo("#/");
    // A fresh look, as the view asks again only for what is newer.
    await tab.page.reload();
    await tab.turnTo("#/devices/spoofed");
    await tab.waitForText(".device-view .side h2 >> nth=1", /Latest metric/);
    const latest = () => tab.text(".device-view .side section >> nth=1");
    await until(async () => /metric\s+\S/i.test(await latest()), "what is told of it");
    await untouched(tab, value);
  }
}

/** The page is what it was: no element that it does not make itself, and nothing was run. */
async function untouched(tab, what) {
  const found = await tab.page.evaluate(() => {
    const strange = document.querySelectorAll("img, script:not([src$='page/main.js']), b, iframe");
    return { strange: strange.length, title: document.title };
  });
  ensure(found.strange === 0, `${what} became an element`);
  ensure(!found.title.startsWith("broken"), `${what} was run`);
}
