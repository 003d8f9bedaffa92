// Something that a device has never done before: the page says so, why, and where it usually is.

import { Server, ensure, until } from "../programs.mjs";

const MINUTE = 60;

/** Has a device do the same for a day, and then another thing. */
export async function novelty({ path, browser }) {
  const server = await Server.start(path, "--novelty", "on", "--stuck-after", "100");
  try {
    const now = Math.floor(Date.now() / 1000);
    const event = (minute, cpu) =>
      ({ device_id: "steady", timestamp: now - minute * MINUTE, cpu, rps: 1000 + (minute % 7) });
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
    await tab.close();
    return "a reason, a score and the band of the hour";
  } finally {
    await server.stop();
  }
}
