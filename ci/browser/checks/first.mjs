// A new user: an empty server, the line that its page shows, and the point.

import { execFile } from "node:child_process";
import { Server, ensure, until } from "../programs.mjs";

const SECONDS_MAX = 2;

const run = (line) =>
  new Promise((resolve, reject) => {
    execFile("sh", ["-c", line], (error, out) => (error ? reject(error) : resolve(out)));
  });

/** Fields that a server may be told to take, with what a line has to be made for each. */
const FIELDS = ["temperature?=-40..125~0.5,humidity?=0..100,battery?",
  "kelvin=0..1e-6,mass=1e6..1e12", "celsius=-273.15..-200",
  Array.from({ length: 16 }, (_, at) => `f${at}=0..${at + 1}`).join(",")];

/** Pastes the lines, one after the other. */
export async function first({ path, browser }) {
  const server = await Server.start(path);
  try {
    const tab = await browser.open();
    const lines = await welcome(tab, server);
    await tab.picture("empty");
    const began = performance.now();
    const answer = await run(lines[0]);
    ensure(answer.includes('"accepted":1'), `the first line: ${answer}`);
    const left = () => SECONDS_MAX * 1000 - (performance.now() - began);
    await tab.waitForText('[data-figure="accepted"] dl', /total\s*1\b/, left());
    await until(() => points(tab), "each chart has the point", left());
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    await tab.turnTo("#/devices/d1");
    const dot = tab.page.locator('.device-view [data-field="cpu"] .chart .dots');
    await until(async () => (await dot.getAttribute("d")) !== "", "its window has it");
    await tab.turnTo("#/");
    await run(lines[1]);
    await tab.waitForText(".overview .short", /d2/, 5_000);
    await tab.close();
    for (const fields of FIELDS) await others(path, browser, fields);
    return `the point is there after ${seconds} s, the odd one of the second line is marked`;
  } finally {
    await server.stop();
  }
}

/** Returns the lines that an empty server shows. */
async function welcome(tab, server) {
  await tab.show(server);
  await tab.waitFor(".welcome");
  const lines = await tab.page.locator(".welcome pre").allInnerTexts();
  ensure(lines.length === 2, `two lines to begin with, not ${lines.length}`);
  for (const line of lines) {
    ensure(line.includes(` ${server.url}/metrics`), `for the address in the bar: ${line}`);
  }
  return lines;
}

/** Returns true if the chart of each field has a point within its bounds. */
const points = (tab) => tab.page.evaluate(() => {
  const charts = [...document.querySelectorAll(".overview [data-field] .chart")];
  const isDrawn = (chart) => {
    const place = /^M[\d.]+ ([\d.]+)/.exec(chart.querySelector(".line").getAttribute("d") ?? "");
    const height = Number(chart.querySelector("svg").getAttribute("height"));
    return place !== null && Number(place[1]) > 0 && Number(place[1]) < height;
  };
  return charts.length === 2 && charts.every(isDrawn);
});

/** The lines are such as a server of other fields takes, and the last of the second is odd. */
async function others(path, browser, fields) {
  const server = await Server.start(path, "--fields", fields);
  try {
    const tab = await browser.open();
    const [one, many] = await welcome(tab, server);
    ensure((await run(one)).startsWith('{"accepted":1,"anomalies":0'), `${fields}: ${one}`);
    const answer = JSON.parse(await run(many));
    ensure(answer.accepted === 60 && answer.rejected === undefined, `${fields}: ${many}`);
    const isOdd = answer.anomalous.some(({ index }) => index === 59);
    ensure(isOdd, `${fields}: the last is odd: ${many}`);
    await tab.waitForText(".overview .short", /d2/, 5_000);
    await tab.close();
  } finally {
    await server.stop();
  }
}
