// Figures as people read them: three significant digits and a unit. The exact value goes into the
// tooltip, from `exact`.

/** Stands for a figure that is not known. */
export const UNKNOWN = '–';

const LARGE = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
const BINARY = [[2 ** 40, 'TiB'], [2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']];
const TIME = [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns']];
const SPANS = [[86400, 'd', 3600, 'h'], [3600, 'h', 60, 'min'], [60, 'min', 1, 's']];

const DECIMALS = Array.from({ length: 13 }, (_, count) => count);

const isKnown = (value) => typeof value === 'number' && Number.isFinite(value);

/** Returns a number of three significant digits, without a unit, as a string. */
function digits(value) {
  const text = value.toPrecision(3);
  return text.includes('e') ? String(Number(text)) : text;
}

/** Returns a measured value: `41.5`, `1.20k`, `3.00e-7`. */
export function measure(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(3));
  const size = Math.abs(rounded);
  if (size >= 1e15 || size < 1e-4) return minus(value.toExponential(2).replace('e+', 'e'));
  const [unit, prefix] = LARGE.find(([unit]) => size >= unit) ?? [1, ''];
  return minus(digits(rounded / unit) + prefix);
}

/** Returns the labels of an axis: one prefix for all, and as few digits as tell them apart. */
export function axis(values) {
  const size = Math.max(...values.map(Math.abs));
  const step = values.length > 1 ? values[1] - values[0] : size;
  if (size >= 1e15 || (size < 1e-4 && size > 0)) {
    const figures = Math.ceil(Math.log10(size)) - Math.floor(Math.log10(step)) + 1;
    const label = (value) => value.toExponential(Math.min(15, Math.max(0, figures)))
      .replace(/\.?0*e\+?/, 'e');
    return values.map((value) => (value === 0 ? '0' : minus(label(value))));
  }
  const isWhole = (value) => Math.abs(value - Math.round(value)) < value * 1e-6;
  const decimals = (unit) => DECIMALS.find((count) => isWhole((step / unit) * 10 ** count)) ?? 12;
  const large = LARGE.find(([unit]) => size >= unit) ?? [1, ''];
  // A prefix is to make a label shorter.
  const [unit, prefix] = decimals(large[0]) > 3 ? [1, ''] : large;
  const label = (value) => (value / unit).toFixed(decimals(unit)) + prefix;
  return values.map((value) => (value === 0 ? '0' : minus(label(value))));
}

/** Returns the labels of an axis of times in seconds, which are powers of ten. */
export function axisLatency(values) {
  return values.map((value) => latency(value).replace(/\.0+ /, ' '));
}

/** Returns a count: exact below a thousand, then as a measure. */
export function count(value) {
  if (!isKnown(value)) return UNKNOWN;
  return Math.abs(value) < 1000 && Number.isInteger(value) ? minus(String(value)) : measure(value);
}

/** Returns a rate, which is a small number more often than not. */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  return Number.isInteger(value) ? count(value) : measure(value);
}

/** Returns a share of one as a percentage. */
export function percent(share) {
  if (!isKnown(share)) return UNKNOWN;
  const value = share * 100;
  if (value === 0) return '0 %';
  return value < 0.1 ? '< 0.1 %' : `${value >= 99.95 ? Math.round(value) : digits(value)} %`;
}

/** Returns a number of bytes. */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  const [unit, name] = BINARY.find(([unit]) => value >= unit) ?? [1, 'B'];
  const scaled = value / unit;
  return `${unit === 1 ? scaled : scaled >= 999.5 ? Math.round(scaled) : digits(scaled)} ${name}`;
}

/** Returns a short time, as latencies are: `184 µs`. */
export function latency(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds === 0) return '0 s';
  const rounded = Number(seconds.toPrecision(3));
  const [unit, name] = TIME.find(([unit]) => rounded >= unit) ?? TIME.at(-1);
  return `${digits(rounded / unit)} ${name}`;
}

/** Returns a length of time in two units: `2 h 5 min`. */
export function span(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  for (const [large, largeName, small, smallName] of SPANS) {
    if (whole >= large) {
      const rest = Math.floor((whole % large) / small);
      return `${Math.floor(whole / large)} ${largeName}${rest ? ` ${rest} ${smallName}` : ''}`;
    }
  }
  return `${whole} s`;
}

/** Returns the time since a moment: `now`, `4 s ago`. */
export function age(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  return seconds < 1.5 ? 'now' : `${span(seconds)} ago`;
}

/** Returns every digit of a number, with a unit behind it if there is one. */
export function exact(value, unit = '') {
  if (!isKnown(value)) return 'not known';
  return minus(String(value)) + (unit && ` ${unit}`);
}

/** Returns a z-score with its sign: `+3.12 σ`. */
export function score(z) {
  if (!isKnown(z)) return UNKNOWN;
  return `${z > 0 ? '+' : ''}${measure(z)} σ`;
}

const minus = (text) => text.replace(/^-/, '−');
