// A chart with axes, a line, a band around it, marked points, and a cursor that tells the values:
// under the pointer, or by the arrow keys.

import { attribute, html, svg, text } from './dom.js';
import { area, extent, line, padded, scale, ticks } from './plot.js';

const MARGIN = { top: 10, right: 12, bottom: 22, left: 46 };
const CHARACTER_WIDTH = 6.8;
/** Marks so near to the cursor are told with its value. */
const NEAR = 4;
const MARKS_TOLD = 3;
const DECADES_MAX = 8;
const PIXELS_PER_TICK = { x: 110, y: 44 };

/**
 * One chart. What it shows is given to `draw` as a whole:
 *
 * - `xs`: places along the x axis, and `domain`, the first and last that are shown;
 * - `line`: the values, `null` or NaN where there is none; `isDotted` marks each by a dot;
 * - `band`: `{ low, high }`, two series, and `mean`, a further line, if there are such;
 * - `limits`: values at each of which a line is drawn, where it is in sight;
 * - `marks`: `[{ x, value, text }]`, the anomalous points;
 * - `summary`: the chart in a sentence; `tell(index)`: a value in words.
 */
export class Chart {
  #height = 0;
  #left = MARGIN.left;
  #options;
  #width = 0;
  #shown = null;
  #places = { xs: [], x: null, y: null };
  #cursor = null;
  #parts;
  #ticks = [];
  #marks = [];

