// Something odd happens: who looks at the page sees it at once, and where.

import { Fleet, Server, ensure, until } from "../programs.mjs";

const SECONDS_MAX = 2;

/** Plants an anomaly, once for each view that shows it. */
export async function anomaly({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, 30).start();
  try {
    const usual = Array.from({ length: 30 }, (_, index) =>
      ({ device_id: "planted", cpu: 40 + (index % 3), rps: 1000 + (index % 5) }));
    await server.post(usual);
    const tab = await browser.open();
    const slowest = [];
    const plant = async (value, view, isSeen) => {
      await tab.show(server, view);
      await until(async () => (await tab.count(".view")) > 0, "the view is there");
      await server.post(usual);
      const answer = await server.post({ device_id: "planted", cpu: value, rps: 1000 });
      ensure(answer.anomalies === 1, `the planted one is an anomaly: ${JSON.stringify(answer)}`);
      const began = performance.now();
      await until(isSeen, `${view} shows ${value}`, SECONDS_MAX * 1000);
      slowest.push(performance.now() - began);
    };
    const row = (value) =>
      tab.count(`tr:has(.device :text-is("planted")):has(td:text-is("${value}")):visible`);
    await plant(401, "#/", () => row(401));
    await plant(402, "#/anomalies", () => row(402));
    await plant(403, "#/devices/planted", () => marks(tab, /403.*anomalous/));
    await tab.turnTo("#/");
    await until(() => marks(tab, /^planted: 40[123], /), "it is marked on the chart");
    await tab.turnTo("#/devices");
    await tab.waitForText(".devices tbody tr >> nth=0", /planted/, 5_000);
    await tab.close();
    return `seen after ${(Math.max(...slowest) / 1000).toFixed(1)} s at most`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

/** Returns how many marks on the chart of the first field say so. */
async function marks(tab, pattern) {
  const titles = await tab.page.locator('[data-field="cpu"]:visible .mark title').allTextContents();
  return titles.filter((title) => pattern.test(title)).length;
}
