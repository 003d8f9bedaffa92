#!/usr/bin/env python3
"""A bridge from MQTT: what devices publish goes to the server in batches, one request for many.

    pip install paho-mqtt requests
    python3 mqtt_bridge.py BROKER[:PORT] http://localhost:8080

The device is the topic's second level, unless the message names it by one of the server's
`--device-name` (the variable COREPULSE_DEVICE_NAME). Nothing is lost: the broker
keeps each message until the server has answered for it, whichever of the three is away meanwhile.
What was on its way is sent again then; a message with a timestamp overwrites its own key.
"""

import json
import os
import sys
import time

import paho.mqtt.client as mqtt
import requests

TOPIC = "devices/+/metrics"
# The broker's `max_inflight_messages` (20 unless it says otherwise) limits a batch as well.
MESSAGES_MAX = 1000
PAUSE_SECONDS = 1
# As the server has them, which matches names without regard to case. The first is added.
DEVICE_NAMES = [n.strip() for n in os.environ.get("COREPULSE_DEVICE_NAME", "device_id").split(",")]


def line(message):
    """One line of NDJSON. What is no object goes as it is: the server says what is wrong."""
    try:
        metric = {**json.loads(message.payload)}
        present = {name.lower() for name in metric}
        # A metric that has two of the names would be refused.
        if present.isdisjoint(name.lower() for name in DEVICE_NAMES):
            metric = {DEVICE_NAMES[0]: message.topic.split("/")[1], **metric}
        return json.dumps(metric)
    except (RecursionError, TypeError, ValueError):
        return " ".join(message.payload.decode(errors="replace").split())


def post(session, url, messages):
    """Returns true if the server has answered for all of them: taken, or refused for good."""
    body = "\n".join(map(line, messages)).encode()
    try:
        answer = session.post(f"{url}/metrics", body, timeout=10)
    except requests.RequestException as error:
        print(f"the server: {error}", flush=True)
        return False
    # All of it was refused; one message may be the reason, and the others are without fault.
    if answer.status_code in (400, 413) and len(messages) > 1:
        half = len(messages) // 2
        return post(session, url, messages[:half]) and post(session, url, messages[half:])
    if answer.status_code == 202:
        result = answer.json()
        print(result["accepted"], "accepted", *result.get("errors", []), flush=True)
    else:
        print(answer.status_code, answer.text.strip(), flush=True)
    return answer.status_code in (202, 400, 413)


def connect(client):
    try:
        client.reconnect()
    except OSError as error:
        print(f"the broker: {error}", flush=True)


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    (host, _, port), url = sys.argv[1].partition(":"), sys.argv[2].rstrip("/")
    session = requests.Session()
    session.headers["Content-Type"] = "application/x-ndjson"
    if token := os.environ.get("COREPULSE_INGEST_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"

    messages = []
    # By this name the broker knows the bridge, and keeps its messages while it is away.
    version, name = mqtt.CallbackAPIVersion.VERSION2, "corepulse-bridge"
    client = mqtt.Client(version, client_id=name, clean_session=False, manual_ack=True)
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda _client, _data, _mid, codes, _: print(*codes, TOPIC, flush=True)
    client.on_message = lambda _client, _data, message: messages.append(message)
    client.connect_async(host, int(port or 1883))
    while True:
        # A batch is what has come while the one before was on its way.
        before = len(messages)
        error = client.loop(0 if messages else 1)
        if error:
            # What was not acknowledged on this connection comes again on the next one.
            messages.clear()
            time.sleep(PAUSE_SECONDS)
            connect(client)
        elif before < len(messages) < MESSAGES_MAX or not messages:
            continue
        elif post(session, url, messages):
            for message in messages:
                client.ack(message.mid, message.qos)
            messages.clear()
        else:
            time.sleep(PAUSE_SECONDS)


main()
