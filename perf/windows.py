"""Measures what it costs that windows move between replicas, and writes a record.

    perf/windows.py PROGRAM RECORD.json

Saves: 100,000 devices send one event in ten seconds to one replica of a fleet, in bodies of a
thousand; the CPU time of its thread `windows` is that of the saves. Their windows have a few events
by then; in a second run each has fifty from the beginning. Moves: three replicas, and each
event of a device goes to any of them; the time from a device's first event at a replica to the
coming of its window is the server's own histogram.
"""

import http.client
import json
import os
import platform
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process on a port, ended with the run."""

    def __init__(self, arguments, port):
        self.port = port
        nowhere = subprocess.DEVNULL
        self.process = subprocess.Popen(arguments, stdout=nowhere, stderr=nowhere)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def request(self, method, path, body=None, kind="application/json"):
        self.connection.request(method, path, body, {"Content-Type": kind})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def cpu_seconds(self, thread):
        tasks = f"/proc/{self.process.pid}/task"
        total = 0
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/stat") as stat:
                text = stat.read()
            name = text[text.index("(") + 1 : text.rindex(")")]
            if thread is None or name == thread:
                fields = text[text.rindex(")") + 2 :].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def metric(self, name):
        text = self.request("GET", "/metrics/prometheus")[1].decode()
        lines = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)", text, re.M)
        return {labels: float(value) for labels, value in lines}

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def start(program, count, directory):
    port = free_port()
    redis = Server(["redis-server", "--port", str(port), "--save", "", "--dir", directory], port)
    replicas = []
    for number in range(count):
        at = free_port()
        arguments = [program, "--listen", f"127.0.0.1:{at}", "--workers", "1"]
        arguments += ["--redis-url", f"redis://127.0.0.1:{port}"]
        arguments += ["--fleet", "perf", "--instance", f"r{number}"]
        replicas.append(Server(arguments, at))
    time.sleep(2)
    return redis, replicas


def line(device):
    cpu, rps = random.randrange(1000) / 10, random.randrange(1000)
    return json.dumps({"device_id": f"device-{device:07}", "cpu": cpu, "rps": rps})


def body(first):
    return "\n".join(line(first + number) for number in range(1000))


def fill(replica, devices, events):
    """Posts so many events of each device, ten seconds apart by their timestamps."""
    variants = [[body(first) for first in range(0, devices, 1000)] for _ in range(7)]
    for number in range(events):
        stamp = f'{{"timestamp": {int(time.time()) - 10 * (events - number)}, '
        for text in variants[number % len(variants)]:
            text = text.replace("{", stamp)
            status, answer = replica.request("POST", "/metrics", text, "application/x-ndjson")
            assert status == 202, answer
        # Of a device that waits for its window only some events are kept.
        while replica.metric("corepulse_windows_waiting")[""] > 0:
            time.sleep(0.1)


def saves(program, directory, events):
    redis, [replica] = start(program, 1, directory)
    devices, bodies = 100_000, 10
    if events > 0:
        fill(replica, devices, events)
    began, sent, before = time.monotonic(), 0, None
    while True:
        at = time.monotonic() - began
        # Two rounds to begin all windows, then the time that counts.
        if before is None and at >= 21:
            before = save_figures(redis, replica)
        if at >= 21 + SECONDS:
            break
        if sent <= at * bodies:
            text = body(sent * 1000 % devices)
            status, answer = replica.request("POST", "/metrics", text, "application/x-ndjson")
            assert status == 202, answer
            sent += 1
        else:
            time.sleep(0.002)
    after = save_figures(redis, replica)
    took = after[0] - before[0]
    ask = ["redis-cli", "-p", str(redis.port), "info", "memory"]
    memory = subprocess.run(ask, capture_output=True, text=True, check=True)
    used = int(re.search(r"used_memory:(\d+)", memory.stdout)[1])
    replica.end()
    redis.end()
    number = after[4] - before[4]
    return {
        "devices": devices,
        "saves_per_second": number / took,
        "thread_share_of_core": (after[1] - before[1]) / took,
        "thread_us_a_save": (after[1] - before[1]) / number * 1e6,
        "process_share_of_core": (after[2] - before[2]) / took,
        "redis_share_of_core": (after[3] - before[3]) / took,
        "redis_used_bytes": used,
    }


def save_figures(redis, replica):
    """Returns the time, the CPU times of the thread, the replica and Redis, and the saves."""
    saved = replica.metric("corepulse_window_saves_total")[""]
    times = replica.cpu_seconds("windows"), replica.cpu_seconds(None), redis.cpu_seconds(None)
    return time.monotonic(), *times, saved


def moves(program, directory, per_second):
    redis, replicas = start(program, 3, directory)
    random.seed(1)
    began, sent, before = time.monotonic(), 0, None
    while (at := time.monotonic() - began) < 5 + SECONDS:
        if before is None and at >= 5:
            before = [cpu(redis, replicas), buckets(replicas), at]
        if sent <= at * per_second:
            device = random.randrange(per_second * 2)
            status, answer = random.choice(replicas).request("POST", "/metrics", line(device))
            assert status == 202, answer
            sent += 1
        else:
            time.sleep(0.0005)
    after = [cpu(redis, replicas), buckets(replicas), time.monotonic() - began]
    took = after[2] - before[2]
    counts = {bound: after[1][bound] - before[1].get(bound, 0) for bound in after[1]}
    total = counts[float("inf")]

    def quantile(share):
        return min(bound for bound, count in counts.items() if count >= share * total)

    for replica in replicas:
        replica.end()
    redis.end()
    return {
        "events_per_second": per_second,
        "moves_per_second": total / took,
        "seconds_p50_at_most": quantile(0.5),
        "seconds_p99_at_most": quantile(0.99),
        "seconds_p999_at_most": quantile(0.999),
        "threads_us_a_move": (after[0][0] - before[0][0]) / total * 1e6,
        "redis_us_a_move": (after[0][1] - before[0][1]) / total * 1e6,
    }


def cpu(redis, replicas):
    return sum(replica.cpu_seconds("windows") for replica in replicas), redis.cpu_seconds(None)


def buckets(replicas):
    counts = {}
    for replica in replicas:
        for labels, count in replica.metric("corepulse_window_take_seconds_bucket").items():
            bound = float(re.search(r'le="([^"]+)"', labels)[1])
            counts[bound] = counts.get(bound, 0) + count
    return counts


def main():
    program, record = sys.argv[1:]
    with open("/proc/cpuinfo") as cpus:
        model = re.search(r"model name\s*: (.*)", cpus.read())[1]
    with tempfile.TemporaryDirectory() as directory:
        result = {
            "command": "perf/windows.py",
            "machine": f"{model}, {os.cpu_count()} cores, {platform.release()}",
            "seconds": SECONDS,
            "saves": saves(program, directory, 0),
            "saves_of_full_windows": saves(program, directory, 50),
            "moves": [moves(program, directory, rate) for rate in (100, 1000)],
        }
    text = json.dumps(result, indent=2)
    with open(record, "w") as out:
        out.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
