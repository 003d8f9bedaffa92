"""Windows follow their devices, whatever happens to replicas, to the proxy and to Redis.

    windows.py SERVER

Each device sends its next event after the last answer, and after a `pending` one when the fleet
knows all that it sent: so the order of its events is total, whoever receives them. One instance
without a fleet gets the same events. What the fleet then tells of a device is what that instance
tells, to the last bit; and so is each verdict that came with an answer.
"""

import collections
import functools
import http.client
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from fleet import Client, Replica, running, wait_until_whole
from manifests import Fault
from processes import free_port, run_check
from proxy import SEARCHED
from redis_cluster import RedisCluster
from services import get, wait_until
from threads import Threads

SEED = 17
DEVICES = 12
REPLICAS_MAX = 5
PAUSE_SECONDS = 0.004
# Events before, between and after what happens: each device fills its window.
EVENTS_MIN = 60 * DEVICES
WINDOW = 50
FIELDS = ("cpu", "rps")
# The default of --window-save, and some for a busy machine.
SAVE_SECONDS, LATE_SECONDS = 5, 2
# A replica that is silent for longer is dead to the others; it doubts itself before.
FREEZE_SECONDS = 6
# The time in which all windows have come, whatever happened.
SETTLE_SECONDS_MAX = 20
# An impatient device goes on without an answer.
IMPATIENT_SECONDS = 1

CONFIGURATION = """\
defaults
    mode http
    timeout connect 2s
    timeout client 50s
    timeout server 50s
    timeout check 1s
    retries 0
    option httpchk GET /ready
    default-server check inter 100ms fall 1 rise 1
frontend affine
    bind 127.0.0.1:{affine}
    http-response set-header X-Replica %s
    default_backend affine
backend affine
    balance hdr(X-Device-Id)
    hash-type consistent
    {servers}
frontend turns
    bind 127.0.0.1:{turns}
    http-response set-header X-Replica %s
    default_backend turns
backend turns
    balance roundrobin
    {servers}
"""

# The answer is none where nobody knows whether the event was taken.
Sent = collections.namedtuple("Sent", "body at replica answer")


class Device:
    """A device: what it has sent, and what it was told."""

    def __init__(self, name, seed, patience=10):
        self.name, self.patience = name, patience
        self.draw, self.first_ms = random.Random(seed), int(time.time() * 1000)
        self.number = 0
        self.sent, self.failures, self.silences = [], [], []

    def event(self):
        """Its next one: of noise, with something odd now and then."""
        self.number += 1
        odd = 40 if self.draw.random() < 0.02 else 0
        return json.dumps({
            "device_id": self.name, "timestamp": self.first_ms + self.number,
            "cpu": round(self.draw.gauss(50, 5) + odd, 2), "rps": self.draw.random() * 1000,
        })

    def known(self):
        """The number of events that were acknowledged, and of those that may have been taken."""
        acknowledged = sum(1 for sent in self.sent if sent.answer)
        return acknowledged, len(self.sent) - acknowledged

    def run(self, port, stopping, wait):
        client = Client(port, self.patience, {"X-Device-Id": self.name})
        while not stopping.wait(PAUSE_SECONDS):
            try:
                self._send(client, wait)
            # Of any kind: a thread that ends would pass for one that has nothing to say.
            except Exception as error:
                self.failures.append(f"{self.name}: {error!r}")

    def _send(self, client, wait):
        body = self.event()
        try:
            status, text, replica = client.request("POST", "/metrics", body)
        except (OSError, http.client.HTTPException) as error:
            # The replica may have taken it.
            self.silences.append(f"{self.name}, event {self.number}: {error!r}")
            self.sent.append(Sent(body, time.monotonic(), None, None))
            return
        # The proxy reached nobody.
        if status == 503:
            return
        # It reached somebody, who said nothing.
        if status in (502, 504):
            self.silences.append(f"{self.name}, event {self.number}: {status}")
            self.sent.append(Sent(body, time.monotonic(), None, None))
            return
        answer = json.loads(text)
        if status != 202 or answer["accepted"] != 1:
            raise ValueError(f"status {status} from {replica}: {text[:200]!r}")
        self.sent.append(Sent(body, time.monotonic(), replica, answer))
        if answer.get("pending"):
            wait(self)


