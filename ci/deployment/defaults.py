"""Nothing is left to the API server where that would make each apply a change.

    defaults.py RENDERED.yaml...

What a manifest leaves out, the API server fills in. `kubectl apply` compares lists that are
replaced whole (atomic ones) and objects that retain only the keys which were sent: there a default
that was filled in is a difference, so every apply says "configured", and one by the server's side
conflicts with whoever applied before. The schemas say which fields these are; that they have a
default, their descriptions say.

Replicas have an owner, too: the autoscaler, where there is one.
"""

import json
import pathlib
import re
import sys

import kubernetes_validate
from kubernetes_validate.utils import all_versions

from manifests import Fault, Manifests

SCHEMAS = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
HAS_DEFAULT = re.compile(r"\b[Dd]efaults? (?:is|to|value)\b|\bdefaulted to\b")
# What is sent as absent again, whatever was filled in.
EMPTY = 'Defaults to ""'


class Schemas:
    """The definitions of the newest version that the validator has."""

    def __init__(self):
        version = list(dict.fromkeys(all_versions()))[-1]
        folder = SCHEMAS / f"v{version}-local"
        text = (folder / "_definitions.json").read_text(encoding="utf-8")
        self.definitions = json.loads(text)["$defs"]

    def of(self, obj):
        """The schema of a whole object."""
        group, _, version = obj["apiVersion"].rpartition("/")
        wanted = {"group": group, "kind": obj["kind"], "version": version}
        for schema in self.definitions.values():
            if wanted in schema.get("x-kubernetes-group-version-kind", []):
                return schema
        raise Fault(f"no schema of {wanted}")

    def resolve(self, schema):
        reference = schema.get("$ref")
        return self.definitions[reference.rpartition("/")[2]] if reference else schema


def has_default(field):
    description = field.get("description", "")
    return HAS_DEFAULT.search(description) and EMPTY not in description


def left_out(schemas, schema, value, where, is_whole):
    """The paths of fields with a default that `value` leaves out, where it is sent whole."""
    schema = schemas.resolve(schema)
    if isinstance(value, list):
        for index, item in enumerate(value):
            items = schema.get("items", {})
            yield from left_out(schemas, items, item, f"{where}[{index}]", is_whole)
    if not isinstance(value, dict):
        return
    for name, field in schema.get("properties", {}).items():
        path = f"{where}.{name}"
        if name in value:
            atomic = field.get("x-kubernetes-list-type") == "atomic"
            retains = "retainKeys" in field.get("x-kubernetes-patch-strategy", "")
            below = is_whole or atomic or (retains and isinstance(value[name], dict))
            yield from left_out(schemas, field, value[name], path, below)
        elif is_whole and has_default(field):
            yield path


def check_replicas(manifests):
    """An apply must not undo the autoscaler, nor leave anybody else's number to chance."""
    scaled = {s["spec"]["scaleTargetRef"]["name"] for s in manifests.of("HorizontalPodAutoscaler")}
    for deployment in manifests.of("Deployment"):
        name = deployment["metadata"]["name"]
        if (name in scaled) == ("replicas" in deployment["spec"]):
            raise Fault(f"{manifests.name}: replicas of {name}, scaled: {name in scaled}")


def main():
    schemas, faults = Schemas(), []
    for manifests in map(Manifests, sys.argv[1:]):
        try:
            check_replicas(manifests)
        except Fault as fault:
            faults.append(str(fault))
        for obj in manifests.objects:
            where = f"{manifests.name}: {obj['kind']}/{obj['metadata']['name']}"
            faults += left_out(schemas, schemas.of(obj), obj, where, False)
    for fault in faults:
        print(f"defaults: {fault}", file=sys.stderr)
    print(f"defaults: {len(faults)} left to the API server where an apply would see them")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
