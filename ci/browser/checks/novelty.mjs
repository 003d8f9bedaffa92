// Something that a device has never done before: the page says so, why, and where it usually is.

import { Server, ensure, until } from "../programs.mjs";

const MINUTE = 60;
/** The minute of what is new, in the middle of an hour and of the week. A day that ends at any other
 * time, above all at a weekend, whose hours are known apart, may have something new of its own; and
 * what comes soon after that is not told again. */
const NOW = Date.UTC(2023, 10, 15, 12, 30) / 1000;

const KIND = "#anomaly-kind";
/** More than a page keeps of all, and a server of one kind. */
const NOISY = 1_200;

/** Has a device do the same for a day, and then another thing. */
export async function novelty({ path, browser }) {
  const server = await Server.start(path, "--novelty", "on", "--stuck-after", "100");
  try {
    const event = (minute, cpu) =>
      ({ device_id: "steady", timestamp: NOW - minute * MINUTE, cpu, rps: 1000 + (minute % 7) });
    const day = Array.from({ length: 1440 }, (_, at) => event(1441 - at, 40 + (at % 5)));
    await server.post(day);
    const { novel } = await server.post(event(0, 77.5));
    ensure(novel?.[0]?.field === "cpu", `it is new: ${JSON.stringify(novel)}`);
    const tab = await browser.open();
    await tab.show(server, "#/anomalies");
    const row = `tr:has(td:text-is("77.5")):has(td:text-is("new: ${novel[0].reason}"))`;
    await until(async () => (await tab.count(row)) === 1, "it is listed with its reason");
    await tab.show(server, "#/devices/steady");
    await tab.waitForText('[data-field="cpu"] dl', /new.*1 alert/s);
    const limits = tab.page.locator('[data-field="cpu"] .limits');
    await until(async () => (await limits.getAttribute("d"))?.length > 0, "the band is drawn");
    await tab.waitForText('[data-field="rps"] dl', /range/);
    await tab.show(server, "#/anomalies");
    await rain(server);
    // Both for a page that saw it happen, and for one that is opened later.
    await listed(tab, row);
    await overseen(tab, server);
    await tab.close();
    const late = await browser.open({ bypassCSP: true, viewport: { width: 360, height: 740 } });
    await late.show(server, "#/anomalies");
    await listed(late, row);
    await late.fits("anomalies by kind");
    await late.picture("anomalies-by-kind-360");
    await late.checkAccess("anomalies by kind");
    await late.close();
    await older(server, browser);
    await hidden(path, browser);
    return `a reason, a score and the band of the hour; listed after ${NOISY} anomalies`;
  } finally {
    await server.stop();
  }
}

/** Has twenty devices be noisy. */
async function rain(server) {
  const usual = Array.from({ length: 16 }, (_, at) => ({ cpu: 40 + (at % 3), rps: 1000 + (at % 5) }));
  for (let sent = 0; sent < NOISY;) {
    const events = Array.from({ length: 20 }, (_, device) =>
      [...usual, { cpu: 400, rps: 1000 }].map((of) => ({ ...of, device_id: `n${sent}-${device}` })));
    const { anomalies } = await server.post(events.flat());
    ensure(anomalies === 20, `each is an anomaly: ${anomalies}`);
    sent += anomalies;
  }
}

/** What is new is in the list of all, and is all that is left if it is asked for. */
async function listed(tab, row) {
  const rows = ".anomalies tbody tr";
  await tab.waitForText(".anomalies .toolbar .hint", /^the last 501 of 500 of each kind at most/);
  ensure((await tab.count(row)) === 1, "it is listed among all");
  await tab.page.locator(KIND).selectOption("novelty");
  await until(async () => (await tab.count(rows)) === 1, "it alone is listed");
  ensure((await tab.count(row)) === 1, "it is the one");
  await tab.page.locator(KIND).selectOption("anomaly");
  await until(async () => (await tab.count(rows)) === 500, "the others are listed");
  ensure((await tab.count(row)) === 0, "it is none of the others");
  await tab.waitForText(".anomalies .toolbar .hint", /^the last 500 of 500 at most/);
}

/** What is new has a place among the latest on the overview. */
async function overseen(tab, server) {
  await tab.show(server, "#/");
  const rows = ".overview .short tbody tr";
  await until(async () => (await tab.count(rows)) === 12, "the latest are shown");
  ensure((await tab.count(`${rows}:has(td:text-is("77.5"))`)) === 1, "what is new is among them");
}

/** A replica of the release before, which does not know of kinds, is met by the page of a new one. */
async function older(server, browser) {
  const tab = await browser.open({}, [/status of 400 .*\/anomalies\?kind=/]);
  let refused = 0;
  await tab.page.route("**/anomalies?kind=*", (route) => {
    refused += 1;
    return route.fulfill({ status: 400 });
  });
  await tab.show(server, "#/anomalies");
  await until(async () => (await tab.count(".anomalies tbody tr")) === 500, "all are listed");
  ensure(refused === 1, `it was asked once: ${refused}`);
  await tab.close();
}

/** Nobody has to choose where there is one kind. */
async function hidden(path, browser) {
  const server = await Server.start(path);
  try {
    await server.post({ device_id: "d1", cpu: 1, rps: 1 });
    const tab = await browser.open();
    await tab.show(server, "#/anomalies");
    await tab.waitFor("#anomaly-field");
    ensure(!(await tab.page.locator(KIND).isVisible()), "no kinds without a second judge");
    const asked = tab.requests.filter((url) => url.includes("kind="));
    ensure(asked.length === 0, `nor is it asked for one: ${asked}`);
    await tab.close();
  } finally {
    await server.stop();
  }
}