class Walk(Threads):
    """Threads in which devices send, until the `with` ends."""

    def __init__(self, port, devices, wait):
        super().__init__([lambda d=device: d.run(port, self.stopping, wait) for device in devices])
        self.devices = devices

    def more(self):
        """Until so many more events were sent."""
        enough = self._count() + EVENTS_MIN
        wait_until(lambda: self._count() >= enough, f"{EVENTS_MIN} more events")

    def _count(self):
        return sum(len(device.sent) for device in self.devices)

    def check(self, may_miss=False):
        failures = [failure for device in self.devices for failure in device.failures]
        if not may_miss:
            failures += [silence for device in self.devices for silence in device.silences]
        if failures:
            raise Fault(f"{len(failures)} failures: {failures[:4]}")


class Fleet:
    """Replicas behind a proxy with two ports: one hashes devices, the other takes turns."""

    def __init__(self, server, processes, folder, url):
        self.server, self.processes = server, processes
        self.replicas = [Replica(name, server, url, processes) for name in "abcde"[:REPLICAS_MAX]]
        for replica in self.replicas[:3]:
            replica.start()
        self.affine, self.turns, path = free_port(), free_port(), folder / "windows.cfg"
        servers = "\n    ".join(f"server {r.name} 127.0.0.1:{r.port}" for r in self.replicas)
        text = CONFIGURATION.format(affine=self.affine, turns=self.turns, servers=servers)
        path.write_text(text, encoding="utf-8")
        processes.start("haproxy", ["haproxy", "-db", "-f", str(path)], {"PATH": SEARCHED})
        for port in (self.affine, self.turns):
            wait_until(lambda p=port: get(f"http://127.0.0.1:{p}/ready")[0] == 200, "the proxy")
        wait_until_whole(self.replicas)
        self.reference = Reference(server, processes)

    def walk(self, port, devices, wait=None):
        """Devices that send; after an answer that says `pending` each does this."""
        return Walk(port, devices, wait or self.wait_until_judged)

    def tell(self, replica, device):
        """What a replica tells of a device, or nothing."""
        status, body = get(replica.url(f"/analyze?device_id={device.name}&scope=fleet"))
        return json.loads(body) if status == 200 else None

    def wait_until_judged(self, device):
        """Until the fleet knows all that the device sent."""
        wanted, told = len(device.sent), {}

        def is_judged():
            for replica in running(self.replicas):
                try:
                    answer = self.tell(replica, device)
                # It is on its way out.
                except OSError:
                    continue
                told[replica.name] = answer and answer["totals"]["accepted"]
                if told[replica.name] == wanted:
                    return True
            return False

        try:
            wait_until(is_judged, f"{device.name}: {wanted} events", SETTLE_SECONDS_MAX)
        except Fault as fault:
            raise Fault(f"{fault}: told {told}") from fault

    def total(self, name):
        """The sum of a metric over the replicas that run, and over its labels."""
        pattern = re.compile(rf"^{name}(?:\{{.*\}})? ([0-9.e+]+)$", re.MULTILINE)
        texts = [get(r.url("/metrics/prometheus"))[1] for r in running(self.replicas)]
        return sum(float(value) for text in texts for value in pattern.findall(text))

    def wait_until_settled(self, _=None):
        """Until no device waits for its window."""
        name = "corepulse_windows_waiting"
        wait_until(lambda: self.total(name) == 0, "no device waits", SETTLE_SECONDS_MAX)

    def wait_until_up(self):
        """Until each replica reaches Redis, by its member and by its writer of metrics."""
        for name in ("corepulse_fleet_up", "corepulse_store_up"):
            self._wait_for_all(name)

    def _wait_for_all(self, name):
        wait_until(lambda: self.total(name) == len(running(self.replicas)), f"{name} of all")


