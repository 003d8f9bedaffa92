// A new user: an empty server, the line that its page shows, and the point.

import { execFile } from "node:child_process";
import { Server, ensure } from "../programs.mjs";

const SECONDS_MAX = 2;

const run = (line) =>
  new Promise((resolve, reject) => {
    execFile("sh", ["-c", line], (error, out) => (error ? reject(error) : resolve(out)));
  });

/** Pastes the lines, one after the other. */
export async function first({ path, browser }) {
  const server = await Server.start(path);
  try {
    const tab = await browser.open();
    await tab.show(server);
    await tab.waitFor(".welcome");
    const lines = await tab.page.locator(".welcome pre").allInnerTexts();
    ensure(lines.length === 2, `two lines to begin with, not ${lines.length}`);
    for (const line of lines) {
      ensure(line.includes(` ${server.url}/metrics`), `for the address in the bar: ${line}`);
    }
    await tab.picture("empty");
    const began = performance.now();
    const answer = await run(lines[0]);
    ensure(answer.includes('"accepted":1'), `the first line: ${answer}`);
    await tab.waitFor('[data-figure="accepted"]', SECONDS_MAX * 1000);
    await tab.waitForText('[data-figure="accepted"] dl', /total\s*1\b/, SECONDS_MAX * 1000);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    await run(lines[1]);
    await tab.waitForText(".overview .short", /d2/, 5_000);
    await tab.close();
    return `the point is there after ${seconds} s, the odd one of the second line is marked`;
  } finally {
    await server.stop();
  }
}
