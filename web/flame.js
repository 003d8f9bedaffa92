// A flamegraph: where CPU time goes, by function.
//
// The server draws it as SVG for those who save it. That is markup, so it is not put into the page:
// its frames are read as text, and drawn again in the colours of the page.

import { attribute, html, Rows, svg, text } from './dom.js';
import { count, exact, percent } from './format.js';

const ROW = 18;
const NAME_WIDTH_MIN = 36;
const CHARACTER_WIDTH = 6.6;
const HOTTEST = 12;
const FRAME = /<title>([^<]*?) \(([\d,]+) samples?, [\d.]+%\)<\/title>\s*<rect ([^>]*)>/g;
const ENTITIES = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

/** Returns the frames of the server's picture: name, depth from the outermost, start and width in
 * samples. */
export function readFrames(picture) {
  const frames = [];
  for (const [, name, , rect] of picture.matchAll(FRAME)) {
    const number = (key) => Number(new RegExp(`(?:^| )${key}="(\\d+)"`).exec(rect)?.[1]);
    const frame = { name: unescaped(name), y: number('y'), start: number('fg:x'),
      width: number('fg:w') };
    if (Number.isFinite(frame.y + frame.start + frame.width)) frames.push(frame);
  }
  const rows = [...new Set(frames.map(({ y }) => y))].sort((a, b) => b - a);
  for (const frame of frames) frame.depth = rows.indexOf(frame.y);
  return frames.sort((a, b) => a.depth - b.depth || a.start - b.start);
}

