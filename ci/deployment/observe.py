"""A real Prometheus scrapes a real server under load, as the manifests say, and is asked.

    observe.py SERVER RENDERED.yaml DASHBOARD.json

The server runs with the variables of its container, Redis with the command and the configuration
of its own, Prometheus with the shipped file; only addresses differ, and the discovery of pods, in
whose place stand targets with the labels that it would find. The load is `locust/`. Then every
panel's expression, and the left side of every alert, must have data; so it must for each field of a
second deployment, whose fields are others and do not come in each event.
"""

import functools
import json
import math
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from dashboard import expressions, fields_query, metrics
from manifests import Fault, Manifests, environment
from processes import free_port, run_check
from services import SECRETS, get, start_fleet, start_redis, start_server, wait_until

# Fields of sensors: none of them is one of the manifests.
OTHER_FIELDS = "temperature?=-40..125~0.5,humidity?=0..100,battery?"
LOAD_SECONDS = 50
# Rates want two scrapes; three leave room for a slow start.
SCRAPES_MIN = 3
LOAD_SECONDS_MORE_MAX = 60
# Wide, since other work may run on this machine: the bar of 50 ms is that of `make load`.
P95_MAX_MS = 1000


def pod(number, **changes):
    """The labels that discovery would give the server's pod."""
    labels = {
        "namespace": "corepulse",
        "pod_name": "corepulse-0",
        "pod_phase": "Running",
        "pod_container_port_name": "http",
    }
    labels = {f"__meta_kubernetes_{k}": v for k, v in (labels | changes).items()}
    return {"targets": [f"127.0.0.1:{number}"], "labels": labels}


def start_prometheus(processes, manifests, folder, server):
    """Prometheus with the shipped files, but for addresses and the discovery of pods."""
    number = free_port()
    text = manifests.file("prometheus", "prometheus.yaml")
    configuration = yaml.safe_load(text.replace("localhost:9090", f"localhost:{number}"))
    job = configuration["scrape_configs"][0]
    del job["kubernetes_sd_configs"]
    # Two that the rules have to leave out: another port, and a pod that has ended.
    job["static_configs"] = [
        pod(server),
        pod(server, pod_name="other-port", pod_container_port_name="admin"),
        pod(server, pod_name="ended", pod_phase="Succeeded"),
    ]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    rules = manifests.file("prometheus", "alerts.yaml")
    (folder / "alerts.yaml").write_text(rules, encoding="utf-8")
    subprocess.run(["promtool", "check", "config", str(path)], check=True)
    command = ["prometheus", f"--web.listen-address=127.0.0.1:{number}"]
    for argument in manifests.container("prometheus")["args"]:
        argument = argument.replace("=/etc/prometheus/", f"={folder}/")
        command.append(argument.replace("=/prometheus", f"={folder}/data"))
    processes.start("prometheus", command, {})
    base = f"http://127.0.0.1:{number}"
    probe = manifests.container("prometheus")["readinessProbe"]["httpGet"]["path"]
    wait_until(lambda: get(base + probe)[0] == 200, "the readiness probe of Prometheus")
    return base


def ask(prometheus, path, **parameters):
    query = urllib.parse.urlencode(parameters)
    status, body = get(f"{prometheus}/api/v1/{path}?{query}")
    answer = json.loads(body)
    if status != 200 or answer["status"] != "success":
        raise Fault(f"{path} {parameters}: {body}")
    return answer["data"]


def values(prometheus, expression):
    """The numbers of an instant query; those that are none (0/0) left out."""
    found = ask(prometheus, "query", query=expression)["result"]
    numbers = [float(sample["value"][1]) for sample in found]
    return [number for number in numbers if not math.isnan(number)]


def left_side(rule):
    """What an alert measures: its expression up to the comparison with a bound."""
    bound = r"-?[0-9.e+]+(?: \* \w+)?"
    found = re.fullmatch(rf"(.*)\s(?:[<>]=?|==|!=)\s({bound})", rule["query"], re.DOTALL)
    if not found:
        raise Fault(f"{rule['name']}: not `<left> <comparison> <bound>`: {rule['query']}")
    return found[1]


