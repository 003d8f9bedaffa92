"""A fleet of devices, of gateways that speak for many, and of operators who look.

Each device has a series of its own (a daily curve, drift, noise) in every field, and now and then a
value far outside it. Such an injected anomaly has to be found twice: in the answer to the POST that
carried it, and in `/analyze?device_id=` right after. Not found is a failed request. Where a device
has come to another replica of the server's fleet, its event is `pending` in the answer, and the
anomaly is found once its window has come.

`--fields` says which fields there are, in the words of the server's own option. An optional one is
left out of some events.

The run fails, with exit code 1, when a request failed, when 95 % of them took longer than
`--p95-max-ms`, when fewer than `--rps-min` were answered a second, or when nothing was injected.
"""

import argparse
import functools
import itertools
import json
import math
import random
import re
import time
import uuid

from locust import events, task
from locust.contrib.fasthttp import FastHttpUser
from locust.runners import WorkerRunner
from locust.user.wait_time import constant_throughput

# A window comes from another replica within some 20 ms, and after a crash within 4 s.
WINDOW_SECONDS_MAX, LOOK_SECONDS = 10, 0.05
# What the answer says of a device whose window is on its way.
MOVES = "its window is on its way"

# A field is judged from its 16th value on; a few more, and its deviation is settled.
VALUES_BEFORE_INJECTION = 20
# The values of a field are within its range, in parts of it: a device's base, its daily curve and
# its noise, four deviations of which are within the rest.
PARTS = 120
BASE = (20, 35)
DAILY = 5
NOISE = 1.5
# So far outside that the answer is certain: the curve moves 0.05 an event, and an earlier spike
# that is still in a window of 17 widens it to a quarter of itself.
SPIKE = 60
# The range of a field for which none is given.
RANGE = (0, PARTS)
# The share of events that have an optional field.
PRESENT = 0.7
# What an answer lists at most: in a batch with more anomalies an injected one might be missing.
LISTED_MAX = 100

POST = "POST /metrics"
POST_BATCH = "POST /metrics (batch)"
POST_INJECTED = "POST /metrics (injected)"
ANALYZE = "GET /analyze"
ANALYZE_INJECTED = "GET /analyze?device_id= (injected)"

RUN = uuid.uuid4().hex[:8]
numbers = itertools.count()


class Field:
    """A field: its name, whether each event has it, and the range of its values."""

    FORM = re.compile(
        r"(?P<name>[A-Za-z0-9_]{1,64})(?P<gaps>\??)"
        r"(=(?P<min>[^~]+?)\.\.(?P<max>[^~]+))?(~(?P<deviation>.+))?"
    )

    def __init__(self, text):
        found = self.FORM.fullmatch(text.strip())
        if not found:
            raise ValueError(f"{text}: expected name[?][=min..max][~deviation]")
        self.name, self.is_required = found["name"], not found["gaps"]
        self.min, largest = float(found["min"] or RANGE[0]), float(found["max"] or RANGE[1])
        self.part = (largest - self.min) / PARTS
        if not 0 < self.part < math.inf:
            raise ValueError(f"{text}: expected a range such as 0..100")
        if float(found["deviation"] or 0) > self.part * SPIKE / 2:
            raise ValueError(f"{text}: the deviation leaves no room for anomalies")
        # Three digits of the noise.
        self.digits = 2 - math.floor(math.log10(self.part))

    def value(self, parts):
        return round(self.min + self.part * parts, self.digits)


@functools.cache
def fields_of(text):
    """The fields of a list such as `cpu=0..100,temperature?=-40..125~0.5`."""
    return [Field(item) for item in text.split(",")]


def fields(text):
    """The list as it is, since the master sends it on to its workers, if it is one."""
    try:
        fields_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


