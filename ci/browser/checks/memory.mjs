// A page that is left open does not grow.

import { Fleet, Server, ensure } from "../programs.mjs";

const WARM_UP_MS = 10_000;
const SHORT_MS = 20_000;
const LONG_MS = 300_000;
const VIEWS = ["#/", "#/devices", "#/devices/device-007", "#/anomalies", "#/performance"];
/** The list of anomalies and the five minutes of history are kept: they have to be full before. */
const ANOMALIES = 600;
/** Compiled code and the last answers differ from one moment to the next by tens of kilobytes. */
const GROWTH_BYTES_MAX = 200_000;

/**
 * Polls each view, and compares the heap after a collection of garbage at the beginning and at the
 * end. Five minutes of each view would be half an hour in all, for a check that everybody waits
 * for: so much only with `ci/page --long`. The short look sees what grows by 10 KB in a turn of the
 * page, which is once a second; the long one what grows by 700 bytes.
 */
export async function memory({ path, browser, isLong }) {
  const server = await Server.start(path);
  const fleet = await new Fleet(server, 40).start();
  try {
    await fill(server);
    const tab = await browser.open();
    const session = await tab.page.context().newCDPSession(tab.page);
    const heap = async () => {
      for (let round = 0; round < 3; round += 1) await session.send("HeapProfiler.collectGarbage");
      const { usedSize } = await session.send("Runtime.getHeapUsage");
      const { nodes } = await session.send("Memory.getDOMCounters");
      return { usedSize, nodes };
    };
    const grown = [];
    await tab.show(server);
    if (isLong) await tab.page.waitForTimeout(LONG_MS);
    for (const view of VIEWS) {
      await tab.turnTo(view);
      await tab.page.waitForTimeout(WARM_UP_MS);
      const before = await heap();
      await tab.page.waitForTimeout(isLong ? LONG_MS : SHORT_MS);
      const after = await heap();
      const bytes = after.usedSize - before.usedSize;
      grown.push(`${view} ${Math.round(bytes / 1024)} KiB of ${Math.round(after.usedSize / 1024)}`);
      ensure(bytes < GROWTH_BYTES_MAX, `${view}: the heap grew by ${bytes} bytes`);
      const nodes = after.nodes - before.nodes;
      ensure(nodes < before.nodes * 0.3 + 500, `${view}: ${nodes} more nodes`);
    }
    await tab.close();
    return `grown: ${grown.join(", ")}`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

/** Has as many anomalies happen as a page remembers. */
async function fill(server) {
  const usual = Array.from({ length: 30 }, (_, index) => ({ cpu: 40 + (index % 3), rps: 1000 }));
  for (let number = 0; number < ANOMALIES; number += 1) {
    const id = `odd-${number}`;
    const metrics = [...usual, { cpu: 400, rps: 1000 }].map((of) => ({ ...of, device_id: id }));
    const { anomalies } = await server.post(metrics);
    ensure(anomalies === 1, `${id}: ${anomalies} anomalies`);
  }
}
