// The table of devices: the worst first, searched, paged.

import * as api from './api.js';
import { attribute, figure, html, Rows, shown, text } from './dom.js';
import { count, exact, measure, score } from './format.js';
import { ago } from './health.js';
import { deviceLink, replace } from './links.js';
import { Spark } from './spark.js';
import { exactTime, moment, now } from './zone.js';

const PAGE = 25;
const FIELDS_MAX = 4;
const SEARCH_DELAY_MS = 200;
/** Windows that are asked for in one turn, for the sparklines of the rows that are shown. */
const WINDOWS_PER_TURN = 4;
/** The server looks at each device to find the worst; of many it is asked less often, so that an
 * open page costs it the same. */
const DEVICES_PER_SECOND = 4_000;
const PERIOD_S_MAX = 30;
/** A pointer that has not moved for so long does not point at anything. */
const HOLD_MS = 10_000;
/** A list of this age is said to be old. */
const OLD_MS = 2_000;
const SORTS = [['z', 'worst first'], ['anomalies', 'most anomalies'],
  ['last_seen', 'last seen first'], ['id', 'name']];

/** The view. */
export class Devices {
  title = 'Devices';
  #app;
  #sort;
  #field;
  #search;
  #head = html('tr');
  #rows;
  #body = html('tbody');
  #none = html('p', { class: 'hint empty' });
  #said = html('p', { class: 'hint', role: 'status' });
  #old = html('p', { class: 'hint' });
  #hold = html('p', { class: 'hint' }, 'The order stays while you point at a row.');
  #previous;
  #next;
  #fields = [];
  #devices = new Map();
  #windows = new Map();
  /** Cursors of the pages up to this one; that of the first is `null`. */
  #cursors = [null];
  #answer = null;
  #askedMs = -Infinity;
  #answeredMs = NaN;
  /** How often something else was asked for: now, for the answer, and for what is shown. */
  #changed = 0;
  #answerOf = 0;
  #shownOf = 0;
  #pointedMs = -Infinity;
  #timer = null;

