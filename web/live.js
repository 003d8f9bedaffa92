// The pulse of the page: asks for `/stats` once a second, rests while nobody looks, and waits for
// longer and longer while the server is away.

import * as api from './api.js';
import { History } from './history.js';
import { moment, now, setNow } from './zone.js';

const PERIOD_MS = 1_000;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

/** The loop, and the last that it heard. */
export class Live {
  /** The last answer of `/stats`. */
  stats = null;
  /** The last five minutes. */
  history = new History();
  #listener;
  #timer = null;
  #stop = null;
  #failures = 0;
  #awaySince = null;
  #waitsForToken = false;
  #isLocked = false;

  /**
   * The listener has `stats(turn)`, called after each answer, which may return a promise of what it
   * asks itself; `turn.isSteady` is false while the last turn failed, `turn.isRestarted` is true if
   * the server is another process. It has `state(name, facts)`, called with `live`, `away`,
   * `locked` or `resting`; and `token({ isFirst, error })`, which asks for a token and returns true
   * if there is one.
   */
  constructor(listener) {
    this.#listener = listener;
    document.addEventListener('visibilitychange', () => this.#look());
    addEventListener('online', () => this.now());
    // A page that was left and returned to by the browser's buttons goes on where it was.
    addEventListener('pageshow', () => this.#look());
  }

  /** Asks now instead of when it would be time. */
  now() {
    if (document.hidden || this.#waitsForToken || this.#isLocked) return;
    this.#cancel();
    void this.#turn();
  }

  /** Asks now, and for a token too if there is none: somebody wants to. */
  again() {
    this.#isLocked = false;
    this.now();
  }

  #look() {
    // The token may be in another tab: its dialog waits, and goes on.
    if (this.#waitsForToken || this.#isLocked) return;
    if (!document.hidden) {
      if (this.#timer === null && this.#stop === null) this.now();
      return;
    }
    this.#cancel();
    this.#listener.state('resting', {});
  }

  #cancel() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#stop?.abort();
    this.#stop = null;
  }

  async #turn() {
    const stop = new AbortController();
    this.#stop = stop;
    const began = performance.now();
    const options = { signal: stop.signal };
    let delay;
    try {
      await this.#ask(began, options);
      delay = Math.max(PERIOD_MS / 4, PERIOD_MS - (performance.now() - began));
    } catch (error) {
      if (stop.signal.aborted) return;
      if (error instanceof api.Refused && error.status === 401) {
        delay = await this.#askForToken(error);
      } else if (error instanceof api.Away || error instanceof api.Refused) {
        delay = this.#retry(error);
      } else {
        // A fault of this page: it is reported as one, and must not end the loop.
        reportError(error);
        delay = PERIOD_MS;
      }
    }
    if (stop.signal.aborted) return;
    this.#stop = null;
    if (delay !== null) this.#timer = setTimeout(() => this.#turn(), delay);
  }

  async #ask(began, options) {
    const wanted = this.history.wanted(began);
    const stats = await api.json(`stats?history=${wanted}`, options);
    const isRestarted = this.stats !== null && this.stats.started !== stats.started;
    this.stats = stats;
    setNow(moment(stats.time));
    this.history.add(stats, performance.now());
    // Not back before all has been answered: or a view that fails each time would have the page
    // change between two states each second.
    const isSteady = this.#failures === 0;
    if (isSteady) this.#listener.state('live', {});
    await this.#listener.stats({ ...options, isRestarted, isSteady });
    this.#failures = 0;
    this.#awaySince = null;
    this.#listener.state('live', {});
  }

  async #askForToken(error) {
    this.#waitsForToken = true;
    const isFirst = api.token('') === null;
    // One that was refused is worth nothing.
    api.setToken('', null);
    const given = await this.#listener.token({ isFirst, error });
    this.#waitsForToken = false;
    if (given) return 0;
    // Asked once: whoever has none is not asked again until they want to be.
    this.#isLocked = true;
    this.#listener.state('locked', { error });
    return null;
  }

  #retry(error) {
    const delay = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#failures += 1;
    this.#awaySince ??= now();
    const facts = { since: this.#awaySince, next: Date.now() + delay, error };
    this.#listener.state('away', facts);
    return delay;
  }
}
