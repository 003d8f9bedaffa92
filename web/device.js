// One device: its window as charts, its anomalies, its newest metric.

import * as api from './api.js';
import { anomalyRow, REASONS } from './anomalies.js';
import { Chart } from './chart.js';
import { factRow, figure, html, Rows, shown, text } from './dom.js';
import { axis, count, exact, measure, score } from './format.js';
import { ago } from './health.js';
import { address } from './links.js';
import { panel } from './overview.js';
import { exactTime, moment, stamp } from './zone.js';

/** The view. */
export class Device {
  title = 'Device';
  #app;
  #id = null;
  #scope = null;
  #answer = null;
  #latest = null;
  #accepted = null;
  #fault = null;
  #heading = html('h1', { class: 'id' });
  #badge = html('span', { class: 'badge' }, 'odd now');
  #facts = html('dl', { class: 'inline facts' });
  #factRows = new Rows(this.#facts, () => factRow());
  #charts = html('div', { class: 'fields' });
  #panels = new Rows(this.#charts, (item) => new WindowPanel(item));
  #anomalies = html('tbody');
  #anomalyRows = new Rows(this.#anomalies, () => anomalyRow({ isShort: false }));
  #none = html('p', { class: 'hint' }, 'None that is still remembered.');
  #episodes = html('p', { class: 'main' });
  #json = html('code');
  #latestFault = html('p', { class: 'hint' });
  #faultText = html('p', { class: 'hint empty' });
  #body;

