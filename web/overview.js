// The overview: is it healthy, and what is odd.

import { anomalyRow, oddness } from './anomalies.js';
import { Chart } from './chart.js';
import { Cores, fillBar } from './cores.js';
import { factRow, figure, html, Rows, shown, text } from './dom.js';
import { axis, bytes, count, exact, latency, measure, percent, rate, score, span }
  from './format.js';
import { address } from './links.js';
import { ofWhom } from './scope.js';
import { Spark } from './spark.js';
import { Welcome } from './welcome.js';
import { exactTime, minute, moment, stamp } from './zone.js';

const ANOMALIES_SHOWN = 12;
/** Places among those that novelties have: where devices are noisy, none would be seen. */
const NOVELTIES_SHOWN = 4;
const MARKS_MAX = 40;
const STEPS_MS = [15_000, 30_000, 60_000, 120_000, 300_000];

/** The view. */
export class Overview {
  title = 'Overview';
  #app;
  #welcome = new Welcome();
  #figures = {
    accepted: new Figure('Metrics', 'accepted'),
    anomalies: new Figure('Anomalies', 'anomalies', 'odd'),
    latency: new Figure('Latency, 99 % within', 'p99_seconds'),
    store: new Figure('Store', 'pending', 'calm'),
  };
  #capacity = new Capacity();
  #fields;
  #cores = new Cores();
  #anomalies;
  #none = html('p', { class: 'hint' }, 'None so far.');
  #odd = html('span', { class: 'key anomalous' });
  #kept = html('span', {}, 'A fleet has no past of averages: these lines begin with this page.');
  #board;

  constructor(app) {
    this.#app = app;
    const fields = html('div', { class: 'fields' });
    this.#fields = new Rows(fields, (field) => new FieldPanel(field));
    const key = (name, words) => html('span', { class: `key ${name}` }, words);
    const legend = html('p', { class: 'hint keys' },
      key('average', 'rolling average of all devices'),
      key('within', 'two standard deviations around it'),
      this.#odd, this.#kept);
    const latest = html('tbody');
    this.#anomalies = new Rows(latest, () => anomalyRow({ isShort: true }));
    const side = html(
      'div',
      { class: 'side' },
      this.#cores.element,
      panel(
        'Latest anomalies',
        html('div', { class: 'scroll' },
          html('table', { class: 'short' }, anomaliesHead(), latest)),
        this.#none,
        html('p', { class: 'more' }, html('a', { href: address('anomalies') }, 'All anomalies')),
      ),
    );
    this.#board = html(
      'div',
      {},
      html(
        'div',
        { class: 'figures' },
        ...Object.values(this.#figures).map(({ element }) => element),
        this.#capacity.element,
      ),
      html('div', { class: 'columns' }, html('div', {}, fields, legend), side),
    );
    this.element = html(
      'div',
      { class: 'view overview' },
      html('h1', { class: 'unseen' }, 'Overview'),
      this.#welcome.element,
      this.#board,
    );
    this.#board.hidden = true;
    this.#welcome.element.hidden = true;
  }

  show() {}

  hide() {}

  /** Asks for what this view needs beside `/stats`. */
  async ask(turn) {
    await this.#app.feed.ask(turn);
  }

  /** Shows the last that was heard. */
  update() {
    const { stats, history, scope } = this.#app.live;
    const isEmpty = stats.totals.accepted === 0;
    shown(this.#welcome.element, isEmpty);
    shown(this.#board, !isEmpty);
    if (isEmpty) {
      this.#welcome.update(stats);
      return;
    }
    this.#showFigures(stats, history);
    this.#capacity.update(stats);
    const whose = ofWhom(this.#app.live);
    for (const one of [...Object.values(this.#figures), this.#capacity]) one.mark(whose);
    shown(this.#kept, scope === 'fleet');
    const { items, since: oldest } = this.#app.feed;
    const panels = stats.fields.map((field) => [field.name, { field, history, items }]);
    this.#fields.show(panels);
    this.#cores.show(stats);
    this.#anomalies.show(newest(items).map((anomaly) => [anomaly.key, anomaly]));
    shown(this.#none, items.length === 0);
    // Those before are not kept; the chart must not look as if there had been none.
    const since = oldest === null ? '' : ` (since ${stamp(moment(oldest))})`;
    text(this.#odd, `value that is odd for its device${since}`);
  }

  #showFigures(stats, history) {
    const { accepted, anomalies, latency: delay, store } = this.#figures;
    const { rates, totals } = stats;
    const now = rates['1s'];
    accepted.show(rate(now.accepted), '/s', exact(now.accepted, 'metrics a second'), [
      ['10 s', rate(rates['10s'].accepted), exact(rates['10s'].accepted, 'metrics a second')],
      ['60 s', rate(rates['60s'].accepted), exact(rates['60s'].accepted, 'metrics a second')],
      ['total', count(totals.accepted), exact(totals.accepted, 'metrics accepted')],
      ['rejected', count(totals.rejected), exact(totals.rejected, 'metrics rejected')],
    ], history);
    const inMinute = Math.round(rates['60s'].anomalies * 60);
    anomalies.show(count(inMinute), 'in a minute', exact(rates['60s'].anomalies, 'a second'), [
      ['now', `${rate(now.anomalies)} /s`, exact(now.anomalies, 'anomalies a second')],
      ['points', count(totals.anomalies), exact(totals.anomalies, 'anomalous values')],
      ['episodes', count(totals.episodes), exact(totals.episodes, 'episodes')],
    ], history);
    const { p50, p99, 'p99.9': p999, count: requests } = stats.latency_seconds;
    const [value, unit = ''] = latency(p99).split(' ');
    delay.show(value, unit, exact(p99, 's'), [
      ['50 %', latency(p50), exact(p50, 's')],
      ['99.9 %', latency(p999), exact(p999, 's')],
      ['requests', count(requests), exact(requests, 'requests with metrics in the last minute')],
    ], history);
    this.#showStore(store, stats.store, history);
  }

  #showStore(figure, store, history) {
    const name = store.kind === 'memory' ? 'memory' : store.kind;
    const state = store.up ? 'up' : 'away';
    const since = moment(store.away_since);
    const details = [
      ['waiting', count(store.pending), exact(store.pending, 'metrics wait')],
      ['queue', percent(store.queue_share), `${exact(store.queue_share * 100)} %`],
      ['stored', count(store.stored), exact(store.stored, 'metrics stored')],
      ['dropped', count(store.dropped), exact(store.dropped, 'metrics dropped')],
    ];
    // What replicas that died had pending.
    if (store.lost > 0) details.push(['lost', count(store.lost), exact(store.lost, 'metrics lost')]);
    figure.show(state, store.up ? name : `${name}, since ${stamp(since)}`,
      store.up ? `${name}: takes metrics` : `away since ${exactTime(since)}`, details, history);
    figure.element.classList.toggle('bad', !store.up);
  }
}

/** Returns the newest findings, among them the newest novelties if there are any. */
function newest(items) {
  const chosen = new Set(items.filter(({ kind }) => kind === 'novelty').slice(0, NOVELTIES_SHOWN));
  for (const item of items) {
    if (chosen.size === ANOMALIES_SHOWN) break;
    chosen.add(item);
  }
  return items.filter((item) => chosen.has(item));
}

const anomaliesHead = () => html(
  'thead',
  { class: 'unseen' },
  html('tr', {}, ...['Time', 'Device', 'Field', 'Value', 'z'].map((name) =>
    html('th', { scope: 'col' }, name))),
);

/** Makes a panel with a heading. */
export function panel(title, ...children) {
  return html('section', { class: 'panel' }, html('h2', {}, title), ...children);
}

/** A figure with its course over five minutes, and further ones below it. */
class Figure {
  #series;
  #value = html('span', { class: 'value' });
  #unit = html('span', { class: 'unit' });
  #whose = html('span', { class: 'whose' });
  #spark;
  #details = html('dl');
  #rows;

  constructor(title, series, className = '') {
    this.#series = series;
    this.#spark = new Spark({ className });
    this.#rows = new Rows(this.#details, () => factRow());
    this.element = html(
      'section',
      { class: 'panel figure' },
      html('h2', {}, title, ' ', this.#whose),
      html('p', { class: 'main' }, this.#value, ' ', this.#unit),
      this.#spark.element,
      this.#details,
    );
    this.element.dataset.figure = series;
  }

  /** Says whose figures these are. */
  mark(whose) {
    text(this.#whose, whose);
  }

  show(value, unit, exactly, details, history) {
    figure(this.#value, value, exactly);
    text(this.#unit, unit);
    this.#spark.draw(history.shown(this.#series));
    this.#rows.show(details.map((detail) => [detail[0], detail]));
  }
}

/** What is in use of what there is. */
class Capacity {
  #meters = {
    devices: new Meter('devices'),
    connections: new Meter('connections'),
    memory: new Meter('memory'),
  };
  #whose = html('span', { class: 'whose' });
  #facts = html('dl');
  #rows = new Rows(this.#facts, () => factRow());

  constructor() {
    const meters = Object.values(this.#meters).map(({ element }) => element);
    this.element = panel('Capacity', ...meters, this.#facts);
    this.element.classList.add('figure', 'capacity');
    this.element.querySelector('h2').append(' ', this.#whose);
  }

  mark(whose) {
    text(this.#whose, whose);
  }

  update({ devices, connections, memory, uptime_seconds: uptime, started }) {
    const { devices: held, connections: open, memory: resident } = this.#meters;
    held.show(devices.held, devices.max, count, 'devices');
    open.show(connections.open, connections.max, count, 'connections');
    resident.show(memory.resident_bytes, memory.limit_bytes, bytes, 'bytes');
    const facts = [['up for', span(uptime), `since ${exactTime(moment(started))}`]];
    if (devices.refused > 0) {
      facts.push(['refused', count(devices.refused), exact(devices.refused, 'metrics of devices')]);
    }
    this.#rows.show(facts.map((fact) => [fact[0], fact]));
  }
}

/** A share of a limit as a bar. */
class Meter {
  #value = html('span', { class: 'amount' });
  #bar = html('span', { class: 'bar' });

  constructor(name) {
    this.element = html(
      'div',
      { class: 'meter' },
      html('span', { class: 'name' }, name),
      this.#value,
      html('span', { class: 'track', 'aria-hidden': 'true' }, this.#bar),
    );
  }

  show(value, limit, format, unit) {
    const share = limit ? value / limit : 0;
    const of = limit ? ` of ${format(limit)}` : '';
    const exactly = limit ? ` of ${exact(limit, unit)}` : ` ${unit}`;
    figure(this.#value, `${format(value)}${of}`, `${exact(value)}${exactly}`);
    fillBar(this.#bar, share);
  }
}

/** The rolling average of a field with its band, and the anomalous values. */
class FieldPanel {
  #name;
  #chart;
  #average = html('span', { class: 'value' });
  #details = html('dl', { class: 'inline' });
  #rows = new Rows(this.#details, () => factRow());

  constructor({ field }) {
    this.#name = field.name;
    this.#chart = new Chart({
      label: `${field.name}: rolling average of the last minutes`,
      height: () => 200,
      labelsY: axis,
      tellsMarks: true,
      ticksX: minutes,
    });
    this.element = html(
      'section',
      { class: 'panel field' },
      html(
        'div',
        { class: 'head' },
        html('h2', {}, field.name),
        html('p', { class: 'main' }, this.#average, ' ',
          html('span', { class: 'unit' }, 'average')),
        this.#details,
      ),
      this.#chart.element,
    );
    this.element.dataset.field = field.name;
  }

  update({ field, history, items }) {
    figure(this.#average, measure(field.rolling_average), exact(field.rolling_average));
    this.#rows.show([
      ['σ', measure(field.stddev), exact(field.stddev)],
      ['last', measure(field.last), exact(field.last)],
      ['z', score(field.z_score), exact(field.z_score, 'standard deviations')],
    ].map((detail) => [detail[0], detail]));
    if (history.end === null) return;
    const mean = history.shown(`mean ${this.#name}`);
    const stddev = history.shown(`stddev ${this.#name}`);
    const toMs = history.end * 1000;
    const fromMs = toMs - (mean.length - 1) * 1000;
    const xs = Array.from(mean, (_, index) => fromMs + index * 1000);
    this.#chart.draw({
      xs,
      domain: [fromMs, toMs],
      line: mean,
      band: {
        low: mean.map((value, index) => value - 2 * stddev[index]),
        high: mean.map((value, index) => value + 2 * stddev[index]),
      },
      marks: this.#marks(items, fromMs, toMs),
      summary: `average ${measure(field.rolling_average)}, σ ${measure(field.stddev)}`,
      tell: (index) => tellMean(xs[index], mean[index], stddev[index]),
    });
  }

  #marks(items, fromMs, toMs) {
    const found = [];
    for (const anomaly of items) {
      const x = anomaly.field === this.#name ? placeInTime(anomaly, fromMs, toMs) : null;
      if (x !== null) found.push({ x, anomaly });
    }
    // The oddest, if there are more than an eye can tell apart.
    found.sort((a, b) => oddness(b.anomaly) - oddness(a.anomaly));
    return found.slice(0, MARKS_MAX).map(({ x, anomaly }) => {
      const { device_id: id, kind, reason, value, z } = anomaly;
      const why = kind === 'novelty' ? `new: ${reason}` : score(z);
      const name = `${id ?? 'no device'}: ${measure(value)}, ${why}, ${stamp(x)}`;
      return { x, value, text: name };
    });
  }
}

/** Returns where an anomaly belongs on the axis: at its own time, or, when its device's clock has
 * another idea of now, when this page heard of it; `null` if that is not known. */
function placeInTime({ timestamp, seenMs }, fromMs, toMs) {
  const own = moment(timestamp);
  if (own >= fromMs && own <= toMs + 2000) return Math.min(own, toMs);
  return seenMs === null ? null : Math.min(seenMs, toMs);
}

const tellMean = (ms, mean, stddev) =>
  `${stamp(ms)}  average ${measure(mean)}  σ ${measure(stddev)}`;

/** Returns ticks at whole minutes, or at parts of one if there are few. */
function minutes([from, to], most) {
  const step = STEPS_MS.find((step) => (to - from) / step <= most) ?? STEPS_MS.at(-1);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    found.push({ at, text: step < 60_000 ? stamp(at) : minute(at) });
  }
  return found;
}
