"""The compose file, read by Compose itself: `docker compose config`, without a daemon.

    compose_file.py COMPOSE.yaml

A schema sees misspelt keys. Compose's own parser also sees a volume that nobody declares, a
dependency on nobody, a quantity that is none. What it resolves has to be there: the Dockerfile, and
every file that is mounted, in whose place Docker would make an empty folder.
"""

import errno
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import compose

from manifests import ROOT, Fault

# The package has the binary of Compose, and a wrapper that forgets its exit code.
PARSER = pathlib.Path(compose.__file__).with_name("docker-compose")
PROXY = ROOT / "compose/haproxy.cfg"
# In order for the schema, each of them, and no file for Compose.
BROKEN = (
    "services: {a: {image: a, volumes: ['nowhere:/a']}}",
    "services: {a: {image: a, depends_on: [nobody]}}",
    "services: {a: {image: a, mem_limit: 12 bananas}}",
    "services: {a: {image: a, secrets: [nothing]}}",
)


def parse(path, variables=None):
    """Exit code, the resolved project, and what is said beside it."""
    command = [str(PARSER), "--file", str(path), "config", "--format=json"]
    clean = {k: v for k, v in os.environ.items() if "COREPULSE" not in k}
    done = subprocess.run(
        command, env=clean | (variables or {}), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def check_parser():
    """It refuses what it should."""
    for text in BROKEN:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "compose.yaml")
            path.write_text(text, encoding="utf-8")
            code, _, said = parse(path)
        if code == 0:
            raise Fault(f"{text} is taken: {said}")


def check(path):
    code, resolved, said = parse(path)
    if code != 0 or said:
        raise Fault(f"exit code {code}: {said}")
    services = json.loads(resolved)["services"]
    for name, service in services.items():
        build = service.get("build")
        if build and not pathlib.Path(build["context"], build["dockerfile"]).is_file():
            raise Fault(f"{name}: no Dockerfile in {build['context']}")
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not pathlib.Path(volume["source"]).is_file():
                raise Fault(f"{name}: no file {volume['source']}")
    check_fields(path, services)
    check_replicas(services)
    return len(services)


def check_replicas(services):
    """Two servers or more, which only the proxy reaches; it has places for all of them."""
    server, proxy = services["corepulse"], services["proxy"]
    count = server.get("scale", 1)
    places = int(re.search(r"server-template corepulse (\d+)", PROXY.read_text())[1])
    if not 2 <= count <= places:
        raise Fault(f"{count} replicas, and {places} places at the proxy")
    if "ports" in server or [port["published"] for port in proxy["ports"]] != ["8080"]:
        raise Fault("another than the proxy is to be reached, or at another port")


def check_fields(path, services):
    """Variables of the shell that starts Compose change the members, and nothing else."""
    fields = {
        "COREPULSE_FIELDS": "temperature?=-40..125~0.5,humidity?=0..100,battery?",
        "COREPULSE_DEVICE_NAME": "deviceId,device_id",
        "COREPULSE_TIMESTAMP_NAME": "ts",
        "COREPULSE_DEVICE_TAG": "sensor",
    }
    _, resolved, said = parse(path, fields)
    changed = json.loads(resolved)["services"]
    before = services["corepulse"]["environment"]
    if said or changed["corepulse"]["environment"] != before | fields:
        raise Fault(f"{fields} changes the server to {changed['corepulse']}: {said}")
    changed["corepulse"]["environment"] = before
    if changed != services:
        raise Fault(f"{fields} changes more than the server")


def main():
    try:
        check_parser()
        count = check(pathlib.Path(sys.argv[1]))
    except Fault as fault:
        print(f"compose: {fault}", file=sys.stderr)
        return 1
    except OSError as error:
        # The package's binary is one for x86-64.
        if error.errno != errno.ENOEXEC:
            raise
        print(f"compose: NOT read by Compose, which does not run here: {error}")
        return 0
    print(f"compose: {count} services, as Compose reads them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
