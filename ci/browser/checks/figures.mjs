// What the page shows is what the server says.

import { Fleet, Server, ensure, until } from "../programs.mjs";

/** Compares each figure with `/stats`, when nothing moves any more. */
export async function figures({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, 40).start();
  try {
    await server.post([{ device_id: "wrong", cpu: "hot", rps: 1 }]);
    const tab = await browser.open();
    await tab.show(server);
    await tab.waitForText('[data-figure="accepted"] .value', /\d/);
    await fleet.stop();
    const stats = await server.ask("stats");
    const detail = (figure, name) =>
      `[data-figure="${figure}"] dl > div:has(dt:text-is("${name}")) dd`;
    const expected = [
      [detail("accepted", "total"), `${stats.totals.accepted} metrics accepted`],
      [detail("accepted", "rejected"), `${stats.totals.rejected} metrics rejected`],
      [detail("anomalies", "points"), `${stats.totals.anomalies} anomalous values`],
      [detail("anomalies", "episodes"), `${stats.totals.episodes} episodes`],
      [detail("pending", "stored"), `${stats.store.stored} metrics stored`],
      [detail("pending", "dropped"), `${stats.store.dropped} metrics dropped`],
      ['.meter:has-text("devices") .amount',
        `${stats.devices.held} of ${stats.devices.max} devices`],
    ];
    for (const field of stats.fields) {
      const panel = `[data-field="${field.name}"]`;
      expected.push([`${panel} .main .value`, number(field.rolling_average)]);
      expected.push([`${panel} div:has(> dt:text-is("σ")) dd`, number(field.stddev)]);
      expected.push([`${panel} div:has(> dt:text-is("last")) dd`, number(field.last)]);
    }
    ensure(stats.totals.rejected === 1, "the wrong one was rejected");
    ensure(stats.totals.anomalies > 0, "the fleet has something odd");
    for (const [selector, title] of expected) {
      await until(async () => (await tab.title(selector)) === title,
        `${selector} is "${title}", not "${await tab.title(selector)}"`, 5_000);
    }
    await three(tab);
    await tab.close();
    return `${expected.length} figures equal /stats`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

const number = (value) => String(value).replace(/^-/, "−");

/** Every figure has three significant digits at most, unless it is a count below a thousand. */
async function three(tab) {
  const texts = await tab.page.locator(".figure .value, .figure dd, .field .value, .field dd")
    .allInnerTexts();
  ensure(texts.length > 15, `figures were looked at: ${texts.length}`);
  for (const text of texts) {
    for (const [found] of text.matchAll(/\d+(\.\d+)?/g)) {
      const digits = found.replace(".", "").replace(/^0+/, "");
      ensure(digits.length <= 3, `three significant digits: ${text}`);
    }
  }
}
