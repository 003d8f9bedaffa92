// The addresses of views: what stands behind the `#`, so that a view can be linked to and the
// browser's buttons work.

import { html } from './dom.js';

/** Returns the address of a device's view. */
export function deviceAddress(id) {
  return `#/devices/${encodeURIComponent(id)}`;
}

/** Makes a link to a device, or what stands for none. */
export function deviceLink(id) {
  if (id === null || id === undefined) return html('span', { class: 'hint' }, 'no device');
  // A long one may be cut off where it is shown.
  return html('a', { href: deviceAddress(id), class: 'id', title: id }, id);
}

/** Returns the view and the parameters of an address: `{ view, id, query }`. */
export function read(hash) {
  const [path, query = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  const [view, ...rest] = path.split('/');
  const parameters = new URLSearchParams(query);
  const names = { '': 'overview', devices: 'devices', anomalies: 'anomalies',
    performance: 'performance' };
  const name = Object.hasOwn(names, view) ? names[view] : 'overview';
  if (name === 'devices' && rest.length > 0 && rest[0] !== '') {
    try {
      return { view: 'device', id: decodeURIComponent(rest.join('/')), query: parameters };
    } catch {
      return { view: 'devices', query: parameters };
    }
  }
  return { view: name, query: parameters };
}
