// A real Chromium, Debian's, and a page in it whose every complaint is a failure.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Fault, ensure, until } from "./programs.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// Beside the sources: nothing of these packages is part of the tree.
const require = createRequire(`${ROOT}/.tools/browser/package.json`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const EXECUTABLE = "/usr/bin/chromium";
const PICTURES = `${ROOT}/target/page`;

/** The browser of one run. */
export class Browser {
  #browser;

  static async start() {
    ensure(existsSync(EXECUTABLE), "no Chromium: ci/setup installs it");
    mkdirSync(PICTURES, { recursive: true });
    const browser = new Browser();
    browser.#browser = await chromium.launch({
      executablePath: EXECUTABLE,
      // The sandbox of Chromium does not work as root, which continuous integration may run as.
      chromiumSandbox: process.getuid() !== 0,
      args: ["--js-flags=--expose-gc"],
    });
    return browser;
  }

  async close() {
    await this.#browser.close();
  }

  /** Opens a tab; `expected` are the complaints that its check causes. */
  async open(options = {}, expected = []) {
    const context = await this.#browser.newContext({
      viewport: { width: 1440, height: 900 },
      timezoneId: "Europe/Berlin",
      colorScheme: "light",
      ...options,
    });
    return Tab.of(await context.newPage(), expected);
  }
}

/** A tab, with what it complained about. */
export class Tab {
  complaints = [];
  requests = [];

  static async of(page, expected) {
    const tab = new Tab();
    tab.page = page;
    tab.expected = expected;
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type())) return;
      tab.#complain(`${message.text()} ${message.location().url}`);
    });
    page.on("pageerror", (error) => tab.#complain(error.stack ?? String(error)));
    page.on("request", (request) => tab.requests.push(request.url()));
    await page.exposeFunction("complainOfPolicy", (report) => tab.#complain(report));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const { effectiveDirective, blockedURI, sample } = event;
        window.complainOfPolicy(`CSP: ${effectiveDirective} ${blockedURI} ${sample}`);
      });
    });
    return tab;
  }

  #complain(what) {
    if (!this.expected.some((pattern) => pattern.test(what))) this.complaints.push(what);
  }

  /** Shows a view of a server. */
  async show(server, view = "#/") {
    await this.page.goto(`${server.url}/${view}`);
    await this.waitFor('#pulse[data-state="live"]');
  }

  /** Goes to another view as a link does. */
  async turnTo(view) {
    await this.page.evaluate((hash) => {
      location.hash = hash;
    }, view);
  }

  async waitFor(selector, withinMs = 10_000) {
    try {
      await this.page.waitForSelector(selector, { timeout: withinMs });
    } catch {
      throw new Fault(`${selector}: not within ${withinMs / 1000} s`);
    }
  }

  /** Returns the text of the first element that is shown. */
  text(selector) {
    return this.page.locator(selector).first().innerText();
  }

  /** Waits for a text within an element. */
  waitForText(selector, pattern, withinMs = 10_000) {
    const ask = async () => pattern.test(await this.text(selector));
    return until(ask, `${selector} says ${pattern}`, withinMs);
  }

  title(selector) {
    return this.page.locator(selector).first().getAttribute("title");
  }

  count(selector) {
    return this.page.locator(selector).count();
  }

  /** Nothing makes the page wider than the window. */
  async fits(what) {
    const [is, may] = await this.page.evaluate(() =>
      [document.documentElement.scrollWidth, innerWidth]);
    ensure(is <= may, `${what}: ${is} px wide`);
  }

  /** Has the page believe that nobody looks, or that somebody does. */
  async setHidden(is) {
    await this.page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, is);
  }

  /** Takes a picture, for people to look at, and returns its path. */
  async picture(name, options = {}) {
    const path = `${PICTURES}/${name}.png`;
    await this.page.evaluate(() => scrollTo(0, 0));
    await this.page.screenshot({ path, ...options });
    return path;
  }

  /** Has axe-core look for what keeps people out; the tab has to bypass the policy of the page, as
   * axe-core is a script from elsewhere. */
  async checkAccess(what) {
    await this.page.evaluate(AXE);
    const found = await this.page.evaluate(async () => {
      const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
      return violations.map(({ id, help, nodes }) =>
        `${id}: ${help}: ${nodes.slice(0, 3).map(({ html }) => html).join(" ")}`);
    });
    ensure(found.length === 0, `${what}: axe-core: ${found.join("; ")}`);
  }

  /** Ends the tab; what it complained about is a fault. */
  async close() {
    await this.page.context().close();
    ensure(this.complaints.length === 0, `the browser complains: ${this.complaints.join("; ")}`);
  }
}
