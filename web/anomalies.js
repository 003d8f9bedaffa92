// The live list of anomalies and novelties.

import { attribute, figure, html, Rows, shown, text } from './dom.js';
import { KEPT } from './feed.js';
import { count, exact, measure, score } from './format.js';
import { deviceLink } from './links.js';
import { exactTime, moment, stamp } from './zone.js';

/** z-scores from which on a bar is full. */
const BAR_FULL = 12;

const KINDS = [['', 'all kinds'], ['anomaly', 'anomalies'], ['novelty', 'novelties']];

/** The view. */
export class Anomalies {
  title = 'Anomalies';
  #app;
  #rows;
  #filter;
  #field;
  #kind;
  #kinds;
  #hold;
  #held = null;
  #scope = null;
  #names = [];
  #said = html('p', { class: 'hint' });
  #none = html('p', { class: 'hint empty' });

  constructor(app) {
    this.#app = app;
    const body = html('tbody');
    this.#rows = new Rows(body, () => anomalyRow({ isShort: false }));
    const redraw = { input: () => this.update() };
    this.#filter = html('input', {
      type: 'search',
      id: 'anomaly-filter',
      placeholder: 'device',
      autocomplete: 'off',
      spellcheck: 'false',
      on: redraw,
    });
    this.#field = html('select', { id: 'anomaly-field', on: redraw });
    this.#kind = html(
      'select',
      { id: 'anomaly-kind', on: redraw },
      ...KINDS.map(([value, name]) => html('option', { value }, name)),
    );
    this.#kinds = html('label', { for: 'anomaly-kind' }, 'Kind');
    this.#hold = html(
      'button',
      { type: 'button', 'aria-pressed': 'false', on: { click: () => this.#toggleHold() } },
      'Hold',
    );
    const columns = ['Time', 'Device', 'Field', 'Value', 'Mean ± σ', 'z'];
    this.element = html(
      'div',
      { class: 'view anomalies' },
      html(
        'div',
        { class: 'toolbar' },
        html('h1', {}, 'Anomalies'),
        html('label', { for: 'anomaly-filter' }, 'Search'),
        this.#filter,
        html('label', { for: 'anomaly-field' }, 'Field'),
        this.#field,
        this.#kinds,
        this.#kind,
        this.#hold,
        this.#said,
      ),
      html(
        'div',
        { class: 'panel scroll', tabindex: 0, role: 'region', 'aria-label': 'Anomalies' },
        html(
          'table',
          {},
          html('thead', {}, html('tr', {}, ...columns.map((name, index) =>
            html('th', { scope: 'col', class: index > 2 ? 'number' : null }, name)))),
          body,
        ),
        this.#none,
      ),
    );
  }

  show({ scope }) {
    if (scope === this.#scope) return;
    this.#scope = scope;
    // What is held is of somebody else.
    if (this.#held !== null) this.#toggleHold();
  }

  hide() {}

  /** Asks for new ones. */
  async ask(turn) {
    await this.#app.feed.ask(turn);
  }

  /** Shows those that the filter lets through. */
  update() {
    const { stats } = this.#app.live;
    if (stats === null) return;
    this.#fillFields(stats.fields);
    const { tellsNovelty } = this.#app.live;
    for (const element of [this.#kinds, this.#kind]) shown(element, tellsNovelty);
    const { items, missed } = this.#app.feed;
    const from = this.#held ?? items;
    const [prefix, field] = [this.#filter.value.trim(), this.#field.value];
    const kind = tellsNovelty ? this.#kind.value : '';
    const found = from.filter((anomaly) =>
      (field === '' || anomaly.field === field)
      && (kind === '' || anomaly.kind === kind)
      && (prefix === '' || (anomaly.device_id ?? '').includes(prefix)));
    this.#rows.show(found.map((anomaly) => [anomaly.key, anomaly]));
    shown(this.#none, found.length === 0);
    text(this.#none, items.length === 0 ? 'None so far.' : 'None of these.');
    const more = missed > 0 ? `; ${count(missed)} came too fast to be listed` : '';
    const fresh = this.#held === null ? 0 : items.findIndex((one) => one === this.#held[0]);
    const waiting = fresh > 0 ? `; ${count(fresh)} newer` : '';
    const most = tellsNovelty && kind === '' ? `${KEPT} of each kind` : KEPT;
    const many = `the last ${count(found.length)} of ${most} at most${more}${waiting}`;
    text(this.#said, items.length === 0 ? '' : many);
  }

  #fillFields(fields) {
    const names = fields.map(({ name }) => name);
    if (names.join() === this.#names.join()) return;
    this.#names = names;
    const chosen = this.#field.value;
    this.#field.replaceChildren(html('option', { value: '' }, 'all fields'),
      ...names.map((name) => html('option', { value: name }, name)));
    this.#field.value = names.includes(chosen) ? chosen : '';
  }

  #toggleHold() {
    this.#held = this.#held === null ? this.#app.feed.items : null;
    attribute(this.#hold, 'aria-pressed', String(this.#held !== null));
    this.update();
  }
}

/** What each reason for which a value is new says to an operator. */
export const REASONS = {
  'usual for the hour': 'further from what is usual at this hour than ever before',
  'short average': 'the last minutes lie on one side of the usual more than they ever did',
  level: 'the level has left the band that it had: a step, or a drift',
  'unusual share': 'more of the late values are unusual than ever before',
  stuck: 'the series stands still: one value again and again',
};

/** Returns how odd a finding is, from 0 to 1. */
export function oddness({ kind, score: novelty, z }) {
  return kind === 'novelty' ? novelty : Math.min(1, Math.abs(z) / BAR_FULL);
}

/** Returns what names the replica that told an anomaly, in a fleet. */
function holder({ instance }) {
  if (instance === undefined) return [];
  return [' ', html('span', { class: 'holder', title: `told by ${instance}` }, instance)];
}

/** Makes a row of a table of anomalies; the short one has no mean and no bar. */
export function anomalyRow({ isShort }) {
  const time = html('td', { class: 'time' });
  const device = html('td', { class: 'device' });
  const field = html('td');
  const value = html('td', { class: 'number odd' });
  const mean = html('td', { class: 'number' });
  const z = html('span');
  const bar = html('span', { class: 'bar' });
  const track = html('span', { class: 'track zbar', 'aria-hidden': 'true' }, bar);
  const scored = html('td', { class: 'number z' }, isShort ? null : track, z);
  const cells = isShort ? [time, device, field, value, scored] : [time, device, field, value, mean,
    scored];
  let known = null;
  const update = (anomaly) => {
    const at = moment(anomaly.timestamp);
    figure(time, stamp(at), exactTime(at));
    // Nothing else of an anomaly changes.
    if (known === anomaly) return;
    known = anomaly;
    device.replaceChildren(deviceLink(anomaly.device_id), ...holder(anomaly));
    figure(field, anomaly.field, anomaly.field);
    figure(value, measure(anomaly.value), exact(anomaly.value));
    if (anomaly.kind === 'novelty') {
      const { reason, score: novelty } = anomaly;
      const said = REASONS[reason] ?? reason;
      figure(mean, `new: ${reason}`, said);
      figure(z, `new ${measure(novelty)}`, `a score of ${novelty}, of 1 at most: ${said}`);
    } else {
      figure(mean, `${measure(anomaly.mean)} ± ${measure(anomaly.stddev)}`,
        `${exact(anomaly.mean)} ± ${exact(anomaly.stddev)}`);
      figure(z, score(anomaly.z), exact(anomaly.z, 'standard deviations'));
    }
    bar.style.width = `${(oddness(anomaly) * 100).toFixed(0)}%`;
  };
  return { element: html('tr', {}, ...cells), update };
}
