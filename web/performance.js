// For performance engineers: what each core does, how long requests take, where CPU time goes.

import * as api from './api.js';
import { Chart } from './chart.js';
import { figure, html, Rows, shown, text } from './dom.js';
import { Flame } from './flame.js';
import { axisLatency, count, exact, latency, measure, percent } from './format.js';
import { panel } from './overview.js';

const PERIOD_MS = 2_000;
const SECONDS = [2, 5, 10, 30];
const GRACE_MS = 15_000;
const PATH = 'debug/pprof/';
/** Distances from the end that are named on the axis. */
const NINES = [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6];

/** The view. */
export class Performance {
  title = 'Performance';
  #app;
  #one = html('p', { class: 'hint' },
    'This is of one replica of the fleet, whichever answers.');
  #askedMs = -Infinity;
  #refused = null;
  #distribution = [];
  #cores = html('tbody');
  #coreRows = new Rows(this.#cores, () => coreRow());
  #route;
  #chart;
  #quantiles = html('dl', { class: 'inline' });
  #quantileRows = new Rows(this.#quantiles, () => quantileRow());
  #flame = new Flame();
  #seconds;
  #take;
  #save;
  #said = html('p', { class: 'hint', role: 'status' });
  #forbidden;
  #board;

  constructor(app) {
    this.#chart = new Chart({
      label: 'Durations of requests by percentile',
      height: () => 260,
      logX: true,
      logY: true,
      labelsY: (values) => axisLatency(values.map((ms) => ms / 1000)),
      ticksX: percentiles,
    });
    this.#route = html('select', { id: 'route', on: { change: () => this.#again(app) } },
      html('option', { value: '' }, 'all requests'));
    this.#seconds = html('select', { id: 'seconds' }, ...SECONDS.map((seconds) =>
      html('option', { value: seconds, selected: seconds === 5 }, `${seconds} s`)));
    const button = (name, className, click) =>
      html('button', { type: 'button', class: className, on: { click } }, name);
    this.#take = button('Take a profile', 'primary', () => this.#takeFlamegraph());
    this.#save = button('Save for pprof', null, () => this.#savePprof());
    const enter = button('Enter the admin token', 'primary', async () => {
      if (await app.askForToken(PATH, this.#refused.message)) this.#again(app);
    });
    this.#forbidden = panel('These pages are for this machine', html('p', { class: 'detail' }),
      enter);
    this.#board = this.#layOut();
    this.#app = app;
    this.element = html('div', { class: 'view performance' }, html('h1', {}, 'Performance'),
      this.#one, this.#forbidden, this.#board);
    this.#forbidden.hidden = true;
  }

  #layOut() {
    const columns = ['Core', 'Busy', 'Connections', 'Turns', 'Events', 'Events a turn'];
    const scrolls = { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Threads' };
    const threads = panel('Threads', html('div', scrolls, html('table', {}, html('thead', {},
      html('tr', {}, ...columns.map((name, index) => html('th', {
        scope: 'col',
        class: index > 0 ? 'number' : null,
      }, name)))), this.#cores)));
    const durations = panel(
      'Latency',
      html('div', { class: 'toolbar' }, html('label', { for: 'route' }, 'Requests to'), this.#route,
        this.#quantiles),
      this.#chart.element,
    );
    const profile = panel(
      'CPU time by function',
      html('div', { class: 'toolbar' }, html('label', { for: 'seconds' }, 'Watch for'),
        this.#seconds, this.#take, this.#save, this.#said),
      this.#flame.element,
    );
    this.#flame.element.hidden = true;
    profile.classList.add('profile');
    return html('div', {}, html('div', { class: 'halves' }, durations, threads), profile);
  }

  show() {
    this.#askedMs = -Infinity;
  }

  hide() {}

  #again(app) {
    this.#askedMs = -Infinity;
    app.live.now();
  }

  /** Asks for threads and latencies. */
  async ask({ signal }) {
    if (performance.now() - this.#askedMs < PERIOD_MS - 500) return;
    const route = this.#route.value;
    const query = route === '' ? '' : `?route=${encodeURIComponent(route)}`;
    try {
      const [threads, durations] = await Promise.all([
        api.plain(`${PATH}threads`, { signal }),
        api.plain(`${PATH}latency${query}`, { signal }),
      ]);
      if (this.#route.options.length === 1) {
        const names = routes(await api.plain(PATH, { signal }));
        this.#route.append(...names.map((name) => html('option', {}, name)));
      }
      this.#refused = null;
      this.#coreRows.show(readThreads(threads).map((core) => [core[0], core]));
      this.#distribution = readDistribution(durations);
    } catch (error) {
      // 401 and 403 are about this part of the page, not about all of it.
      if (!(error instanceof api.Refused) || error.status >= 500) throw error;
      this.#refused = error;
    }
    this.#askedMs = performance.now();
  }

  /** Shows the last that was heard. */
  update() {
    const refused = this.#refused;
    shown(this.#one, this.#app.live.fleet !== null);
    shown(this.#forbidden, refused !== null);
    shown(this.#board, refused === null);
    if (refused !== null) {
      text(this.#forbidden.querySelector('.detail'), refused.message);
      return;
    }
    this.#drawLatency();
  }

  #drawLatency() {
    const points = this.#distribution;
    const at = (share) => points.find(({ quantile }) => quantile >= share)?.ms ?? null;
    const total = points.at(-1)?.count ?? 0;
    this.#quantileRows.show([
      ['requests', count(total), exact(total, 'requests')],
      ...[0.5, 0.9, 0.99, 0.999].map((share) => {
        const ms = at(share);
        return [percentile(share), latency(ms === null ? null : ms / 1000), exact(ms, 'ms')];
      }),
    ].map((one) => [one[0], one]));
    const finite = points.filter(({ quantile, ms }) => quantile < 1 && ms > 0);
    const xs = finite.map(({ quantile }) => 1 / (1 - quantile));
    const tell = (index) => {
      const { quantile, ms, count: within } = finite[index];
      return `${percentile(quantile)} within ${latency(ms / 1000)}: ${count(within)} requests`;
    };
    this.#chart.draw({
      xs,
      domain: [1, Math.max(10, xs.at(-1) ?? 10)],
      line: finite.map(({ ms }) => ms),
      summary: `half within ${latency((at(0.5) ?? NaN) / 1000)}, `
        + `99 % within ${latency((at(0.99) ?? NaN) / 1000)}`,
      tell,
    });
  }

  async #takeFlamegraph() {
    await this.#profile('flamegraph', api.plain, (picture) => {
      const frames = this.#flame.show(picture);
      this.#flame.element.hidden = frames === 0;
      return frames === 0 ? 'No CPU time was used meanwhile.' : '';
    });
  }

  async #savePprof() {
    await this.#profile('profile', api.blob, (file) => {
      const address = URL.createObjectURL(file);
      html('a', { href: address, download: 'profile.pb.gz' }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
      return 'Saved as profile.pb.gz.';
    });
  }

  async #profile(name, ask, use) {
    const seconds = Number(this.#seconds.value);
    const buttons = [this.#take, this.#save];
    for (const button of buttons) button.disabled = true;
    const endMs = Date.now() + seconds * 1000;
    const say = () => {
      const left = Math.ceil((endMs - Date.now()) / 1000);
      text(this.#said, left > 0 ? `Watching for ${left} s more …` : 'Nearly there …');
    };
    say();
    const timer = setInterval(say, 1000);
    try {
      const options = { timeoutMs: seconds * 1000 + GRACE_MS };
      text(this.#said, use(await ask(`${PATH}${name}?seconds=${seconds}`, options)));
    } catch (error) {
      if (!(error instanceof api.Refused || error instanceof api.Away)) throw error;
      text(this.#said, error.message);
    } finally {
      clearInterval(timer);
      for (const button of buttons) button.disabled = false;
    }
  }
}

/** Returns the rows of `/debug/pprof/threads`, numbers all. */
export function readThreads(table) {
  const [, ...lines] = table.trim().split('\n');
  return lines.map((line) => line.trim().split(/\s+/).map(Number));
}

/** Returns the points of a distribution in the text format of HdrHistogram. */
export function readDistribution(table) {
  const points = [];
  for (const line of table.split('\n')) {
    const [ms, quantile, within] = line.trim().split(/\s+/).map(Number);
    if ([ms, quantile, within].every(Number.isFinite)) points.push({ ms, quantile, count: within });
  }
  return points;
}

/** Returns the routes that `/debug/pprof/` lists. */
export function routes(index) {
  const [, list = ''] = index.split('route= for one of:\n');
  const found = [];
  for (const line of list.split('\n')) {
    if (!line.startsWith('     ')) break;
    found.push(line.trim());
  }
  return found;
}

const percentile = (share) => `${Number((share * 100).toPrecision(7))} %`;

function percentiles([, last], most) {
  const names = NINES.filter((at) => at <= last * 1.001);
  const step = Math.ceil(names.length / most);
  return names.filter((_, index) => index % step === 0)
    .map((at) => ({ at, text: percentile(1 - 1 / at) }));
}

function coreRow() {
  const cells = Array.from({ length: 6 }, (_, index) =>
    html('td', { class: index > 0 ? 'number' : null }));
  const update = ([core, busy, ...rest]) => {
    text(cells[0], String(core));
    figure(cells[1], percent(busy), exact(busy * 100, '%'));
    rest.forEach((value, index) => {
      const short = index < 3 ? count(value) : measure(value);
      figure(cells[index + 2], short, exact(value));
    });
  };
  return { element: html('tr', {}, ...cells), update };
}

function quantileRow() {
  const name = html('dt');
  const value = html('dd');
  const update = ([label, short, exactly]) => {
    text(name, label);
    figure(value, short, exactly);
  };
  return { element: html('div', {}, name, value), update };
}

