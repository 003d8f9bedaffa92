// Each view in each theme and width: nothing is cut off, and everybody can use it.

import { Fleet, Server, ensure, until } from "../programs.mjs";

const VIEWS = {
  overview: ["#/", ".overview .chart .line"],
  devices: ["#/devices", ".devices tbody tr"],
  device: ["#/devices/device-007", ".device-view .chart .line"],
  anomalies: ["#/anomalies", ".anomalies tbody tr"],
  performance: ["#/performance", ".performance .chart .line"],
};
const SIZES = { small: { width: 360, height: 740 }, large: { width: 1920, height: 1080 } };
const GROUNDS = { light: "rgb(244, 246, 248)", dark: "rgb(13, 17, 23)" };

/** Takes a picture of every view, and has axe-core look at it. */
export async function looks({ path, browser }) {
  await empty(path, browser);
  const server = await Server.start(path);
  const fleet = await new Fleet(server, 40).start();
  try {
    for (const [theme, ground] of Object.entries(GROUNDS)) {
      for (const [size, viewport] of Object.entries(SIZES)) {
        // axe-core is a script from elsewhere; that the policy is kept is seen in all other checks.
        const tab = await browser.open({ colorScheme: theme, viewport, bypassCSP: true });
        for (const [name, [view, ready]] of Object.entries(VIEWS)) {
          await tab.show(server, view);
          await until(async () => (await tab.count(ready)) > 0, `${name} is drawn`);
          await tab.fits(`${name}, ${viewport.width} px`);
          await tab.picture(`${name}-${size}-${theme}`, { fullPage: name !== "devices" });
          await tab.checkAccess(`${name}, ${theme}, ${viewport.width} px`);
        }
        const now = await tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        ensure(now === ground, `${theme}: the ground is ${now}`);
        await tab.close();
      }
    }
    await profile(browser, server);
    await preferences(browser, server);
    await further(browser, server);
    const count = Object.keys(VIEWS).length;
    return `${count} views, light and dark, 360 and 1920 px: axe-core has nothing to say`;
  } finally {
    await fleet.stop();
    await server.stop();
  }
}

/** A server that nobody has posted to, and one that is away. */
async function empty(path, browser) {
  const server = await Server.start(path, "--drain-timeout", "1s");
  try {
    for (const [theme, size] of [["light", "large"], ["dark", "small"]]) {
      const options = { colorScheme: theme, viewport: SIZES[size], bypassCSP: true };
      const tab = await browser.open(options, [/net::ERR_/]);
      for (const view of ["#/", "#/devices", "#/devices/nobody", "#/anomalies"]) {
        // A device that there is not is answered with 404, which the browser complains about.
        tab.expected.push(/status of 404/);
        await tab.show(server, view);
        await tab.fits(`${view}, empty, ${size}`);
        await tab.picture(`empty-${view.replace(/\W+/g, "-")}${size}-${theme}`);
        await tab.checkAccess(`${view}, empty, ${theme}`);
      }
      await server.stop();
      await tab.waitFor('#pulse[data-state="away"]');
      await tab.fits(`away, ${size}`);
      await tab.picture(`away-${size}-${theme}`);
      await tab.checkAccess(`away, ${theme}`);
      await tab.close();
      await server.start();
    }
  } finally {
    await server.stop();
  }
}

/** The flamegraph is drawn in the page, of a server that works. */
async function profile(browser, server) {
  const tab = await browser.open({ bypassCSP: true });
  await tab.show(server, "#/performance");
  await tab.page.getByLabel("Watch for").selectOption("2");
  const busy = new AbortController();
  const work = (async () => {
    while (!busy.signal.aborted) await server.ask("analyze");
  })();
  await tab.page.getByRole("button", { name: "Take a profile" }).click();
  await tab.waitFor(".flame rect", 30_000);
  busy.abort();
  await work;
  ensure((await tab.count(".flame rect")) > 10, "frames");
  await tab.page.locator(".flame").focus();
  const first = await tab.text(".told");
  ensure(/^100 %\s+all$/.test(first), `all of it: ${first}`);
  await tab.page.keyboard.press("ArrowDown");
  ensure((await tab.text(".told")) !== first, "the arrow goes on to a thread");
  await tab.picture("flamegraph", { fullPage: true });
  await tab.checkAccess("flamegraph");
  await tab.close();
}

