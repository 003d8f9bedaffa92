#!/usr/bin/env python3
"""A device in Python: posts a metric a moment, and then a batch, with `requests`.

    pip install requests
    python3 post.py http://localhost:8080 [DEVICE [COUNT]]

The session keeps its connection open, and tries again where the server asks for it (429, 503 with
Retry-After) or cannot be reached. A metric that was sent twice is no harm: the same device and
timestamp are the same key.
"""

import os
import sys
import time

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry


def open_session(token):
    """A session that tries again for some ten seconds, and then gives up with an exception."""
    session = requests.Session()
    busy = [429, 503]
    retry = Retry(total=5, backoff_factor=0.3, status_forcelist=busy, allowed_methods=["POST"])
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def post(session, url, metrics):
    """Posts one metric or a list of them; what the server refuses ends the program in its words."""
    answer = session.post(f"{url}/metrics", json=metrics, timeout=10)
    body = answer.json()
    if not answer.ok or body.get("rejected"):
        raise SystemExit(f"{answer.status_code} {body.get('detail', '')} {body.get('errors', '')}")
    return body


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    url = sys.argv[1].rstrip("/")
    device = sys.argv[2] if len(sys.argv) > 2 else "python-1"
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    session = open_session(os.environ.get("COREPULSE_INGEST_TOKEN"))

    def metric(number):
        return {
            "device_id": device,
            "timestamp": time.time(),
            "cpu": 40 + number,
            "rps": 1000 + 10 * number,
        }

    for number in range(count // 2):
        print(post(session, url, metric(number)))
    batch = []
    for number in range(count // 2, count):
        batch.append(metric(number))
        # A sensor is read now and then: two readings of one time would be one metric.
        time.sleep(0.001)
    print(post(session, url, batch))


main()