def check_paths(manifests, base):
    """What probes, Ingress and scrape ask for is there; GET on /metrics is refused as such."""
    container = manifests.container("corepulse")
    probes = [container[p] for p in ("startupProbe", "livenessProbe", "readinessProbe")]
    for probe in probes:
        path = probe["httpGet"]["path"]
        if get(base + path)[0] != 200:
            raise Fault(f"probe {path}: {get(base + path)}")
    for rule in manifests.one("Ingress", "corepulse")["spec"]["rules"]:
        for entry in rule["http"]["paths"]:
            if get(base + entry["path"])[0] == 404:
                raise Fault(f"Ingress: the server has no {entry['path']}")


def check_names(base, job, asked):
    """Dashboard and alerts name only metrics that the server exposes, or `up`."""
    status, text = get(base + job["metrics_path"])
    if status != 200:
        raise Fault(f"{job['metrics_path']}: {status}")
    known = set(re.findall(r"^(\w+)[ {]", text, re.MULTILINE)) | {"up"}
    for where, expression in asked:
        unknown = set(metrics(expression)) - known
        if unknown or not metrics(expression):
            raise Fault(f"{where}: nobody exposes {sorted(unknown)}: {expression}")


def check_targets(prometheus):
    """One target, with the labels of its pod; discovery's others were left out."""
    targets = ask(prometheus, "targets", state="active")["activeTargets"]
    ours = [t for t in targets if t["scrapePool"] == "corepulse"]
    pods = [(t["labels"].get("namespace"), t["labels"].get("pod"), t["health"]) for t in ours]
    if pods != [("corepulse", "corepulse-0", "up")]:
        raise Fault(f"scraped are {pods}")


def check_answers(prometheus, dashboard, fields):
    """Every expression has data, for every field, and no rule has an error."""
    groups = ask(prometheus, "rules", type="alert")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    if not rules:
        raise Fault("Prometheus has no rules")
    measured = [(rule["name"], left_side(rule)) for rule in rules]
    asked = [*expressions(dashboard, fields), *measured]
    silent = [f"{where}: {asks}" for where, asks in asked if not values(prometheus, asks)]
    if silent:
        raise Fault("no data for\n  " + "\n  ".join(silent))
    sick = [rule["name"] for rule in rules if rule["health"] != "ok" or rule.get("lastError")]
    if sick:
        raise Fault(f"rules with errors: {sick}")
    check_fields(prometheus, dashboard, fields, measured)
    return asked


def check_fields(prometheus, dashboard, fields, measured):
    """The dashboard offers the fields that there are, and an alert by field watches all of them."""
    matcher = {"match[]": fields_query(dashboard)}
    offered = ask(prometheus, "label/field/values", **matcher)
    if sorted(offered) != sorted(fields):
        raise Fault(f"the dashboard offers the fields {offered}, and there are {fields}")
    by_field = 0
    for name, expression in measured:
        samples = ask(prometheus, "query", query=expression)["result"]
        watched = {sample["metric"].get("field") for sample in samples} - {None}
        by_field += bool(watched)
        if watched and watched != set(fields):
            raise Fault(f"{name} watches the fields {watched}, and there are {fields}")
    if not by_field:
        raise Fault("no alert watches the fields")


def bad_request(base):
    """Something for the panel of refusals."""
    request = urllib.request.Request(f"{base}/metrics", data=b'{"device_id":"d"}')
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        if error.code == 400:
            return
    raise Fault("a metric without a field was taken")


