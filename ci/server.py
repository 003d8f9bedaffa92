"""A server under test: started on a free port of this machine, ended with a signal."""

import os
import queue
import re
import signal
import subprocess
import threading

START_SECONDS_MAX = 15
STOP_SECONDS_MAX = 30


class Fault(Exception):
    """What the server did wrong, in a sentence."""


class Server:
    """A running server; it is killed at the end of a `with`, if it has not been stopped."""

    def __init__(self, path, *flags):
        command = [path, "--listen", "127.0.0.1:0", "--workers", "2", "--pin", "off", *flags]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COREPULSE_")}
        environment.pop("REDIS_URL", None)
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = self._wait_for_port()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as an operator would, and waits for the end."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_SECONDS_MAX)
        if code != 0:
            raise Fault(f"exit code {code} after SIGTERM")

    def _read(self):
        # The log is read to its end, or a full pipe would hold the server up.
        for line in self.process.stderr:
            self.lines.put(line)
        self.lines.put(None)

    def _wait_for_port(self):
        said = []
        while True:
            try:
                line = self.lines.get(timeout=START_SECONDS_MAX)
            except queue.Empty:
                line = None
            if line is None:
                self.process.kill()
                raise Fault(f"no start-up line with a port; it said: {said}")
            said.append(line)
            found = re.search(r"127\.0\.0\.1:([1-9][0-9]*)", line)
            if found:
                return int(found[1])
