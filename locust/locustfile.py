"""A fleet of devices, of gateways that speak for many, and of operators who look.

Each device has a series of its own (a daily curve, drift, noise) and now and then a value far
outside it. Such an injected anomaly has to be found twice: in the answer to the POST that carried
it, and in `/analyze?device_id=` right after. Not found is a failed request.

The run fails, with exit code 1, when a request failed, when 95 % of them took longer than
`--p95-max-ms`, when fewer than `--rps-min` were answered a second, or when nothing was injected.
"""

import itertools
import json
import math
import random
import time
import uuid

from locust import events, task
from locust.contrib.fasthttp import FastHttpUser
from locust.runners import WorkerRunner
from locust.user.wait_time import constant_throughput

# A series is judged from its 16th event on; a few more, and its deviation is settled.
EVENTS_BEFORE_INJECTION = 20
# So far outside that the answer is certain: noise has a deviation of 1.5, the curve moves 0.05 an
# event, and an earlier spike that is still in a window of 17 widens it to a quarter of itself.
SPIKE = 60.0
# What an answer lists at most: in a batch with more anomalies an injected one might be missing.
LISTED_MAX = 100

POST = "POST /metrics"
POST_BATCH = "POST /metrics (batch)"
POST_INJECTED = "POST /metrics (injected)"
ANALYZE = "GET /analyze"
ANALYZE_INJECTED = "GET /analyze?device_id= (injected)"

RUN = uuid.uuid4().hex[:8]
numbers = itertools.count()


@events.init_command_line_parser.add_listener
def add_arguments(parser):
    group = parser.add_argument_group("corepulse")
    group.add_argument("--p95-max-ms", type=float, default=50.0, help="Fail above this")
    group.add_argument("--rps-min", type=float, default=0.0, help="Fail below this")
    group.add_argument(
        "--inject-every",
        type=int,
        default=60,
        help="Events of a device between two anomalies, at least 10; 0 for none",
    )
    group.add_argument(
        "--device-rate", type=float, default=2.5, help="Metrics a second of each device"
    )
    group.add_argument(
        "--gateway-devices", type=int, default=20, help="Devices that one gateway speaks for"
    )
    group.add_argument(
        "--token", default="", env_var="COREPULSE_INGEST_TOKEN", help="Bearer token for POSTs"
    )


class Device:
    """One series: what the next event is, and whether it is an injected anomaly."""

    def __init__(self, inject_every):
        self.id = f"locust-{RUN}-{next(numbers)}"
        self.inject_every = inject_every
        self.until_injection = EVENTS_BEFORE_INJECTION + random.randrange(max(inject_every, 1))
        self.phase = random.uniform(0, 2 * math.pi)
        self.base = random.uniform(20, 35)
        self.sent = 0

    def next_event(self):
        """The event to send, and the field that carries an injected anomaly, or None."""
        self.sent += 1
        # A day passes in some 600 events.
        daily = 5 * math.sin(self.phase + self.sent / 100)
        event = {
            "device_id": self.id,
            "timestamp": time.time_ns() // 1_000,
            "cpu": round(self.base + daily + random.gauss(0, 1.5), 2),
            "rps": round(40 * self.base + 20 * daily + random.gauss(0, 30), 1),
        }
        self.until_injection -= 1
        if self.inject_every == 0 or self.until_injection > 0:
            return event, None
        self.until_injection = random.randrange(self.inject_every, 2 * self.inject_every)
        field = random.choice(("cpu", "rps"))
        # Twenty times as much deviation, twenty times the spike.
        event[field] = round(event[field] + (SPIKE if field == "cpu" else 20 * SPIKE), 2)
        return event, field


def missing_in(answer, event, field):
    """Why the answer to a POST does not name the injected anomaly, or None."""
    for found in answer.get("anomalous", []):
        same_series = found["device_id"] == event["device_id"] and found["field"] == field
        if same_series and found["value"] == event[field]:
            return None
    if len(answer.get("anomalous", [])) >= LISTED_MAX:
        return None
    return f"{field} {event[field]} of {event['device_id']} is not among the anomalous"


