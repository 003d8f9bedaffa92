"""What the rendered manifests say, for the checks beside this file."""

import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Fault(Exception):
    """What disagrees or does not work, in a sentence."""


class Manifests:
    """One rendering: all objects of a kustomization."""

    def __init__(self, path):
        self.name = pathlib.Path(path).stem
        text = pathlib.Path(path).read_text(encoding="utf-8")
        self.objects = [o for o in yaml.safe_load_all(text) if o]

    def of(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind, name):
        """The object of that kind whose name is `name`, perhaps with a generated suffix."""
        suffixed = re.compile(re.escape(name) + r"(-[a-z0-9]{10})?")
        found = [o for o in self.of(kind) if suffixed.fullmatch(o["metadata"]["name"])]
        if len(found) != 1:
            raise Fault(f"{self.name}: {len(found)} objects {kind}/{name}, expected one")
        return found[0]

    def pod(self, name):
        """The pod template of a Deployment."""
        return self.one("Deployment", name)["spec"]["template"]

    def container(self, name):
        """The one container of a Deployment."""
        containers = self.pod(name)["spec"]["containers"]
        if len(containers) != 1:
            raise Fault(f"{self.name}: {name} has {len(containers)} containers, expected one")
        return containers[0]

    def file(self, config_map, key):
        """The content of a generated file."""
        return self.one("ConfigMap", config_map)["data"][key]


def environment(container, secrets, pod="corepulse-0"):
    """The variables of a container, with its secrets filled in and `$(NAME)` expanded.

    `secrets` maps (name, key) to a value. An optional one that is not there is left out. `pod` is
    the name of the pod.
    """
    variables = {}
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        reference = source.get("secretKeyRef")
        if "fieldRef" in source:
            if source["fieldRef"]["fieldPath"] != "metadata.name":
                raise Fault(f"{entry['name']}: nobody fills in {source['fieldRef']}")
            value = pod
        elif reference:
            value = secrets.get((reference["name"], reference["key"]))
            if value is None and not reference.get("optional"):
                raise Fault(f"nobody makes the Secret {reference['name']}/{reference['key']}")
            if value is None:
                continue
        else:
            known = dict(variables)
            value = re.sub(r"\$\((\w+)\)", lambda name: known[name[1]], entry["value"])
        variables[entry["name"]] = value
    return variables


def sample(container, secrets):
    """The fields that the server has, each with a value of its range."""
    found = {}
    for text in environment(container, secrets)["COREPULSE_FIELDS"].split(","):
        bounds = re.search(r"=(.*?)\.\.([^~]*)", text)
        name = re.match(r"\w+", text)[0]
        found[name] = sum(map(float, bounds.groups())) / 2 if bounds else 40.0
    return found


def compose_variables(service):
    """The variables of a service, where the shell of Compose has none of its own."""
    default = re.compile(r"\$\{\w+:-([^}]*)\}")
    return {k: default.sub(r"\1", v) for k, v in service["environment"].items()}


def port(container, name):
    """The number of a container's named port."""
    return next(p["containerPort"] for p in container["ports"] if p["name"] == name)


def seconds(text):
    """A duration such as `25s`."""
    return int(re.fullmatch(r"(\d+)s", text)[1])


def cpus(text):
    """A quantity of CPUs such as `2` or `1500m`."""
    return int(text[:-1]) / 1000 if text.endswith("m") else float(text)
