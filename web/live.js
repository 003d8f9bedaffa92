// The pulse of the page: asks for `/stats` once a second, rests while nobody looks, and waits for
// longer and longer while the server is away.

import * as api from './api.js';
import { History } from './history.js';
import { wantedScope } from './links.js';
import { moment, now, setNow } from './zone.js';

const PERIOD_MS = 1_000;
/** The whole fleet tells its part within a quarter of a second; who waits longer has other troubles. */
const FLEET_TIMEOUT_MS = 3_000;
/** The time until the whole fleet is asked again, when it did not answer. */
const FLEET_RETRY_MS = 5_000;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

/** The loop, and the last that it heard. */
export class Live {
  /** The last answer of `/stats`. */
  stats = null;
  /** Whose it is: `fleet` or `instance`. */
  scope = 'instance';
  /** What the server last said of its fleet; `null` if it is in none. */
  fleet = null;
  /** Why there is an answer of one replica in place of the whole fleet's. */
  fault = null;
  #histories = { instance: new History(), fleet: new History() };
  #fleetAgainMs = -Infinity;
  #process = null;
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
   * the server is another process, `turn.tellsNovelty` if it tells what is new, and `turn.scoped`
   * makes the path to ask in the scope of `stats`. It has `state(name, facts)`, called with `live`,
   * `away`, `locked` or `resting`; and `token({ isFirst, error })`, which asks for a token and returns true
   * if there is one.
   */
  constructor(listener) {
    this.#listener = listener;
    document.addEventListener('visibilitychange', () => this.#look());
    addEventListener('online', () => this.now());
    // A page that was left and returned to by the browser's buttons goes on where it was.
    addEventListener('pageshow', () => this.#look());
  }

  /** The last five minutes. */
  get history() {
    return this.#histories[this.scope];
  }

  /** True if the server is asked to tell what is new. */
  get tellsNovelty() {
    return this.stats?.totals.novelties !== undefined;
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
      await this.#ask(options);
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

  async #ask(options) {
    const isRestarted = await this.#askForStats(options);
    setNow(moment(this.stats.time));
    this.history.add(this.stats, performance.now());
    // Not back before all has been answered: or a view that fails each time would have the page
    // change between two states each second.
    const isSteady = this.#failures === 0;
    if (isSteady) this.#listener.state('live', {});
    const { tellsNovelty } = this;
    const turn = { ...options, isRestarted, isSteady, tellsNovelty, scoped: this.#scoped() };
    await this.#listener.stats(turn);
    this.#failures = 0;
    this.#awaySince = null;
    this.#listener.state('live', {});
  }

  /** Asks for `/stats` of the whole fleet, or of the replica that answers, if that is wanted, or if
   * there is nothing else. Returns true if that one is another process than before. */
  async #askForStats(options) {
    if (this.fleet !== null && this.#wantsFleet()) {
      const fault = await this.#askFleet(options);
      if (fault === null) return false;
      await this.#askInstance(options);
      this.#fleetIsAway(fault);
      return true;
    }
    const isRestarted = await this.#askInstance(options);
    // The first look: there is a fleet.
    if (this.fleet === null || !this.#wantsFleet()) return isRestarted;
    const fault = await this.#askFleet(options);
    if (fault !== null) this.#fleetIsAway(fault);
    return isRestarted;
  }

  #wantsFleet() {
    return wantedScope() === 'fleet' && performance.now() >= this.#fleetAgainMs;
  }

  #fleetIsAway(fault) {
    this.fault = this.fleet === null ? null : fault;
    this.#fleetAgainMs = performance.now() + FLEET_RETRY_MS;
  }

  /** Returns `null` if the fleet has answered, and why not otherwise. */
  async #askFleet(options) {
    const patient = { ...options, timeoutMs: FLEET_TIMEOUT_MS };
    try {
      this.stats = await this.#askIn('fleet', patient);
    } catch (error) {
      const isFault = error instanceof api.Away || error instanceof api.Refused;
      if (options.signal.aborted || !isFault || error.status === 401) throw error;
      return error.message;
    }
    this.scope = 'fleet';
    this.fault = null;
    this.#process = null;
    return null;
  }

  async #askInstance(options) {
    const stats = await this.#askIn('instance', options);
    const process = `${stats.instance} ${stats.started}`;
    const isRestarted = this.#process !== null && this.#process !== process;
    this.#process = process;
    this.stats = stats;
    this.scope = 'instance';
    this.fleet = stats.fleet ?? null;
    if (this.fleet === null || wantedScope() !== 'fleet') this.fault = null;
    return isRestarted;
  }

  #askIn(scope, options) {
    const wanted = this.#histories[scope].wanted(performance.now());
    return api.json(`stats?history=${wanted}&scope=${scope}`, options);
  }

  #scoped() {
    const { scope } = this;
    return (path) => `${path}${path.includes('?') ? '&' : '?'}scope=${scope}`;
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
