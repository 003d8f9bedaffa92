"""The full load: a minute of a fleet on the server and a Redis, as the manifests have them.

    load.py SERVER RENDERED.yaml [ARGUMENT OF LOCUST]...
"""

import pathlib
import signal
import sys
import tempfile

from manifests import Fault, Manifests, environment
from processes import Processes
from services import SECRETS, start_fleet, start_redis, start_server

SECONDS = 60
SECONDS_MORE_MAX = 60
# 540 devices at 2.5 a second, 48 gateways and 12 operators at one: 1,410 requests/s.
USERS = 600


def main():
    server, rendered, *arguments = sys.argv[1:]
    manifests = Manifests(rendered)
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        try:
            redis = start_redis(processes, manifests, pathlib.Path(folder))
            process, number = start_server(processes, server, manifests, redis)
            variables = environment(manifests.container("corepulse"), SECRETS)
            fleet = start_fleet(
                processes, f"http://127.0.0.1:{number}", "load",
                f"--fields={variables['COREPULSE_FIELDS']}", f"--users={USERS}",
                "--spawn-rate=100", f"--run-time={SECONDS}s", "--rps-min=1000", *arguments,
            )
            code, said = processes.outcome(fleet, SECONDS + SECONDS_MORE_MAX)
            print(said)
            stopped = processes.stop(process)
            if stopped != 0:
                raise Fault(f"exit code {stopped} of the server after SIGTERM")
        except Fault as fault:
            print(f"load: {fault}", file=sys.stderr)
            processes.say_what_they_said()
            return 1
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