/** The switches, reduced motion, and a tab that nobody looks at. */
async function preferences(browser, server) {
  const tab = await browser.open({ reducedMotion: "reduce" });
  await tab.show(server, "#/anomalies");
  const still = await tab.page.evaluate(
    () => getComputedStyle(document.querySelector(".pulse i")).animationName,
  );
  ensure(still === "none", `reduced motion: ${still}`);
  await tab.waitFor(".anomalies tbody .time");
  const row = tab.page.locator(".anomalies tbody .time").last();
  const hour = async () => Number((await row.innerText()).split(":")[0].slice(-2));
  const title = await row.getAttribute("title");
  ensure(/[+-]\d/.test(title) && /Z\)?$/.test(title), `the zone and UTC: ${title}`);
  const own = await hour();
  const utc = tab.page.getByRole("button", { name: "UTC" });
  await utc.press("Enter");
  await until(async () => (await hour()) !== own, "another hour in UTC");
  ensure((await utc.getAttribute("aria-pressed")) === "true", "the switch is on");
  await tab.page.getByRole("button", { name: /Colours/ }).click();
  await tab.page.getByRole("button", { name: /Colours/ }).click();
  const ground = () => tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  ensure((await ground()) === GROUNDS.dark, "dark by the switch");
  await tab.page.reload();
  ensure((await ground()) === GROUNDS.dark, "and after a reload");
  await hidden(tab);
  await tab.close();
}

/** A page that nobody looks at asks for nothing, and goes on when somebody does. */
async function hidden(tab) {
  await tab.waitFor('#pulse[data-state="live"]');
  await tab.setHidden(true);
  await tab.waitFor('#pulse[data-state="resting"]');
  const asked = tab.requests.length;
  await tab.page.waitForTimeout(3_000);
  ensure(tab.requests.length === asked, "it rests while nobody looks");
  await tab.setHidden(false);
  await tab.waitFor('#pulse[data-state="live"]');
  await until(() => tab.requests.length > asked + 2, "it goes on");
}

/** Colours that the system forces, paper, and a page that is twice as large. */
async function further(browser, server) {
  const forced = await browser.open({ forcedColors: "active", bypassCSP: true });
  await forced.show(server);
  await forced.waitFor(".overview .chart .line");
  const grounds = await forced.page.evaluate(() => ["[aria-current]", ":not([aria-current])"]
    .map((of) => getComputedStyle(document.querySelector(`nav a${of}`)).backgroundColor));
  ensure(grounds[0] !== grounds[1], `the view that is shown stands out: ${grounds}`);
  await forced.picture("overview-forced-colors", { fullPage: true });
  await forced.checkAccess("forced colours");
  await forced.close();
  const paper = await browser.open({ colorScheme: "dark" });
  await paper.show(server);
  await paper.waitFor(".overview .chart .line");
  await paper.page.emulateMedia({ media: "print", colorScheme: "dark" });
  const [ink, nav] = await paper.page.evaluate(() => [getComputedStyle(document.body).color,
    getComputedStyle(document.querySelector("nav")).display]);
  ensure(ink === "rgb(23, 32, 43)", `dark ink on white paper: ${ink}`);
  ensure(nav === "none", "no links on paper");
  await paper.picture("overview-paper", { fullPage: true });
  await paper.close();
  // 200 % of a window of 1,440 by 900.
  const viewport = { width: 720, height: 450 };
  const zoomed = await browser.open({ viewport, deviceScaleFactor: 2 });
  for (const [name, [view, ready]] of Object.entries(VIEWS)) {
    await zoomed.show(server, view);
    await until(async () => (await zoomed.count(ready)) > 0, `${name} is drawn`);
    await zoomed.fits(`${name}, at 200 %`);
  }
  await zoomed.close();
}
