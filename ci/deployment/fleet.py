"""Replicas of a fleet come, go and die under load; what it tells is what clients know.

    fleet.py SERVER

Devices post through an HAProxy that gives each request to the next replica, and each device sends
its next event after the last answer: so it is known how many events were acknowledged, by whom and
when. An observer asks for the fleet all the time. No total that it sees may ever fall, and one that
is called complete has every event that was acknowledged before the question.
"""

import collections
import functools
import http.client
import json
import math
import pathlib
import random
import sys
import threading
import time

from manifests import Fault
from processes import free_port, run_check
from proxy import SEARCHED
from services import get, wait_until
from threads import Threads

SEED = 16
DEVICES = 12
PAUSE_SECONDS = 0.005
ANSWER_SECONDS_MAX = 10
REPLICAS_MAX = 5
# Events before, between and after what happens in a phase.
EVENTS_MIN = 1000
# A replica writes its entry each second; so much of what it has acknowledged it may take along.
UNWRITTEN_SECONDS_MAX = 1.2
# The time after which who was killed is no longer live, and some for a busy machine.
LAPSE_SECONDS_MAX = 8
WINDOW = 50
SPACING_SECONDS = 0.004
FIELDS = ("cpu", "rps")

CONFIGURATION = """\
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
    timeout check 2s
    retries 0
frontend devices
    bind 127.0.0.1:{port}
    http-response set-header X-Replica %s
    default_backend corepulse
backend corepulse
    balance roundrobin
    option httpchk GET /ready
    default-server check inter 100ms fall 1 rise 1
    {servers}
"""

Acknowledgement = collections.namedtuple("Acknowledgement", "at replica")


class Replica:
    """A place for a replica: its name, its port and, while it runs, its process."""

    def __init__(self, name, server, redis_url, processes):
        self.name, self.server, self.processes = name, server, processes
        self.redis_url = redis_url
        self.port, self.process = free_port(), None

    def start(self):
        command = [
            self.server, "--listen", f"127.0.0.1:{self.port}", "--workers", "1", "--pin", "off",
            "--redis-url", self.redis_url, "--fleet", "check",
            "--instance", self.name, "--drain-delay", "1s", "--drain-timeout", "10s",
        ]
        self.process = self.processes.start(self.name, command, {})
        wait_until(lambda: get(self.url("/ready"))[0] == 200, f"{self.name}: ready")

    def stop(self):
        code = self.processes.stop(self.process)
        if code != 0:
            raise Fault(f"{self.name}: exit code {code} after SIGTERM")
        self.process = None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def fleet(self):
        """What it tells of the fleet."""
        status, body = get(self.url("/analyze?scope=fleet"))
        if status != 200:
            raise Fault(f"{self.name}: status {status}: {body[:200]}")
        return json.loads(body)

    def whole(self):
        """What it tells once nobody is late."""
        told = []

        def is_complete():
            told[:] = [self.fleet()]
            return told[0]["complete"]

        wait_until(is_complete, f"{self.name}: a complete answer")
        return told[0]


