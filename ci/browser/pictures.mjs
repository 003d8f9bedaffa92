// The pictures in docs/: a fleet at work for as long as the page remembers, so that no chart has a
// gap, and one device of it that has just been odd.

import { copyFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Fleet, Server, ensure, until } from "./programs.mjs";

const DOCS = fileURLToPath(new URL("../../docs", import.meta.url));
const MINUTES = 6;
const KINDS = ["press", "oven", "pump", "fan"];
const EACH = 40;
const SHOWN = "press-011";
/** Seconds that the odd value of the device that is shown lies back. */
const BACK_S = 18;

/** Devices that change slowly, as machines do, and each sends by itself. */
class Works extends Fleet {
  constructor(server) {
    super(server, KINDS.length * EACH, ({ index }) =>
      `${KINDS[Math.floor(index / EACH)]}-${String((index % EACH) + 1).padStart(3, "0")}`);
  }

  metric(id, index) {
    const now = Date.now() / 1000;
    const [level, period] = [30 + (index % 40), 900 + (index % 7) * 60];
    const wave = (at) => Math.sin(2 * Math.PI * at);
    // Never two deviations from its mean, so that what is marked is what was odd.
    const noise = () => 0.05 * wave(this.random());
    const course = 1 + 0.04 * wave(now / period + index / 300);
    const oddity = this.random() < 0.0004 ? 1.6 : 1;
    const rps = (900 + level * 6) * (2 - course + noise()) * (this.random() < 2e-4 ? 0.4 : 1);
    return { device_id: id, cpu: Math.round(level * (course + noise()) * oddity * 100) / 100,
      rps: Math.round(rps * 10) / 10 };
  }
}

/** Takes them; of another server they would be pictures of another page. */
export async function pictures({ path, browser }) {
  const server = await Server.start(path);
  const fleet = await new Works(server).startSingly();
  try {
    await new Promise((resolve) => setTimeout(resolve, MINUTES * 60_000));
    await server.post({ device_id: SHOWN, cpu: 88.4, rps: 1102 });
    await new Promise((resolve) => setTimeout(resolve, BACK_S * 1000));
    const views = { overview: ["#/", "light", ".overview .chart .line"],
      device: [`#/devices/${SHOWN}`, "dark", ".device-view .mark"] };
    for (const [name, [view, colorScheme, ready]] of Object.entries(views)) {
      const tab = await browser.open({ colorScheme });
      await tab.show(server, view);
      await until(async () => (await tab.count(ready)) > 0, `${name} is drawn`);
      await gaps(tab);
      const file = await tab.picture(`docs-${name}`);
      await tab.close();
      copyFileSync(file, `${DOCS}/page-${name}.png`);
    }
    return "docs/page-overview.png and docs/page-device.png";
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

/** Each line is one stroke: what is drawn in several has gaps. */
async function gaps(tab) {
  const strokes = await tab.page.evaluate(() =>
    [...document.querySelectorAll(".view:not([hidden]) .line")]
      .map((line) => (line.getAttribute("d") ?? "").split("M").length - 1));
  ensure(strokes.length > 1 && strokes.every((count) => count === 1), `strokes: ${strokes}`);
}
