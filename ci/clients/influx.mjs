// Writes as the client libraries of InfluxDB for Node.js do: `influx.py` runs this, says what by
// variables, and reads the line of JSON that it prints.

import {InfluxDB, Point, setLogger} from "@influxdata/influxdb-client";
import {InfluxDB as InfluxDB1} from "influx";

const {WHAT, ADDRESS, TOKEN, DEVICE, COUNT, ODD_TAG} = process.env;
const [host, port] = ADDRESS.split(":");
const began = Date.now();
const numbers = Array.from({length: Number(COUNT)}, (_, number) => number);

// It says what it tries again; whether that was enough, its answer tells.
setLogger({error() {}, warn() {}});

function open2(token) {
  const client = new InfluxDB({url: `http://${ADDRESS}`, token});
  const seen = {failed: [], written: 0};
  const write = client.getWriteApi("any", "any", "ms", {
    batchSize: 500,
    minRetryDelay: 100,
    maxRetryDelay: 300,
    retryJitter: 0,
    maxRetries: 20,
    writeFailed: (error) => void seen.failed.push(error),
    writeSuccess: (lines) => void (seen.written += lines.length),
  });
  return {write, seen};
}

function open1(password) {
  return new InfluxDB1({host, port: Number(port), username: "any", password, database: "any"});
}

const checks = {
  async write2() {
    const {write, seen} = open2(TOKEN);
    for (const number of numbers) {
      const point = new Point("a room, or = two").tag("device_id", DEVICE).tag("at home", ODD_TAG);
      point.floatField("temperature", number).uintField("humidity", number % 100);
      point.booleanField("valve, open", true).stringField("name", 'the "old" one, \\ = x\\');
      write.writePoint(point.timestamp(new Date(began + number)));
    }
    // It tries again as long as it is open; `close` would give up.
    await write.flush().catch(() => {});
    while (seen.written < numbers.length) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await write.close();
    return {};
  },

  async write1() {
    const client = open1(TOKEN);
    const [answer] = await client.ping(5000);
    const points = numbers.map((number) => ({
      // It does not escape what stands here.
      measurement: "room",
      tags: {device_id: DEVICE, "at home": ODD_TAG},
      fields: {
        temperature: number, humidity: number % 100, "valve, open": true, name: 'the "old" one',
      },
      timestamp: new Date(began + number),
    }));
    await client.writePoints(points, {precision: "ms"});
    return {online: answer.online, version: answer.version};
  },

  // A line that is wrong beside one that is right.
  async wrong2() {
    return told(TOKEN, "m,device_id=half temperature=1\nm,device_id=half temperature=warm");
  },

  async token2() {
    return told("another", "m,device_id=half temperature=1");
  },

  async wrong1() {
    const fields = [{temperature: 1}, {temperature: "warm"}];
    const points = fields.map((fields) => ({measurement: "m", tags: {device_id: "half"}, fields}));
    return open1(TOKEN).writePoints(points).then(() => ({}), told1);
  },

  async token1() {
    const point = {measurement: "m", tags: {device_id: "half"}, fields: {temperature: 1}};
    return open1("another").writePoints([point]).then(() => ({}), told1);
  },
};

// What a user of the library is told.
async function told(token, line) {
  const {write, seen} = open2(token);
  write.writeRecord(line);
  await write.close().catch(() => {});
  const [{statusCode, code, message}] = seen.failed;
  return {status: statusCode, code, message, times: seen.failed.length};
}

function told1(error) {
  return {status: error.res.statusCode, message: error.message};
}

console.log(JSON.stringify(await checks[WHAT]()));
