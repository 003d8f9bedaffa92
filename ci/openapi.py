"""Holds a server to its openapi.json.

The document has to be valid by the standard, with examples that are so by its schemas, and be what
the server serves; then schemathesis calls every operation with what the document allows and with
what it forbids, and checks each answer: once without a token, once with one. The documents that the
server makes for other fields have to be as valid, and schemathesis sends their metrics.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import urllib.request

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from server import Fault, Server

TOKEN = "a-token-of-this-test"
# Optional fields alone; many of all kinds; other names of the other members.
OTHER_FIELDS = [
    ("--fields", "temperature?=-40..125,humidity?=0..100,battery?"),
    ("--fields", "a,b?=0..1,c=300..1100,d?=0..1e6,e,f?=5..5,g?=-1..1,h?,i?,j?,k?,l?,m?,n?,o?,p?"),
    ("--fields", "load=0..10", "--device-name", "deviceId,sensor", "--timestamp-name", "ts,time"),
]
# A hundred examples of each operation take some fifteen seconds.
SECONDS_MAX = 240
SECONDS_PER_EXAMPLE_MAX = 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="the program")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-examples", type=int, default=60, help="of each operation")
    return parser.parse_args()


def exemplified(part):
    """Every schema in a part of the document that has examples beside it, with each of them."""
    if isinstance(part, list):
        for item in part:
            yield from exemplified(item)
    if not isinstance(part, dict):
        return
    if "schema" in part:
        examples = [example["value"] for example in part.get("examples", {}).values()]
        for example in [part["example"], *examples] if "example" in part else examples:
            yield part["schema"], example
    for item in part.values():
        yield from exemplified(item)


def check_examples(document):
    whole = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", whole)
    count = 0
    for schema, example in exemplified(document):
        # References of a part lead to the whole.
        schema = json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))
        for error in Draft202012Validator(schema, registry=registry).iter_errors(example):
            raise Fault(f"example {json.dumps(example)}: {error.message}")
        count += 1
    print(f"openapi.json: valid, with {count} examples")


def served(port):
    """The document as the server has it; valid, with valid examples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=10) as answer:
        text = answer.read()
    document = json.loads(text)
    validate(document)
    check_examples(document)
    return text


def check_written(port):
    if served(port) != pathlib.Path("openapi.json").read_bytes():
        raise Fault("GET /openapi.json is not the file: was the server built before it?")


def call(port, given, token, *options):
    """Has schemathesis call the operations that the options select, else all."""
    command = [
        pathlib.Path(sys.executable).parent / "schemathesis",
        "--config-file=ci/schemathesis.toml",
        "run",
        f"http://127.0.0.1:{port}/openapi.json",
        f"--seed={given.seed}",
        f"--max-examples={given.max_examples}",
        "--no-color",
        *options,
    ]
    environment = dict(os.environ)
    if token:
        command.append(f"--header=Authorization:Bearer {token}")
        # As behind a proxy, or /debug/ would need no token on this machine.
        command.append("--header=Via:1.1 proxy")
        environment["API_TOKEN"] = token
    run = subprocess.run(
        command,
        env=environment,
        timeout=SECONDS_MAX + given.max_examples * SECONDS_PER_EXAMPLE_MAX,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    print(run.stdout)
    if run.returncode != 0:
        raise Fault(f"schemathesis: exit code {run.returncode}")


def main():
    given = arguments()
    # Whatever proxy there is, it is not between a test and its server.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    try:
        guarded = [f"--{kind}-token={TOKEN}" for kind in ("ingest", "read", "admin")]
        for flags, token in [((), None), (guarded, TOKEN)]:
            with Server(given.server, *flags) as server:
                check_written(server.port)
                call(server.port, given, token)
                server.stop()
        for flags in OTHER_FIELDS:
            with Server(given.server, *flags) as server:
                served(server.port)
                call(server.port, given, None, "--include-operation-id=ingest")
                server.stop()
    except (Fault, subprocess.TimeoutExpired) as fault:
        print(f"openapi: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
