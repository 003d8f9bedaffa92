"""A CPU quota, as the kubelet sets it from `limits.cpu`: a cgroup of version 1 or 2."""

import os
import pathlib

from manifests import Fault

PERIOD_US = 100_000


def controllers():
    """Mount points of the controller `cpu`: (version, path)."""
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            yield 1, pathlib.Path(path)
        available = pathlib.Path(path, "cgroup.controllers")
        if kind == "cgroup2" and "cpu" in available.read_text(encoding="utf-8").split():
            yield 2, pathlib.Path(path)


class Quota:
    """A cgroup that may use so many CPUs; it is removed when its `with` ends."""

    def __init__(self, name, cpus):
        found = next(controllers(), None)
        if not found:
            raise Fault("no cgroup controller `cpu` is mounted")
        version, mounted = found
        self.path = mounted / f"corepulse-{os.getpid()}-{name}"
        quota_us = round(cpus * PERIOD_US)
        try:
            if version == 2:
                (mounted / "cgroup.subtree_control").write_text("+cpu", encoding="utf-8")
            self.path.mkdir()
            if version == 2:
                self.write("cpu.max", f"{quota_us} {PERIOD_US}")
            else:
                self.write("cpu.cfs_period_us", PERIOD_US)
                self.write("cpu.cfs_quota_us", quota_us)
        except OSError as error:
            if self.path.exists():
                self.path.rmdir()
            raise Fault(str(error)) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.rmdir()

    def write(self, name, value):
        (self.path / name).write_text(str(value), encoding="utf-8")

    def holds(self, process):
        """Whether the process is in it."""
        members = (self.path / "cgroup.procs").read_text(encoding="utf-8").split()
        return str(process.pid) in members

    def throttled(self):
        """In how many periods it was stopped, and of how many."""
        lines = (self.path / "cpu.stat").read_text(encoding="utf-8").splitlines()
        counts = dict(line.split() for line in lines)
        return int(counts["nr_throttled"]), int(counts["nr_periods"])
