// Shapes of charts: scales, ticks, and the paths of lines and bands, with gaps where nothing is
// known.

/** Relative differences below this are the rounding of a double, or nearly. */
const RESOLUTION = 1e-9;
const STEPS = [1, 2, 2.5, 5, 10];

/** Returns a function from values to places, along a line or a logarithm. */
export function scale([low, high], [from, to], isLog = false) {
  // The largest numbers that there are lie further apart than any number.
  const isHuge = !Number.isFinite(high - low);
  const at = isLog ? Math.log : (value) => (isHuge ? value / 4 : value);
  const start = at(low);
  const width = at(high) - start || 1;
  return (value) => from + ((at(value) - start) / width) * (to - from);
}

/** Returns the smallest and largest known number of some series, or `null` if none is known. */
export function extent(...series) {
  let low = Infinity;
  let high = -Infinity;
  for (const values of series) {
    for (const value of values) {
      // NaN and null are neither smaller nor larger.
      if (value === null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/** Returns bounds with some room around them; those of one value too. Values that differ by little
 * more than a double can tell get room as one value does. */
export function padded([low, high], share) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  const isFlat = high - low <= size * RESOLUTION;
  const room = (isFlat ? size : high - low) * share || 1;
  return [Math.max(-Number.MAX_VALUE, low - room), Math.min(Number.MAX_VALUE, high + room)];
}

/** Returns round values within bounds, so many or fewer. */
export function ticks([low, high], most) {
  const raw = high / Math.max(1, most) - low / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = STEPS.map((factor) => factor * power).find((step) => step >= raw);
  if (!Number.isFinite(step) || step <= 0) return [];
  const first = Math.ceil(low / step);
  const found = [];
  // By counting: where a step is less than a double can tell, a sum would stay where it is.
  for (let index = 0; index <= most + 1; index += 1) {
    // Ten times 0.1 is not 1.
    const value = Number(((first + index) * step).toPrecision(12));
    if (value >= low && value <= high && value !== found.at(-1)) found.push(value);
  }
  return found;
}

/** Returns the path of a line through points; a value that is not known is a gap. */
export function line(xs, ys) {
  let path = '';
  let isOpen = false;
  for (let index = 0; index < ys.length; index += 1) {
    const [x, y] = [xs[index], ys[index]];
    if (!isPlace(x) || !isPlace(y)) {
      isOpen = false;
      continue;
    }
    path += `${isOpen ? 'L' : 'M'}${round(x)} ${round(y)}`;
    // A point without neighbours is a dot, by the round cap of a line of no length.
    if (!isOpen && !isPlace(ys[index + 1])) path += 'h0';
    isOpen = true;
  }
  return path;
}

/** Returns the path of an area between two lines. */
export function area(xs, tops, bottoms) {
  let path = '';
  let start = 0;
  for (let index = 0; index <= xs.length; index += 1) {
    const isKnown = index < xs.length && isPlace(tops[index]) && isPlace(bottoms[index]);
    if (isKnown) continue;
    if (index - start > 1) {
      for (let at = start; at < index; at += 1) {
        path += `${at === start ? 'M' : 'L'}${round(xs[at])} ${round(tops[at])}`;
      }
      for (let at = index - 1; at >= start; at -= 1) {
        path += `L${round(xs[at])} ${round(bottoms[at])}`;
      }
      path += 'Z';
    }
    start = index + 1;
  }
  return path;
}

const isPlace = (value) => typeof value === 'number' && Number.isFinite(value);

const round = (value) => Math.round(value * 10) / 10;
