"""Processes that a check starts, and ends whatever happens."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from manifests import Fault

STOP_SECONDS_MAX = 40


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Processes:
    """Started processes, each with a file for what it says, and a folder for the files that they
    need; the block's end is theirs."""

    def __enter__(self):
        self.started = []
        self.folder = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *_):
        for _, process, said in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            said.close()
        self.folder.cleanup()

    def start(self, name, command, variables):
        """With these variables, and none of the server's that this shell may have."""
        clean = {k: v for k, v in os.environ.items() if "COREPULSE" not in k and k != "REDIS_URL"}
        said = tempfile.TemporaryFile()
        try:
            process = subprocess.Popen(
                command, env=clean | variables, stdout=said, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise Fault(f"{name}: {error}") from error
        self.started.append((name, process, said))
        return process

    def said(self, process):
        said = next(file for _, started, file in self.started if started is process)
        return os.pread(said.fileno(), os.fstat(said.fileno()).st_size, 0).decode(errors="replace")

    def outcome(self, process, seconds_max):
        """Exit code and words of a process that ends by itself."""
        try:
            code = process.wait(seconds_max)
        except subprocess.TimeoutExpired as error:
            raise Fault(f"not finished within {seconds_max} s: {process.args}") from error
        return code, self.said(process)

    def stop(self, process):
        """The exit code after SIGTERM."""
        process.send_signal(signal.SIGTERM)
        return self.outcome(process, STOP_SECONDS_MAX)[0]

    def say_what_they_said(self):
        for name, process, _ in self.started:
            print(f"--- {name} (exit code {process.poll()}):\n{self.said(process)[-2000:]}")


def run_check(name, *scenarios):
    """Runs scenarios, each with processes and a folder of its own. Returns the exit code."""
    # A terminated check ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    for scenario in scenarios:
        with tempfile.TemporaryDirectory() as folder, Processes() as processes:
            try:
                scenario(processes, pathlib.Path(folder))
            except Fault as fault:
                print(f"{name}: {fault}", file=sys.stderr)
                processes.say_what_they_said()
                return 1
    print(f"{name}: {time.monotonic() - began:.0f} s")
    return 0
