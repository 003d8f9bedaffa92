// What an empty server shows: the two lines to begin with, for the address in the browser's bar.

import { ADDRESS } from './api.js';
import { html, text } from './dom.js';

const BATCH = 60;

/** The invitation. */
export class Welcome {
  #lines;
  #for = '';

  constructor() {
    this.#lines = [new Line(), new Line()];
    const [one, many] = this.#lines;
    this.element = html(
      'section',
      { class: 'panel welcome' },
      html('h2', {}, 'Nothing has been posted yet'),
      html('p', {}, 'Paste a line into a terminal; this page shows it at once. ',
        'One metric of one device:'),
      one.element,
      html('p', {}, `Or ${BATCH} of another device, the last of them odd:`),
      many.element,
      html('p', { class: 'hint' }, 'A server with a token (--ingest-token) wants ',
        html('code', {}, '-H "Authorization: Bearer …"'),
        ' as well. What else may be posted is in ',
        html('a', { href: 'openapi.json' }, 'openapi.json'), '.'),
    );
  }

  /** Shows the lines for the fields that the server takes. */
  update({ fields }) {
    const [one, many] = lines(fields);
    if (one === this.#for) return;
    this.#for = one;
    this.#lines[0].show(one);
    this.#lines[1].show(many);
  }
}

/** A line to copy. */
class Line {
  #code = html('code');
  #button = html('button', { type: 'button', on: { click: () => this.#copy() } }, 'Copy');

  constructor() {
    this.element = html('div', { class: 'copy' }, html('pre', {}, this.#code), this.#button);
  }

  show(line) {
    text(this.#code, line);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#code.textContent);
      text(this.#button, 'Copied');
    } catch {
      // Not over plain HTTP from elsewhere: then the line is selected, ready for the keyboard.
      getSelection().selectAllChildren(this.#code);
      text(this.#button, 'Selected');
    }
    setTimeout(() => text(this.#button, 'Copy'), 2000);
  }
}

/** Returns the two lines. */
export function lines(fields) {
  const url = `${ADDRESS}/metrics`;
  const sent = fields.filter(({ required }) => required);
  const named = sent.length > 0 ? sent : fields.slice(0, 1);
  const values = named.map((field) => `"${field.name}":${usual(field).toFixed(digits(field))}`);
  const one = `curl -d '{"device_id":"d1",${values.join(',')}}' ${url}`;
  const parts = named.map((field) => `\\"${field.name}\\":%.${digits(field)}f`).join(',');
  const noisy = named.map((field) => noise(field)).join(',');
  const odd = named.map((field) => spike(field)).join(',');
  const format = `"{\\"device_id\\":\\"d2\\",${parts}}\\n"`;
  const script = `BEGIN{for(i=1;i<${BATCH};i++)printf ${format},${noisy};printf ${format},${odd}}`;
  return [one, `awk '${script}' | curl --data-binary @- ${url}`];
}

/** Returns a value that a field takes: a small share of a large range, or the middle of a small. */
function usual({ min, max }) {
  const low = min ?? 0;
  const room = (max ?? low + 100) - low;
  return room > 200 ? low + 40 : low + room / 2;
}

const spread = ({ min, max }) => Math.min(200, (max ?? 100) - (min ?? 0)) / 20;
const digits = (field) => Math.max(1, Math.min(9, 2 - Math.floor(Math.log10(spread(field) || 1))));
const fixed = (field, value) => value.toFixed(digits(field));
const noise = (field) =>
  `${fixed(field, usual(field))}+${fixed(field, spread(field))}*(rand()-.5)`;
const spike = (field) => fixed(field, usual(field) + 6 * spread(field));
