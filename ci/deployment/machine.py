"""A Debian whose first process is systemd, in namespaces of its own.

Neither a container manager nor a bus of this machine is needed; what its services do ends with it.
Its network is a loopback of its own.
"""

import os
import pathlib
import subprocess
import time

from manifests import Fault

START_SECONDS_MAX = 60
# What a machine needs beyond the least: systemd, and what the package depends on.
PACKAGES = "adduser,procps,systemd,systemd-sysv"
BOOT = """
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
mount -t tmpfs tmpfs "$0/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
mount -t tmpfs tmpfs "$0/run"
ip link set lo up
cd "$0"
# What is only in another root may not have user namespaces, which services are given.
pivot_root . mnt
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    sh -c 'umount -l /mnt && exec /lib/systemd/systemd --system'
"""


class NoMachine(Fault):
    """Why no systemd can run here."""


def make_tree(kept, release, folder):
    """A Debian of that release in `folder`; packed in `kept` from one run to the next."""
    packed = kept / f"{release}.tar"
    if not packed.exists():
        kept.mkdir(parents=True, exist_ok=True)
        growing = kept / f"{release}.{os.getpid()}.tar"
        command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", release, growing]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            growing.unlink(missing_ok=True)
            raise Fault(f"mmdebstrap: {done.stderr[-2000:]}")
        growing.rename(packed)
    subprocess.run(["tar", "--extract", "--file", packed, "--directory", folder], check=True)


def unified_groups():
    """Where the kernel's second kind of control groups is mounted."""
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(path)
    raise NoMachine("no control groups of version 2 are mounted, which systemd needs")


class Machine:
    """It runs from the beginning of a `with` to its end."""

    def __init__(self, tree):
        self.tree, self.group = tree, unified_groups() / f"corepulse-{os.getpid()}-machine"

    def __enter__(self):
        self.process = None
        try:
            self.group.mkdir()
        except OSError as error:
            raise NoMachine(f"no control group can be made: {error}") from error
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _boot(self):
        # In that group when its own view of the groups begins.
        enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
        spaces = ["--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
        command = ["unshare", "--fork", "--kill-child", *spaces, "sh", "-c", BOOT, str(self.tree)]
        self.process = subprocess.Popen(
            ["sh", "-c", enter, str(self.group), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Fault(f"systemd did not start: {self.process.stderr.read().decode()}")
            if self._first() and self.attempt("systemctl", "is-system-running")[1] == "running":
                return
            time.sleep(0.2)
        raise Fault(f"systemd is not up: {self.attempt('systemctl', '--failed')[1]}")

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + START_SECONDS_MAX
        # A group can go when nobody is left in it.
        while self.group.exists():
            for group in sorted(self.group.rglob("*"), reverse=True):
                if group.is_dir():
                    self._remove(group)
            self._remove(self.group)
            if time.monotonic() > deadline:
                raise Fault(f"{self.group} is not empty")
            time.sleep(0.05)

    @staticmethod
    def _remove(group):
        try:
            group.rmdir()
        except OSError:
            pass

    def _first(self):
        """The number of its first process, or nothing."""
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return path.read_text(encoding="utf-8").strip()

    def attempt(self, *command, spaces=("--all", "--root", "--wd")):
        """Exit code and words of a command in it, without its last line end."""
        done = subprocess.run(
            ["nsenter", "--target", self._first(), *spaces, "--", *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )
        return done.returncode, done.stdout.rstrip("\n")

    def __call__(self, *command):
        """What a command in it says, which must succeed."""
        code, said = self.attempt(*command)
        if code != 0:
            raise Fault(f"{' '.join(map(str, command))} ended with {code}:\n{said[-4000:]}")
        return said

    def from_outside(self, *command):
        """What one of this machine's programs says that has only its network."""
        code, said = self.attempt(*command, spaces=("--net",))
        if code != 0:
            raise Fault(f"{' '.join(map(str, command))} ended with {code}:\n{said[-4000:]}")
        return said
