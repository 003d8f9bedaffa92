"""Processes that a check starts, and ends whatever happens."""

import os
import signal
import socket
import subprocess
import tempfile

from manifests import Fault

STOP_SECONDS_MAX = 40


def free_port():
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Processes:
    """Started processes, each with a file for what it says; the block's end is theirs."""

    def __enter__(self):
        self.started = []
        return self

    def __exit__(self, *_):
        for _, process, said in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            said.close()

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
