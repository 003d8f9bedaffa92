// A browser whose clock is wrong: what the page says of times is by the server's clock.

import { Fleet, Server, ensure, until } from "../programs.mjs";

const MINUTES = [-7, 7];

/** Looks at ages of devices, and at the place of an anomaly, by clocks that are wrong. */
export async function clock({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, 10).start();
  try {
    for (const minutes of MINUTES) {
      const tab = await browser.open();
      await tab.page.addInitScript((aheadMs) => {
        const right = Date.now.bind(Date);
        Date.now = () => right() + aheadMs;
      }, minutes * 60_000);
      await tab.show(server, "#/devices");
      await tab.waitFor(".devices tbody tr");
      await recent(tab, ".devices tbody tr td:last-child", minutes);
      await tab.turnTo("#/devices/device-003");
      await recent(tab, '.facts div:has(> dt:text-is("last seen")) dd', minutes);
      await tab.turnTo("#/");
      await own(tab, server, minutes);
      await tab.close();
    }
    return `right by clocks that are ${MINUTES.join(" and ")} minutes off`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

/** All were seen just now. */
async function recent(tab, selector, minutes) {
  await until(async () => (await tab.count(selector)) > 0, selector);
  const ages = await tab.page.locator(selector).allInnerTexts();
  const isRecent = (age) => age === "now" || /^\d s ago$/.test(age);
  ensure(ages.every(isRecent), `a clock ${minutes} minutes off: ${ages}`);
}

/** The anomaly of a device whose clock is wrong itself stands where the page heard of it: in the
 * last seconds. */
async function own(tab, server, minutes) {
  await tab.waitFor(".overview .short tbody tr");
  const id = `lost${minutes}`;
  const timestamp = (at) => Math.round(Date.now() / 1000) - 86_400 + at;
  const metrics = Array.from({ length: 31 }, (_, at) =>
    ({ device_id: id, timestamp: timestamp(at), cpu: at === 30 ? 400 : 40 + (at % 3), rps: 1 }));
  await server.post(metrics);
  const place = () => tab.page.evaluate((id) => {
    const chart = document.querySelector('.overview [data-field="cpu"] .chart svg');
    const mark = [...chart.querySelectorAll(".mark")]
      .find((mark) => mark.textContent.startsWith(`${id}: `));
    if (mark === undefined) return null;
    const [of, all] = [mark.getBoundingClientRect(), chart.getBoundingClientRect()];
    return (of.left - all.left) / all.width;
  }, id);
  const at = await until(place, `the anomaly of ${id} is marked`, 5_000);
  ensure(at > 0.7, `it stands at ${at} of the width`);
}
