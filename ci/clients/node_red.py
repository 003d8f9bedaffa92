"""Node-RED from npm, headless, with the flows under `examples/clients/`: JSON and line protocol.

They are run as they are imported, but thirty times as often. The server ends meanwhile, and whoever
has its port then only hangs up: no reading may be lost. Something that is no reading comes back.
"""

import json
import pathlib
import tempfile

from .program import ROOT, Program, Redis, corepulse, hang_up, wait_until

NODE_RED = ROOT / ".tools/npm/node_modules/node-red/red.js"
TOKEN = "one-of-ours"
# Nothing but the flows: no editor, no port, and nobody else is asked for anything.
SETTINGS = """
module.exports = {
    httpAdminRoot: false, httpNodeRoot: false, credentialSecret: false,
    telemetry: {enabled: false}, externalModules: {autoInstall: false},
};
"""
SECONDS_BETWEEN = "0.03"
# Where what payload is put in that is no reading.
ODD = [
    ("json", "request", '[{"rps": 1}]'),
    ("influx", "write", '[{"rps": 1}, {"device_id": "odd"}]'),
]


def write_flows(folder, url):
    address = url.removeprefix("http://")
    flows = []
    for name in ("node_red.json", "node_red_influx.json"):
        text = pathlib.Path(ROOT, "examples/clients", name).read_text(encoding="utf-8")
        flows += json.loads(text.replace("localhost:8080", address))
    for flow, into, payload in ODD:
        node = {"id": f"odd-{flow}", "type": "inject", "z": flow, "once": True, "onceDelay": 0.1}
        node["props"] = [{"p": "payload", "v": payload, "vt": "json"}]
        flows.append(node | {"wires": [[into]]})
    for node in flows:
        if node.get("repeat"):
            node["repeat"] = SECONDS_BETWEEN
    pathlib.Path(folder, "flows.json").write_text(json.dumps(flows), encoding="utf-8")
    # What the editor asks for at the import.
    secrets = {"server": {"token": "${COREPULSE_INGEST_TOKEN}"}}
    pathlib.Path(folder, "flows_cred.json").write_text(json.dumps(secrets), encoding="utf-8")
    pathlib.Path(folder, "settings.js").write_text(SETTINGS, encoding="utf-8")


def is_whole(redis, counts_min):
    """True if so many readings of each device are there, and none in between is missing."""
    for device, count_min in counts_min.items():
        numbers = sorted(metric["rps"] for metric in redis.metrics(device))
        if len(numbers) < count_min or numbers != list(range(len(numbers))):
            return False
    return True


def check(path):
    with tempfile.TemporaryDirectory() as folder, Redis() as redis:
        server, url = corepulse(path, "--redis-url", redis.url, "--ingest-token", TOKEN)
        write_flows(folder, url)
        command = ["node", NODE_RED, "--userDir", folder, "--settings", f"{folder}/settings.js"]
        node_red = Program(
            "Node-RED",
            *command,
            "flows.json",
            variables={"COREPULSE_INGEST_TOKEN": TOKEN},
            folder=folder,
        )
        with server, node_red:
            counts = {"node-red-1": 20, "node-red-2": 20}
            wait_until(lambda: is_whole(redis, counts), "Node-RED posts JSON, and line protocol")
            told = "[debug:refused]"
            wait_until(
                lambda: node_red.said().count(told) == len(ODD), "Node-RED is told of errors"
            )
            server.stop()
            hang_up(url, 2)
            counts = {device: len(redis.metrics(device)) + 50 for device in counts}
            server.start()
            wait_until(lambda: is_whole(redis, counts), "nothing was lost while it was away")
            return f"{redis.size()} readings"