const unescaped = (name) =>
  name.replace(/&(?:(lt|gt|quot|apos|amp)|#(\d+));/g, (_, entity, code) =>
    entity ? ENTITIES[entity] : String.fromCodePoint(Number(code)));

/** Returns the functions in which most samples were taken: their own, without those they called. */
export function hottest(frames) {
  const byName = new Map();
  const stack = [];
  const add = (frame, samples) => {
    const known = byName.get(frame.name) ?? { name: frame.name, own: 0, total: 0 };
    known.own += samples;
    byName.set(frame.name, known);
    return known;
  };
  const inOrder = frames.filter(({ depth }) => depth > 0)
    .sort((a, b) => a.start - b.start || a.depth - b.depth);
  for (const frame of inOrder) {
    while (stack.length > 0 && stack.at(-1).depth >= frame.depth) stack.pop();
    if (stack.length > 0) add(stack.at(-1), -frame.width);
    // Of a function that calls itself, only the outermost frame counts.
    const isInner = stack.some(({ name }) => name === frame.name);
    const known = add(frame, frame.width);
    if (!isInner) known.total += frame.width;
    stack.push(frame);
  }
  return [...byName.values()].sort((a, b) => b.own - a.own).slice(0, HOTTEST);
}

/** Returns the kind of a function, which has a colour. */
function kind(name) {
  if (/\b(corepulse|metric|analytics)::/.test(name)) return 'own';
  if (/\b(percore|testkit)::/.test(name)) return 'engine';
  if (/\b(std|core|alloc)::/.test(name)) return 'std';
  return name.includes('::') ? 'crate' : 'system';
}

const KINDS = [['own', 'corepulse'], ['engine', 'percore'], ['crate', 'other crates'],
  ['std', 'standard library'], ['system', 'system']];

/** The picture, with the table of the hottest functions below it. */
export class Flame {
  #frames = [];
  #total = 1;
  #focus = null;
  #root = null;
  #width = 0;
  #elements = new Map();
  #svg = svg('svg', { 'aria-hidden': 'true' });
  #told = html('output', { class: 'told' });
  #scroll;
  #hottest = html('tbody');
  #rows = new Rows(this.#hottest, () => hotRow());

  constructor() {
    this.#scroll = html(
      'div',
      {
        class: 'flame',
        tabindex: 0,
        role: 'application',
        'aria-label': 'Flamegraph: arrows move between functions, Enter enlarges one, '
          + 'Escape shows all',
        on: {
          click: (event) => this.#zoom(this.#of(event)),
          pointermove: (event) => this.#tell(this.#of(event)),
          keydown: (event) => this.#press(event),
        },
      },
      this.#svg,
    );
    const legend = html('ul', { class: 'legend' }, ...KINDS.map(([of, name]) =>
      html('li', { class: of }, name)));
    this.element = html(
      'div',
      {},
      this.#told,
      this.#scroll,
      legend,
      html(
        'table',
        { class: 'hottest' },
        html('caption', {}, 'Most CPU time of their own'),
        html('thead', {}, html('tr', {}, html('th', { scope: 'col' }, 'Function'),
          html('th', { scope: 'col', class: 'number' }, 'Own'),
          html('th', { scope: 'col', class: 'number' }, 'With callees'))),
        this.#hottest,
      ),
    );
    new ResizeObserver(([entry]) => {
      this.#width = entry.contentRect.width;
      this.#draw();
    }).observe(this.#scroll);
  }

  /** Shows a picture of the server. Returns the number of frames in it. */
  show(picture) {
    this.#frames = readFrames(picture);
    this.#root = this.#frames[0] ?? null;
    this.#focus = this.#root;
    this.#total = this.#root?.width ?? 1;
    this.#svg.replaceChildren();
    this.#elements.clear();
    for (const frame of this.#frames) this.#add(frame);
    const total = this.#total;
    this.#rows.show(hottest(this.#frames).map((one) => [one.name, { ...one, of: total }]));
    this.#draw();
    this.#tell(this.#focus);
    return this.#frames.length;
  }

  #add(frame) {
    const group = svg('g', { class: kind(frame.name) });
    const rect = svg('rect', { height: ROW - 1, rx: 2 });
    const name = svg('text', { y: frame.depth * ROW + 13 });
    attribute(rect, 'y', frame.depth * ROW);
    group.append(rect, name);
    this.#svg.append(group);
    this.#elements.set(frame, { group, rect, name });
  }

  #draw() {
    if (this.#root === null || this.#width === 0) return;
    const { start, width } = this.#root;
    const depth = Math.max(...this.#frames.map((frame) => frame.depth));
    attribute(this.#svg, 'width', Math.floor(this.#width));
    attribute(this.#svg, 'height', (depth + 1) * ROW);
    for (const [frame, { group, rect, name }] of this.#elements) {
      const from = Math.max(0, ((frame.start - start) / width) * this.#width);
      const to = Math.min(this.#width, ((frame.start + frame.width - start) / width) * this.#width);
      const room = to - from;
      const isSeen = room > 0.4;
      attribute(group, 'hidden', !isSeen);
      if (!isSeen) continue;
      attribute(rect, 'x', from.toFixed(1));
      attribute(rect, 'width', Math.max(0.5, room - 0.7).toFixed(1));
      attribute(name, 'x', (from + 4).toFixed(1));
      text(name, room < NAME_WIDTH_MIN ? '' : cut(frame.name, (room - 8) / CHARACTER_WIDTH));
    }
    this.#markFocus();
  }

  #of(event) {
    const group = event.target.closest?.('g');
    for (const [frame, element] of this.#elements) {
      if (element.group === group) return frame;
    }
    return null;
  }

  #tell(frame) {
    if (frame === null) return;
    this.#focus = frame;
    const share = frame.width / this.#total;
    text(this.#told, `${percent(share)}  ${frame.name}`);
    attribute(this.#told, 'title', `${exact(share * 100, '%')}: ${exact(frame.width)} samples`);
    this.#markFocus();
  }

  #markFocus() {
    for (const [frame, { group }] of this.#elements) {
      group.classList.toggle('focus', frame === this.#focus);
    }
  }

  #zoom(frame) {
    if (frame === null) return;
    this.#root = frame === this.#root ? this.#frames[0] : frame;
    this.#draw();
    this.#tell(frame);
  }

  #press(event) {
    const focus = this.#focus;
    if (focus === null) return;
    if (event.key === 'Enter' || event.key === ' ') {
      this.#zoom(focus);
    } else if (event.key === 'Escape') {
      this.#zoom(this.#frames[0]);
      this.#root = this.#frames[0];
      this.#draw();
    } else {
      const to = this.#neighbour(event.key, focus);
      if (to === undefined) return;
      if (to !== null) this.#tell(to);
    }
    event.preventDefault();
  }

  /** Returns the frame in the direction of a key, `null` if there is none, `undefined` for a key
   * without a direction. */
  #neighbour(key, { depth, start, width }) {
    const at = (level) => this.#frames.filter((frame) => frame.depth === level);
    const end = start + width;
    switch (key) {
      case 'ArrowUp':
        return at(depth - 1).find((one) => one.start <= start && one.start + one.width >= end)
          ?? null;
      case 'ArrowDown':
        return at(depth + 1).find((one) => one.start >= start && one.start < end) ?? null;
      case 'ArrowLeft':
        return at(depth).findLast((one) => one.start < start) ?? null;
      case 'ArrowRight':
        return at(depth).find((one) => one.start > start) ?? null;
      default:
        return undefined;
    }
  }
}

function cut(name, characters) {
  const whole = Math.floor(characters);
  return name.length <= whole ? name : `${name.slice(0, Math.max(1, whole - 1))}…`;
}

function hotRow() {
  const name = html('td', { class: 'function' });
  const own = html('td', { class: 'number' });
  const total = html('td', { class: 'number' });
  const update = (one) => {
    text(name, one.name);
    attribute(name, 'title', one.name);
    text(own, percent(one.own / one.of));
    attribute(own, 'title', `${count(one.own)} samples`);
    text(total, percent(one.total / one.of));
  };
  return { element: html('tr', {}, name, own, total), update };
}
