"""Runs what others wrote against a server: brokers, client libraries, flows.

    interop.py SERVER [NAME...]
"""

import sys
import time

from clients import influx, mqtt, node_red
from server import Fault

CHECKS = {"mqtt": mqtt.check, "node-red": node_red.check, "influx": influx.check}


def main():
    path, *names = sys.argv[1:]
    failed = 0
    for name in names or CHECKS:
        start = time.monotonic()
        try:
            print(f"{name}: {CHECKS[name](path)}, {time.monotonic() - start:.1f} s", flush=True)
        except Fault as fault:
            print(f"interop: {name}: {fault}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