  constructor(app) {
    this.#app = app;
    const columns = ['Time', 'Device', 'Field', 'Value', 'Mean ± σ', 'z'];
    const scrolls = (label) =>
      ({ class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label });
    const anomalies = panel(
      'Episodes',
      this.#episodes,
      html(
        'div',
        scrolls('Anomalous values'),
        html('table', { class: 'of-device' }, html('thead', {}, html('tr', {}, ...columns.map(
          (name, index) => html('th', { scope: 'col', class: index > 2 ? 'number' : null }, name),
        ))), this.#anomalies),
      ),
      this.#none,
    );
    const latest = panel('Latest metric', html('pre', scrolls('Latest metric'), this.#json),
      this.#latestFault);
    this.#body = html('div', { class: 'columns' }, this.#charts,
      html('div', { class: 'side' }, anomalies, latest));
    this.element = html(
      'div',
      { class: 'view device-view' },
      html('p', { class: 'back' }, html('a', { href: address('devices') }, 'All devices')),
      html('div', { class: 'toolbar' }, this.#heading, this.#badge, this.#facts),
      this.#faultText,
      this.#body,
    );
  }

  /** Shows the device that the address names. */
  show({ id, scope }) {
    if (id === this.#id && scope === this.#scope) return;
    this.#id = id;
    this.#scope = scope;
    this.title = id;
    this.#answer = null;
    this.#latest = null;
    this.#accepted = null;
    this.#fault = null;
    text(this.#heading, id);
    // The charts of another device have nothing to do with those of this one.
    this.#panels.show([]);
    this.#body.hidden = true;
    this.#badge.hidden = true;
    this.#facts.hidden = true;
    text(this.#faultText, '');
  }

  hide() {}

  /** Asks for the window, and for the newest metric when there is a newer one. */
  async ask({ signal, isRestarted, scoped }) {
    // The counts of another process say nothing about those of this one.
    if (isRestarted) this.#accepted = null;
    const id = this.#id;
    const path = api.devicePath(id);
    try {
      const query = `analyze?device_id=${encodeURIComponent(id)}`;
      const answer = await api.json(scoped(path ?? query), { signal });
      if (id !== this.#id) return;
      this.#answer = answer;
      this.#fault = null;
    } catch (error) {
      if (!(error instanceof api.Refused) || error.status === 401) throw error;
      if (id === this.#id) this.#fault = error;
      return;
    }
    if (path !== null && age(this.#answer) !== this.#accepted) {
      await this.#askForLatest(id, signal, scoped);
    }
  }

  async #askForLatest(id, signal, scoped) {
    const accepted = age(this.#answer);
    try {
      const latest = await api.plain(scoped(api.devicePath(id, '/latest')), { signal });
      if (id !== this.#id) return;
      this.#latest = { text: laidOut(latest), fault: '' };
    } catch (error) {
      if (!(error instanceof api.Refused) || error.status === 401) throw error;
      // The replica that holds the device may not have written it yet.
      const isToCome = error.status === 404 && this.#app.live.scope === 'fleet';
      if (!isToCome || this.#latest === null) this.#latest = { text: '', fault: error.message };
      // An outage of the store ends without a further metric.
      if (isToCome || error.status >= 500) return;
    }
    this.#accepted = accepted;
  }

  /** Shows the last that was heard. */
  update() {
    const answer = this.#answer;
    shown(this.#faultText, this.#fault !== null);
    if (this.#fault !== null) text(this.#faultText, faultOf(this.#fault, this.#app.live));
    shown(this.#body, answer !== null);
    shown(this.#facts, answer !== null);
    if (answer === null) return;
    const { fields } = this.#app.live.stats;
    const known = fields.filter(({ name }) => (answer[name]?.count ?? 0) > 0);
    shown(this.#badge, known.some(({ name }) => answer[name].anomaly));
    const seen = moment(answer.last_seen);
    const { instance } = answer;
    const holder = this.#app.live.fleet === null
      ? []
      : [['held by', instance, `${instance} heard it last`]];
    this.#factRows.show([
      ...holder,
      ['metrics', count(answer.totals.accepted), exact(answer.totals.accepted, 'metrics')],
      ['last seen', ago(seen), exactTime(seen)],
      ['window', `${answer.window.count} of ${answer.window.size}`, 'events that are looked at'],
    ].map((fact) => [fact[0], fact]));
    this.#panels.show(known.map((field) => [field.name, { field, answer }]));
    const { points, episodes, recent } = answer.anomalies;
    const many = (number, one) => `${count(number)} ${one}${number === 1 ? '' : 's'}`;
    const said = `${many(episodes, 'episode')} of ${many(points, 'anomalous value')}`;
    figure(this.#episodes, said, `${exact(episodes)} of ${exact(points)}`);
    this.#anomalyRows.show(recent.map((one) => [`${one.timestamp} ${one.field} ${one.z}`, one]));
    shown(this.#none, recent.length === 0);
    text(this.#json, this.#latest?.text ?? '');
    shown(this.#json.parentElement, (this.#latest?.text ?? '') !== '');
    text(this.#latestFault, this.#latest?.fault ?? '');
  }
}

/** Returns what differs once there is a newer metric: another replica counts anew. */
const age = ({ instance, totals }) => `${instance} ${totals.accepted}`;

function faultOf(error, { scope }) {
  if (error.status !== 404) return error.message;
  const nobody = scope === 'fleet' ? 'No replica knows such a' : 'This server knows no such';
  return `${nobody} device: it has sent nothing, or nothing for too long.`;
}

/** Returns JSON with a line for each member; what is none, as it is. Numbers stay as they came:
 * they are not read, which would round them. */
function laidOut(json) {
  const line = json.trim();
  try {
    JSON.parse(line);
  } catch {
    return line;
  }
  const token = /"(?:[^"\\]|\\.)*"|[{},:]|[^\s"{},:]+/g;
  const space = { '{': '{\n  ', '}': '\n}', ',': ',\n  ', ':': ': ' };
  return (line.match(token) ?? []).map((part) => space[part] ?? part).join('');
}

/** Returns what the second judge says of a field, as details; nothing where it is not asked. */
function novelty(of) {
  const details = [];
  if (of?.alerts !== undefined) {
    const { alerts, last_alert: last, score: now } = of;
    const said = last === null ? '' : `${exactTime(moment(last.timestamp))}, ${REASONS[last.reason]}`;
    const since = last === null ? 'no alert so far' : `the last one at ${said}`;
    const many = alerts === 1 ? '1 alert' : `${count(alerts)} alerts`;
    details.push(['new', `${measure(now)}, ${many}`, `a score of ${now}, of 1 at most; ${since}`]);
  }
  if (of?.still !== undefined && of.still > 1) {
    details.push(['still', count(of.still), 'events of this value in succession']);
  }
  return details;
}

/** Returns the ends of the band in which the values of this hour have been. */
function limitsOf(of) {
  const [hour] = of?.quantities ?? [];
  if (hour === undefined || of.usual === null) return [];
  return [of.usual + hour.low, of.usual + hour.high];
}

/** The window of a field. */
class WindowPanel {
  #name;
  #chart;
  #last = html('span', { class: 'value' });
  #details = html('dl', { class: 'inline' });
  #rows = new Rows(this.#details, () => factRow());
  #drawn = null;

  constructor({ field }) {
    this.#name = field.name;
    this.#chart = new Chart({
      label: `${field.name}: the values of the window`,
      height: (width) => Math.min(270, Math.max(210, width * 0.31)),
      reach: 3,
      labelsY: axis,
      ticksX: (domain, most) => this.#times(domain, most),
    });
    this.element = html(
      'section',
      { class: 'panel field' },
      html(
        'div',
        { class: 'head' },
        html('h2', {}, field.name),
        html('p', { class: 'main' }, this.#last, ' ', html('span', { class: 'unit' }, 'last')),
        this.#details,
      ),
      this.#chart.element,
    );
    this.element.dataset.field = field.name;
  }

  #stamps = [];

  /** Returns ticks at some of the events: they are as far apart on the axis as one another,
   * whatever their times are. */
  #times([from, to], most) {
    const step = Math.max(1, Math.ceil((to - from) / Math.max(1, most - 1)));
    const found = [];
    for (let at = to; at >= from; at -= step) found.push({ at, text: stamp(this.#stamps[at]) });
    return found;
  }

  update({ answer }) {
    const of = answer[this.#name];
    figure(this.#last, measure(of.last), exact(of.last));
    this.#last.classList.toggle('odd', of.anomaly);
    this.#rows.show([
      ['mean', measure(of.rolling_average), exact(of.rolling_average)],
      ['σ', measure(of.stddev), exact(of.stddev)],
      ['z', score(of.z_score), exact(of.z_score, 'standard deviations')],
      ['range', `${measure(of.min)} to ${measure(of.max)}`, `${exact(of.min)} to ${exact(of.max)}`],
      ...novelty(of.novelty),
    ].map((detail) => [detail[0], detail]));
    // Without `values` the device is one that has no path.
    if (answer.values === undefined || this.#drawn === answer) return;
    this.#drawn = answer;
    this.#draw(answer.values, of);
  }

  #draw(window, of) {
    const { timestamps, [this.#name]: series } = window;
    const { values, z_scores: scores, anomalies } = series;
    this.#stamps = timestamps.map(moment);
    const last = Math.max(1, values.length - 1);
    const { rolling_average: mean, stddev } = of;
    const flat = (value) => new Array(values.length).fill(value);
    const tell = (index) => {
      const verdict = anomalies[index] ? '  anomalous' : '';
      const z = scores[index] === null ? 'not judged' : `z ${score(scores[index])}`;
      return `${stamp(this.#stamps[index])}  ${measure(values[index])}  ${z}${verdict}`;
    };
    const marks = [];
    values.forEach((value, index) => {
      if (anomalies[index] && value !== null) marks.push({ x: index, value, text: tell(index) });
    });
    this.#chart.draw({
      xs: values.map((_, index) => index),
      domain: [0, last],
      line: values,
      isDotted: true,
      band: stddev === null
        ? null
        : { low: flat(mean - 2 * stddev), high: flat(mean + 2 * stddev) },
      mean: mean === null ? null : flat(mean),
      limits: limitsOf(of.novelty),
      marks,
      summary: `${values.length} values, ${marks.length} anomalous, mean ${measure(mean)}, `
        + `last ${measure(of.last)}`,
      tell,
    });
  }
}
