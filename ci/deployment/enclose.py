"""Becomes a container's process: the last thing a runtime does before the program itself runs.

    enclose.py SPECIFICATION.json

The specification has `command`, `environment`, and what this machine grants of `groups` (files
that take a process into a cgroup), `root` (the container's file system) and `user` with `group`.
Whoever starts this keeps the process's id: nothing here forks.
"""

import ctypes
import json
import os
import pathlib
import sys

# From <sched.h>, <sys/mount.h> and <sys/prctl.h>.
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38

# What comes after the change of root can load nothing of Python any more, so this is here.
LIBC = ctypes.CDLL(None, use_errno=True)
CAPABILITIES = 1 + int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="utf-8"))


def call(name, *arguments):
    """A function of the C library that says -1 when it fails."""
    if getattr(LIBC, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def mount(source, target, flags):
    target = os.fsencode(target)
    call("mount", os.fsencode(source), target, None, ctypes.c_ulong(flags), None)


def change_root(root):
    """`root`, read-only, is all there is; with what the kernel shows of itself."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", MS_REC | MS_PRIVATE)
    mount(root, root, MS_BIND)
    for kernels in ("proc", "sys", "dev"):
        mount(f"/{kernels}", f"{root}/{kernels}", MS_BIND | MS_REC)
    mount("none", root, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)
    os.chdir("/")


def drop_privileges(user, group):
    """No capability is left, and none can be had again."""
    for capability in range(CAPABILITIES):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main():
    specification = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    for group in specification["groups"]:
        pathlib.Path(group).write_text(str(os.getpid()), encoding="utf-8")
    if specification["root"]:
        change_root(specification["root"])
    if specification["user"] is not None:
        drop_privileges(specification["user"], specification["group"])
    command = specification["command"]
    os.execve(command[0], command, specification["environment"])


if __name__ == "__main__":
    main()
