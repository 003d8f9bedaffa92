"""HAProxy in front of the replicas, as the Ingress has it: it follows /ready and hashes a header.

It tries nothing twice, so that whatever a replica lets fall is seen by a client. And it knows of a
replica's end only by its readiness probe, at the intervals of the Deployment: in a cluster the
Ingress hears of it earlier, from Kubernetes, while `preStop` waits.
"""

import csv
import os
import re
import socket
import subprocess

from manifests import Fault
from processes import free_port

SEARCHED = f"{os.environ['PATH']}:/usr/sbin"
# The time-outs are those that the controller has unless it is told others.
CONFIGURATION = """\
global
    stats socket {socket} mode 600
defaults
    mode http
    timeout http-request 5s
    timeout connect 5s
    timeout client 50s
    timeout queue 5s
    timeout server 50s
    timeout http-keep-alive 60s
    timeout check {timeout}s
    retries 0
frontend devices
    bind 127.0.0.1:{port}
    http-response set-header X-Replica %s
    default_backend corepulse
backend corepulse
    option forwardfor
    balance {balance}
    {snippet}
    option httpchk GET {path}
    http-check expect status 200-399
    default-server check inter {period}s fall {fall} rise {rise}
    {servers}
"""


def version():
    said = subprocess.run(
        ["haproxy", "-v"], capture_output=True, text=True, check=True, env={"PATH": SEARCHED}
    ).stdout
    return tuple(int(part) for part in re.search(r"version (\d+)\.(\d+)", said).groups())


class Proxy:
    """A running HAProxy."""

    def __init__(self, processes, manifests, containers, folder):
        self.number, self.socket = free_port(), folder / "haproxy.sock"
        annotations = manifests.one("Ingress", "corepulse")["metadata"]["annotations"]
        probe = manifests.container("corepulse")["readinessProbe"]
        snippet = annotations["haproxy.org/backend-config-snippet"].strip().splitlines()
        if version() < (3, 0):
            # With one proxy, which names its servers in one order, it makes no difference.
            snippet = [line for line in snippet if not line.startswith("default-server hash-key")]
        servers = [f"server {container.name} {container.address}" for container in containers]
        text = CONFIGURATION.format(
            socket=self.socket,
            port=self.number,
            balance=annotations["haproxy.org/load-balance"],
            snippet="\n    ".join(snippet),
            path=probe["httpGet"]["path"],
            timeout=probe["timeoutSeconds"],
            period=probe["periodSeconds"],
            fall=probe["failureThreshold"],
            rise=probe.get("successThreshold", 1),
            servers="\n    ".join(servers),
        )
        path = folder / "haproxy.cfg"
        path.write_text(text, encoding="utf-8")
        self.process = processes.start(
            "haproxy", ["haproxy", "-db", "-f", str(path)], {"PATH": SEARCHED}
        )

    def servers(self):
        """What it says of each replica: `status`, `econ`, `eresp` and more."""
        if self.process.poll() is not None:
            raise Fault(f"HAProxy ended with exit code {self.process.returncode}")
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(self.socket))
            asking.sendall(b"show stat\n")
            said = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        rows = csv.DictReader(said.removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["pxname"] == "corepulse"}

    def is_up(self, name):
        """Whether it sends requests there, after a check that said so."""
        row = self.servers()[name]
        return row["status"] == "UP" and row["check_status"] == "L7OK"

    def is_down(self, name):
        return self.servers()[name]["status"] == "DOWN"
