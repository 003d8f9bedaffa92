// The cores, and in a fleet the replicas that they belong to.

import { figure, html, Rows, text } from './dom.js';
import { count, exact, percent } from './format.js';
import { membersOf } from './scope.js';
import { exactTime, moment, stamp } from './zone.js';

/** The panel: cores alone, or by replica. */
export class Cores {
  #heading = html('h2');
  #groups;

  constructor() {
    const groups = html('div', { class: 'groups' });
    this.#groups = new Rows(groups, () => new Group());
    this.element = html('section', { class: 'panel' }, this.#heading, groups);
  }

  /** Shows an answer of `/stats`. */
  show(stats) {
    const isFleet = stats.scope === 'fleet';
    text(this.#heading, isFleet ? 'Replicas and their cores' : 'Cores');
    const members = isFleet ? membersOf(stats) : [null];
    this.#groups.show(members.map((member) => {
      const of = ({ instance }) => member === null || instance === member.instance;
      return [member?.instance ?? '', { member, cores: stats.cores.filter(of) }];
    }));
  }
}

/** A replica with its cores; of no fleet, its cores alone. */
class Group {
  #name = html('h3');
  #state = html('span', { class: 'state' });
  #accepted = html('span', { class: 'aside' });
  #head = html('div', { class: 'replica' }, this.#name, this.#state, this.#accepted);
  #rows;

  constructor() {
    const cores = html('ul', { class: 'cores' });
    this.#rows = new Rows(cores, () => coreRow());
    this.element = html('div', { class: 'group' }, this.#head, cores);
  }

  update({ member, cores }) {
    this.#head.hidden = member === null;
    if (member !== null) this.#showMember(member);
    this.#rows.show(cores.map((core) => [core.core, core]));
  }

  #showMember({ instance, state, version, as_of: asOf, accepted }) {
    this.element.classList.toggle('gone', state !== 'live');
    figure(this.#name, instance, `version ${version}`);
    const at = moment(asOf);
    const words = { live: 'live', silent: 'does not answer' };
    figure(this.#state, words[state] ?? `last heard ${stamp(at)}`, `as of ${exactTime(at)}`);
    figure(this.#accepted, `${count(accepted)} metrics`, exact(accepted, 'metrics accepted'));
  }
}

function coreRow() {
  const name = html('span', { class: 'name' });
  const bar = html('span', { class: 'bar' });
  const busy = html('span', { class: 'amount' });
  const connections = html('span', { class: 'aside' });
  const element = html(
    'li',
    {},
    name,
    html('span', { class: 'track', 'aria-hidden': 'true' }, bar),
    busy,
    connections,
  );
  const update = (core) => {
    text(name, `core ${core.core}`);
    fillBar(bar, core.busy);
    figure(busy, percent(core.busy), `busy ${exact(core.busy * 100, '%')} of the last second`);
    const word = core.connections === 1 ? 'connection' : 'connections';
    figure(connections, `${count(core.connections)} conn.`, exact(core.connections, word));
  };
  return { element, update };
}

/** Fills a bar to a share of one. */
export function fillBar(bar, share) {
  // By the object model, which the Content-Security-Policy permits, unlike attributes.
  const width = `${(Math.min(1, Math.max(0, share || 0)) * 100).toFixed(1)}%`;
  if (bar.style.width !== width) bar.style.width = width;
  bar.classList.toggle('high', share >= 0.8);
}