@events.init_command_line_parser.add_listener
def add_arguments(parser):
    group = parser.add_argument_group("corepulse")
    group.add_argument("--p95-max-ms", type=float, default=50.0, help="Fail above this")
    group.add_argument("--rps-min", type=float, default=0.0, help="Fail below this")
    group.add_argument(
        "--fields",
        type=fields,
        default="cpu=0..120,rps=400..2800",
        env_var="COREPULSE_FIELDS",
        help="The server's --fields; values are within their ranges",
    )
    group.add_argument(
        "--device-name",
        default="device_id",
        env_var="COREPULSE_DEVICE_NAME",
        help="The server's --device-name, of several the first",
    )
    group.add_argument(
        "--timestamp-name",
        default="timestamp",
        env_var="COREPULSE_TIMESTAMP_NAME",
        help="The server's --timestamp-name, of several the first",
    )
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

    def __init__(self, options):
        self.id = f"locust-{RUN}-{next(numbers)}"
        self.fields = fields_of(options.fields)
        self.id_name = options.device_name.split(",")[0]
        self.time_name = options.timestamp_name.split(",")[0]
        self.inject_every = options.inject_every
        self.until_injection = VALUES_BEFORE_INJECTION + random.randrange(max(self.inject_every, 1))
        self.phase = random.uniform(0, 2 * math.pi)
        self.base = random.uniform(*BASE)
        self.sent = 0
        self.values_sent = {field.name: 0 for field in self.fields}

    def next_event(self):
        """The event to send, and the field that carries an injected anomaly, or None."""
        self.sent += 1
        present = [f for f in self.fields if f.is_required or random.random() < PRESENT]
        # An event has at least one field.
        present = present or [random.choice(self.fields)]
        self.until_injection -= 1
        injected = None
        if self.inject_every and self.until_injection <= 0:
            settled = [f for f in present if self.values_sent[f.name] >= VALUES_BEFORE_INJECTION]
            if settled:
                injected = random.choice(settled)
                self.until_injection = random.randrange(self.inject_every, 2 * self.inject_every)
        # A day passes in some 600 events.
        daily = DAILY * math.sin(self.phase + self.sent / 100)
        event = {self.id_name: self.id, self.time_name: time.time_ns() // 1_000}
        for field in present:
            self.values_sent[field.name] += 1
            noise = max(-4 * NOISE, min(random.gauss(0, NOISE), 4 * NOISE))
            spike = SPIKE if field is injected else 0
            event[field.name] = field.value(self.base + daily + noise + spike)
        return event, injected and injected.name


class Injected:
    """An injected anomaly: a value of a field of a device."""

    def __init__(self, device, event, field):
        self.device_id, self.field, self.value = device.id, field, event[field]

    def is_it(self, found):
        return found["field"] == self.field and found["value"] == self.value

    def missing_in(self, answer):
        """Why the answer to a POST does not name it, or None."""
        if "pending" in answer:
            return None
        anomalous = answer.get("anomalous", [])
        if any(f["device_id"] == self.device_id and self.is_it(f) for f in anomalous):
            return None
        if len(anomalous) >= LISTED_MAX:
            return None
        return f"{self.field} {self.value} of {self.device_id} is not among the anomalous"


class Client(FastHttpUser):
    """What devices, gateways and operators have in common."""

    abstract = True
    # As devices do: a connection is kept, and a server that does not answer is given up.
    connection_timeout = 10.0
    network_timeout = 10.0

    def on_start(self):
        self.options = self.environment.parsed_options
        token = self.options.token
        self.authorization = {"Authorization": f"Bearer {token}"} if token else {}

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
            missing = [one.missing_in(answer) for one in injected]
            missing = [reason for reason in missing if reason]
            if answer["accepted"] != count:
                response.failure(f"accepted {answer['accepted']} of {count}")
            elif missing:
                response.failure("; ".join(missing))
        for one in injected:
            self.look_for(one, affinity)

    def look_for(self, injected, affinity):
        """The anomaly has to be in the analysis of its device, too, once its window has come."""
        end = time.monotonic() + WINDOW_SECONDS_MAX
        while not self.has_looked(injected, affinity, time.monotonic() >= end):
            time.sleep(LOOK_SECONDS)

    def has_looked(self, injected, affinity, is_last):
        """Whether the answer decides; not while the window is on its way, but for the last look."""
        with self.client.get(
            f"/analyze?device_id={injected.device_id}",
            headers={"X-Device-Id": affinity},
            name=ANALYZE_INJECTED,
            catch_response=True,
        ) as response:
            answer = response.json() if response.status_code == 200 else {}
            if any(map(injected.is_it, answer.get("anomalies", {}).get("recent", []))):
                return True
            is_early = answer.get("complete") is False
            is_nowhere = response.status_code == 503 and MOVES in response.text
            if (is_early or is_nowhere) and not is_last:
                response.success()
                return False
            if response.status_code == 200:
                said = f"{injected.field} {injected.value}"
                response.failure(f"{said} is not in its device's anomalies")
            else:
                response.failure(f"status {response.status_code}: {response.text}")
            return True


class SingleDevice(Client):
    """Posts one metric at a time over a connection that it keeps."""

    weight = 90

    def wait_time(self):
        return constant_throughput(self.options.device_rate)(self)

    def on_start(self):
        super().on_start()
        self.device = Device(self.options)

    @task
    def report(self):
        event, field = self.device.next_event()
        injected = [Injected(self.device, event, field)] if field else []
        name = POST_INJECTED if field else POST
        self.post(json.dumps(event), name, self.device.id, 1, injected)


class Gateway(Client):
    """Collects the metrics of some devices and posts them together, line by line."""

    weight = 8
    wait_time = constant_throughput(1)

    def on_start(self):
        super().on_start()
        self.devices = [Device(self.options) for _ in range(self.options.gateway_devices)]
        # All of its devices on one pod: the gateway's name, not theirs.
        self.name = f"gateway-{self.devices[0].id}"

    @task
    def report(self):
        reports = [(device, *device.next_event()) for device in self.devices for _ in range(2)]
        body = "\n".join(json.dumps(event) for _, event, _ in reports)
        injected = [Injected(*report) for report in reports if report[2]]
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
