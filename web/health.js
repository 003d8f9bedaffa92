// The line that says in words how the server is: what is wrong, since when, and what to do.

import { html, Rows, shown, text, attribute } from './dom.js';
import { age, count, measure, span } from './format.js';
import { exactTime, moment, now, stamp } from './zone.js';

/** Kinds of problems of which the worst is still to come, or somebody else's. */
const MILD = new Set(['store_queue', 'fleet_away', 'members_missing', 'devices_refused', 'connections',
  'memory', 'events_rejected']);

/** The line, and the announcements of it for screen readers. */
export class Health {
  #root;
  #announcements;
  #retry;
  #line = html('p', { class: 'line' });
  #list = html('ul', { class: 'problems' });
  #away = html('p', { class: 'line away' });
  #awayText = html('span');
  #rows = new Rows(this.#list, () => problemRow());
  #said = '';
  #countdown = null;

  constructor(root, announcements, retry) {
    this.#root = root;
    this.#announcements = announcements;
    this.#retry = retry;
    const click = () => this.#retry();
    const button = html('button', { type: 'button', on: { click } }, 'Try now');
    this.#away.append(this.#awayText, ' ', button);
    this.#away.hidden = true;
    root.append(this.#line, this.#away, this.#list);
  }

  /** Shows an answer of `/stats`. */
  show(stats) {
    clearInterval(this.#countdown);
    const problems = together(stats.problems ?? []);
    shown(this.#away, false);
    shown(this.#line, problems.length === 0);
    shown(this.#list, problems.length > 0);
    const isMild = problems.every(({ kind }) => MILD.has(kind));
    attribute(this.#root, 'data-state', problems.length === 0 ? 'well' : isMild ? 'mild' : 'wrong');
    text(this.#line, problems.length === 0 ? well(stats) : '');
    this.#rows.show(problems.map((problem) =>
      [`${problem.kind} ${problem.instances}`, problem]));
    const kinds = problems.map((problem) => problem.text.replaceAll(/[\d., ]+/g, ' '));
    this.#announce(kinds.join(' ') || 'All is well.', problems.map(inWords).join(' '));
  }

  /** Says that the server is away, since when, and when it will be asked again. */
  away({ since, next, error }) {
    clearInterval(this.#countdown);
    attribute(this.#root, 'data-state', 'away');
    shown(this.#line, false);
    shown(this.#list, false);
    shown(this.#away, true);
    const status = error.status ? `The server answers ${error.status}` : 'The server is away';
    const say = () => {
      const wait = Math.max(0, Math.ceil((next - Date.now()) / 1000));
      const when = wait > 0 ? `Trying again in ${wait} s.` : 'Trying again …';
      text(this.#awayText, `${status} since ${stamp(since)}: ${error.message} ${when}`);
      attribute(this.#awayText, 'title', exactTime(since));
    };
    say();
    this.#countdown = setInterval(say, 1000);
    this.#announce(status, `${status}. ${error.message}`);
  }

  /** Says that a token is needed. */
  locked() {
    clearInterval(this.#countdown);
    attribute(this.#root, 'data-state', 'away');
    shown(this.#line, false);
    shown(this.#list, false);
    shown(this.#away, true);
    text(this.#awayText, 'The server shows this to those with its token alone.');
    attribute(this.#awayText, 'title', null);
    this.#announce('locked', this.#awayText.textContent);
  }

  /** Stops the countdown while nobody looks. */
  rest() {
    clearInterval(this.#countdown);
  }

  /** Announces a state once, however often its numbers change. */
  #announce(state, words) {
    if (state === this.#said) return;
    // The first state is what the page begins with, and can be read there.
    if (this.#said !== '' || words !== '') text(this.#announcements, words || state);
    this.#said = state;
  }
}

/** Returns the problems of all replicas, the worst first, each once with those that tell it. */
function together(problems) {
  const found = new Map();
  for (const { instance, ...problem } of problems) {
    const key = `${problem.kind} ${problem.text}`;
    const known = found.get(key) ?? { ...problem, instances: [] };
    if (instance !== undefined) known.instances.push(instance);
    if (moment(problem.since) < moment(known.since)) known.since = problem.since;
    found.set(key, known);
  }
  for (const { instances } of found.values()) instances.sort();
  return [...found.values()].sort((a, b) => MILD.has(a.kind) - MILD.has(b.kind));
}

const inWords = ({ text: what, advice }) => `${what} ${advice ?? ''}`.trim();

function well({ rates, devices, totals, uptime_seconds: uptime = 60 }) {
  if (totals.accepted === 0) return 'All is well. Nothing has been posted yet.';
  const minute = rates['60s'];
  if (minute.accepted === 0) return 'All is well. Nothing has arrived for a minute.';
  const of = devices.held === 1 ? '1 device sends' : `${count(devices.held)} devices send`;
  // In its first minute a server has rates of the time since its start.
  const anomalies = Math.round(minute.anomalies * Math.min(60, uptime));
  const some = anomalies === 0 ? 'no' : count(anomalies);
  const odd = anomalies === 1 ? '1 anomaly' : `${some} anomalies`;
  const many = measure(rates['10s'].accepted);
  return `All is well. ${of} ${many} metrics/s; ${odd} in the last minute.`;
}

function problemRow() {
  const what = html('strong');
  const since = html('span', { class: 'since' });
  const advice = html('span', { class: 'advice' });
  const element = html('li', {}, html('div', {}, what, ' ', since), advice);
  const update = (problem) => {
    text(what, problem.text);
    text(advice, problem.advice ?? '');
    element.classList.toggle('mild', MILD.has(problem.kind));
    const began = moment(problem.since);
    const seconds = (now() - began) / 1000;
    const told = problem.instances.length > 0 ? `told by ${problem.instances.join(', ')}` : '';
    const lasts = Number.isFinite(began) ? `for ${span(seconds)}` : '';
    text(since, [lasts, told].filter((words) => words !== '').join(', '));
    attribute(since, 'title', Number.isFinite(began) ? `since ${exactTime(began)}` : null);
  };
  return { element, update };
}

/** Returns how long ago a moment was, in words: now, or at a moment since. */
export function ago(ms, from = now()) {
  return age((from - ms) / 1000);
}