  /** `options`: `label`; `height(width)`; `labelsY(values)`, the labels of some ticks;
   * `ticksX(domain, most)`; `logX` and `logY`; and `tellsMarks`, to have the cursor tell the marks
   * beside it as well. */
  constructor(options) {
    this.#options = { logX: false, logY: false, tellsMarks: false, ...options };
    const part = (name, className) => svg(name, { class: className });
    this.#parts = {
      grid: part('g', 'grid'),
      band: part('path', 'band'),
      mean: part('path', 'mean'),
      limits: part('path', 'limits'),
      line: part('path', 'line'),
      dots: part('path', 'dots'),
      marks: part('g', 'marks'),
      cursor: part('path', 'cursor'),
      spot: svg('circle', { class: 'spot', r: 4, hidden: true }),
    };
    this.svg = svg('svg', { 'aria-hidden': 'true', height: options.height(0) });
    this.svg.append(...Object.values(this.#parts));
    this.readout = html('output', { class: 'readout', 'aria-hidden': 'true' });
    this.element = html(
      'div',
      {
        class: 'chart',
        tabindex: 0,
        role: 'slider',
        'aria-label': options.label,
        'aria-valuemin': 0,
        'aria-valuemax': 0,
        'aria-valuenow': 0,
        on: {
          pointermove: (event) => this.#point(event),
          pointerdown: (event) => this.#point(event),
          pointerleave: () => this.#leave(),
          blur: () => this.#leave(),
          keydown: (event) => this.#press(event),
        },
      },
      this.svg,
      this.readout,
    );
    new ResizeObserver(([entry]) => this.#resize(entry.contentRect.width)).observe(this.element);
  }

  /** Shows something else. */
  draw(shown) {
    this.#shown = shown;
    this.#render();
  }

  #resize(width) {
    if (Math.abs(width - this.#width) < 0.5) return;
    this.#width = width;
    this.#height = Math.round(this.#options.height(width));
    attribute(this.svg, 'width', Math.floor(width));
    attribute(this.svg, 'height', this.#height);
    this.#render();
  }

  #render() {
    const shown = this.#shown;
    if (shown === null || this.#width < 60) return;
    const { logX, logY } = this.#options;
    const { band, mean } = shown;
    const bounds = this.#boundsY(shown);
    const rows = this.#rows(bounds);
    const longest = Math.max(0, ...rows.map(({ name }) => name.length));
    this.#left = Math.max(MARGIN.left, Math.ceil(longest * CHARACTER_WIDTH) + 12);
    const x = scale(shown.domain, [this.#left, this.#width - MARGIN.right], logX);
    const y = scale(bounds, [this.#height - MARGIN.bottom, MARGIN.top], logY);
    const xs = Array.from(shown.xs, x);
    const place = (values) => Array.from(values, (value) => (value === null ? NaN : y(value)));
    const ys = place(shown.line);
    this.#places = { xs, ys, x, y };
    const parts = this.#parts;
    attribute(parts.line, 'd', line(xs, ys));
    attribute(parts.band, 'd', band ? area(xs, place(band.high), place(band.low)) : '');
    attribute(parts.mean, 'd', mean ? line(xs, place(mean)) : '');
    const inSight = (shown.limits ?? []).filter((at) => at >= bounds[0] && at <= bounds[1]);
    const ends = shown.domain.map(x);
    attribute(parts.limits, 'd', inSight.map((at) => line(ends, [y(at), y(at)])).join(''));
    attribute(parts.dots, 'd', shown.isDotted ? dots(xs, ys) : '');
    this.#drawGrid(shown.domain, rows, x, y);
    this.#drawMarks(shown.marks ?? [], shown.domain, bounds, x, y);
    this.#describe();
  }

  /** Returns the bounds of the y axis. A point far outside is marked at the edge: one spike must
   * not make a flat line of everything else. */
  #boundsY({ line: values, band, mean, marks = [] }) {
    if (this.#options.logY) return logBounds(extent(values) ?? [1, 10]);
    const main = extent(values, band?.low ?? [], band?.high ?? [], mean ?? []) ?? [0, 1];
    const [low, high] = padded(main, 0.08);
    const reach = (high - low) * (this.#options.reach ?? 1);
    const near = marks.map((mark) => mark.value);
    const clamped = near.map((value) => Math.min(high + reach, Math.max(low - reach, value)));
    const whole = extent([low, high], clamped);
    const isOutside = whole[0] < low || whole[1] > high;
    const [bottom, top] = isOutside ? padded(whole, 0.06) : [low, high];
    // Values that are never negative need no axis below zero.
    return [main[0] >= 0 && Math.min(...near, 0) >= 0 ? Math.max(0, bottom) : bottom, top];
  }

  /** Returns the ticks of the y axis with their labels. */
  #rows(bounds) {
    const { labelsY, logY } = this.#options;
    const most = Math.max(2, Math.floor(this.#height / PIXELS_PER_TICK.y));
    const values = logY ? decades(bounds) : ticks(bounds, most);
    const names = labelsY(values);
    return values.map((value, index) => ({ value, name: names[index] }));
  }

  #drawGrid(domain, rows, x, y) {
    const { ticksX } = this.#options;
    const columns = ticksX(domain, Math.max(2, Math.floor(this.#width / PIXELS_PER_TICK.x)));
    const [right, bottom] = [this.#width - MARGIN.right, this.#height - MARGIN.bottom];
    let used = 0;
    for (const { value, name } of rows) {
      const at = Math.round(y(value)) + 0.5;
      this.#tick(used, `M${this.#left} ${at}H${right}`, this.#left - 6, at + 3.5, 'end', name);
      used += 1;
    }
    for (const { at, text: name } of columns) {
      const place = Math.round(x(at)) + 0.5;
      const anchor = place > right - 16 ? 'end' : 'middle';
      this.#tick(used, `M${place} ${bottom}v4`, place, bottom + 16, anchor, name);
      used += 1;
    }
    for (const tick of this.#ticks.splice(used)) tick.group.remove();
  }

  #tick(index, path, x, y, anchor, name) {
    let tick = this.#ticks[index];
    if (tick === undefined) {
      tick = { path: svg('path'), label: svg('text') };
      tick.group = svg('g', {}, tick.path, tick.label);
      this.#ticks.push(tick);
      this.#parts.grid.append(tick.group);
    }
    attribute(tick.path, 'd', path);
    attribute(tick.label, 'x', x.toFixed(1));
    attribute(tick.label, 'y', y.toFixed(1));
    attribute(tick.label, 'text-anchor', anchor);
    text(tick.label, name);
  }

  #drawMarks(marks, [first, last], [low, high], x, y) {
    let used = 0;
    for (const { x: at, value, text: name } of marks) {
      if (!(at >= first && at <= last)) continue;
      let mark = this.#marks[used];
      if (mark === undefined) {
        mark = { shape: svg('path'), name: svg('title') };
        mark.shape.append(mark.name);
        this.#marks.push(mark);
        this.#parts.marks.append(mark.shape);
      }
      const place = Math.min(high, Math.max(low, value));
      const edge = value > high ? 'above' : value < low ? 'below' : 'within';
      attribute(mark.shape, 'd', SHAPES[edge](x(at).toFixed(1), y(place).toFixed(1)));
      attribute(mark.shape, 'class', `mark ${edge}`);
      text(mark.name, name);
      used += 1;
    }
    for (const mark of this.#marks.splice(used)) mark.shape.remove();
  }

  #describe() {
    const { xs, summary } = this.#shown;
    attribute(this.element, 'aria-valuemax', Math.max(0, xs.length - 1));
    if (this.#cursor === null) {
      attribute(this.element, 'aria-valuenow', Math.max(0, xs.length - 1));
      attribute(this.element, 'aria-valuetext', summary);
    } else {
      this.#show(Math.min(this.#cursor, xs.length - 1));
    }
  }

  #point(event) {
    const { xs } = this.#places;
    const at = event.clientX - this.element.getBoundingClientRect().left;
    let nearest = -1;
    for (let index = 0; index < xs.length; index += 1) {
      const isNearer = nearest < 0 || Math.abs(xs[index] - at) < Math.abs(xs[nearest] - at);
      if (this.#isKnown(index) && isNearer) nearest = index;
    }
    if (nearest >= 0) this.#show(nearest);
  }

  #press(event) {
    const last = this.#places.xs.length - 1;
    const from = this.#cursor ?? last + 1;
    const to = {
      ArrowLeft: () => this.#next(from, -1),
      ArrowDown: () => this.#next(from, -1),
      ArrowRight: () => this.#next(from, 1),
      ArrowUp: () => this.#next(from, 1),
      Home: () => this.#next(-1, 1),
      End: () => this.#next(last + 1, -1),
    }[event.key]?.();
    if (event.key === 'Escape') this.#leave();
    if (to === undefined) return;
    event.preventDefault();
    if (to !== null) this.#show(to);
  }

  /** Returns the next place with a value in a direction, or `null`. */
  #next(from, by) {
    for (let index = from + by; index >= 0 && index < this.#places.xs.length; index += by) {
      if (this.#isKnown(index)) return index;
    }
    return null;
  }

  #isKnown(index) {
    return Number.isFinite(this.#places.ys?.[index]);
  }

  #show(index) {
    const { xs, ys } = this.#places;
    if (!this.#isKnown(index)) return;
    this.#cursor = index;
    const { cursor, spot } = this.#parts;
    const [x, y] = [xs[index], ys[index]];
    attribute(cursor, 'd', `M${x.toFixed(1)} ${MARGIN.top}V${this.#height - MARGIN.bottom}`);
    attribute(spot, 'cx', x.toFixed(1));
    attribute(spot, 'cy', y.toFixed(1));
    spot.removeAttribute('hidden');
    const told = [this.#shown.tell(index), ...this.#marksNear(index)].join('\n');
    text(this.readout, told);
    this.readout.classList.toggle('left', x > this.#width / 2);
    attribute(this.element, 'aria-valuenow', index);
    attribute(this.element, 'aria-valuetext', told);
    this.element.classList.add('told');
  }

  /** Returns what is told of the marks nearest to a place. */
  #marksNear(index) {
    if (!this.#options.tellsMarks) return [];
    const { xs, x } = this.#places;
    const reach = Math.max(NEAR, Math.abs(xs[1] - xs[0]) / 2 || 0);
    const distance = (mark) => Math.abs(x(mark.x) - xs[index]);
    const near = this.#shown.marks.filter((mark) => distance(mark) <= reach);
    const more = near.length > MARKS_TOLD ? [`and ${near.length - MARKS_TOLD} more`] : [];
    return [...near.slice(0, MARKS_TOLD).map((mark) => mark.text), ...more];
  }

  #leave() {
    if (this.#cursor === null) return;
    this.#cursor = null;
    attribute(this.#parts.cursor, 'd', '');
    attribute(this.#parts.spot, 'hidden', true);
    this.element.classList.remove('told');
    this.#describe();
  }
}

const SHAPES = {
  within: (x, y) => `M${x} ${y}m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0`,
  above: (x, y) => `M${x} ${y}m0 -4l5 8h-10z`,
  below: (x, y) => `M${x} ${y}m0 4l5 -8h-10z`,
};

function dots(xs, ys) {
  const isKnown = (_, index) => Number.isFinite(ys[index]);
  const dot = (x, index) => `M${x.toFixed(1)} ${ys[index].toFixed(1)}h0`;
  return xs.map((x, index) => (isKnown(x, index) ? dot(x, index) : '')).join('');
}

/** Returns the decades around values; below the smallest of `DECADES_MAX` there is no room. */
function logBounds([low, high]) {
  const top = Math.ceil(Math.log10(Math.max(high, Number.EPSILON) * 1.01));
  const bottom = low > 0 ? Math.floor(Math.log10(low)) : -Infinity;
  return [10 ** Math.min(top - 1, Math.max(bottom, top - DECADES_MAX)), 10 ** top];
}

function decades([low, high]) {
  const count = Math.round(Math.log10(high / low)) + 1;
  return Array.from({ length: count }, (_, index) => low * 10 ** index);
}
