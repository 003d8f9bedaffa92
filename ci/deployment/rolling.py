"""Two replicas behind a proxy are restarted one after the other under load; no request may fail.

    rolling.py SERVER RENDERED.yaml

Each is the Deployment's container, started by hand (`container.py` says how exactly), Redis is
that of the manifests, and the proxy has the Ingress' settings. A replica is stopped as the kubelet
does: `preStop`, SIGTERM, and the grace period for both. At the end every acknowledged event is in
the books of the replicas, once, and in Redis.
"""

import contextlib
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from cgroup import Quota
from container import Container, build_image, lines_with, obstacle
from devices import Devices
from manifests import Fault, Manifests, cpus, sample
from processes import Processes
from proxy import Proxy
from services import SECRETS, start_redis, wait_until

NAMES = ("a", "b")
# So many answers show that a replica takes part.
ANSWERS_MIN = 100


def replicas(manifests, server, redis, folder, quotas):
    """Two containers, as much of each as this machine grants; and what it does not."""
    missing, root = [], None
    hindered = obstacle()
    if hindered:
        missing.append(f"its user and its read-only root ({hindered})")
    else:
        root = folder / "image"
        build_image(server, root)
    # Addresses of their own, so that the port can be that of the manifest.
    network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
    containers = []
    for host, name in enumerate(NAMES, start=2):
        limit = manifests.container("corepulse")["resources"]["limits"]["cpu"]
        try:
            quota = quotas.enter_context(Quota(name, cpus(limit)))
        except Fault as fault:
            quota = None
            if not containers:
                missing.append(f"its CPU quota ({fault})")
        container = Container(name, manifests, f"{network}.{host}", redis, root, quota)
        print(f"{name}: {container.address}")
        containers.append(container)
    return containers, missing


def wait_for_part(replica, proxy, devices):
    """Until the proxy has found the replica ready, and devices are answered by it."""
    since = time.monotonic()

    def takes_part():
        return proxy.is_up(replica.name) and devices.count(replica.name, since) >= ANSWERS_MIN

    wait_until(takes_part, f"{replica.name}: ready, and {ANSWERS_MIN} answers through the proxy")


def stop(replica, proxy, devices, processes):
    """As the kubelet stops it. Says how long that took, and what the proxy did meanwhile."""
    began = time.monotonic()
    time.sleep(replica.before_stop_seconds)
    process, terminated = replica.process, time.monotonic()
    process.send_signal(signal.SIGTERM)
    wait_until(replica.is_leaving, f"{replica.name}: the readiness probe fails")
    if replica.probe("livenessProbe") != 200:
        raise Fault(f"{replica.name}: a kubelet would kill it while it drains")
    left = replica.grace_seconds - (time.monotonic() - began)
    wait_until(lambda: proxy.is_down(replica.name), f"{replica.name}: left by the proxy", left)
    noticed = time.monotonic()
    code, _ = processes.outcome(process, began + replica.grace_seconds - noticed)
    ended = time.monotonic()
    if code != 0:
        raise Fault(f"{replica.name}: exit code {code} after SIGTERM")
    answered = devices.count(replica.name, terminated)
    if answered == 0:
        raise Fault(f"{replica.name}: nobody asked it while it drained, so this shows nothing")
    print(
        f"{replica.name}: preStop {terminated - began:.1f} s, SIGTERM, left by the proxy after "
        f"{noticed - terminated:.1f} s, {answered} more answers, ended after "
        f"{ended - terminated:.1f} s, {ended - began:.1f} of {replica.grace_seconds} s"
    )


def roll(containers, proxy, processes, folder, server, fields):
    """Restarts one after the other under load; returns the devices, which have ended."""
    devices, fault = Devices(proxy.number, fields), None
    with devices:
        try:
            for replica in containers:
                wait_for_part(replica, proxy, devices)
            for replica in containers:
                stop(replica, proxy, devices, processes)
                replica.start(processes, folder, server)
                wait_for_part(replica, proxy, devices)
        except Fault as first:
            fault = first
    if devices.failures:
        failures = "\n  ".join(devices.failures[:10])
        raise Fault(f"{len(devices.failures)} requests failed:\n  {failures}") from fault
    if fault:
        raise fault
    for name, row in proxy.servers().items():
        errors = {counter: row[counter] for counter in ("econ", "eresp", "wretr", "wredis")}
        if any(int(value or 0) for value in errors.values()):
            raise Fault(f"the proxy had errors with {name}: {errors}")
    return devices


