// The last five minutes, second by second, kept from what `/stats` tells.

/** The seconds that are kept. */
const SECONDS = 300;
/** The seconds that are shown of a server that has just begun. */
const SECONDS_MIN = 60;

/** By how much the clock of a fleet may seem to go back, as its members come and go. */
const BACK_MAX = 5;
/** The most seconds between two polls that a line bridges. */
const GAP_MAX = 3;

const TOTALS = ['accepted', 'rejected', 'anomalies', 'p99_seconds', 'pending'];

/** Series of numbers, the newest last; NaN where nothing is known. */
export class History {
  /** The last second, in seconds since 1970; `null` before the first answer. */
  end = null;
  #series = new Map();
  #source = null;
  #updatedMs = 0;

  /** Returns the number of seconds to ask for: those since the last answer, and two to be sure. */
  wanted(nowMs) {
    if (this.end === null) return SECONDS;
    return Math.min(SECONDS, Math.ceil((nowMs - this.#updatedMs) / 1000) + 2);
  }

  /** Takes in an answer of `/stats`. */
  add(stats, nowMs) {
    const { history, scope, instance, started } = stats;
    if (!history) return;
    const isFleet = scope === 'fleet';
    // A fleet goes on, whichever of its replicas come and go.
    const source = isFleet ? scope : `${instance} ${started}`;
    const end = Math.round(Date.parse(history.to) / 1000);
    if (!Number.isFinite(end)) return;
    if (isFleet && end < this.end && end >= this.end - BACK_MAX) return;
    if (source !== this.#source || this.end === null || end < this.end) {
      this.#series.clear();
      this.#source = source;
      this.end = end;
    }
    const moved = end - this.end;
    // A machine that slept has another idea of how long that was: ask for all again.
    const isShort = moved > (history.accepted?.length ?? 0);
    for (const values of this.#series.values()) shift(values, moved);
    this.end = end;
    this.#updatedMs = isShort ? -Infinity : nowMs;
    for (const name of TOTALS) this.#put(name, history[name]);
    if (isFleet) {
      this.#putPolled(stats.fields, moved);
      return;
    }
    for (const [field, of] of Object.entries(history.fields ?? {})) {
      this.#put(`mean ${field}`, of.rolling_average);
      this.#put(`stddev ${field}`, of.stddev);
    }
  }

  /** Returns how many seconds there are to show: those that are known, or a minute at least. */
  seconds() {
    const first = this.values('accepted').findIndex((value) => !Number.isNaN(value));
    return first < 0 ? SECONDS_MIN : Math.max(SECONDS_MIN, SECONDS - first);
  }

  /** Returns a series as far as there is something to show. */
  shown(name) {
    return this.values(name).subarray(SECONDS - this.seconds());
  }

  /** Returns a series: one of the totals, or `mean` or `stddev` and the name of a field. */
  values(name) {
    return this.#series.get(name) ?? this.#make(name);
  }

  #make(name) {
    const values = new Float64Array(SECONDS).fill(NaN);
    this.#series.set(name, values);
    return values;
  }

  /** Takes in what is known of this moment alone: of the seconds since the last poll, a line. */
  #putPolled(fields, moved) {
    for (const { name, rolling_average: mean, stddev } of fields) {
      for (const [series, value] of [[`mean ${name}`, mean], [`stddev ${name}`, stddev]]) {
        const values = this.values(series);
        const before = values[SECONDS - 1 - moved];
        values[SECONDS - 1] = value ?? NaN;
        for (let back = 1; back < moved && moved <= GAP_MAX; back += 1) {
          values[SECONDS - 1 - back] = value + ((before - value) * back) / moved;
        }
      }
    }
  }

  #put(name, newest) {
    if (!Array.isArray(newest)) return;
    const values = this.values(name);
    const count = Math.min(newest.length, SECONDS);
    for (let back = 1; back <= count; back += 1) {
      values[SECONDS - back] = newest[newest.length - back] ?? NaN;
    }
  }
}

function shift(values, by) {
  if (by <= 0) return;
  if (by >= SECONDS) {
    values.fill(NaN);
    return;
  }
  values.copyWithin(0, by);
  values.fill(NaN, SECONDS - by);
}
