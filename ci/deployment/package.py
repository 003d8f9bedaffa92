"""The Debian package in a Debian, and the list of what the server is made of.

    package.py FOLDER PACKAGE NEWER

`FOLDER` keeps that Debian from one run to the next. The package is installed, its service is used
as its administrator and a failing machine would, then the newer one is installed over it, removed
and purged.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from machine import Machine, NoMachine, make_tree
from manifests import ROOT, Fault
from services import wait_until

RELEASE = "bookworm"
DEFAULTS = "etc/default/corepulse"
STATE = "var/lib/corepulse"
# Of systemd-analyze, in tenths.
EXPOSURE_MAX = 15
SERVICE = "corepulse.service"
USAGE = "64"


def expect(holds, what):
    if not holds:
        raise Fault(what)


def prop(machine, name):
    """A property of the service."""
    return machine("systemctl", "show", "--property", name, "--value", SERVICE)


def journal(machine):
    return machine.attempt("journalctl", "--no-pager", "--unit", SERVICE)[1][-4000:]


def wait_until_active(machine, but_not=None):
    """Until the service runs, as another process than that one. Returns its number."""
    found = []

    def is_active():
        found[:] = [prop(machine, "MainPID")]
        return prop(machine, "ActiveState") == "active" and found[0] not in ("0", but_not)

    try:
        wait_until(is_active, "the service is active")
    except Fault as fault:
        raise Fault(f"{fault}:\n{journal(machine)}") from fault
    return found[0]


def post(machine, port):
    """What the server answers to an event."""
    url = f"http://localhost:{port}/metrics"
    event = '{"device_id":"packaged","cpu":12.5,"rps":900}'
    json_type = "Content-Type: application/json"
    answer = machine.from_outside("curl", "-sS", "--fail", "-H", json_type, "-d", event, url)
    expect(json.loads(answer)["accepted"] == 1, f"the server answers {answer}")


def change_default(tree, line):
    """As an administrator does."""
    with (tree / DEFAULTS).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def check_service(machine):
    """Right after the installation it runs, as its user and with next to no rights."""
    process = wait_until_active(machine)
    machine("systemd-analyze", "verify", SERVICE)
    security = ["systemd-analyze", "security", f"--threshold={EXPOSURE_MAX}", "--no-pager", SERVICE]
    exposure = re.search(r"Overall exposure level .*: ([\d.]+)", machine(*security))[1]
    status = machine("cat", f"/proc/{process}/status")
    uid, own = re.search(r"^Uid:\s(\d+)", status, re.MULTILINE)[1], machine("id", "-u", "corepulse")
    expect(uid == own != "0", f"it runs as {uid}, and its user is {own}")
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        expect(line in status, f"no {line!r} in {status}")
    machine("env", "COREPULSE_LISTEN=localhost:8080", "corepulse", "healthcheck")
    post(machine, 8080)
    said = machine("corepulse", "--version")
    git = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    expect(commit in said, f"built of {commit}, it says {said!r}")
    print(f"package: {said}, runs; its exposure is {exposure}")


def check_operation(machine, tree):
    """Reloads, a crash, and a configuration that is wrong."""
    process = wait_until_active(machine)
    machine("systemctl", "reload", SERVICE)
    wait_until(lambda: "reading files again" in journal(machine), "it has read its files again")
    expect(wait_until_active(machine) == process, f"it was restarted:\n{journal(machine)}")
    machine("kill", "-KILL", process)
    wait_until_active(machine, but_not=process)
    change_default(tree, "COREPULSE_WINDOW=many")
    code, _ = machine.attempt("systemctl", "restart", SERVICE)
    state = [prop(machine, name) for name in ("ActiveState", "ExecMainStatus")]
    expect(code != 0 and state == ["failed", USAGE], f"with a mistake it is {state}")
    expect("--window" in journal(machine), f"the mistake is not told:\n{journal(machine)}")
    change_default(tree, "COREPULSE_WINDOW=20")
    machine("systemctl", "restart", SERVICE)
    wait_until_active(machine)
    print("package: reloaded, killed and back, and not tried again with a mistake")


def check_spill(machine, tree):
    """What Redis has not taken at a stop is in its folder, and the next start takes it up."""
    for line in ("REDIS_URL=redis://localhost:1/", f"SPILL=/{STATE}", "DRAIN_TIMEOUT=1s"):
        change_default(tree, f"COREPULSE_{line}")
    machine("systemctl", "restart", SERVICE)
    wait_until_active(machine)
    post(machine, 8080)
    machine("systemctl", "stop", SERVICE)
    state = prop(machine, "Result")
    expect(state == "success", f"stopped with {state}:\n{journal(machine)}")
    expect(any((tree / STATE).iterdir()), f"nothing is in {STATE}:\n{journal(machine)}")
    machine("systemctl", "start", SERVICE)
    wait_until_active(machine)
    scrape = machine.from_outside("curl", "-sS", "http://localhost:8080/metrics/prometheus")
    expect("\ncorepulse_store_recovered_total 1\n" in scrape, "it was not taken up again")
    print("package: stopped without Redis, with what was left taken up again")


def check_upgrade(machine, tree, newer):
    """What the administrator has changed stays, and the new program runs."""
    change_default(tree, "COREPULSE_LISTEN=localhost:9090")
    changed, process = (tree / DEFAULTS).read_text(encoding="utf-8"), wait_until_active(machine)
    machine("dpkg", "--install", newer)
    expect((tree / DEFAULTS).read_text(encoding="utf-8") == changed, f"{DEFAULTS} was overwritten")
    wait_until_active(machine, but_not=process)
    post(machine, 9090)
    expect("stopped" in journal(machine), f"it was not stopped in order:\n{journal(machine)}")
    print("package: upgraded, with its configuration kept")


def check_end(machine, tree):
    """Removed it leaves its configuration, purged nothing."""
    expect(machine.attempt("pgrep", "-x", "corepulse")[0] == 0, "it does not run")
    machine("dpkg", "--remove", "corepulse")
    found = [path for path in ("usr/bin/corepulse", DEFAULTS, STATE) if (tree / path).exists()]
    expect(found == [DEFAULTS, STATE], f"removed it leaves {found}")
    expect(machine.attempt("pgrep", "-x", "corepulse")[0] == 1, "it still runs")
    machine("dpkg", "--purge", "corepulse")
    places = (DEFAULTS, STATE, "etc/corepulse", "usr/share/doc/corepulse")
    found = [path for path in places if (tree / path).exists()]
    code, _ = machine.attempt("id", "corepulse")
    expect(not found and code != 0, f"purged it leaves {found}, and its user: {code != 0}")
    print("package: removed and purged")


def check_package(kept, packages):
    with tempfile.TemporaryDirectory(dir=kept) as folder:
        tree = pathlib.Path(folder)
        make_tree(kept, RELEASE, tree)
        inside = []
        for package in packages:
            (tree / "root" / package.name).write_bytes(package.read_bytes())
            inside.append(f"/root/{package.name}")
        with Machine(tree) as machine:
            machine("dpkg", "--install", inside[0])
            check_service(machine)
            check_operation(machine, tree)
            check_spill(machine, tree)
            check_upgrade(machine, tree, inside[1])
            check_end(machine, tree)


def check_materials(path):
    """The list is as the standard has it, and has what cargo builds the server of."""
    text = path.read_text(encoding="utf-8")
    wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    expect(wrong is None, f"{path}: {wrong}")
    listed = {(part["name"], part["version"]) for part in json.loads(text)["components"]}
    tree = ["cargo", "tree", "--locked", "--package", "corepulse", "--edges", "normal"]
    said = subprocess.check_output([*tree, "--prefix", "none", "--format", "{p}"], text=True)
    built = {tuple(line.split()[:2]) for line in said.splitlines() if line}
    built = {(name, version.removeprefix("v")) for name, version in built} - {
        root for root in listed | built if root[0] == "corepulse"
    }
    missing = sorted((n, v) for n, v in built if n != "corepulse" and (n, v) not in listed)
    expect(built and not missing, f"{path} lacks {missing} of {len(built)}")
    print(f"sbom: {len(listed)} parts, as CycloneDX 1.5, {len(built)} of them on this machine")


def main():
    kept, *packages = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    kept.mkdir(parents=True, exist_ok=True)
    try:
        check_materials(ROOT / "target/sbom/corepulse.cdx.json")
        check_package(kept, packages)
    except NoMachine as why:
        print(f"package: NOT installed and used, which cannot be done here: {why}")
    except Fault as fault:
        print(f"package: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
