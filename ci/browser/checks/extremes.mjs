// As many fields as there may be, names and ids as long as they may be, numbers as large and as
// small as a double is, and numbers that hardly differ.

import { Server, ensure, until } from "../programs.mjs";

const LONG = ["a".repeat(64), "b".repeat(64)];
const ID = "x".repeat(128);
const EVENTS = 60;
/** What a field's values are, event by event. */
const COURSES = {
  [LONG[0]]: () => 1e300,
  [LONG[1]]: (at) => -1e-300 * at,
  huge: (at) => (at % 2 ? 1.7e308 : -1.7e308),
  // Further apart than a double can tell by a tenth of that: a sum of such steps never ends.
  close: (at) => 1e16 + 2 * (at % 2),
  near: (at) => 1_234_567.1 + (at % 3) / 10,
  constant: () => -273.15,
  zero: () => 0,
  spiky: (at) => (at % 23 === 22 ? 1e9 : at % 3),
};
const NAMES = [...Object.keys(COURSES), ...Array.from({ length: 8 }, (_, at) => `f${at}`)];
const VIEWS = {
  "#/": ".overview .chart .line",
  "#/devices": ".devices tbody tr",
  [`#/devices/${ID}`]: ".device-view .chart .line",
  "#/anomalies": ".anomalies tbody tr",
};

/** Posts them, and looks at each view. */
export async function extremes({ path, browser }) {
  const server = await Server.start(path, "--fields", NAMES.map((name) => `${name}?`).join(","));
  try {
    const metrics = Array.from({ length: EVENTS }, (_, at) => {
      const course = (name) => COURSES[name] ?? ((at) => Math.sin(at));
      const values = NAMES.map((name) => [name, course(name)(at)]);
      return { device_id: ID, ...Object.fromEntries(values) };
    });
    const answer = await server.post(metrics);
    ensure(answer.accepted === EVENTS, `they are accepted: ${JSON.stringify(answer)}`);
    for (const width of [360, 1440]) {
      const tab = await browser.open({ viewport: { width, height: 900 } });
      for (const [view, ready] of Object.entries(VIEWS)) {
        await tab.show(server, view);
        await until(async () => (await tab.count(ready)) > 0, `${view} is drawn`);
        await tab.fits(`${view}, ${width} px`);
        await labels(tab, view);
      }
      await tab.picture(`extremes-${width}`, { fullPage: true });
      await tab.close();
    }
    return `${NAMES.length} fields, from -1.7e308 to 1.7e308, at 360 and 1440 px`;
  } finally {
    await server.stop();
  }
}

/** No two labels of an axis are the same, and each chart has a line within its bounds. */
async function labels(tab, view) {
  const charts = await tab.page.evaluate(() =>
    [...document.querySelectorAll(".view:not([hidden]) .chart")].map((chart) => ({
      name: chart.getAttribute("aria-label"),
      labels: [...chart.querySelectorAll('text[text-anchor="end"]')].map((of) => of.textContent),
      paths: [...chart.querySelectorAll("path")].map((path) => path.getAttribute("d")).join(" "),
    })));
  for (const { name, labels, paths } of charts) {
    const own = labels.filter((label) => !label.includes(":"));
    ensure(new Set(own).size === own.length, `${view} ${name}: labels ${own}`);
    ensure(!/NaN|Infinity/.test(paths), `${view} ${name}: ${paths.slice(0, 200)}`);
  }
}