class Reference:
    """One instance without a fleet, and how many events of each device it was fed."""

    def __init__(self, server, processes):
        self.port = free_port()
        command = [server, "--listen", f"127.0.0.1:{self.port}", "--workers", "1", "--pin", "off"]
        processes.start("reference", command, {})
        self.base = f"http://127.0.0.1:{self.port}"
        wait_until(lambda: get(f"{self.base}/ready")[0] == 200, "the reference")
        self.client, self.fed = Client(self.port), collections.Counter()

    def feed(self, device, events):
        """Gives it what it has not had of these. Returns how many verdicts were others."""
        differing = 0
        for sent in events[self.fed[device.name]:]:
            status, text, _ = self.client.request("POST", "/metrics", sent.body)
            if status != 202:
                raise Fault(f"the reference: status {status}: {text!r}")
            expected = json.loads(text)
            if sent.answer and not sent.answer.get("pending"):
                differing += verdict(sent.answer) != verdict(expected)
        self.fed[device.name] = len(events)
        return differing

    def tell(self, device):
        return json.loads(get(f"{self.base}/analyze?device_id={device.name}")[1])


def verdict(answer):
    return {name: answer.get(name) for name in ("accepted", "anomalies", "anomalous", "unjudged")}


def figures(answer):
    """All that has to be equal, as it was sent: numbers are compared to the last bit."""
    anomalies = answer["anomalies"]
    return {
        "n": answer["totals"]["accepted"], "window": answer["window"],
        "points": anomalies["points"], "episodes": anomalies["episodes"],
        **{field: answer[field] for field in FIELDS},
    }


def check_exact(what, fleet, devices):
    """Every replica tells of each device what the reference tells, and each verdict was its own."""
    fleet.wait_until_settled()
    events, differing, pending = 0, 0, 0
    for device in devices:
        fleet.wait_until_judged(device)
        differing += fleet.reference.feed(device, device.sent)
        expected = figures(fleet.reference.tell(device))
        for replica in running(fleet.replicas):
            found = figures(fleet.tell(replica, device))
            if found != expected:
                raise Fault(f"{what}: {replica.name} says of {device.name} {found}: {expected}")
        events += len(device.sent)
        pending += sum(bool(sent.answer and sent.answer.get("pending")) for sent in device.sent)
    if differing:
        raise Fault(f"{what}: {differing} verdicts of {events - pending} are others")
    print(
        f"{what}: {events} events of {len(devices)} devices, {pending} pending; n, windows, points "
        f"and episodes told by {len(running(fleet.replicas))} replicas, and all verdicts, equal"
    )
    return events, pending


def new_devices(what, count=DEVICES, **options):
    return [Device(f"{what}:{n}", f"{SEED}/{what}/{n}", **options) for n in range(count)]


def check_moved(what, fleet):
    """Whether windows moved at all: a test of nothing would pass."""
    moved = fleet.total("corepulse_windows_taken_total")
    if not moved:
        raise Fault(f"{what}: no window has moved, so this shows nothing")


def roll_out(fleet):
    devices = new_devices("roll")
    with fleet.walk(fleet.affine, devices) as walk:
        walk.more()
        for replica in fleet.replicas[:3]:
            replica.stop()
            walk.more()
            replica.start()
            walk.more()
    walk.check()
    check_exact("roll-out of three", fleet, devices)
    check_moved("roll-out", fleet)


def scale(fleet):
    devices = new_devices("scale")
    with fleet.walk(fleet.affine, devices) as walk:
        walk.more()
        fleet.replicas[2].stop()
        walk.more()
        for replica in fleet.replicas[2:]:
            replica.start()
        wait_until_whole(fleet.replicas)
        walk.more()
        for replica in fleet.replicas[2:]:
            replica.stop()
            walk.more()
        fleet.replicas[2].start()
        walk.more()
    walk.check()
    check_exact("2 to 5 to 2 replicas", fleet, devices)


def no_affinity(fleet):
    devices = new_devices("turns")
    with fleet.walk(fleet.turns, devices) as walk:
        for _ in range(3):
            walk.more()
    walk.check()
    events, pending = check_exact("no affinity", fleet, devices)
    # Of three replicas two do not have the window.
    if pending < events / 3:
        raise Fault(f"only {pending} of {events} events were pending: who moved?")