class Client:
    """A connection to the proxy, made anew after an error."""

    def __init__(self, port, patience=ANSWER_SECONDS_MAX, headers=None):
        self.port, self.patience, self.connection = port, patience, None
        self.headers = headers or {}

    def request(self, method, path, body=None):
        """The answer and who gave it."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=self.patience
            )
        try:
            headers = self.headers | ({"Content-Type": "application/json"} if body else {})
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise
        if answer.will_close:
            self.connection.close()
            self.connection = None
        return answer.status, text, answer.headers["X-Replica"]


class Devices(Threads):
    """Threads, a device each, that post until their `with` ends."""

    def __init__(self, port):
        super().__init__([functools.partial(self._run, number) for number in range(DEVICES)])
        self.port, self.lock = port, threading.Lock()
        self.sent, self.acknowledged, self.failures = 0, [], []

    def wait_for_more(self):
        """Until so many more events were acknowledged."""
        enough = len(self.acknowledged) + EVENTS_MIN
        wait_until(lambda: len(self.acknowledged) >= enough, f"{EVENTS_MIN} more events")

    def _run(self, number):
        draw, client = random.Random(SEED * 1000 + number), Client(self.port)
        device = f"d:{number}"
        while not self.stopping.wait(PAUSE_SECONDS):
            event = {"device_id": device, "cpu": draw.gauss(50, 5), "rps": draw.randint(900, 999)}
            with self.lock:
                self.sent += 1
            try:
                status, text, replica = client.request("POST", "/metrics", json.dumps(event))
                if status != 202 or json.loads(text)["accepted"] != 1:
                    raise ValueError(f"status {status} from {replica}: {text[:200]!r}")
                self.acknowledged.append(Acknowledgement(time.monotonic(), replica))
            # Of any kind: a thread that ends would pass for one that has nothing to say.
            except Exception as error:
                self.failures.append(f"{device}: {error!r}")


class Observer(Threads):
    """A thread that asks for the fleet through the proxy, and checks what it is told."""

    def __init__(self, port, devices):
        super().__init__([self._run])
        self.client, self.devices, self.faults = Client(port), devices, []
        self.shown, self.complete, self.incomplete, self.refused = 0, 0, 0, 0
        self.longest = 0
        # Where a replica has died, what it took along.
        self.lost_max = 0

    def _run(self):
        while not self.stopping.wait(0.02):
            try:
                self._look()
            except Fault as fault:
                self.faults.append(str(fault))
            # The replica that was asked has died.
            except (OSError, http.client.HTTPException):
                self.refused += 1

    def _look(self):
        before, began = len(self.devices.acknowledged), time.monotonic()
        status, text, replica = self.client.request("GET", "/analyze?scope=fleet")
        self.longest = max(self.longest, time.monotonic() - began)
        sent = self.devices.sent
        if status in (502, 503):
            self.refused += 1
            return
        answer = json.loads(text)
        check_sum(answer)
        accepted = answer["totals"]["accepted"]
        if accepted < self.shown:
            raise Fault(f"the total fell from {self.shown} to {accepted}, told by {replica}")
        self.shown = accepted
        if accepted > sent:
            raise Fault(f"{accepted} events of {sent}, told by {replica}")
        if answer["complete"]:
            self.complete += 1
            if accepted < before - self.lost_max:
                raise Fault(f"{accepted} of {before} events, called complete by {replica}")
        else:
            self.incomplete += 1


def check_sum(answer):
    """Each accepted event is in one place."""
    accepted, store = answer["totals"]["accepted"], answer["store"]
    names = ("stored", "coalesced", "dropped", "pending", "lost")
    if accepted != sum(store[name] for name in names):
        raise Fault(f"accepted {accepted} is not {store}")


def settled(replicas):
    """What each replica tells once nothing is pending."""
    told = []

    def is_settled():
        told[:] = [(replica.name, replica.fleet()) for replica in running(replicas)]
        # Who was late is missing, where nobody has died.
        is_late = any(m["state"] == "silent" for _, answer in told for m in answer["members"])
        return not is_late and all(answer["store"]["pending"] == 0 for _, answer in told)

    wait_until(is_settled, "nothing is pending, and nobody late")
    return told


def running(replicas):
    return [replica for replica in replicas if replica.process]


def wait_until_whole(replicas):
    """Until each says that it knows of all."""
    names = sorted(replica.name for replica in running(replicas))

    def is_whole():
        told = [replica.fleet() for replica in running(replicas)]
        return all(
            answer["complete"] and sorted(m["instance"] for m in answer["members"]) == names
            for answer in told
        )

    wait_until(is_whole, f"complete answers of {', '.join(names)}", 10)


def check_exact(what, replicas, devices):
    """Every replica tells what the clients know, to the event."""
    if devices.failures:
        raise Fault(f"{len(devices.failures)} requests failed: {devices.failures[:3]}")
    wait_until_whole(replicas)
    acknowledged = len(devices.acknowledged)
    for name, answer in settled(replicas):
        check_sum(answer)
        accepted, store = answer["totals"]["accepted"], answer["store"]
        if accepted != acknowledged or not answer["complete"]:
            raise Fault(f"{what}: {acknowledged} acknowledged, {name} says {accepted}: {answer}")
        if store["lost"] or store["dropped"]:
            raise Fault(f"{what}: {name} says {store}")
    print(
        f"{what}: {acknowledged} acknowledged, {accepted} by each of {len(running(replicas))} "
        f"replicas; stored {store['stored']}, coalesced {store['coalesced']}, lost 0"
    )


def roll_out(replicas, devices):
    with devices:
        devices.wait_for_more()
        for replica in running(replicas):
            replica.stop()
            devices.wait_for_more()
            replica.start()
            devices.wait_for_more()
    check_exact("roll-out of three", replicas, devices)


def scale(replicas, devices):
    with devices:
        replicas[2].stop()
        devices.wait_for_more()
        for replica in replicas[2:]:
            replica.start()
        wait_until_whole(replicas)
        devices.wait_for_more()
        shares = collections.Counter(a.replica for a in devices.acknowledged[-EVENTS_MIN:])
        for replica in replicas[2:]:
            replica.stop()
        devices.wait_for_more()
    check_exact("2 to 5 to 2 replicas", replicas, devices)
    print(f"the last {EVENTS_MIN} events of five went to {dict(sorted(shares.items()))}")


def check_window(port, replicas, devices):
    """The union of the windows is that of all events, in the order in which they were sent."""
    draw, client, sent, compared = random.Random(SEED), Client(port), [], 0
    for number in range(4 * WINDOW):
        event = {"device_id": f"w:{number % 7}", "cpu": draw.uniform(0, 90), "rps": number * 3}
        with devices.lock:
            devices.sent += 1
        status, text, replica = client.request("POST", "/metrics", json.dumps(event))
        if status != 202:
            raise Fault(f"status {status} from {replica}: {text[:200]!r}")
        devices.acknowledged.append(Acknowledgement(time.monotonic(), replica))
        sent.append(event)
        if number >= WINDOW and number % 10 == 0:
            for asked in running(replicas):
                compare_window(asked.name, asked.whole(), sent[-WINDOW:])
                compared += 1
        time.sleep(SPACING_SECONDS)
    print(f"windows: {compared} of {WINDOW} events each, equal to those of all events as sent")


def compare_window(name, answer, events):
    if answer["window"]["count"] != len(events):
        raise Fault(f"{name}: {answer}")
    for field in FIELDS:
        values = [event[field] for event in events]
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values)))
        found = answer[field]
        pairs = [("rolling_average", mean), ("stddev", deviation), ("last", values[-1])]
        for member, expected in pairs:
            if not math.isclose(found[member], expected, rel_tol=1e-9):
                raise Fault(f"{name}: {field}.{member} is {found[member]}, not {expected}")


def kill(replicas, devices, observer):
    """One dies. It takes along what it had not written, and no more."""
    with devices:
        devices.wait_for_more()
        observer.lost_max = sys.maxsize
        killed = replicas[1]
        failures = len(devices.failures)
        killed.kill()
        died = time.monotonic()
        devices.wait_for_more()
    failed = len(devices.failures) - failures
    # Until the proxy has noticed, requests fail; but each device had one under way when it died.
    unknown = min(failed, DEVICES)
    own = [a for a in devices.acknowledged if a.replica == killed.name]
    unwritten = sum(1 for a in own if a.at > died - UNWRITTEN_SECONDS_MAX)
    if not unwritten:
        raise Fault("it had acknowledged nothing, so this shows nothing")
    states = []

    def has_lapsed():
        told = settled(replicas)
        states[:] = told
        members = [m for _, answer in told for m in answer["members"]]
        of_killed = [m["state"] for m in members if m["instance"] == killed.name]
        return of_killed == ["lapsed"] * len(told)

    wait_until(has_lapsed, f"{killed.name}: lapsed", LAPSE_SECONDS_MAX)
    acknowledged = len(devices.acknowledged)
    for name, answer in states:
        check_sum(answer)
        accepted, lost = answer["totals"]["accepted"], answer["store"]["lost"]
        least, most = acknowledged - unwritten, acknowledged + unknown
        if not least <= accepted <= most:
            raise Fault(f"{name}: {accepted} is not from {least} to {most}")
        if answer["complete"] or answer["missing"] != [killed.name]:
            raise Fault(f"{name}: complete, or {killed.name} not missing: {answer}")
    print(
        f"kill -9: {acknowledged} acknowledged, {accepted} in the totals of both others, at least "
        f"{least} as it had acknowledged {unwritten} within {UNWRITTEN_SECONDS_MAX} s; "
        f"{failed} requests failed meanwhile; lost {lost}; missing {killed.name}"
    )
    # Another one takes its place: from here on nothing more is lost.
    gone = acknowledged - accepted
    killed.start()
    with devices:
        devices.wait_for_more()
    for name, answer in settled(replicas):
        check_sum(answer)
        accepted = answer["totals"]["accepted"]
        if accepted != len(devices.acknowledged) - gone:
            raise Fault(f"{name}: {accepted} of {len(devices.acknowledged)} but {gone}")
    print(f"after it: {len(devices.acknowledged)} acknowledged, {accepted} in the totals")


def start_redis(processes, folder):
    number = free_port()
    command = ["redis-server", "--port", str(number), "--bind", "127.0.0.1", "--save", ""]
    processes.start("redis", [*command, "--dir", str(folder)], {})
    return number


def start_proxy(processes, replicas, folder):
    number, path = free_port(), folder / "haproxy.cfg"
    servers = "\n    ".join(f"server {r.name} 127.0.0.1:{r.port}" for r in replicas)
    path.write_text(CONFIGURATION.format(port=number, servers=servers), encoding="utf-8")
    processes.start("haproxy", ["haproxy", "-db", "-f", str(path)], {"PATH": SEARCHED})
    wait_until(
        lambda: get(f"http://127.0.0.1:{number}/ready")[0] == 200, "an answer through the proxy"
    )
    return number


def check(server, processes, folder):
    url = f"redis://127.0.0.1:{start_redis(processes, folder)}/"
    replicas = [Replica(name, server, url, processes) for name in "abcde"[:REPLICAS_MAX]]
    for replica in replicas[:3]:
        replica.start()
    port = start_proxy(processes, replicas, folder)
    wait_until_whole(replicas)
    devices = Devices(port)
    with Observer(port, devices) as observer:
        roll_out(replicas, devices)
        scale(replicas, devices)
        replicas[2].start()
        wait_until_whole(replicas)
        check_window(port, replicas, devices)
        kill(replicas, devices, observer)
    if observer.faults:
        raise Fault(f"{len(observer.faults)} wrong answers: {observer.faults[:3]}")
    if observer.complete < 50:
        raise Fault(f"only {observer.complete} complete answers, so this shows little")
    print(
        f"meanwhile {observer.complete} complete answers and {observer.incomplete} that were not, "
        f"none false, no total fell; longest {observer.longest * 1000:.0f} ms"
    )


def main():
    server = str(pathlib.Path(sys.argv[1]).resolve())
    return run_check("fleet", functools.partial(check, server))


if __name__ == "__main__":
    sys.exit(main())
