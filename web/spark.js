// A sparkline: the course of a figure, as small as a word.

import { attribute, svg } from './dom.js';
import { area, extent, line, scale } from './plot.js';

const WIDTH = 300;
const HEIGHT = 40;

/** One sparkline, which fills the element that it is in. */
export class Spark {
  #fill = svg('path', { class: 'fill' });
  #line = svg('path', { class: 'line' });
  #fromZero;
  #dot = null;

  /** Its scale begins at zero, as the course of a rate has to, or at its own smallest value. */
  constructor({ fromZero = true, className = '' } = {}) {
    this.#fromZero = fromZero;
    this.element = svg(
      'svg',
      {
        class: `spark ${className}`.trim(),
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: 'none',
        'aria-hidden': 'true',
      },
      this.#fill,
      this.#line,
    );
  }

  /** Draws a series, the newest value at the right; the places of anomalous ones are marked. */
  draw(values, anomalous = []) {
    const known = extent(values);
    const count = values.length;
    const [low, high] = known ?? [0, 1];
    const bottom = this.#fromZero ? Math.min(0, low) : low;
    // A flat line stands in the middle, or on the ground if it is zero.
    const isFlat = high === bottom;
    const size = Math.abs(high) || 1;
    const room = isFlat && !this.#fromZero ? size : 0;
    const y = scale([bottom - room, isFlat ? bottom + size : high], [HEIGHT - 2, 3]);
    const x = scale([0, Math.max(1, count - 1)], [1, WIDTH - 1]);
    const xs = Array.from(values, (_, index) => x(index));
    const ys = Array.from(values, (value) => (value === null ? NaN : y(value)));
    attribute(this.#line, 'd', line(xs, ys));
    attribute(this.#fill, 'd', area(xs, ys, new Array(count).fill(HEIGHT)));
    this.#mark(anomalous, xs, ys);
  }

  #mark(anomalous, xs, ys) {
    let path = '';
    for (let index = 0; index < ys.length; index += 1) {
      if (anomalous[index] && Number.isFinite(ys[index])) {
        path += `M${xs[index].toFixed(1)} ${ys[index].toFixed(1)}h0`;
      }
    }
    if (path === '' && this.#dot === null) return;
    if (this.#dot === null) {
      this.#dot = svg('path', { class: 'anomalous' });
      this.element.append(this.#dot);
    }
    attribute(this.#dot, 'd', path);
  }
}
