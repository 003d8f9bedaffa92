"""The server's container, started by hand as the kubelet and a runtime would start it.

What is as in a pod: arguments, environment, the image's file system and nothing beside it,
read-only; user and group, no capability and none to be gained, the CPU quota. What is not: the
network is that of this machine, so that the addresses of the server and of Redis are others;
there are no namespaces of processes and cgroups, no limit of memory and no seccomp profile.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

from manifests import ROOT, Fault, cpus, port
from processes import free_port
from services import get, server_variables, wait_until

# What a runtime adds of its own.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the kernel shows of itself.
KERNELS = ("proc", "sys", "dev")
ENCLOSE = pathlib.Path(__file__).with_name("enclose.py")


def obstacle():
    """Why this machine cannot give a container its user and its root, if it cannot."""
    if os.geteuid() != 0:
        return "this is not root"
    done = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else None


def entry_point():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return json.loads(re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)[1])


def build_image(server, root):
    """The file system of the Dockerfile's last stage: the binary and the libraries it links."""
    linked = subprocess.run(["ldd", server], capture_output=True, text=True, check=True).stdout
    files = {library: library for library in re.findall(r"/\S+", linked)}
    for inside, outside in (files | {entry_point()[0]: server}).items():
        target = root / inside.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(outside, target)
    for kernels in KERNELS:
        (root / kernels).mkdir()


def is_as_enclosed(security):
    """Whether a security context asks for what `enclose.py` does, which knows no other."""
    return (
        security["readOnlyRootFilesystem"]
        and security["runAsNonRoot"]
        and not security["allowPrivilegeEscalation"]
        and security["capabilities"] == {"drop": ["ALL"]}
    )


def port_on(address, wanted):
    """The port of the manifest, or another if somebody of this machine has it."""
    with socket.socket() as probe:
        try:
            probe.bind((address, wanted))
            return wanted
        except OSError:
            return free_port()


class Container:
    """One replica, through all of its lives.

    `host` is its address; `root` is the image's file system, and `quota` the cgroup, or `None`
    where this machine grants neither.
    """

    def __init__(self, name, manifests, host, redis, root, quota):
        self.name, self.quota, self.root = name, quota, root
        self.container = manifests.container("corepulse")
        pod = manifests.pod("corepulse")["spec"]
        self.security = pod["securityContext"] | self.container["securityContext"]
        self.grace_seconds = pod["terminationGracePeriodSeconds"]
        hook = self.container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
        if not is_as_enclosed(self.security) or list(hook) != ["sleep"]:
            raise Fault("the Deployment asks for what a container started here has not")
        self.before_stop_seconds = hook["sleep"]["seconds"]
        self.address = f"{host}:{port_on(host, port(self.container, 'http'))}"
        pod_name = f"corepulse-{name}"
        self.variables = server_variables(self.container, self.address, redis, pod_name)
        self.variables |= {"PATH": PATH, "HOSTNAME": pod_name}
        command = self.container.get("command") or entry_point()
        self.command = [*command, *self.container.get("args", [])]
        self.lives = []

    @property
    def process(self):
        return self.lives[-1]

    def start(self, processes, folder, server):
        """Starts it, and waits as the startup probe does."""
        enclosed = self.root is not None
        specification = {
            "command": self.command if enclosed else [str(server), *self.command[1:]],
            "environment": self.variables,
            "groups": [str(self.quota.path / "cgroup.procs")] if self.quota else [],
            "root": str(self.root) if enclosed else None,
            "user": self.security["runAsUser"] if enclosed else None,
            "group": self.security["runAsGroup"] if enclosed else None,
        }
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(specification), encoding="utf-8")
        command = [sys.executable, str(ENCLOSE), str(path)]
        self.lives.append(processes.start(self.name, command, {}))
        probe = self.container["startupProbe"]
        seconds_max = probe["periodSeconds"] * probe["failureThreshold"]
        wait_until(self._has_started, f"{self.name}: the startup probe", seconds_max)
        self._verify(processes)

    def _has_started(self):
        if self.process.poll() is not None:
            raise Fault(f"{self.name} ended with exit code {self.process.returncode}")
        return self.probe("startupProbe") == 200

    def probe(self, name):
        """The status of what this probe asks for."""
        return get(f"http://{self.address}{self.container[name]['httpGet']['path']}")[0]

    def is_leaving(self):
        """Whether its readiness probe fails, while it still answers."""
        if self.process.poll() is not None:
            raise Fault(f"{self.name} ended before anybody could see that it leaves")
        return self.probe("readinessProbe") == 503

    def _verify(self, processes):
        """Whether the process is what was asked for, by the kernel's word."""
        kernel = pathlib.Path(f"/proc/{self.process.pid}")
        environment = kernel.joinpath("environ").read_bytes().decode().split("\0")
        found = dict(entry.split("=", 1) for entry in environment if entry)
        if found != self.variables:
            raise Fault(f"{self.name} has other variables: {sorted(found)}")
        if self.root is not None:
            self._verify_enclosure(kernel)
        if self.quota:
            whole = int(cpus(self.container["resources"]["limits"]["cpu"]))
            workers = max(1, min(whole, len(os.sched_getaffinity(0))))
            started = self._first_line(processes)
            if not self.quota.holds(self.process) or started["workers"] != workers:
                raise Fault(f"{self.name} does not see its CPU quota: {started}")

    def _first_line(self, processes):
        """What it says when it has started, which may be after its first answer."""
        found = []

        def has_said():
            found.extend(lines_with(processes.said(self.process), "workers"))
            return found

        wait_until(has_said, f"{self.name}: the line of its start")
        return found[0]

    def _verify_enclosure(self, kernel):
        lines = kernel.joinpath("status").read_text(encoding="utf-8").splitlines()
        status = {name: value.split() for name, value in (line.split(":", 1) for line in lines)}
        wanted = {
            "Uid": [str(self.security["runAsUser"])] * 4,
            "Gid": [str(self.security["runAsGroup"])] * 4,
            "Groups": [],
            "NoNewPrivs": ["1"],
        }
        sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        wanted |= {name: ["0" * 16] for name in sets}
        different = {name: status[name] for name in wanted if status[name] != wanted[name]}
        mounts = kernel.joinpath("mountinfo").read_text(encoding="utf-8").splitlines()
        for target, options in (mount.split()[4:6] for mount in mounts):
            is_kernels = target.split("/")[1] in KERNELS
            if not is_kernels and "ro" not in options.split(","):
                different[target] = options
        if different:
            raise Fault(f"{self.name} is not enclosed: {different}")


def lines_with(said, field):
    """The lines of a log in JSON that have this field. The last may be half written."""
    lines = [line for line in said.splitlines(keepends=True) if line.endswith("}\n")]
    return [line for line in map(json.loads, lines) if field in line]