class Client(FastHttpUser):
    """What devices, gateways and operators have in common."""

    abstract = True
    # As devices do: a connection is kept, and a server that does not answer is given up.
    connection_timeout = 10.0
    network_timeout = 10.0

    def on_start(self):
        options = self.environment.parsed_options
        self.authorization = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        self.inject_every = options.inject_every

    def post(self, body, name, affinity, count, injected, content_type="application/json"):
        """Posts a body; every event has to be accepted and every injected anomaly named."""
        headers = {"Content-Type": content_type, "X-Device-Id": affinity, **self.authorization}
        with self.client.post(
            "/metrics", data=body, headers=headers, name=name, catch_response=True
        ) as response:
            if response.status_code != 202:
                response.failure(f"status {response.status_code}: {response.text}")
                return
            answer = response.json()
            missing = [missing_in(answer, event, field) for event, field in injected]
            missing = [reason for reason in missing if reason]
            if answer["accepted"] != count:
                response.failure(f"accepted {answer['accepted']} of {count}")
            elif missing:
                response.failure("; ".join(missing))
        for event, field in injected:
            self.look_for(event, field, affinity)

    def look_for(self, event, field, affinity):
        """The anomaly has to be in the analysis of its device, too."""
        with self.client.get(
            f"/analyze?device_id={event['device_id']}",
            headers={"X-Device-Id": affinity},
            name=ANALYZE_INJECTED,
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {response.text}")
                return
            recent = response.json()["anomalies"]["recent"]
            if not any(r["field"] == field and r["value"] == event[field] for r in recent):
                response.failure(f"{field} {event[field]} is not in its device's anomalies")


class SingleDevice(Client):
    """Posts one metric at a time over a connection that it keeps."""

    weight = 90

    def wait_time(self):
        return constant_throughput(self.environment.parsed_options.device_rate)(self)

    def on_start(self):
        super().on_start()
        self.device = Device(self.inject_every)

    @task
    def report(self):
        event, field = self.device.next_event()
        injected = [(event, field)] if field else []
        name = POST_INJECTED if field else POST
        self.post(json.dumps(event), name, self.device.id, 1, injected)


class Gateway(Client):
    """Collects the metrics of some devices and posts them together, line by line."""

    weight = 8
    wait_time = constant_throughput(1)

    def on_start(self):
        super().on_start()
        size = self.environment.parsed_options.gateway_devices
        self.devices = [Device(self.inject_every) for _ in range(size)]
        # All of its devices on one pod: the gateway's name, not theirs.
        self.name = f"gateway-{self.devices[0].id}"

    @task
    def report(self):
        reports = [device.next_event() for device in self.devices for _ in range(2)]
        body = "\n".join(json.dumps(event) for event, _ in reports)
        injected = [(event, field) for event, field in reports if field]
        self.post(body, POST_BATCH, self.name, len(reports), injected, "application/x-ndjson")


class Operator(Client):
    """Reads what the instance makes of all of it."""

    weight = 2
    wait_time = constant_throughput(1)

    @task
    def look(self):
        with self.client.get("/analyze", name=ANALYZE, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {response.text}")
            elif response.json()["scope"] != "instance":
                response.failure(f"not an analysis: {response.text}")


def faults(environment):
    """What is wrong with the whole run, each in a sentence."""
    options, total = environment.parsed_options, environment.stats.total
    if total.num_requests == 0:
        return ["no request was answered"]
    found = []
    if total.num_failures:
        found.append(f"{total.num_failures} of {total.num_requests} requests failed")
    p95 = total.get_response_time_percentile(0.95)
    if p95 > options.p95_max_ms:
        found.append(f"95 % took up to {p95:.0f} ms, allowed are {options.p95_max_ms:.0f}")
    if total.total_rps < options.rps_min:
        found.append(f"{total.total_rps:.0f} requests/s, {options.rps_min:.0f} are wanted")
    looked_for = environment.stats.get(ANALYZE_INJECTED, "GET").num_requests
    if options.inject_every and not looked_for:
        found.append("no anomaly was injected: run longer")
    return found


@events.quitting.add_listener
def judge(environment, **_):
    # A worker has seen a part; the master judges the whole.
    if isinstance(environment.runner, WorkerRunner):
        return
    found = faults(environment)
    total = environment.stats.total
    looked_for = environment.stats.get(ANALYZE_INJECTED, "GET").num_requests
    print(
        f"{total.num_requests} requests, {total.total_rps:.0f}/s,"
        f" p95 {total.get_response_time_percentile(0.95):.0f} ms,"
        f" {looked_for} injected anomalies looked for, {total.num_failures} failures"
    )
    for fault in found:
        print(f"locust: {fault}")
    environment.process_exit_code = 1 if found else 0
