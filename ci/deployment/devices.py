"""Devices that post through a proxy, each request once: what fails is noted, not tried again."""

import collections
import functools
import http.client
import json
import time

from threads import Threads

# Kept connections that are busy, kept ones that are mostly idle, and a new one for each request.
BUSY, SLOW, FRESH = 16, 16, 8
PAUSE_SECONDS = {"busy": 0.04, "slow": 1.5, "fresh": 0.04}
ANSWER_SECONDS_MAX = 10
# Whatever happens, they end.
SECONDS_MAX = 300
# Of the requests on new connections one in so many asks for the analysis.
ANALYZE_EVERY = 10

Answer = collections.namedtuple("Answer", "at replica kind seconds")


class Devices(Threads):
    """Threads, a device each, that post until their `with` ends."""

    def __init__(self, number, fields):
        plan = [("busy", BUSY), ("slow", SLOW), ("fresh", FRESH)]
        names = [(kind, f"{kind}-{n}") for kind, count in plan for n in range(count)]
        super().__init__([functools.partial(self._run, *name) for name in names])
        self.number, self.fields = number, fields
        self.began = time.monotonic()
        # Appending is atomic; all of it is read when the threads have ended, or only counted.
        self.answers, self.failures, self.keys = [], [], []
        self.told_to_reconnect = 0

    def count(self, replica, since):
        """Answers of a replica since that moment."""
        return sum(1 for a in self.answers[:] if a.replica == replica and a.at >= since)

    def _run(self, kind, device):
        connection, number = None, 0
        timestamp_ms = int(time.time() * 1000)
        while not self.stopping.wait(PAUSE_SECONDS[kind]):
            if time.monotonic() - self.began > SECONDS_MAX:
                self.failures.append(f"{device}: not stopped within {SECONDS_MAX} s")
                return
            number += 1
            analyzes = kind == "fresh" and number % ANALYZE_EVERY == 0
            if connection is None:
                connection = http.client.HTTPConnection(
                    "127.0.0.1", self.number, timeout=ANSWER_SECONDS_MAX
                )
            start = time.monotonic()
            try:
                if analyzes:
                    replica, last = self._analyze(connection)
                else:
                    replica, last = self._post(connection, kind, device, timestamp_ms + number)
                now = time.monotonic()
                self.answers.append(Answer(now, replica, kind, now - start))
            # Of any kind: a thread that ends would pass for one that has nothing to say.
            except Exception as error:
                at = time.monotonic() - self.began
                self.failures.append(f"{at:.3f} s, {device}, request {number}: {error!r}")
                last = True
            if last:
                connection.close()
                connection = None
        if connection:
            connection.close()

    def _post(self, connection, kind, device, timestamp_ms):
        event = {"timestamp": timestamp_ms, "device_id": device, **self.fields}
        headers = {"Content-Type": "application/json"}
        # As docs/deployment.md asks of devices. Those that have a new connection each time go
        # without, and so by turns to both replicas.
        headers |= {"Connection": "close"} if kind == "fresh" else {"X-Device-Id": device}
        connection.request("POST", "/metrics", json.dumps(event), headers)
        answer, body = self._answer(connection, 202)
        if body["accepted"] != 1:
            raise ValueError(f"accepted: {body}")
        self.keys.append(f"metric:{device}:{timestamp_ms}")
        return self._verdict(answer, kind)

    def _analyze(self, connection):
        connection.request("GET", "/analyze", headers={"Connection": "close"})
        answer, body = self._answer(connection, 200)
        if body["scope"] != "instance":
            raise ValueError(f"analysis: {body}")
        return self._verdict(answer, "fresh")

    def _verdict(self, answer, kind):
        """Who answered, and whether the connection ends."""
        told = answer.will_close and kind != "fresh"
        self.told_to_reconnect += told
        return answer.headers["X-Replica"], answer.will_close

    @staticmethod
    def _answer(connection, wanted):
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != wanted:
            raise ValueError(f"status {answer.status}: {body[:200]!r}")
        return answer, json.loads(body)