def empty_redis(fleet, redis):
    """Redis restarts empty: windows stay where they are, and are saved again."""
    devices = new_devices("empty")
    with fleet.walk(fleet.affine, devices) as walk:
        walk.more()
        redis.kill()
        walk.more()
        redis.start()
        fleet.wait_until_up()
        walk.more()
        # Who leaves now has written all of it again.
        fleet.replicas[0].stop()
        walk.more()
        fleet.replicas[0].start()
        walk.more()
    walk.check()
    check_exact("Redis restarted empty", fleet, devices)


def kill(fleet):
    """One dies: what it had not saved is gone, the rest is what the fleet goes on with."""
    devices, killed = new_devices("kill"), fleet.replicas[1]
    # Nobody knows how many events are left of a device.
    with fleet.walk(fleet.affine, devices, fleet.wait_until_settled) as walk:
        walk.more()
        # All have been saved once.
        time.sleep(SAVE_SECONDS)
        killed.kill()
        died = time.monotonic()
        walk.more()
        walk.more()
    walk.check(may_miss=True)
    fleet.wait_until_settled()
    lost = sum(check_killed(fleet, killed, died, device) for device in devices)
    own = sum(any(s.replica == killed.name for s in device.sent) for device in devices)
    if not own:
        raise Fault(f"no device was at {killed.name}, so this shows nothing")
    print(
        f"kill -9: {own} of {len(devices)} devices were there; their windows go on without "
        f"{lost} events, none of them older than {SAVE_SECONDS + LATE_SECONDS} s; the rest is equal"
    )


def go_on(_):
    """For a device that does not wait."""


def freeze(process):
    """For longer than a lease."""
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(FREEZE_SECONDS)
    finally:
        process.send_signal(signal.SIGCONT)


def check_killed(fleet, killed, died, device):
    """Checks one device. Returns how many events it lost."""
    # After what the replica answered last, at most one event was under way to it; later ones met
    # nobody, or another one, which may have answered before the time of the death was taken.
    own = [at for at, s in enumerate(device.sent) if s.replica == killed.name]
    ended = own[-1] + 1 if own else 0
    before, later = device.sent[:ended], device.sent[ended:]
    unknown = [s for s in later if not s.answer]
    before, after = before + unknown[:1], [s for s in later if s.answer]
    answer = fleet.tell(running(fleet.replicas)[0], device)
    kept = answer["totals"]["accepted"] - len(after)
    oldest = died - SAVE_SECONDS - LATE_SECONDS
    saved = sum(1 for s in before if s.at <= oldest or s.replica not in (killed.name, None))
    if not saved <= kept <= len(before):
        raise Fault(f"{device.name}: {kept} of {len(before)} events kept, at least {saved} saved")
    fleet.reference.feed(device, before[:kept] + after)
    expected, found = figures(fleet.reference.tell(device)), figures(answer)
    if found != expected:
        raise Fault(f"kill -9: of {device.name} the fleet says {found}: {expected}")
    return sum(1 for s in before[kept:] if s.answer)


def frozen_replica(fleet):
    """A replica is frozen for longer than its lease. Half of the devices wait for it."""
    patient = new_devices("patient", patience=60)
    impatient = new_devices("impatient", patience=IMPATIENT_SECONDS)
    frozen, devices = fleet.replicas[1], patient + impatient
    with fleet.walk(fleet.affine, devices, fleet.wait_until_settled) as walk:
        walk.more()
        freeze(frozen.process)
        walk.more()
    walk.check(may_miss=True)
    wait_until_whole(fleet.replicas)
    fleet.wait_until_settled()
    in_doubt = fleet.total("corepulse_judged_in_doubt_total")
    check_exact("a frozen replica, patient devices", fleet, patient)
    counted = [check_count(fleet, device) for device in impatient]
    unknown = sum(device.known()[1] for device in impatient)
    if not unknown:
        raise Fault("no device had an answer outstanding, so this shows nothing")
    print(
        f"a frozen replica, impatient devices: {sum(counted)} events counted once, of which "
        f"{unknown} had no answer at most; {in_doubt:.0f} judged in doubt"
    )