  constructor(app) {
    this.#app = app;
    const changed = { change: () => this.#change() };
    this.#search = html('input', {
      type: 'search',
      id: 'device-search',
      placeholder: 'begins with …',
      autocomplete: 'off',
      autocapitalize: 'off',
      spellcheck: 'false',
      maxlength: 128,
      on: { input: () => this.#type() },
    });
    this.#sort = html('select', { id: 'device-sort', on: changed },
      ...SORTS.map(([value, name]) => html('option', { value }, name)));
    this.#field = html('select', { id: 'device-field', on: changed },
      html('option', { value: '' }, 'any field'));
    this.#rows = new Rows(this.#body, () => this.#row());
    this.#body.addEventListener('pointermove', () => {
      this.#pointedMs = performance.now();
    });
    const button = (name, step) =>
      html('button', { type: 'button', disabled: true, on: { click: () => this.#turnPage(step) } },
        name);
    this.#previous = button('Previous', -1);
    this.#next = button('Next', 1);
    this.element = this.#layOut();
  }

  #layOut() {
    return html(
      'div',
      { class: 'view devices' },
      html(
        'div',
        { class: 'toolbar' },
        html('h1', {}, 'Devices'),
        html('label', { for: 'device-search' }, 'Search'),
        this.#search,
        html('label', { for: 'device-sort' }, 'Order'),
        this.#sort,
        html('label', { for: 'device-field' }, 'by'),
        this.#field,
      ),
      html(
        'div',
        { class: 'panel scroll', tabindex: 0, role: 'region', 'aria-label': 'Devices' },
        html('table', {}, html('thead', {}, this.#head), this.#body),
        this.#none,
      ),
      html('nav', { class: 'pages', 'aria-label': 'Pages' }, this.#previous, this.#next, this.#said,
        this.#old, this.#hold),
    );
  }

  /** Takes up what the address says. */
  show({ query, scope }) {
    if (scope !== this.#scope) this.#windows.clear();
    this.#scope = scope;
    this.#search.value = query.get('prefix') ?? '';
    const sort = query.get('sort');
    this.#sort.value = SORTS.some(([name]) => name === sort) ? sort : 'z';
    this.#wantedField = query.get('field') ?? '';
    this.#field.value = this.#wantedField;
    // Whoever comes back, by the browser's button, is on the page that they left.
    const kept = history.state?.cursors;
    this.#cursors = Array.isArray(kept) ? kept : [null];
    this.#again();
  }

  #wantedField = '';
  #scope = null;

  hide() {
    clearTimeout(this.#timer);
  }

  #type() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#change(), SEARCH_DELAY_MS);
  }

  #change() {
    const query = new URLSearchParams();
    if (this.#search.value !== '') query.set('prefix', this.#search.value);
    if (this.#sort.value !== 'z') query.set('sort', this.#sort.value);
    if (this.#field.value !== '') query.set('field', this.#field.value);
    this.#wantedField = this.#field.value;
    replace('devices', query);
    this.#restart();
    this.#app.live.now();
  }

  #restart() {
    this.#cursors = [null];
    this.#again();
  }

  /** Has the next turn ask, whenever the last one did. */
  #again() {
    this.#askedMs = -Infinity;
    this.#changed += 1;
  }

  #turnPage(step) {
    if (step < 0 && this.#cursors.length > 1) {
      this.#cursors.pop();
    } else if (step > 0 && this.#answer?.next) {
      this.#cursors.push(this.#answer.next);
    } else {
      return;
    }
    history.replaceState({ cursors: this.#cursors }, '');
    this.#again();
    this.#app.live.now();
  }

  #path() {
    const query = new URLSearchParams({ limit: PAGE, sort: this.#sort.value });
    const prefix = this.#search.value.trim();
    if (prefix !== '') query.set('prefix', prefix);
    if (this.#sort.value === 'z' && this.#field.value !== '') query.set('field', this.#field.value);
    const after = this.#cursors.at(-1);
    if (after !== null) query.set('after', after);
    return `devices?${query}`;
  }

  /** Asks for the page of the table when it is time, and for some of the windows on it. */
  async ask({ signal, isRestarted, scoped }) {
    const { stats } = this.#app.live;
    this.#fillFields(stats.fields);
    if (isRestarted) {
      history.replaceState(null, '');
      this.#windows.clear();
      this.#restart();
    }
    const seconds = stats.devices.held / DEVICES_PER_SECOND;
    const period = Math.min(PERIOD_S_MAX, Math.max(1, seconds)) * 1000;
    // A turn is a little shorter or longer than a second.
    if (performance.now() - this.#askedMs > period - 500) {
      const changed = this.#changed;
      try {
        this.#answer = await api.json(scoped(this.#path()), { signal });
        this.#answeredMs = now();
        this.#fault = null;
      } catch (error) {
        if (!(error instanceof api.Refused) || error.status !== 400) throw error;
        // A cursor or a prefix that the server does not take.
        this.#answer = { devices: [], next: null, total: 0 };
        this.#fault = error.message;
      }
      this.#answerOf = changed;
      if (changed === this.#changed) this.#askedMs = performance.now();
    }
    await this.#askForWindows(signal, scoped);
  }

  #fault = null;

  async #askForWindows(signal, scoped) {
    const page = this.#onPage();
    const devices = [...page.values()];
    for (const id of this.#windows.keys()) {
      if (!page.has(id)) this.#windows.delete(id);
    }
    const listed = new Set(this.#answer.devices.map(({ id }) => id));
    const isOld = ({ id, accepted }) =>
      !listed.has(id) || this.#windows.get(id)?.accepted !== accepted;
    // Those that have none first, then the oldest.
    const age = ({ id }) => this.#windows.get(id)?.askedMs ?? -Infinity;
    const wanted = devices.filter(isOld).sort((a, b) => age(a) - age(b));
    const missing = wanted.filter(({ id }) => !this.#windows.has(id)).length;
    const asked = wanted.slice(0, Math.max(missing, WINDOWS_PER_TURN));
    await Promise.all(asked.map((device) => this.#askForWindow(device, signal, scoped)));
  }

  async #askForWindow({ id, accepted }, signal, scoped) {
    const path = api.devicePath(id);
    if (path === null) return;
    const askedMs = performance.now();
    try {
      const answer = await api.json(scoped(path), { signal });
      const device = this.#entry(id, answer);
      this.#windows.set(id, { values: answer.values, accepted, askedMs, device });
    } catch (error) {
      // It was forgotten meanwhile, or the server is busy: the row does without.
      if (!(error instanceof api.Refused)) throw error;
      this.#windows.set(id, { values: null, accepted, askedMs, device: null });
    }
  }

  /** Returns what a device says of itself, as it would stand in the list. */
  #entry(id, { last_seen: seen, anomalies, totals, ...answer }) {
    const known = this.#fields.filter((name) => (answer[name]?.count ?? 0) > 0);
    return {
      id,
      last_seen: seen,
      anomalous: known.some((name) => answer[name].anomaly),
      points: anomalies.points,
      episodes: anomalies.episodes,
      accepted: totals.accepted,
      fields: Object.fromEntries(known.map((name) => [name, answer[name]])),
    };
  }

  #fillFields(fields) {
    const names = fields.map(({ name }) => name);
    if (names.join() === this.#fields.join()) return;
    this.#fields = names;
    // The rows have a cell for each of the fields that there were.
    this.#rows.show([]);
    this.#field.replaceChildren(html('option', { value: '' }, 'any field'),
      ...this.#fields.map((name) => html('option', { value: name }, name)));
    this.#field.value = this.#fields.includes(this.#wantedField) ? this.#wantedField : '';
    const column = (name, className) =>
      html('th', { scope: 'col', class: className, title: className ? name : null }, name);
    const some = this.#fields.slice(0, FIELDS_MAX);
    this.#head.replaceChildren(
      column('Device'),
      ...some.map((name) => column(name, 'field')),
      column('Points', 'number'),
      column('Episodes', 'number'),
      column('Metrics', 'number'),
      column('Last seen', 'number'),
    );
  }

  /** Returns true while somebody points at a row, or has the focus on one: it must not slip away
   * under the pointer. A pointer that was left lying there holds nothing. */
  #isHeld() {
    if (this.#devices.size === 0 || this.#answerOf !== this.#shownOf) return false;
    const isPointed = performance.now() - this.#pointedMs < HOLD_MS;
    return this.#body.matches(isPointed ? ':hover, :focus-within' : ':focus-within');
  }

  /** Returns the devices to show: those of the answer, or as long as they are held those that are
   * shown, by what is known of them since. */
  #onPage() {
    const fresh = new Map(this.#answer.devices.map((device) => [device.id, device]));
    if (!this.#isHeld()) return fresh;
    return new Map([...this.#devices].map(([id, known]) =>
      [id, fresh.get(id) ?? this.#windows.get(id)?.device ?? known]));
  }

  /** Shows the answer. */
  update() {
    if (this.#answer === null) return;
    const { devices, next, total } = this.#answer;
    shown(this.#hold, this.#isHeld());
    this.#devices = this.#onPage();
    this.#shownOf = this.#answerOf;
    this.#rows.show([...this.#devices]);
    const isEmpty = devices.length === 0;
    shown(this.#none, isEmpty);
    const search = this.#search.value.trim();
    const none = search === ''
      ? 'No device is held. One with an id is listed from its next event on.'
      : `No device begins with ${search}.`;
    text(this.#none, this.#fault ?? none);
    attribute(this.#previous, 'disabled', this.#cursors.length === 1);
    attribute(this.#next, 'disabled', !next);
    const first = (this.#cursors.length - 1) * PAGE + 1;
    const range = isEmpty ? '' : `${first} to ${first + devices.length - 1} of ${count(total)}`;
    text(this.#said, range);
    attribute(this.#said, 'title', isEmpty ? null : exact(total, 'devices'));
    const isOld = now() - this.#answeredMs > OLD_MS;
    text(this.#old, isOld && !isEmpty ? `as it was ${ago(this.#answeredMs)}` : '');
  }

  #row() {
    const name = html('th', { scope: 'row', class: 'device' });
    const fields = this.#fields.slice(0, FIELDS_MAX).map((field) => new FieldCell(field));
    const number = () => html('td', { class: 'number' });
    const [points, episodes, metrics, seen] = [number(), number(), number(), number()];
    const element = html('tr', {}, name, ...fields.map((cell) => cell.element), points, episodes,
      metrics, seen);
    const badge = html('span', { class: 'badge' }, 'odd');
    let id = null;
    const update = (device) => {
      if (id === null) {
        id = device.id;
        name.append(deviceLink(id), badge);
      }
      shown(badge, device.anomalous);
      element.classList.toggle('anomalous', device.anomalous);
      const window = this.#windows.get(id)?.values ?? null;
      for (const cell of fields) cell.update(device, window);
      figure(points, count(device.points), exact(device.points, 'anomalous values'));
      figure(episodes, count(device.episodes), exact(device.episodes, 'episodes'));
      figure(metrics, count(device.accepted), exact(device.accepted, 'metrics'));
      const at = moment(device.last_seen);
      // Of many devices the list is some seconds old, which is no fault of theirs.
      figure(seen, ago(at, this.#answeredMs), exactTime(at));
    };
    return { element, update };
  }
}

/** What a row tells of a field: its course, its last value, and how odd that is. */
class FieldCell {
  #name;
  #spark = new Spark({ fromZero: false });
  #value = html('span', { class: 'value' });
  #z = html('span', { class: 'z' });

  constructor(name) {
    this.#name = name;
    this.element = html('td', { class: 'field' },
      html('div', { class: 'cell' }, this.#spark.element, this.#value, this.#z));
  }

  update(device, window) {
    const field = device.fields[this.#name] ?? null;
    const of = window?.[this.#name];
    this.#spark.draw(of?.values ?? [], of?.anomalies ?? []);
    figure(this.#value, measure(field?.last), exact(field?.last));
    figure(this.#z, score(field?.z_score), exact(field?.z_score, 'standard deviations'));
    this.element.classList.toggle('odd', field?.anomaly === true);
  }
}
