"""The bridge of `examples/clients/mqtt_bridge.py`, between Debian's mosquitto and the server.

Server, bridge and broker are ended in turn while devices publish; in the end every message has to
be in Redis, readable by its key, and the broker may hold none any more. What is no metric may
neither hold the others up nor be lost without a word.
"""

import http.client
import json
import pathlib
import re
import tempfile
import threading
import time

import paho.mqtt.client as paho

from server import Fault

from .program import PYTHON, ROOT, SECONDS_MAX, Program, Redis, corepulse
from .program import free_port, listening, wait_until

# The second does not come each time, and the third never.
FIELDS = "temperature,humidity?,battery?"
# The bridge adds the first, unless a message has one of them, in whatever case.
DEVICE_NAMES = "deviceId,sensor"
DEVICES = 7
MESSAGES_MAX = 10_000
BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location {folder}/
max_inflight_messages 100
max_queued_messages 0
"""
# No JSON, no object, one too deep for Python, one without a temperature, one too large for a body.
REFUSED = [b"warm", b"[1, 2]", b'"a\nb"', b"[" * 100_000, b'{"humidity": 1}', b"w" * 1_100_000]


class Devices:
    """What publishes, and knows every message: its key and its values."""

    def __init__(self, port):
        self.sent = {}
        self.began_ms = int(time.time() * 1000)
        # All that was published, and what of it the broker has.
        self.published = self.taken = 0
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_publish = self._on_publish
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.loop_stop()

    def _on_publish(self, *_):
        self.taken += 1

    def publish(self, count):
        """Publishes so many metrics; returns when the broker has them."""
        for _ in range(count):
            self.publish_one()
        self.wait_for_broker()

    def publish_one(self):
        number = len(self.sent)
        device, timestamp = f"d{number % DEVICES}", self.began_ms + number
        metric = {"timestamp": timestamp, "temperature": number / 8}
        if number % 3 == 0:
            metric["humidity"] = number % 100
        if number % 5 == 0:
            # As a gateway does, whose topic is its own.
            gateway, device = device, f"behind-{device}"
            self.publish_bytes(gateway, json.dumps(metric | {"Sensor": device}))
        else:
            self.publish_bytes(device, json.dumps(metric))
        self.sent[f"{device}:{timestamp}"] = metric | {"device_id": device}

    def publish_bytes(self, device, payload):
        # While the broker is away the client keeps it.
        self.published += 1
        self.client.publish(f"devices/{device}/metrics", payload, qos=1)

    def wait_for_broker(self):
        wait_until(lambda: self.taken == self.published, "the broker has all that was published")

    def publish_until(self, stopping):
        while len(self.sent) < MESSAGES_MAX and not stopping.wait(0.002):
            self.publish_one()


def accepted(bridge):
    """How many the server has accepted, batch by batch."""
    return [int(count) for count in re.findall(r"^(\d+) accepted", bridge.said(), re.MULTILINE)]


def refusals(bridge):
    """How many messages were refused, each alone or among the others of a batch."""
    lines = bridge.said().splitlines()
    alone = sum(1 for line in lines if re.match(r"4\d\d \{", line))
    return alone + sum(line.count("'index'") for line in lines if " accepted " in line)


def disturb(devices, server, bridge, broker):
    """Ends one of the three after the other while messages flow."""
    stopping = threading.Event()
    flow = threading.Thread(target=devices.publish_until, args=(stopping,))
    flow.start()
    try:
        for program, end in [
            (bridge, bridge.kill),
            (server, server.stop),
            (broker, broker.stop),
            (bridge, bridge.kill),
            (server, server.stop),
        ]:
            count = len(accepted(bridge))
            wait_until(lambda count=count: len(accepted(bridge)) > count, "another batch")
            end()
            program.start()
    finally:
        stopping.set()
        flow.join()
    devices.wait_for_broker()


def be_away(devices, server, bridge):
    """The server is away for longer, and the bridge starts anew meanwhile, twice."""
    server.kill()
    for _ in range(2):
        devices.publish(150)
        failures = bridge.said().count("the server: ")
        wait_until(
            lambda failures=failures: bridge.said().count("the server: ") > failures,
            "the bridge finds that the server is away",
        )
        bridge.kill()
        bridge.start()
    server.start()


def check_refused(devices, bridge):
    """What is no metric comes back as refused, and what came with it is taken."""
    for payload in REFUSED:
        devices.publish_bytes("odd", payload)
    devices.publish(20)
    for payload in REFUSED:
        devices.publish_bytes("odd", payload)
    devices.wait_for_broker()
    wait_until(lambda: refusals(bridge) >= 2 * len(REFUSED), "all that is no metric is refused")


def check_acknowledged(devices, bridge, port, is_stored):
    """The broker holds no message for the bridge, but perhaps the last."""
    # The bridge acknowledges a batch before it sends the next one.
    for _ in range(2):
        devices.publish(1)
        wait_until(is_stored, "the last ones are stored")
    bridge.kill()
    came, last = [], threading.Event()

    def on_message(_client, _userdata, message):
        came.append(message.payload)
        if message.payload == b"last":
            last.set()

    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="corepulse-bridge", clean_session=False
    )
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    devices.publish_bytes("odd", b"last")
    if not last.wait(SECONDS_MAX) or len(came) > 2:
        raise Fault(f"the broker still holds {len(came)} messages")
    client.loop_stop()


def check_stored(devices, address):
    connection = http.client.HTTPConnection(address, timeout=10)
    for key, metric in devices.sent.items():
        connection.request("GET", f"/metrics/{key}")
        answer = connection.getresponse()
        stored = json.load(answer)
        if answer.status != 200 or stored != metric:
            raise Fault(f"{key} was {metric}, and is {answer.status} {stored}")
    connection.close()


def check(path):
    with tempfile.TemporaryDirectory() as folder, Redis() as redis:
        port = free_port()
        configuration = pathlib.Path(folder, "mosquitto.conf")
        configuration.write_text(BROKER.format(port=port, folder=folder), encoding="utf-8")
        flags = ["--redis-url", redis.url, "--fields", FIELDS, "--device-name", DEVICE_NAMES]
        server, url = corepulse(path, *flags)
        mosquitto = ["/usr/sbin/mosquitto", "-c", configuration]
        broker = Program("broker", *mosquitto, ready=listening(port))
        script = ROOT / "examples/clients/mqtt_bridge.py"
        names = {"COREPULSE_DEVICE_NAME": DEVICE_NAMES}
        bridge = Program("bridge", PYTHON, script, f"127.0.0.1:{port}", url, variables=names)
        with broker, server, bridge, Devices(port) as devices:

            def is_stored():
                return redis.size() == len(devices.sent)

            # Before that the broker does not know for whom to keep what is published.
            wait_until(lambda: "Granted QoS 1" in bridge.said(), "the bridge subscribes")
            devices.publish(500)
            wait_until(is_stored, "all is stored")
            if len(accepted(bridge)) > 250:
                raise Fault(f"500 messages in batches of {accepted(bridge)}")
            disturb(devices, server, bridge, broker)
            wait_until(is_stored, "nothing was lost while all three were ended in turn")
            be_away(devices, server, bridge)
            wait_until(is_stored, "nothing was lost while the server was away")
            check_refused(devices, bridge)
            wait_until(is_stored, "what is refused holds nothing up")
            check_acknowledged(devices, bridge, port, is_stored)
            if refusals(bridge) > 2 * len(REFUSED):
                raise Fault(f"{refusals(bridge)} refused of {2 * len(REFUSED)}")
            check_stored(devices, url.removeprefix("http://"))
            count, total = len(devices.sent), sum(accepted(bridge))
            if total < count:
                raise Fault(f"{total} accepted of {count}")
            said = f"{count} messages, {len(accepted(bridge))} requests"
            return f"{said}, {total - count} sent again"
