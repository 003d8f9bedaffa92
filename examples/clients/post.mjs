#!/usr/bin/env node
// A device in JavaScript: posts a metric a moment, and then a batch line by line, with `fetch`.
//
//     node post.mjs http://localhost:8080 [DEVICE [COUNT]]
//
// Needs Node.js 18 or newer, and nothing else. `fetch` keeps the connection open by itself.

const [url, device = "node-1", count = "10"] = process.argv.slice(2);
if (!url) {
  console.error("usage: node post.mjs URL [DEVICE [COUNT]]");
  process.exit(64);
}

const headers = {};
if (process.env.COREPULSE_INGEST_TOKEN) {
  headers.Authorization = `Bearer ${process.env.COREPULSE_INGEST_TOKEN}`;
}

/** Posts a body, trying again where the server asks for it; throws what it refuses, in words. */
async function post(body, type) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(new URL("/metrics", url), {
      method: "POST",
      headers: { ...headers, "Content-Type": type },
      body,
      signal: AbortSignal.timeout(10_000),
    });
    const said = await answer.json();
    if ([429, 503].includes(answer.status) && attempt < 5) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((resume) => setTimeout(resume, seconds * 1000));
    } else if (!answer.ok || said.rejected) {
      throw new Error(`${answer.status} ${JSON.stringify(said)}`);
    } else {
      return said;
    }
  }
}

const metric = (number) => ({
  device_id: device,
  timestamp: new Date().toISOString(),
  cpu: 40 + number,
  rps: 1000 + 10 * number,
});

const half = Math.floor(Number(count) / 2);
for (let number = 0; number < half; number += 1) {
  console.log(await post(JSON.stringify(metric(number)), "application/json"));
  // ISO 8601 has milliseconds here, and each metric is to have one of its own.
  await new Promise((resume) => setTimeout(resume, 2));
}
// Without a time of their own the server gives each the moment at which it came.
const lines = [];
for (let number = half; number < Number(count); number += 1) {
  const { timestamp, ...rest } = metric(number);
  lines.push(`${JSON.stringify(rest)}\n`);
}
console.log(await post(lines.join(""), "application/x-ndjson"));
