"""Node-RED from npm, headless, with the flow under `examples/clients/` and what ci/setup installed.

The flow is run as it is imported, but thirty times as often. The server ends meanwhile, and whoever
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
ODD = {"id": "odd", "type": "inject", "z": "json", "once": True, "onceDelay": 0.1}
ODD |= {"props": [{"p": "payload", "v": '[{"rps": 1}]', "vt": "json"}], "wires": [["request"]]}


def write_flows(folder, url):
    address = url.removeprefix("http://")
    text = pathlib.Path(ROOT, "examples/clients/node_red.json").read_text(encoding="utf-8")
    flows = json.loads(text.replace("localhost:8080", address)) + [ODD]
    for node in flows:
        if node.get("repeat"):
            node["repeat"] = SECONDS_BETWEEN
    pathlib.Path(folder, "flows.json").write_text(json.dumps(flows), encoding="utf-8")
    pathlib.Path(folder, "settings.js").write_text(SETTINGS, encoding="utf-8")


def is_whole(redis, device, count_min):
    """True if so many readings are there, and none of those in between is missing."""
    numbers = sorted(metric["rps"] for metric in redis.metrics(device))
    return len(numbers) >= count_min and numbers == list(range(len(numbers)))


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
            wait_until(lambda: is_whole(redis, "node-red-1", 20), "Node-RED posts JSON")
            wait_until(lambda: "[debug:refused]" in node_red.said(), "Node-RED is told of errors")
            server.stop()
            hang_up(url, 2)
            count = redis.size()
            server.start()
            wait_until(
                lambda: is_whole(redis, "node-red-1", count + 50),
                "nothing that Node-RED posts was lost while the server was away",
            )
            return f"{redis.size()} readings"
