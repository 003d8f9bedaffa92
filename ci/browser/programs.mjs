// Programs that a check starts: the server, and a Redis; and the load of a fleet.

import { spawn } from "node:child_process";
import { createServer as createProxy, request } from "node:http";
import { createServer } from "node:net";

const START_MS_MAX = 30_000;

/** What went wrong, in a sentence. */
export class Fault extends Error {}

/** Throws unless the condition holds. */
export function ensure(condition, what) {
  if (!condition) throw new Fault(what);
}

/** Asks until an answer is truthy, and returns it. `what` says what was waited for. */
export async function until(ask, what, withinMs = 15_000) {
  const end = performance.now() + withinMs;
  let last;
  for (;;) {
    try {
      const answer = await ask();
      if (answer) return answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) {
      const why = last ? ` (${last.message})` : "";
      throw new Fault(`${what}: not within ${withinMs / 1000} s${why}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** A program on a port of its own, which it keeps when it is started again. */
class Program {
  #process = null;
  #said = "";

  async start() {
    const clean = Object.entries(process.env).filter(
      ([name]) => !name.startsWith("COREPULSE_") && name !== "REDIS_URL",
    );
    const child = spawn(this.path, this.flags, {
      env: Object.fromEntries(clean),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (bytes) => {
        this.#said = (this.#said + bytes).slice(-20_000);
      });
    }
    this.ended = new Promise((resolve) => child.once("exit", resolve));
    const isReady = async () => {
      if (child.exitCode !== null) throw new Fault(`${this.path} ended: ${this.#said}`);
      return this.isReady();
    };
    await until(isReady, `${this.path} is ready`, START_MS_MAX);
    return this;
  }

  /** Ends it as an operator would, and waits for the end. */
  async stop(signal = "SIGTERM") {
    if (this.#process === null || this.#process.exitCode !== null) return;
    this.#process.kill(signal);
    await this.ended;
  }
}

/** The server under test. */
export class Server extends Program {
  static async start(path, ...flags) {
    const server = new Server();
    const port = await freePort();
    server.path = path;
    server.url = `http://127.0.0.1:${port}`;
    server.flags = ["--listen", `127.0.0.1:${port}`, "--workers", "2", "--pin", "off", ...flags];
    return server.start();
  }

  async isReady() {
    return (await fetch(`${this.url}/ready`)).ok;
  }

  /** Returns an answer in JSON. */
  async ask(path, headers = {}) {
    const answer = await fetch(`${this.url}/${path}`, { headers });
    ensure(answer.ok, `/${path}: ${answer.status}`);
    return answer.json();
  }

  /** Posts metrics, and returns the answer. */
  async post(metrics, headers = {}) {
    const body = [metrics].flat().map((metric) => JSON.stringify(metric)).join("\n");
    const answer = await fetch(`${this.url}/metrics`, { method: "POST", body, headers });
    return { status: answer.status, ...(await answer.json()) };
  }
}

/** A load balancer that leads each request to the next server. */
export class Balancer {
  #proxy;

  static async start(servers) {
    const balancer = new Balancer();
    let next = 0;
    balancer.#proxy = createProxy((asked, answer) => {
      const { url } = servers[next % servers.length];
      next += 1;
      const { method, headers } = asked;
      const passed = request(new URL(asked.url, url), { method, headers }, (from) => {
        answer.writeHead(from.statusCode, from.headers);
        from.pipe(answer);
      });
      // A browser may leave before the answer, and a server may be away.
      passed.on("error", () => answer.destroy());
      asked.pipe(passed);
    });
    await new Promise((resolve) => {
      balancer.#proxy.listen(0, "127.0.0.1", resolve);
    });
    balancer.url = `http://127.0.0.1:${balancer.#proxy.address().port}`;
    return balancer;
  }

  stop() {
    this.#proxy.close();
    this.#proxy.closeAllConnections();
  }
}

/** A Redis that keeps nothing on disk. */
export class Redis extends Program {
  static async start() {
    const redis = new Redis();
    redis.port = await freePort();
    redis.path = "redis-server";
    redis.url = `redis://127.0.0.1:${redis.port}`;
    const nothing = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    redis.flags = ["--port", String(redis.port), ...nothing];
    return redis.start();
  }

  async isReady() {
    return (await this.ask("PING")) === "PONG";
  }

  /** Returns what `redis-cli` prints for a command. */
  ask(...words) {
    return new Promise((resolve, reject) => {
      const client = spawn("redis-cli", ["-p", String(this.port), ...words]);
      let said = "";
      client.stdout.on("data", (bytes) => {
        said += bytes;
      });
      client.once("error", reject);
      client.once("exit", () => resolve(said.trim()));
    });
  }
}

/** Devices that send a metric a second each: in one request of all of them, or each by itself. */
export class Fleet {
  #server;
  #ids;
  #timer = null;
  #sent = Promise.resolve();

  constructor(server, count, name = deviceName) {
    this.#server = server;
    this.#ids = Array.from({ length: count }, (_, index) => name({ index }));
    this.random = seeded(7);
  }

  /** Fills the windows of all devices, and goes on until it is stopped. */
  async start() {
    for (let round = 0; round < 20; round += 1) await this.#send();
    this.#timer = setInterval(() => {
      this.#sent = this.#sent.then(() => this.#send());
    }, 1_000);
    return this;
  }

  /** Has each device send by itself, spread over the second, until it is stopped. */
  async startSingly() {
    let next = 0;
    this.#timer = setInterval(() => {
      const index = next % this.#ids.length;
      next += 1;
      const sent = this.#post(this.metric(this.#ids[index], index));
      this.#sent = this.#sent.then(() => sent);
    }, 1_000 / this.#ids.length);
    return this;
  }

  async stop() {
    clearInterval(this.#timer);
    await this.#sent;
  }

  async #send() {
    await this.#post(this.#ids.map((id, index) => this.metric(id, index)));
  }

  async #post(metrics) {
    try {
      await this.#server.post(metrics);
    } catch {
      // A check may stop the server; then this second is lost.
    }
  }

  /** A metric of a device: its own level, some noise, and seldom something odd. */
  metric(id, index) {
    const level = 20 + (index % 30);
    const noise = () => (this.random() + this.random() + this.random() - 1.5) / 12;
    const isOdd = this.random() < 0.01;
    const cpu = level * (1 + noise()) * (isOdd ? 1.8 : 1);
    return { device_id: id, cpu: round(cpu), rps: round(1000 + level * 10 * (1 + noise())) };
  }
}

const deviceName = ({ index }) => `device-${String(index + 1).padStart(3, "0")}`;

const round = (value) => Math.round(value * 100) / 100;

/** Numbers that are the same in every run. */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
