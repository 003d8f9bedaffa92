// The addresses of views: what stands behind the `#`, so that a view can be linked to and the
// browser's buttons work.
//
// Where a server is in a fleet, an address says as well whose figures are shown: `?scope=instance`
// those of the replica that answers, and without it those of the whole fleet. All links of the page
// keep to what its own address says.

import { attribute, html } from './dom.js';

const WHOLE = 'fleet';
const ONE = 'instance';

let scope = WHOLE;

/** Returns the scope that the address names, which means nothing without a fleet. */
export const wantedScope = () => scope;

/** Makes an address of a path and its parameters, in the scope that is shown. */
export function address(path, query = new URLSearchParams(), of = scope) {
  const parameters = new URLSearchParams(query);
  parameters.delete('scope');
  if (of === ONE) parameters.set('scope', ONE);
  return `#/${path}${parameters.size > 0 ? `?${parameters}` : ''}`;
}

/** Returns the address of a device's view. */
export function deviceAddress(id) {
  return address(`devices/${encodeURIComponent(id)}`);
}

/** Makes a link to a device, or what stands for none. */
export function deviceLink(id) {
  if (id === null || id === undefined) return html('span', { class: 'hint' }, 'no device');
  // A long one may be cut off where it is shown.
  return html('a', { href: deviceAddress(id), class: 'id', title: id }, id);
}

/** Returns the view, the parameters and the scope of an address: `{ view, id, query, scope }`. */
export function read(hash) {
  const { path, query } = parts(hash);
  const [view, ...rest] = path.split('/');
  const of = { query, scope: query.get('scope') === ONE ? ONE : WHOLE };
  const names = { '': 'overview', devices: 'devices', anomalies: 'anomalies',
    performance: 'performance' };
  const name = Object.hasOwn(names, view) ? names[view] : 'overview';
  if (name === 'devices' && rest.length > 0 && rest[0] !== '') {
    try {
      return { view: 'device', id: decodeURIComponent(rest.join('/')), ...of };
    } catch {
      return { view: 'devices', ...of };
    }
  }
  return { view: name, ...of };
}

/** Has all links keep to a scope, and those of the switch lead to where the page is. */
export function keepTo(wanted) {
  if (wanted !== scope) {
    scope = wanted;
    for (const link of document.querySelectorAll('a[href^="#/"]')) {
      const { path, query } = parts(link.getAttribute('href'));
      attribute(link, 'href', address(path, query));
    }
  }
  const { path, query } = parts(location.hash);
  for (const link of document.querySelectorAll('[data-scope]')) {
    attribute(link, 'href', address(path, query, link.dataset.scope));
    attribute(link, 'aria-current', link.dataset.scope === scope ? 'true' : null);
  }
}

/** Puts another address in the place of this one, without going anywhere. */
export function replace(path, query) {
  history.replaceState(null, '', address(path, query));
  keepTo(scope);
}

function parts(hash) {
  const [path, query = ''] = hash.replace(/^#?\/?/, '').split('?', 2);
  return { path, query: new URLSearchParams(query) };
}
