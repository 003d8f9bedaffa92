// The line that says whose figures are shown, and the switch between one replica and all of them.
// It is there only where the server is in a fleet.

import { shown, text } from './dom.js';
import { moment, stamp } from './zone.js';

/** The line. */
export class ScopeLine {
  #root;
  #said;
  #wrong;
  /** The replicas that have answered for themselves. */
  #met = new Set();

  constructor(root) {
    this.#root = root;
    this.#said = root.querySelector('.said');
    this.#wrong = root.querySelector('.wrong');
  }

  /** Shows what was asked for, and who has answered. */
  show({ fleet, scope, stats, fault }) {
    shown(this.#root, fleet !== null);
    if (fleet === null) return;
    const [said, wrong] = scope === 'fleet'
      ? [whole(fleet, stats), lacks(stats)]
      : [this.#one(stats, fault), without(fault)];
    text(this.#said, said);
    text(this.#wrong, wrong);
  }

  #one({ instance, fleet }, fault) {
    if (fault === null) this.#met.add(instance);
    const of = fleet?.members > 1 ? `, one of ${fleet.members} replicas` : '';
    const others = this.#met.size > 1 ? '; at times another one answers, and figures jump' : '';
    return `${instance} alone${of}${others}`;
  }
}

/** Returns a few words for whose figures are shown, or none without a fleet. */
export function ofWhom({ fleet, scope, stats }) {
  if (fleet === null) return '';
  if (scope !== 'fleet') return stats.instance;
  const { missing, members } = stats;
  if (missing.length === 0) return 'whole fleet';
  return `${members.length - missing.length} of ${members.length} replicas`;
}

/** Returns the members of an answer, in an order that does not depend on who was asked. */
export function membersOf(stats) {
  return [...(stats.members ?? [])].sort((a, b) => (a.instance < b.instance ? -1 : 1));
}

function whole({ name }, stats) {
  const answer = membersOf(stats).filter(({ state }) => state === 'live');
  const all = stats.members.length;
  const many = answer.length === all ? all : `${answer.length} of ${all}`;
  const one = all === 1 ? 'replica' : 'replicas';
  return `${name}: ${many} ${one}, ${answer.map(({ instance }) => instance).join(', ')}`;
}

/** Returns who is missing, and what that means. */
function lacks(stats) {
  const { complete, missing } = stats;
  if (complete) return '';
  if (missing.length === 0) return 'Others may not have been heard of yet.';
  const gone = membersOf(stats).filter(({ state }) => state !== 'live');
  const since = gone.map(({ instance, as_of: asOf }) => `${instance} (${stamp(moment(asOf))})`);
  const [are, their] = gone.length === 1 ? ['is', 'its'] : ['are', 'their'];
  const who = since.join(', ').replace(/, ([^,]*)$/, ' and $1');
  return `${who} ${are} missing: ${their} totals are of then, ${their} devices are not shown.`;
}

const without = (fault) =>
  (fault === null ? '' : `The whole fleet did not answer: ${fault} It is asked again soon.`);
