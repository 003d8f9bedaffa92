"""Attacks a server with slow clients and judges what slowhttptest saw of it.

In each of its modes (`-H`: heads that never end, `-B`: bodies that never end, `-X`: answers that
are hardly read) it opens 500 connections. The service has to be available to its probe in every
second, every connection has to be closed by its deadline, and the server has to count each of
them under the deadline that it missed.
"""

import csv
import http.client
import pathlib
import re
import subprocess
import sys
import tempfile

from server import Fault, Server

CONNECTIONS = 500
CONNECTIONS_PER_SECOND = 250
# The server's patience: with a request, with an answer that is not read, and between the two.
PATIENCE_SECONDS = 2
# A tick of the server's timers, and slowhttptest counts at whole seconds. Where it reads slowly, it
# first reads what its own kernel has received before it finds out that the connection is gone.
LATE_SECONDS_MAX = {"-H": 2, "-B": 2, "-X": 5}
# It ends by itself when no connection is left; a busy machine connects more slowly than it should.
ATTACK_SECONDS_MAX = 16
PROBE_SECONDS_MAX = 2
ALL_CLOSED = "No open connections left"
# The path, what is sent how slowly, and for which reason the server may close the connection.
ATTACKS = {
    "-H": ("/metrics", ["-t", "POST", "-x", "24"], "request_timeout"),
    "-B": ("/metrics", ["-t", "POST", "-s", "8192", "-x", "10"], "request_timeout"),
    # Ten answers of some 30 KB, of which a kilobyte is read a second.
    "-X": (
        "/metrics/prometheus",
        ["-k", "10", "-w", "256", "-y", "512", "-n", "1", "-z", "1024"],
        "write_stall",
    ),
}


def attack(mode, port, folder):
    """Runs slowhttptest; returns its exit status in words and the rows of its table."""
    path, options, _ = ATTACKS[mode]
    prefix = pathlib.Path(folder, mode[1:])
    command = ["slowhttptest", mode, "-u", f"http://127.0.0.1:{port}{path}", *options]
    command += ["-c", str(CONNECTIONS), "-r", str(CONNECTIONS_PER_SECOND), "-i", "1"]
    command += ["-l", str(ATTACK_SECONDS_MAX), "-p", str(PROBE_SECONDS_MAX)]
    command += ["-v", "1", "-g", "-o", str(prefix)]
    limit = 3 * ATTACK_SECONDS_MAX
    run = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    # It writes in colours.
    said = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)
    status = re.search(r"Exit status:\s*(.*)", said)
    if run.returncode != 0 or not status:
        raise Fault(f"{mode}: slowhttptest failed: {said[-500:]}{run.stderr[-500:]}")
    table = prefix.with_suffix(".csv").read_text(encoding="utf-8")
    return status[1].strip(), list(csv.DictReader(table.splitlines()))


def judge(mode, status, rows):
    """Finds the second in which the server did wrong, if there is one."""
    counts = [{name: int(value) for name, value in row.items()} for row in rows]
    opened = max(row["Closed"] + row["Connected"] for row in counts)
    if opened < CONNECTIONS:
        raise Fault(f"{mode}: only {opened} of {CONNECTIONS} connections were opened")
    unavailable = [row["Seconds"] for row in counts if row["Service Available"] == 0]
    if unavailable:
        raise Fault(f"{mode}: the service was not available in seconds {unavailable}")
    if status != ALL_CLOSED:
        raise Fault(f"{mode}: {status}, with {rows[-1]}")
    for row in counts:
        due = row["Seconds"] + PATIENCE_SECONDS + LATE_SECONDS_MAX[mode]
        for later in (later for later in counts if later["Seconds"] >= due):
            if later["Closed"] < row["Closed"] + row["Connected"]:
                raise Fault(f"{mode}: of {row} some are open after their deadline: {later}")


def closed(port, reason):
    """How many connections the server has closed for this reason."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics/prometheus")
    text = connection.getresponse().read().decode()
    connection.close()
    name = re.escape(f'corepulse_connections_closed_total{{reason="{reason}"}} ')
    return int(re.search(rf"^{name}(\d+)$", text, re.MULTILINE)[1])


def check(mode, path, folder):
    patience = f"{PATIENCE_SECONDS}s"
    flags = ["--request-timeout", patience, "--idle-timeout", patience]
    with Server(path, *flags) as server:
        status, rows = attack(mode, server.port, folder)
        judge(mode, status, rows)
        reason = ATTACKS[mode][2]
        count = closed(server.port, reason)
        # Its probes, which end by themselves, are not among them.
        if count != CONNECTIONS:
            raise Fault(f"{mode}: {count} connections closed as {reason}, not {CONNECTIONS}")
        server.stop()
    print(f"{mode}: all {CONNECTIONS} connections closed within {rows[-1]['Seconds']} s")


def main():
    try:
        with tempfile.TemporaryDirectory() as folder:
            for mode in ATTACKS:
                check(mode, sys.argv[1], folder)
    except (Fault, OSError, subprocess.TimeoutExpired) as fault:
        print(f"slow: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
