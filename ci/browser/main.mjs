// Checks the page in a browser, against a server: `main.mjs SERVER [--long] [NAME...]`.

import { Browser } from "./browser.mjs";
import { anomaly } from "./checks/anomaly.mjs";
import { clock } from "./checks/clock.mjs";
import { devices } from "./checks/devices.mjs";
import { extremes } from "./checks/extremes.mjs";
import { figures } from "./checks/figures.mjs";
import { first } from "./checks/first.mjs";
import { hostile } from "./checks/hostile.mjs";
import { keyboard } from "./checks/keyboard.mjs";
import { looks } from "./checks/looks.mjs";
import { memory } from "./checks/memory.mjs";
import { away, redis, restarted } from "./checks/outages.mjs";
import { token } from "./checks/token.mjs";
import { Fault } from "./programs.mjs";

const CHECKS = { first, figures, anomaly, devices, keyboard, clock, away, restarted, redis, hostile,
  extremes, token, looks, memory };

const [path, ...rest] = process.argv.slice(2);
const isLong = rest.includes("--long");
const names = rest.filter((name) => name !== "--long");
const unknown = names.filter((name) => !Object.hasOwn(CHECKS, name));
if (path === undefined || unknown.length > 0) {
  console.error(`page: SERVER [--long] [NAME...], of ${Object.keys(CHECKS).join(", ")}`);
  process.exit(64);
}
const browser = await Browser.start();
let failed = 0;
for (const name of names.length > 0 ? names : Object.keys(CHECKS)) {
  const began = performance.now();
  try {
    const said = await CHECKS[name]({ path, browser, isLong });
    console.log(`${name}: ${said}, ${((performance.now() - began) / 1000).toFixed(1)} s`);
  } catch (error) {
    failed += 1;
    console.error(`page: ${name}: ${error instanceof Fault ? error.message : error.stack}`);
  }
}
await browser.close();
process.exit(failed === 0 ? 0 : 1);
