"""Programs that a check starts: each is killed at the end of a `with`, whatever happens."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from server import Fault

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv/bin/python"
SECONDS_MAX = 60
ASKS_PER_SECOND = 50
# Variables that would change what a program does; PYTHONUNBUFFERED tears a line in pieces.
FOREIGN = ("COREPULSE", "REDIS_URL", "PYTHON", "NODE_")


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(ready, what):
    """Asks until `ready` is true; what is not there yet may refuse connections."""
    # Counted rather than timed: while this machine stands still, nobody gets on.
    for _ in range(SECONDS_MAX * ASKS_PER_SECOND):
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(1 / ASKS_PER_SECOND)
    raise Fault(f"{what}: not within {SECONDS_MAX} s")


def get(url):
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Program:
    """A command that can be killed and started again, with a file for what it says."""

    def __init__(self, name, *command, ready=None, variables=None, folder=ROOT):
        self.name, self.command, self.ready, self.folder = name, command, ready, folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        self.variables = clean | (variables or {})
        self.output = tempfile.TemporaryFile()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.kill()
        if kind:
            print(f"--- {self.name}:\n{self.said()[-20000:]}", flush=True)
        self.output.close()

    def start(self):
        if self.process is not None and self.process.poll() is None:
            raise Fault(f"{self.name} is there already")
        self.process = subprocess.Popen(
            list(map(str, self.command)),
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        if self.ready:
            wait_until(self._is_ready, f"{self.name} is ready")

    def _is_ready(self):
        if self.process.poll() is not None:
            raise Fault(f"{self.name} ended with exit code {self.process.returncode}")
        return self.ready()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it as an operator would."""
        self.process.terminate()
        self.process.wait(SECONDS_MAX)

    def said(self):
        size = os.fstat(self.output.fileno()).st_size
        return os.pread(self.output.fileno(), size, 0).decode(errors="replace")


def listening(port):
    """What asks whether somebody listens on the port."""

    def ready():
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True

    return ready


def corepulse(path, *flags):
    """The server on a free port, which it keeps when it is started again; and its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [path, "--listen", f"127.0.0.1:{port}", "--workers", "2", "--pin", "off", *flags]
    return Program("server", *command, ready=lambda: get(f"{url}/ready")[0] == 200), url


class Redis(Program):
    """A Redis that keeps nothing on disk."""

    def __init__(self):
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}"
        self.client = ["redis-cli", "-p", str(port), "--raw"]
        flags = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command = ["redis-server", "--port", port, *flags]
        super().__init__("Redis", *command, ready=listening(port))

    def ask(self, *words):
        """The lines of the reply to a command."""
        done = subprocess.run([*self.client, *words], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    def size(self):
        return int(self.ask("dbsize")[0])

    def metrics(self, device):
        """Every stored metric of a device."""
        # No key at all is an empty line.
        keys = [key for key in self.ask("keys", f"metric:{device}:*") if key]
        return [json.loads(line) for line in self.ask("mget", *keys)] if keys else []


def hang_up(url, times):
    """In place of the server: takes so many connections, and ends each without an answer."""
    address, _, port = url.rpartition("/")[2].partition(":")
    with socket.create_server((address, int(port))) as server:
        server.settimeout(SECONDS_MAX)
        for _ in range(times):
            server.accept()[0].close()
