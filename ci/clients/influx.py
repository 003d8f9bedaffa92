"""The client libraries of InfluxDB, for Python and Node.js, and what docs/clients.md shows of them.

The documented lines are run as they stand there. Then each library writes more than one batch, with
all that line protocol has to escape, while the server is away at first; and is told of a line that
is refused, and of a wrong token. What was stored is read from Redis.
"""

import concurrent.futures
import gzip
import json
import logging
import os
import re
import subprocess
import tomllib
import urllib.request
from datetime import datetime, timedelta, timezone

import yaml
from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from server import Fault

from .program import PYTHON, ROOT, SECONDS_MAX, Redis, corepulse, hang_up, wait_until

# It says what it tries again; whether that was enough, the end tells.
logging.disable(logging.WARNING)

TOKEN = "one-of-ours"
FIELDS = "temperature?,humidity?,battery?"
# More than a batch of any client.
COUNT = 1200
# What a tag of a client may be, and a device may not.
ODD_TAG = 'a room, "no\\rth" = cold'
DOCUMENT = ROOT / "docs/clients.md"
PACKAGES = ROOT / ".tools/npm"
JSONATA = """
import jsonata from "jsonata";
const [transformation, given] = JSON.parse(process.env.GIVEN);
console.log(JSON.stringify(await jsonata(transformation).evaluate(given)));
"""
SCRIPT = ROOT / "ci/clients/influx.mjs"


