// Times, in the operator's time zone or in UTC; and what time it is, by the server's clock: that of
// the browser may be minutes off.

import { UNKNOWN } from './format.js';

const KEY = 'corepulse.utc';
const listeners = new Set();
let utc = readChoice();
let formats = makeFormats();

function readChoice() {
  // A browser may forbid a page to keep anything.
  try {
    return localStorage.getItem(KEY) === '1';
  } catch {
    return false;
  }
}

function makeFormats() {
  const zone = { timeZone: utc ? 'UTC' : undefined, hourCycle: 'h23' };
  const clock = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
  const day = { year: 'numeric', month: '2-digit', day: '2-digit' };
  const format = (parts) => new Intl.DateTimeFormat('sv-SE', { ...zone, ...parts });
  return {
    minute: format({ hour: '2-digit', minute: '2-digit' }),
    clock: format(clock),
    day: format(day),
    whole: format({ ...day, ...clock, fractionalSecondDigits: 3, timeZoneName: 'longOffset' }),
  };
}

/** Returns true while times are shown in UTC. */
export function isUtc() {
  return utc;
}

/** Chooses between UTC and the operator's zone, and tells everyone who shows times. */
export function setUtc(value) {
  utc = value;
  formats = makeFormats();
  try {
    localStorage.setItem(KEY, value ? '1' : '0');
  } catch {
    // Then the choice lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

/** Has a function called when the zone changes. */
export function onZone(listener) {
  listeners.add(listener);
}

let aheadMs = 0;

/** Takes the time that the server has told just now, in milliseconds. */
export function setNow(ms) {
  if (Number.isFinite(ms)) aheadMs = ms - Date.now();
}

/** Returns the time by the server's clock, in milliseconds. */
export function now() {
  return Date.now() + aheadMs;
}

/** Returns the moment of an RFC 3339 text in milliseconds, or NaN. */
export function moment(text) {
  return typeof text === 'string' ? Date.parse(text) : NaN;
}

/** Returns the hour and minute. */
export function minute(ms) {
  return formats.minute.format(ms);
}

/** Returns the time of day, with its date before it if that is not today. */
export function stamp(ms) {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return UNKNOWN;
  const day = formats.day.format(ms);
  const clock = formats.clock.format(ms);
  return day === formats.day.format(now()) ? clock : `${day} ${clock}`;
}

/** Returns the exact time, with its zone, and in UTC. */
export function exactTime(ms) {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return 'not known';
  const iso = new Date(ms).toISOString();
  return utc ? iso : `${formats.whole.format(ms)} (${iso})`;
}
