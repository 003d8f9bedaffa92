"""Compares instructions with their record: `instructions.py [--write]`, for `ci/instructions`.

Reads gungraun's summaries, one a line, and divides each total by the requests or events in it.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

RECORD = pathlib.Path("perf/record/instructions.json")

# A figure may grow by this share of the recorded one.
GROWTH_MAX = 0.02

# Name and units of each bench, in the order of the table.
ROWS = {
    "single": ("single POST", 4_000),
    "device": ("single POST with a device id", 4_000),
    "pipelined": ("pipelined POST, 16 at once", 500 * 16),
    "ndjson": ("event of a batch of 1,000 devices", 20 * 1_000),
    "novelty": ("the same with --novelty on", 20 * 1_000),
    "lines": ("line of a batch of 1,000 devices", 20 * 1_000),
    "analyze": ("GET /analyze with 1,000 devices", 100),
}


def output(*command):
    """Returns what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def machine():
    """Describes where and when the figures were counted. Nothing in it names the machine."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text().partition("model name")[2].splitlines()[0]
    return {
        "command": "ci/instructions --write",
        "commit": output("git", "describe", "--always", "--dirty", "--exclude=*"),
        "cores": os.cpu_count(),
        "cpu": cpu.partition(": ")[2],
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": os.uname().release,
        "rustc": output("rustc", "--version"),
    }


counted = {}
for line in filter(None, map(str.strip, sys.stdin)):
    summary = json.loads(line)
    name, units = ROWS[summary["id"]]
    metrics = summary["profiles"][0]["data"]["total"]["metrics"]
    counted[name] = round(metrics["Ir"]["values"]["new"] / units, 1)
if len(counted) != len(ROWS):
    sys.exit(f"instructions: counted {sorted(counted)} only; is gungraun-runner there (ci/setup)?")
if "--write" in sys.argv[1:]:
    record = {"instructions": counted, "machine": machine()}
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
record = json.loads(RECORD.read_text())
recorded = record["instructions"]
print("| instructions | now | recorded | change |\n|---|---|---|---|")
for name, _ in ROWS.values():
    now, before = counted[name], recorded.get(name, 0)
    change = f"{now / before - 1:+.2%}" if before else ""
    print(f"| {name} | {now} | {before} | {change} |")
grown = [name for name, now in counted.items() if now > recorded.get(name, 0) * (1 + GROWTH_MAX)]
if grown:
    sys.exit(
        f"more than {GROWTH_MAX:.0%} over the record: {', '.join(grown)}. Where that is meant, or "
        f"the compiler is not the recorded one ({record['machine']['rustc']}), "
        "`make instructions-record` writes a new record"
    )