def blocks(language):
    """The blocks of a language in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(command, text, folder, variables=None):
    """What a text for an interpreter prints."""
    words = [*command, text]
    options = {"capture_output": True, "text": True, "timeout": SECONDS_MAX, "check": False}
    done = subprocess.run(words, cwd=folder, env=variables, **options)
    if done.returncode != 0 or done.stderr:
        raise Fault(f"{text[:300]} …\n{done.stdout}{done.stderr}")
    return done.stdout


def node(text, variables=None):
    # A module finds packages from where it lies, and a text from where it is run.
    return run(["node", "--input-type=module", "--eval"], text, PACKAGES, variables)


def check_document(url, redis):
    """Runs what the document shows of client libraries; reads the configurations of others."""
    address = url.removeprefix("http://")
    host, port = address.split(":")
    for language, runs in [("python", [PYTHON, "-c"]), ("js", None)]:
        for text in blocks(language):
            here = text.replace("localhost:8080", address).replace("TOKEN", TOKEN)
            here = here.replace('"localhost", port: 8080', f'"{host}", port: {port}')
            said = run(runs, here, ROOT) if runs else node(here)
            if said:
                raise Fault(f"{text}\n{said}")
    devices = ("cellar-1", "cellar-2", "cellar-3")
    wait_until(lambda: all(map(redis.metrics, devices)), "what the document sends is stored")
    for device in devices:
        if [metric["temperature"] for metric in redis.metrics(device)] != [21.5]:
            raise Fault(f"{device} has stored {redis.metrics(device)}")
    configurations = [*map(tomllib.loads, blocks("toml")), *map(yaml.safe_load, blocks("yaml"))]
    if len(configurations) < 6:
        raise Fault(f"only {len(configurations)} configurations in {DOCUMENT}")
    for configuration in configurations:
        if "http" in configuration.get("outputs", {}):
            check_telegraf(configuration["outputs"]["http"][0], url, redis)


def check_telegraf(output, url, redis):
    """Does to Telegraf's JSON what the configuration says, and posts it as that says."""
    metric = {"name": "room", "tags": {"host": "telegraf-1"}, "timestamp": 1764300000123}
    for count in (1, 2):
        metrics = [
            metric | {"timestamp": metric["timestamp"] + number, "fields": {"temperature": number}}
            for number in range(count)
        ]
        given = json.dumps([output["json_transformation"], {"metrics": metrics}])
        body = node(JSONATA, os.environ | {"GIVEN": given}).encode()
        headers = {
            name: value.replace("TOKEN", TOKEN) for name, value in output["headers"].items()
        }
        headers["Content-Encoding"] = output["content_encoding"]
        address = output["url"].replace("http://localhost:8080", url)
        request = urllib.request.Request(address, gzip.compress(body), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            if json.load(answer)["accepted"] != count:
                raise Fault(f"Telegraf's {body}: not accepted")
    wait_until(lambda: len(redis.metrics("telegraf-1")) == 2, "what Telegraf sends is stored")


def points(device):
    """So many points, each with its number as temperature, and fields of other kinds."""
    began = datetime.now(timezone.utc)
    for number in range(COUNT):
        point = Point("a room, or = two").tag("device_id", device).tag("at home", ODD_TAG)
        point.field("temperature", float(number)).field("humidity", number % 100)
        # Neither is configured, so that neither counts.
        point.field("valve, open", number % 2 == 0).field("name", 'the "old" one, \\ = x\\')
        yield point.time(began + timedelta(milliseconds=number), WritePrecision.MS)


def python(url, **options):
    return InfluxDBClient(url, token=TOKEN, org="any", **options)


def write_python(url, device, faults, is_compressed):
    options = WriteOptions(batch_size=500, retry_interval=200, jitter_interval=0, max_retries=20)
    with python(url, enable_gzip=is_compressed) as client:
        note = lambda _, lines, error: faults.append(f"{error}: {lines[:200]}")
        with client.write_api(options, error_callback=note) as write:
            for point in points(device):
                write.write("any", record=point)


def check_stored(redis, device):
    """Each number is there, with what belongs to it."""
    stored = sorted(redis.metrics(device), key=lambda metric: metric["temperature"])
    for number, metric in enumerate(stored):
        if (metric["temperature"], metric["humidity"]) != (number, number % 100):
            raise Fault(f"{device}: number {number} is {metric}")
    if len(stored) != COUNT:
        raise Fault(f"{device}: {len(stored)} stored of {COUNT}")


def check_python_errors(url, redis):
    with python(url) as client:
        if not client.ping():
            raise Fault("ping() says that the server is away")
        write = client.write_api(write_options=SYNCHRONOUS)
        lines = ["m,device_id=half temperature=1", "m,device_id=half temperature=warm"]
        try:
            write.write("any", record=lines)
            raise Fault("a line that is wrong passes for written")
        except ApiException as error:
            check_told("Python", error.status, 400, **json.loads(error.body))
    with InfluxDBClient(url, token="another", org="any") as client:
        try:
            client.write_api(write_options=SYNCHRONOUS).write("any", record=lines)
            raise Fault("a wrong token passes")
        except ApiException as error:
            check_told("Python", error.status, 401, **json.loads(error.body))


def check_told(client, status, expected, message, code=None, **_):
    """A user is told what is wrong, with the status that keeps a client from trying again."""
    words = {400: "temperature", 401: "token"}[expected]
    if status != expected or words not in message:
        raise Fault(f"{client} is told {status} {code} {message}, for {expected} and {words}")


def node_check(what, url, device=""):
    variables = {"WHAT": what, "ADDRESS": url.removeprefix("http://"), "DEVICE": device}
    variables |= {"TOKEN": TOKEN, "COUNT": str(COUNT), "ODD_TAG": ODD_TAG}
    said = node(SCRIPT.read_text(encoding="utf-8"), os.environ | variables)
    return json.loads(said.splitlines()[-1])


def check_node_errors(url):
    for what, expected in [("wrong1", 400), ("wrong2", 400), ("token1", 401), ("token2", 401)]:
        told = node_check(what, url)
        check_told(f"Node.js, {what},", told.pop("status"), expected, **told)
        if told.get("times", 1) != 1:
            raise Fault(f"{what}: tried {told['times']} times")


def write_while_away(server, url, write, *arguments):
    """Lets a client write while the server is away, and comes back."""
    server.stop()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        written = threads.submit(write, *arguments)
        hang_up(url, 2)
        server.start()
        return written.result(SECONDS_MAX)


def check(path):
    flags = ["--fields", FIELDS, "--ingest-token", TOKEN]
    with Redis() as redis:
        server, url = corepulse(path, "--redis-url", redis.url, *flags)
        with server:
            check_document(url, redis)
            check_python_errors(url, redis)
            check_node_errors(url)
            wait_until(lambda: len(redis.metrics("half")) == 3, "the line beside a bad one is kept")
            faults = []
            write_python(url, "python-1", faults, False)
            write_while_away(server, url, write_python, url, "python-2", faults, True)
            if faults:
                raise Fault(f"Python: {faults}")
            node_check("write2", url, "node-1")
            write_while_away(server, url, node_check, "write2", url, "node-2")
            said = node_check("write1", url, "node-3")
            if not said["online"]:
                raise Fault("ping() of version 1 says that the server is away")
            server.stop()
            for device in ("python-1", "python-2", "node-1", "node-2", "node-3"):
                check_stored(redis, device)
            return f"{redis.size()} points"
