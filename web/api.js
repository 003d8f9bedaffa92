// Requests to the server that this page came from.
//
// A token is kept in `sessionStorage` alone: for this tab, until it is closed.

const BASE = new URL('.', document.baseURI);
const TIMEOUT_MS = 8_000;
const TOKEN = 'corepulse.token';
const ADMIN_TOKEN = 'corepulse.admin-token';
/** What can stand in a header line; with anything else no request would leave the browser. */
const TOKEN_BYTES = /^[\x21-\x7e]+$/;

/** The origin and path under which the server is reached, without a slash at the end. */
export const ADDRESS = BASE.href.replace(/\/$/, '');

/** The server cannot be reached. */
export class Away extends Error {}

/** The server answered with an error. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const isDebug = (path) => path.startsWith('debug/');

/** Returns the token for a path, if one was given. */
export function token(path) {
  return sessionStorage.getItem(isDebug(path) ? ADMIN_TOKEN : TOKEN);
}

/** Keeps the token for a path; `null` forgets it. */
export function setToken(path, value) {
  const key = isDebug(path) ? ADMIN_TOKEN : TOKEN;
  if (value === null) sessionStorage.removeItem(key);
  else sessionStorage.setItem(key, value);
}

/**
 * Asks for a path, which is relative to the page. Returns the answer of `fetch`; throws `Refused`
 * for an error and `Away` if there is no answer. `signal` ends the request.
 */
async function request(path, { signal, timeoutMs = TIMEOUT_MS } = {}) {
  const given = token(path);
  if (given !== null && !TOKEN_BYTES.test(given)) {
    throw new Refused(401, 'This is no token: a token has letters, digits and signs of ASCII.');
  }
  const limit = AbortSignal.timeout(timeoutMs);
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), {
      cache: 'no-store',
      credentials: 'same-origin',
      headers: given === null ? {} : { Authorization: `Bearer ${given}` },
      redirect: 'error',
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Away(error.name === 'TimeoutError' ? 'It does not answer.' : 'No connection.');
  }
  if (!answer.ok) throw new Refused(answer.status, await detail(answer));
  return answer;
}

/** Returns what a problem says (RFC 9457), or else its status. */
async function detail(answer) {
  try {
    const problem = await answer.json();
    if (typeof problem.detail === 'string') return problem.detail;
  } catch {
    // A proxy's error has another form.
  }
  return `${answer.status} ${answer.statusText}`.trim();
}

async function body(path, options, read) {
  const answer = await request(path, options);
  try {
    return await read(answer);
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new Away('The answer ended early.');
  }
}

/** Asks for JSON. */
export function json(path, options) {
  return body(path, options, (answer) => answer.json());
}

/** Asks for text. */
export function plain(path, options) {
  return body(path, options, (answer) => answer.text());
}

/** Asks for a file. */
export function blob(path, options) {
  return body(path, options, (answer) => answer.blob());
}

/** Returns the path of a device, or of something below it. A browser takes `.` and `..` out of any
 * path, however they are encoded, so such a device has none. */
export function devicePath(id, below = '') {
  return id === '.' || id === '..' ? null : `devices/${encodeURIComponent(id)}${below}`;
}
