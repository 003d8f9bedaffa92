"""Two servers as the compose file has them, behind an HAProxy with the shipped configuration.

    compose_proxy.py SERVER RENDERED.yaml

Compose itself needs a daemon. So the servers have the variables of their service, on two addresses
of loopback, and a resolver that is made here has both for the name of the service, as Docker's has.
Devices stay with their replica, who reads asks one replica, both answer as one, and when a replica
leaves, no request fails.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import sys
import tempfile
import threading
import urllib.request

import yaml

from manifests import ROOT, Fault, Manifests, compose_variables
from processes import Processes, free_port
from proxy import SEARCHED
from services import SECRETS, get, start_redis, wait_until

# Odd, so that dealing them out in turn would bring each to both replicas.
DEVICES = 41
# What a resolver says of a name: an address, for a second.
IS_ADDRESS = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4)


class Resolver(contextlib.AbstractContextManager):
    """A name server that has some addresses for every name."""

    def __init__(self, addresses):
        self.addresses = [socket.inet_aton(address) for address in addresses]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.number = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            query, asker = self.socket.recvfrom(4096)
            if not query:
                return
            self.socket.sendto(self._answer(query), asker)

    def _answer(self, query):
        end = query.index(0, 12) + 5
        kind, = struct.unpack(">H", query[end - 4:end - 2])
        # There are no addresses of IPv6.
        found = [IS_ADDRESS + address for address in self.addresses] if kind == 1 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)
        return head + query[12:end] + b"".join(found)

    def __exit__(self, *_):
        self.socket.sendto(b"", ("127.0.0.1", self.number))
        self.thread.join()
        self.socket.close()


def start_servers(processes, server, service, redis, hosts, number):
    """One server on each address, as the service has it, called by its address."""
    secret = SECRETS[("redis", "password")]
    url = f"redis://corepulse:{secret}@127.0.0.1:{redis}/0"
    started = {}
    for host in hosts:
        variables = compose_variables(service) | {
            "COREPULSE_LISTEN": f"{host}:{number}",
            "COREPULSE_REDIS_URL": url,
            "COREPULSE_INSTANCE": host,
        }
        started[host] = processes.start(host, [server], variables)
    for host in hosts:
        wait_until(lambda at=host: get(f"http://{at}:{number}/ready")[0] == 200, f"{host}: ready")
    return started


def start_proxy(processes, folder, resolver, servers):
    """HAProxy with the shipped file; only its port, the servers' and the resolver's are of here."""
    number = free_port()
    text = (ROOT / "compose/haproxy.cfg").read_text(encoding="utf-8")
    for shipped, here in (
        ("bind :8080\n", f"bind 127.0.0.1:{number}\n"),
        (" corepulse:8080 ", f" corepulse:{servers} "),
        ("nameserver dns 127.0.0.11:53\n", f"nameserver dns 127.0.0.1:{resolver}\n"),
    ):
        if text.count(shipped) != 1:
            raise Fault(f"compose/haproxy.cfg has {text.count(shipped)} of {shipped!r}")
        text = text.replace(shipped, here)
    path = folder / "haproxy.cfg"
    path.write_text(text, encoding="utf-8")
    processes.start("haproxy", ["haproxy", "-db", "-f", str(path)], {"PATH": SEARCHED})
    return f"http://127.0.0.1:{number}"


def post(base, device):
    """Posts an event of a device."""
    body = json.dumps({"cpu": 1, "rps": 2, "device_id": device}).encode()
    headers = {"X-Device-Id": device, "Connection": "close"}
    request = urllib.request.Request(f"{base}/metrics", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        if answer.status != 202:
            raise Fault(f"{device}: {answer.status}")


def whole(base, hosts, accepted):
    """Whether the fleet is these replicas, and has accepted so many events."""
    status, body = get(f"{base}/analyze?scope=fleet")
    if status != 200:
        return False
    answer = json.loads(body)
    names = sorted(member["instance"] for member in answer["members"])
    return answer["complete"] and names == hosts and answer["totals"]["accepted"] == accepted


def counted(host, number):
    """The events that a replica has accepted, and the devices that it holds."""
    answer = json.loads(get(f"http://{host}:{number}/analyze")[1])
    return answer["totals"]["accepted"], answer["totals"]["devices"]


def check_affinity(base, hosts, number):
    """Each device has one replica, and both replicas have some; a reader has one as well."""
    for _ in range(3):
        for device in range(DEVICES):
            post(base, f"d{device}")
    accepted, devices = zip(*(counted(host, number) for host in hosts))
    if sum(accepted) != 3 * DEVICES or sum(devices) != DEVICES or min(devices) == 0:
        raise Fault(f"{3 * DEVICES} events of {DEVICES} devices: {accepted} on {devices} devices")
    readers = {json.loads(get(f"{base}/analyze")[1])["instance"] for _ in range(6)}
    if len(readers) != 1:
        raise Fault(f"who reads without the header is answered by {readers}")
    return devices


def check(server, manifests, processes, folder):
    service = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]["corepulse"]
    redis = start_redis(processes, manifests, folder)
    network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
    hosts, number = [f"{network}.{host}" for host in (2, 3)], free_port()
    started = start_servers(processes, server, service, redis, hosts, number)
    with Resolver(hosts) as resolver:
        base = start_proxy(processes, folder, resolver.number, number)
        wait_until(lambda: get(f"{base}/ready")[0] == 200, "the proxy finds the replicas")
        wait_until(lambda: whole(base, hosts, 0), "a fleet of two")
        devices = check_affinity(base, hosts, number)
        wait_until(lambda: whole(base, hosts, 3 * DEVICES), f"{3 * DEVICES} events of the fleet")
        # Events go on while one leaves: it says so, and the proxy listens.
        leaving, posted = started[hosts[0]], 3 * DEVICES
        leaving.send_signal(signal.SIGTERM)
        while leaving.poll() is None:
            post(base, f"d{posted % DEVICES}")
            posted += 1
        if leaving.returncode != 0:
            raise Fault(f"exit code {leaving.returncode} after SIGTERM")
        wait_until(lambda: whole(base, hosts[1:], posted), f"{posted} events, of one that is gone")
    print(f"compose: {devices} devices on two replicas; {posted} events, and none lost with one")


def main():
    server, rendered = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        try:
            check(os.path.abspath(server), Manifests(rendered), processes, pathlib.Path(folder))
        except (Fault, OSError) as fault:
            print(f"compose: {fault}", file=sys.stderr)
            processes.say_what_they_said()
            return 1
    return 0


if __name__ == "__main__":
    # A terminated check ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