def new_device(base, fields):
    """A device that nobody knows, for the panel of windows that come."""
    event = {"device_id": f"late-{time.monotonic_ns()}"} | dict.fromkeys(fields, 1)
    request = urllib.request.Request(f"{base}/metrics", data=json.dumps(event).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        if answer.status != 202:
            raise Fault(f"a new device: {answer.status}: {answer.read()}")


def ask_fleet(base):
    """An answer of the whole fleet."""
    status, body = get(f"{base}/analyze?scope=fleet")
    if status != 200:
        raise Fault(f"/analyze?scope=fleet: {status}: {body}")
    return json.loads(body)


def check_fleet(base, job):
    """The pod is a fleet of one, with the rights in Redis that the manifests give."""
    pods = ["corepulse-0"]

    def is_whole():
        answer = ask_fleet(base)
        members = [member["instance"] for member in answer["members"]]
        return answer["complete"] and members == pods

    wait_until(is_whole, f"a complete answer of {pods}")
    text = get(base + job["metrics_path"])[1]
    errors = re.findall(r"^(corepulse_fleet_errors_total\{.*\}) (?!0$)", text, re.MULTILINE)
    if errors or not re.search(r"^corepulse_fleet_up 1$", text, re.MULTILINE):
        raise Fault(f"the fleet has errors of Redis: {errors}")


def check_load_can_fail(processes, server):
    """A server that finds no anomaly has to fail the load that injects some."""
    number = free_port()
    variables = {"COREPULSE_LISTEN": f"127.0.0.1:{number}", "COREPULSE_Z_THRESHOLD": "100000"}
    blind = processes.start("blind server", [server], variables)
    base = f"http://127.0.0.1:{number}"
    wait_until(lambda: get(f"{base}/health")[0] == 200, "the blind server")
    fleet = start_fleet(
        processes, base, "load on the blind server",
        "--users=4", "--spawn-rate=4", "--run-time=6s", "--device-rate=20", "--inject-every=10",
        f"--p95-max-ms={P95_MAX_MS}",
    )
    code, said = processes.outcome(fleet, LOAD_SECONDS_MORE_MAX)
    if code != 1 or "is not among the anomalous" not in said:
        raise Fault(f"anomalies that are not found pass with exit code {code}:\n{said}")
    processes.stop(blind)


class Deployment:
    """A server with fields of its own, the Prometheus that scrapes it, and its fleet."""

    def __init__(self, processes, server, manifests, folder, redis, fields, users):
        self.processes, self.manifests = processes, manifests
        self.fields = re.findall(r"(?:^|,)(\w+)", fields)
        self.server, number = start_server(processes, server, manifests, redis, fields)
        self.base = f"http://127.0.0.1:{number}"
        check_paths(manifests, self.base)
        folder.mkdir()
        self.prometheus = start_prometheus(processes, manifests, folder, number)
        self.fleet = start_fleet(
            processes, self.base, f"load of {fields}", f"--fields={fields}",
            f"--users={users}", "--spawn-rate=50", f"--run-time={LOAD_SECONDS}s",
            "--inject-every=30", f"--p95-max-ms={P95_MAX_MS}",
        )

    def is_scraped(self):
        bad_request(self.base)
        new_device(self.base, self.fields)
        ask_fleet(self.base)
        scrapes = values(self.prometheus, "count_over_time(corepulse_build_info[5m])")
        return max(scrapes, default=0) >= SCRAPES_MIN

    def check(self, dashboard):
        """Everything answers; at the end fleet and server stop without a fault."""
        check_targets(self.prometheus)
        asked = check_answers(self.prometheus, dashboard, self.fields)
        file = self.manifests.file("prometheus", "prometheus.yaml")
        job = yaml.safe_load(file)["scrape_configs"][0]
        check_names(self.base, job, asked)
        check_fleet(self.base, job)
        code, said = self.processes.outcome(self.fleet, LOAD_SECONDS + LOAD_SECONDS_MORE_MAX)
        print(said.splitlines()[0] if code == 0 else said)
        if code != 0:
            raise Fault(f"the load failed with exit code {code}")
        code = self.processes.stop(self.server)
        if code != 0:
            raise Fault(f"exit code {code} of the server after SIGTERM")
        print(f"observe: {len(asked)} expressions have data for {', '.join(self.fields)}")


def observe(server, manifests, dashboard, processes, folder):
    redis = start_redis(processes, manifests, folder)
    own = environment(manifests.container("corepulse"), SECRETS)["COREPULSE_FIELDS"]
    started = [
        Deployment(processes, server, manifests, folder / f"{users}", redis, fields, users)
        for fields, users in ((own, 100), (OTHER_FIELDS, 40))
    ]
    check_load_can_fail(processes, server)
    # A list: each is asked, every time.
    wait_until(lambda: all([one.is_scraped() for one in started]), f"{SCRAPES_MIN} scrapes")
    for deployment in started:
        deployment.check(dashboard)


def main():
    server, rendered, dashboard = sys.argv[1:]
    with open(dashboard, encoding="utf-8") as file:
        dashboard = json.load(file)
    check = functools.partial(observe, server, Manifests(rendered), dashboard)
    return run_check("observe", check)


if __name__ == "__main__":
    sys.exit(main())
