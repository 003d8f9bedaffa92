// The findings that the server tells, each once, the newest first: anomalies, and novelties.

import * as api from './api.js';
import { now } from './zone.js';

/** The findings of each kind that are kept, so that neither kind pushes the other out. */
export const KEPT = 500;
const LIMIT = 100;
/** Answers that are asked for at once, when more findings have come than one has room for. */
const ANSWERS_MAX = 5;

const KINDS = ['anomaly', 'novelty'];

const NONE = { anomalies: [] };

/** Asks for the newest novelties. In a fleet that is being renewed the replica that is met may not
 * know of kinds: then there are those among all findings, as before. */
async function newest(ask) {
  try {
    return await ask(`kind=novelty&limit=${KEPT}`);
  } catch (error) {
    if (error instanceof api.Refused && error.status === 400) return NONE;
    throw error;
  }
}

/** Gives findings the time at which this page heard of them, and a key of their own. */
function named(items, seenMs) {
  for (const item of items) {
    item.seenMs = seenMs;
    // Each replica counts its own.
    item.key = `${item.number} ${item.instance ?? ''}`;
  }
}

/** Returns the newest findings, as many of each kind as are kept. */
function kept(items) {
  const left = new Map(KINDS.map((kind) => [kind, KEPT]));
  return items.filter(({ kind }) => {
    left.set(kind, left.get(kind) - 1);
    return left.get(kind) >= 0;
  });
}

/** The log, as far as this page knows it. */
export class Feed {
  /** The findings, the newest first; each has `seenMs`, when this page heard of it, and a `key`. */
  items = [];
  /** The number that the server dropped before this page could ask. */
  missed = 0;
  #next = null;
  #isFleet;

  /** A feed of one replica, or of a whole fleet. */
  constructor({ isFleet }) {
    this.#isFleet = isFleet;
  }

  /** Asks for those since the last time. */
  async ask({ signal, isRestarted, tellsNovelty, scoped }) {
    // The numbers of another process say nothing about those of this one.
    if (isRestarted) this.#forget();
    const ask = (query) => api.json(scoped(`anomalies?${query}`), { signal });
    if (this.#next === null) {
      // Anomalies may have come since in any number. Whatever comes between both answers is in the
      // second one; of the first there is what is older than that.
      const before = tellsNovelty ? await newest(ask) : NONE;
      this.#begin(before.anomalies, await ask(`limit=${KEPT}`));
      return;
    }
    for (let asked = 0; asked < ANSWERS_MAX; asked += 1) {
      const answer = await ask(`limit=${LIMIT}&since=${encodeURIComponent(this.#next)}`);
      this.#add(answer);
      // An answer has the oldest of those that came since, so that none is left out.
      if (answer.anomalies.length < LIMIT) return;
    }
  }

  /** The time from which on all findings are kept; `null` if none had to be left out. */
  get since() {
    const oldest = (kind) => this.items.filter((item) => item.kind === kind)[KEPT - 1];
    const times = KINDS.map((kind) => oldest(kind)?.timestamp).filter((time) => time !== undefined);
    return times.length === 0 ? null : times.sort().at(-1);
  }

  #begin(novelties, { anomalies, next }) {
    named(anomalies, null);
    named(novelties, null);
    const known = new Set(anomalies.map(({ key }) => key));
    const older = novelties.filter(({ key }) => !known.has(key));
    this.items = kept(anomalies.concat(older));
    this.#next = next;
  }

  #add({ anomalies, next, missed }) {
    // The cursor was of an earlier life of the server; of a fleet, one of its members is gone.
    if (missed === null && !this.#isFleet) this.#forget();
    named(anomalies, now());
    this.items = kept(anomalies.concat(this.items));
    this.missed += missed ?? 0;
    this.#next = next ?? this.#next;
  }

  #forget() {
    this.items = [];
    this.missed = 0;
    this.#next = null;
  }
}
