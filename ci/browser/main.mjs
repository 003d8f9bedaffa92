// Checks the page in a browser, against a server: `main.mjs SERVER [--long] [NAME...]`. The check
// `pictures` is made only by name: it takes those in docs/.

import { Browser } from "./browser.mjs";
import { anomaly } from "./checks/anomaly.mjs";
import { clock } from "./checks/clock.mjs";
import { devices } from "./checks/devices.mjs";
import { extremes } from "./checks/extremes.mjs";
import { figures } from "./checks/figures.mjs";
import { first } from "./checks/first.mjs";
import { fleet } from "./checks/fleet.mjs";
import { hostile } from "./checks/hostile.mjs";
import { keyboard } from "./checks/keyboard.mjs";
import { looks } from "./checks/looks.mjs";
import { memory } from "./checks/memory.mjs";
import { novelty } from "./checks/novelty.mjs";
import { away, redis, restarted } from "./checks/outages.mjs";
import { token } from "./checks/token.mjs";
import { pictures } from "./pictures.mjs";
import { Fault } from "./programs.mjs";

const CHECKS = { first, figures, anomaly, novelty, devices, keyboard, clock, away, restarted, redis,
  fleet, hostile, extremes, token, looks, memory };

const [path, ...rest] = process.argv.slice(2);
const isLong = rest.includes("--long");
const names = rest.filter((name) => name !== "--long");
const known = { ...CHECKS, pictures };
const unknown = names.filter((name) => !Object.hasOwn(known, name));
if (path === undefined || unknown.length > 0) {
  console.error(`page: SERVER [--long] [NAME...], of ${Object.keys(known).join(", ")}`);
  process.exit(64);
}
const browser = await Browser.start();
let failed = 0;
for (const name of names.length > 0 ? names : Object.keys(CHECKS)) {
  const began = performance.now();
  try {
    const said = await known[name]({ path, browser, isLong });
    console.log(`${name}: ${said}, ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    failed += 1;
    console.error(`page: ${name}: ${error instanceof Fault ? error.message : error.stack}`);
  }
}
await browser.close();
process.exit(failed === 0 ? 0 : 1);
