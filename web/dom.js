// Elements of the page.
//
// What the server tells reaches the page as text of text nodes and as values of attributes, never
// as markup: no function here or elsewhere parses HTML, and the Content-Security-Policy of the page
// (trusted-types 'none') has the browser refuse whatever would.

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element of HTML; `on` has its listeners, all other properties are attributes. */
export function html(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Makes an element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else {
      attribute(element, name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets an attribute, or removes it for `null` and `false`; touches only what differs. */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? '' : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text of an element that has no other content; touches only what differs. */
export function text(element, value) {
  const now = element.firstChild;
  if (now === null) {
    if (value !== '') element.append(value);
  } else if (now.data !== value) {
    now.data = value;
  }
}

/** Sets a figure: its short form, and the exact one as its tooltip. */
export function figure(element, short, exact) {
  text(element, short);
  attribute(element, 'title', exact);
}

/** A row of a `<dl>` for a fact: its label, the short figure and the exact one. */
export function factRow() {
  const name = html('dt');
  const value = html('dd');
  const update = ([label, short, exactly]) => {
    text(name, label);
    figure(value, short, exactly);
  };
  return { element: html('div', {}, name, value), update };
}

/** Shows or hides an element. */
export function shown(element, is) {
  if (element.hidden === is) element.hidden = !is;
}

/**
 * The children of an element, one for each item of a list. A child stays the same element while its
 * key is in the list, so that focus, hover and selection survive an update.
 */
export class Rows {
  #parent;
  #create;
  #rows = new Map();

  /** `create(item)` returns a row: an object with `element` and `update(item)`. */
  constructor(parent, create) {
    this.#parent = parent;
    this.#create = create;
  }

  /** Shows these items, a pair of key and value each, in this order. */
  show(items) {
    const rows = new Map();
    for (const [named, item] of items) {
      let key = named;
      // Two of one key are two rows, or the first would stay in the page for ever.
      for (let more = 2; rows.has(key); more += 1) key = `${named} #${more}`;
      const row = this.#rows.get(key) ?? this.#create(item);
      this.#rows.delete(key);
      row.update(item);
      rows.set(key, row);
    }
    // What goes is gone before the rest is put in order: a row that stays where it is, relative to
    // the others, is never moved, which would take the focus from it.
    for (const row of this.#rows.values()) row.element.remove();
    let next = this.#parent.firstElementChild;
    for (const { element } of rows.values()) {
      if (element === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(element, next);
    }
    this.#rows = rows;
  }

  /** Returns the row of a key, if it is shown. */
  row(key) {
    return this.#rows.get(key);
  }
}
