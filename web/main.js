// The page of corepulse: which view is shown, and what stands around it.
//
// Each answer of `/stats` makes a turn: the view that is shown asks for what it needs beside it,
// and shows both. Views are made when they are first looked at, and kept.

import * as api from './api.js';
import { Anomalies } from './anomalies.js';
import { Device } from './device.js';
import { Devices } from './devices.js';
import { attribute, shown, text } from './dom.js';
import { Feed } from './feed.js';
import { span } from './format.js';
import { Health } from './health.js';
import { keepTo, read } from './links.js';
import { Live } from './live.js';
import { Overview } from './overview.js';
import { Performance } from './performance.js';
import { ScopeLine } from './scope.js';
import { exactTime, isUtc, moment, onZone, setUtc } from './zone.js';

const VIEWS = { overview: Overview, devices: Devices, device: Device, anomalies: Anomalies,
  performance: Performance };
const STATES = { live: 'Live', away: 'Away', locked: 'Locked', resting: 'Resting' };
/** A page that was just loaded is not loaded again, as long as two versions may take turns. */
const CALM_MS = 60_000;
const THEMES = ['auto', 'light', 'dark'];
const THEME = 'corepulse.theme';

const byId = (id) => document.getElementById(id);

class App {
  #feeds = { instance: new Feed({ isFleet: false }), fleet: new Feed({ isFleet: true }) };
  #views = new Map();
  #view = null;
  #version = null;
  #address = null;
  #scope = new ScopeLine(byId('scope'));
  #health = new Health(byId('health'), byId('announcements'), () => this.live.again());
  #main = byId('main');

  constructor() {
    this.#controlZone();
    this.#controlTheme();
    this.live = new Live({
      stats: (turn) => this.#turn(turn),
      state: (name, facts) => this.#showState(name, facts),
      token: ({ isFirst, error }) => this.askForToken('', isFirst
        ? 'What this server knows is for those with its read token (--read-token).'
        : `That token was not taken. ${error.message}`),
    });
    addEventListener('hashchange', () => this.#navigate());
    // What stands behind the `#` is the view: this link must not lead to another one.
    document.querySelector('.skip').addEventListener('click', (event) => {
      event.preventDefault();
      this.#main.focus();
    });
    this.#navigate();
    this.live.now();
  }

  /** The anomalies of the scope that is shown. */
  get feed() {
    return this.#feeds[this.live.scope];
  }

  #navigate() {
    const address = read(location.hash);
    const before = this.#address;
    this.#address = address;
    keepTo(address.scope);
    const view = this.#views.get(address.view) ?? new VIEWS[address.view](this);
    this.#views.set(address.view, view);
    const isFirst = this.#view === null;
    this.#view?.hide();
    this.#view = view;
    view.show(address);
    if (!view.element.isConnected) this.#main.append(view.element);
    for (const other of this.#views.values()) shown(other.element, other === view);
    document.title = `${view.title} · corepulse`;
    const group = address.view === 'device' ? 'devices' : address.view;
    for (const link of document.querySelectorAll('[data-view]')) {
      attribute(link, 'aria-current', link.dataset.view === group ? 'page' : null);
    }
    if (isFirst) return;
    // A reader is led to the new view, as if a page had been loaded; who changes the scope stays
    // where they are.
    if (before.view !== address.view || before.id !== address.id) {
      this.#main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    this.#update();
    this.live.now();
  }

  async #turn(turn) {
    const view = this.#view;
    const { stats } = this.live;
    this.#version ??= stats.version;
    // Another program brings another page.
    if (isReplaced(this.live, this.#version)) location.reload();
    this.#showInstance();
    if (turn.isSteady) this.#health.show(stats);
    await view.ask(turn);
    if (!turn.isSteady) this.#health.show(stats);
    // Another view may have been chosen meanwhile.
    if (view === this.#view) this.#update();
  }

  #update() {
    if (this.live.stats !== null) this.#view.update();
  }

  #showInstance() {
    this.#scope.show(this.live);
    const { fleet, scope, stats } = this.live;
    const { instance, version, uptime_seconds: uptime, started } = stats;
    text(byId('instance'), `${scope === 'fleet' ? fleet.name : instance} · ${version}`);
    const since = `${instance} answers; up for ${span(uptime)}, since ${exactTime(moment(started))}`;
    attribute(byId('instance'), 'title', since);
  }

  #showState(name, facts) {
    const pulse = byId('pulse');
    attribute(pulse, 'data-state', name);
    text(pulse.lastElementChild, STATES[name]);
    attribute(this.#main, 'data-state', name);
    if (name === 'away') this.#health.away(facts);
    if (name === 'locked') this.#health.locked();
    if (name === 'resting') this.#health.rest();
  }

  #controlZone() {
    const button = byId('zone');
    const show = () => attribute(button, 'aria-pressed', String(isUtc()));
    button.addEventListener('click', () => setUtc(!isUtc()));
    onZone(() => {
      show();
      this.#update();
    });
    show();
  }

  #controlTheme() {
    const button = byId('theme');
    let theme = 'auto';
    try {
      theme = localStorage.getItem(THEME) ?? theme;
    } catch {
      // A browser may forbid a page to keep anything.
    }
    const show = () => {
      attribute(document.documentElement, 'data-theme', theme === 'auto' ? null : theme);
      text(button, `◐ ${theme[0].toUpperCase()}${theme.slice(1)}`);
      attribute(button, 'aria-label', `Colours: ${theme}`);
    };
    button.addEventListener('click', () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      show();
      try {
        localStorage.setItem(THEME, theme);
      } catch {
        // Then the choice lasts as long as the page.
      }
    });
    if (!THEMES.includes(theme)) theme = 'auto';
    show();
  }

  /** Asks for the token of a path. Resolves to true if one was given. */
  askForToken(path, reason) {
    const dialog = byId('token');
    const value = byId('token-value');
    text(byId('token-reason'), reason);
    value.value = '';
    return new Promise((resolve) => {
      let given = false;
      const end = new AbortController();
      const listen = (element, event, listener) =>
        element.addEventListener(event, listener, { signal: end.signal });
      listen(byId('token-cancel'), 'click', () => dialog.close());
      listen(dialog.querySelector('form'), 'submit', () => {
        given = true;
        api.setToken(path, value.value.trim());
      });
      listen(dialog, 'close', () => {
        end.abort();
        value.value = '';
        resolve(given);
      });
      dialog.showModal();
    });
  }
}

/** Returns true if the server is of another version than the one that this page came from. While
 * the replicas of a fleet are exchanged, both answer in turn. */
function isReplaced({ fleet, scope, stats }, known) {
  if (stats.version === known) return false;
  if (scope === 'fleet') {
    return stats.members.every(({ state, version }) => state !== 'live' || version !== known);
  }
  return fleet === null || performance.now() > CALM_MS;
}

new App();