def check_count(fleet, device):
    """Each acknowledged event counts once; those without an answer once or not. Returns n."""
    acknowledged, unknown = device.known()
    counts = []

    def is_counted():
        told = [fleet.tell(replica, device) for replica in running(fleet.replicas)]
        counts[:] = {answer and answer["totals"]["accepted"] for answer in told}
        one_answer = len(counts) == 1 and counts[0] is not None
        return one_answer and acknowledged <= counts[0] <= acknowledged + unknown

    try:
        wait_until(is_counted, f"{device.name}", SETTLE_SECONDS_MAX)
    except Fault as fault:
        more = f"{acknowledged} acknowledged, {unknown} without an answer, told {counts}"
        raise Fault(f"{fault}: {more}") from fault
    return counts[0]


def frozen_redis(fleet, redis):
    """Redis is frozen for longer than the lease, with and without affinity."""
    devices, restless = new_devices("still"), new_devices("restless")
    with fleet.walk(fleet.affine, devices) as walk:
        with fleet.walk(fleet.turns, restless, go_on) as other:
            walk.more()
            other.more()
            freeze(redis.process)
            walk.more()
            other.more()
    walk.check()
    other.check()
    wait_until_whole(fleet.replicas)
    # A window of which two replicas have some is claimed with the next event of its device.
    with fleet.walk(fleet.turns, restless, go_on) as other:
        other.more()
    other.check()
    in_doubt = fleet.total("corepulse_judged_in_doubt_total")
    if not in_doubt:
        raise Fault("nothing was judged in doubt, so this shows nothing")
    check_exact("Redis frozen, devices that stay", fleet, devices)
    fleet.wait_until_settled()
    counted = sum(check_count(fleet, device) for device in restless)
    differing = sum(fleet.reference.feed(device, device.sent) for device in restless)
    if differing > in_doubt:
        raise Fault(f"{differing} verdicts are others, {in_doubt:.0f} were judged in doubt")
    print(
        f"Redis frozen, no affinity: {counted} events counted once; {differing} verdicts are "
        f"others, {in_doubt:.0f} were judged in doubt"
    )


class Redis:
    """One Redis, which can be killed and started anew."""

    def __init__(self, processes, folder):
        self.processes, self.folder, self.port = processes, folder, free_port()
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = self.processes.start("redis", [*command, "--dir", str(self.folder)], {})
        wait_until(self._answers, "Redis")

    def _answers(self):
        command = ["redis-cli", "-p", str(self.port), "PING"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout == "PONG\n"

    def kill(self):
        self.process.kill()
        self.process.wait()


def check(server, processes, folder):
    redis = Redis(processes, folder)
    fleet = Fleet(server, processes, folder, f"redis://127.0.0.1:{redis.port}/")
    roll_out(fleet)
    scale(fleet)
    no_affinity(fleet)
    empty_redis(fleet, redis)
    frozen_replica(fleet)
    frozen_redis(fleet, redis)
    # The last one, as who was killed is missed for a minute.
    kill(fleet)


def check_cluster(server, processes, folder):
    """With a Redis Cluster, whose primaries die: that of the directory, and another."""
    cluster = RedisCluster(processes, folder)
    fleet = Fleet(server, processes, folder, cluster.url())
    roll_out(fleet)
    no_affinity(fleet)
    devices = new_devices("failover")
    owner = cluster.owner_of("cp:{check}:members")
    with fleet.walk(fleet.affine, devices) as walk:
        for number in (owner, (owner + 1) % 3):
            walk.more()
            cluster.kill(number)
            walk.more()
            fleet.wait_until_up()
            walk.more()
            # Windows move, with what the new primary has of them.
            fleet.replicas[number].stop()
            walk.more()
            fleet.replicas[number].start()
    walk.check()
    check_exact("two of three primaries killed", fleet, devices)


def main():
    server = str(pathlib.Path(sys.argv[1]).resolve())
    scenarios = [functools.partial(scenario, server) for scenario in (check, check_cluster)]
    return run_check("windows", *scenarios)


if __name__ == "__main__":
    sys.exit(main())
