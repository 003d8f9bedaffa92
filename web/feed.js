// The anomalies that the server tells, each once, the newest first.

import * as api from './api.js';
import { now } from './zone.js';

/** The anomalies that are kept. */
export const KEPT = 500;
const LIMIT = 100;
/** Answers that are asked for at once, when more anomalies have come than one has room for. */
const ANSWERS_MAX = 5;

/** The log, as far as this page knows it. */
export class Feed {
  /** The anomalies, the newest first; each has `seenMs`, when this page heard of it,
   * and a `key`. */
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
  async ask({ signal, isRestarted, scoped }) {
    // The numbers of another process say nothing about those of this one.
    if (isRestarted) this.#forget();
    for (let asked = 0; asked < ANSWERS_MAX; asked += 1) {
      const isFirst = this.#next === null;
      const cursor = isFirst ? '' : `&since=${encodeURIComponent(this.#next)}`;
      const limit = isFirst ? KEPT : LIMIT;
      const answer = await api.json(scoped(`anomalies?limit=${limit}${cursor}`), { signal });
      this.#add(answer, isFirst);
      // An answer has the oldest of those that came since, so that none is left out.
      if (isFirst || answer.anomalies.length < LIMIT) return;
    }
  }

  #add({ anomalies, next, missed }, isFirst) {
    // The cursor was of an earlier life of the server; of a fleet, one of its members is gone.
    if (!isFirst && missed === null && !this.#isFleet) this.#forget();
    const seenMs = isFirst ? null : now();
    for (const anomaly of anomalies) {
      anomaly.seenMs = seenMs;
      // Each replica counts its own.
      anomaly.key = `${anomaly.number} ${anomaly.instance ?? ''}`;
    }
    this.items = anomalies.concat(this.items).slice(0, KEPT);
    this.missed += isFirst ? 0 : (missed ?? 0);
    this.#next = next ?? this.#next;
  }

  #forget() {
    this.items = [];
    this.missed = 0;
    this.#next = null;
  }
}