def check_books(containers, devices, processes):
    """Acknowledged is accepted, and accepted is stored; over all lives of both replicas."""
    lives = [processes.said(life) for replica in containers for life in replica.lives]
    books = [line for said in lives for line in lines_with(said, "accepted")]
    if len(books) != len(lives):
        raise Fault(f"{len(lives)} lives of a replica ended with {len(books)} books")
    names = ("accepted", "stored", "coalesced", "dropped", "pending", "rejected")
    sums = {name: sum(book[name] for book in books) for name in names}
    acknowledged = len(devices.keys)
    kept = sums["stored"] + sums["coalesced"]
    if sums["accepted"] != acknowledged or kept != acknowledged:
        raise Fault(f"{acknowledged} events were acknowledged, but the books say {sums}")
    if sums["dropped"] or sums["pending"] or sums["rejected"]:
        raise Fault(f"not all events reached Redis: {sums}")
    print(f"events: {acknowledged} acknowledged, {sums} in {len(books)} lives")


def check_redis(number, keys):
    """Each acknowledged event is there, asked for as the server's own user."""
    if len(set(keys)) != len(keys):
        raise Fault("two events of the load have one key")
    command = ["redis-cli", "-p", str(number), "--user", "corepulse", "--no-auth-warning"]
    secret = SECRETS[("redis", "password")]
    done = subprocess.run(
        command, input="".join(f"GET {key}\n" for key in keys), capture_output=True, text=True,
        env=os.environ | {"REDISCLI_AUTH": secret}, check=True,
    )
    found = sum(line.startswith("{") for line in done.stdout.splitlines())
    if found != len(keys):
        raise Fault(f"Redis has {found} of {len(keys)} acknowledged events: {done.stdout[:200]}")
    print(f"Redis: all {found} of them")


def report(devices, seconds):
    durations = sorted(answer.seconds * 1000 for answer in devices.answers)
    p99 = durations[math.ceil(len(durations) * 0.99) - 1]
    kinds = {kind: 0 for kind in ("busy", "slow", "fresh")}
    for answer in devices.answers:
        kinds[answer.kind] += 1
    shares = {name: devices.count(name, 0) for name in NAMES}
    print(
        f"requests: {len(durations)} in {seconds:.0f} s, none failed; on busy, slow and new "
        f"connections {list(kinds.values())}, by replica {shares}, kept connections told to "
        f"come again {devices.told_to_reconnect}; p99 {p99:.0f} ms, longest {durations[-1]:.0f} ms"
    )


def check(server, manifests, folder, processes, quotas):
    """Returns what a pod has and these replicas had not."""
    redis = start_redis(processes, manifests, folder)
    containers, missing = replicas(manifests, server, redis, folder, quotas)
    warn(missing)
    for replica in containers:
        replica.start(processes, folder, server)
    proxy = Proxy(processes, manifests, containers, folder)
    for replica in containers:
        wait_until(lambda name=replica.name: proxy.is_up(name), f"{replica.name}: up at the proxy")
    began = time.monotonic()
    fields = sample(manifests.container("corepulse"), SECRETS)
    devices = roll(containers, proxy, processes, folder, server, fields)
    report(devices, time.monotonic() - began)
    for replica in containers:
        replica.process.send_signal(signal.SIGTERM)
    for replica in containers:
        code, _ = processes.outcome(replica.process, replica.grace_seconds)
        if code != 0:
            raise Fault(f"{replica.name}: exit code {code} at the end")
    check_books(containers, devices, processes)
    check_redis(redis, devices.keys)
    for replica in containers:
        if replica.quota:
            stopped, periods = replica.quota.throttled()
            print(f"{replica.name}: throttled in {stopped} of {periods} periods of its quota")
    return missing


def warn(missing):
    for what in missing:
        print(f"rolling: NOT AS IN A POD: a replica runs without {what}", file=sys.stderr)


def main():
    server, rendered = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    # As the image has them, whatever the mask of this shell.
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as quotas:
        # A quota can go when no process is left in it.
        with Processes() as processes:
            try:
                folder = pathlib.Path(folder)
                missing = check(server, Manifests(rendered), folder, processes, quotas)
            except Fault as fault:
                print(f"rolling: {fault}", file=sys.stderr)
                processes.say_what_they_said()
                return 1
    # Once more, where it is read.
    warn(missing)
    return 0


if __name__ == "__main__":
    # A terminated check ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
