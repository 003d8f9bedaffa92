"""Ports, names, labels and paths agree between manifests, Dockerfile, compose file and server.

    agreement.py SERVER RENDERED.yaml...

Each rendering is checked by itself; a name that nobody answers to is a fault.
"""

import json
import os
import re
import subprocess
import sys

import yaml

from manifests import ROOT, Fault, Manifests, compose_variables, environment, port, seconds

# Where NodeLocal DNSCache listens, unless a cluster chose otherwise.
NODE_LOCAL_DNS = "169.254.20.10"
# The variables that say which members a metric has.
NAMES = ("FIELDS", "DEVICE_NAME", "TIMESTAMP_NAME", "DEVICE_TAG")
MEMBERS = {f"COREPULSE_{name}" for name in NAMES}
# What `k8s/deploy` makes; values are of the same kind as its own.
SECRETS = {("redis", "password"): "0123456789abcdef", ("grafana", "admin-password"): "fedcba98"}


def expect(holds, sentence):
    if not holds:
        raise Fault(sentence)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def run(server, arguments, variables=None):
    """The standard output of the server, started with these variables and no other of its own."""
    clean = {k: v for k, v in os.environ.items() if "COREPULSE" not in k and k != "REDIS_URL"}
    command = [server, *arguments]
    done = subprocess.run(
        command, env=clean | (variables or {}), capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"{command} with {variables}: {done.stderr}")
    return done.stdout


def known_variables(server):
    return set(re.findall(r"\[env: (COREPULSE_\w+)\]", run(server, ["--help"])))


def check_variables(server, where, variables):
    unknown = {v for v in variables if v.startswith("COREPULSE_")} - known_variables(server)
    expect(not unknown, f"{where}: the server knows no {sorted(unknown)}")
    run(server, ["--print-config"], variables)


def check_default_fields(server, where, variables):
    """What nobody has changed has the members of a server without options."""
    text = " ".join(run(server, ["--help"]).split())
    for name in MEMBERS & variables.keys() | {"COREPULSE_FIELDS"}:
        is_default = f"[env: {name}] [default: {variables[name]}]" in text
        expect(is_default, f"{where}: {name}={variables[name]} is not the server's default")


def matches(selector, labels):
    """Whether a label selector takes a pod with these labels."""
    for expression in selector.get("matchExpressions", []):
        expect(expression["operator"] == "In", f"selector: {expression} is not checked")
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())


def templates(manifests, selector):
    """The pod templates that a selector takes."""
    pods = [d["spec"]["template"] for d in manifests.of("Deployment")]
    return [pod for pod in pods if matches(selector, pod["metadata"]["labels"])]


def has_port(pod, wanted):
    ports = [p for c in pod["spec"]["containers"] for p in c["ports"]]
    return any(wanted in (p["name"], p["containerPort"]) for p in ports)


def check_selectors(manifests):
    """Each selector takes exactly the pods of one Deployment, its own before all."""
    for deployment in manifests.of("Deployment"):
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        taken = templates(manifests, spec["selector"])
        expect(taken == [spec["template"]], f"{name}: its selector takes other pods")
        account = spec["template"]["spec"]["serviceAccountName"]
        manifests.one("ServiceAccount", account)
        for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
            expect(templates(manifests, spread["labelSelector"]) == taken, f"{name}: spread")
    for budget in manifests.of("PodDisruptionBudget"):
        taken = templates(manifests, budget["spec"]["selector"])
        expect(len(taken) == 1, f"{budget['metadata']['name']}: the budget takes {len(taken)}")
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        manifests.one(target["kind"], target["name"])
    for binding in manifests.of("RoleBinding"):
        manifests.one("Role", binding["roleRef"]["name"])
        for subject in binding["subjects"]:
            account = manifests.one(subject["kind"], subject["name"])
            expect(account["metadata"]["namespace"] == subject["namespace"], "RoleBinding")


def check_ports(manifests):
    """Services, Ingress, probes and network policies name ports that their pods have."""
    for service in manifests.of("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        taken = templates(manifests, {"matchLabels": spec["selector"]})
        expect(len(taken) == 1, f"Service {name} takes {len(taken)} kinds of pods")
        for entry in spec["ports"]:
            expect(has_port(taken[0], entry["targetPort"]), f"Service {name}: {entry}")
    for rule in manifests.one("Ingress", "corepulse")["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = manifests.one("Service", backend["name"])["spec"]["ports"]
            names = [p["name"] for p in ports]
            expect(backend["port"]["name"] in names, f"Ingress: {backend}")
            expect(path["pathType"] == "Exact", f"Ingress: {path['path']} is not exact")
    for deployment in manifests.of("Deployment"):
        pod = deployment["spec"]["template"]
        for container in pod["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                get = container.get(probe, {}).get("httpGet")
                expect(not get or has_port(pod, get["port"]), f"{container['name']}: {probe}")
    for policy in manifests.of("NetworkPolicy"):
        check_policy(manifests, policy)


def check_policy(manifests, policy):
    name, spec = policy["metadata"]["name"], policy["spec"]
    pods = templates(manifests, spec["podSelector"])
    expect(pods, f"NetworkPolicy {name} takes no pod")
    for rule in spec.get("ingress", []):
        for entry in rule["ports"]:
            expect(all(has_port(p, entry["port"]) for p in pods), f"{name}: in at {entry}")
    for direction, other in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(direction, []):
            for peer in rule.get(other, []):
                if "podSelector" not in peer:
                    continue
                peers = templates(manifests, peer["podSelector"])
                expect(peers, f"{name}: {direction} {peer} is nobody")
                if direction == "egress":
                    for entry in rule["ports"]:
                        expect(has_port(peers[0], entry["port"]), f"{name}: out to {entry}")


def check_names(manifests):
    """Who looks names up may ask the cluster's DNS, and each node's own cache, both ways."""
    policy = manifests.one("NetworkPolicy", "names")["spec"]
    rule, = policy["egress"]
    found = [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer]
    expect(found == [f"{NODE_LOCAL_DNS}/32"], f"{manifests.name}: DNS may be asked at {found}")
    asked = {(entry["port"], entry["protocol"]) for entry in rule["ports"]}
    expect(asked == {(53, "UDP"), (53, "TCP")}, f"{manifests.name}: DNS is asked by {asked}")


def check_every_object(manifests):
    """All of them say whose they are, and none keeps a node of unready pods from being drained."""
    for one in manifests.objects:
        label = one["metadata"].get("labels", {}).get("app.kubernetes.io/part-of")
        where = f"{manifests.name}: {one['kind']}/{one['metadata']['name']}"
        expect(label == "corepulse", f"{where}: part of {label}")
        if one["kind"] == "PodDisruptionBudget":
            policy = one["spec"].get("unhealthyPodEvictionPolicy")
            expect(policy == "AlwaysAllow", f"{where}: evicts unready pods {policy}")
    # k8s/deploy applies this one by itself, without a kustomization.
    alone = yaml.safe_load(read("k8s/base/namespace.yaml"))["metadata"]
    rendered = manifests.one("Namespace", "corepulse")["metadata"]
    expect(alone == rendered, f"the namespace alone is {alone}, and with the rest {rendered}")


def check_references(manifests):
    """Secrets are those that `k8s/deploy` makes, ConfigMaps those that are generated."""
    script = read("k8s/deploy")
    for name, key in SECRETS:
        expect(f"secret {name} {key}\n" in script, f"k8s/deploy makes no {name}/{key}")
    for deployment in manifests.of("Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        environment(spec["containers"][0], SECRETS)
        volumes = {v["name"]: v for v in spec.get("volumes", [])}
        for volume in volumes.values():
            if "configMap" in volume:
                manifests.one("ConfigMap", volume["configMap"]["name"])
        for mount in spec["containers"][0].get("volumeMounts", []):
            expect(mount["name"] in volumes, f"{deployment['metadata']['name']}: {mount}")
        for container in spec["containers"]:
            tag = container["image"].partition(":")[2]
            expect(re.match(r"v?\d", tag), f"{container['image']} has no version")


def check_stopping(container, spec):
    """preStop, then the drain time-out with its delay, and all of it within the grace period."""
    variables = environment(container, SECRETS)
    delay = seconds(variables["COREPULSE_DRAIN_DELAY"])
    drain = seconds(variables["COREPULSE_DRAIN_TIMEOUT"])
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = spec["terminationGracePeriodSeconds"]
    expect(delay < drain, "the drain delay leaves nothing of the time-out")
    expect(before + drain < grace, "the grace period ends before the drain")


def check_server(server, manifests):
    """The Deployment and the server, its image and its version."""
    container = manifests.container("corepulse")
    variables = environment(container, SECRETS)
    check_variables(server, f"{manifests.name}: Deployment", variables)
    if manifests.name == "base":
        check_default_fields(server, "base", variables)
    check_stopping(container, manifests.pod("corepulse")["spec"])
    dockerfile, cargo = read("Dockerfile"), read("Cargo.toml")
    version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)[1]
    number = str(port(container, "http"))
    listen = variables["COREPULSE_LISTEN"]
    default = re.search(r"COREPULSE_LISTEN\]\s+\[default: (\S+)\]", run(server, ["--help"]))[1]
    user = str(manifests.pod("corepulse")["spec"]["securityContext"]["runAsUser"])
    minor = re.search(r'^rust-version = "(.*)"$', cargo, re.MULTILINE)[1]
    for holds, sentence in (
        (listen == f":{number}", f"COREPULSE_LISTEN is {listen}, the port {number}"),
        (default == listen, f"the server's default is {default}, HEALTHCHECK asks there"),
        (f"\nEXPOSE {number}\n" in dockerfile, f"the Dockerfile exposes another than {number}"),
        (f"\nUSER {user}:" in dockerfile, f"the Dockerfile has another user than {user}"),
        (f'image.version="{version}"' in dockerfile, f"the image's label is not {version}"),
        (f"\nFROM rust:{minor}." in dockerfile, f"the image is not built with Rust {minor}"),
        (container["image"] == f"corepulse:{version}", f"the image is not {version}"),
    ):
        expect(holds, f"{manifests.name}: {sentence}")


def check_build_context():
    """What cargo reads is copied into the build, and not ignored."""
    dockerfile, ignored = read("Dockerfile"), read(".dockerignore").splitlines()
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    copied = {path for line in copies for path in line.split()}
    members = re.search(r"^members = (\[.*\])$", read("Cargo.toml"), re.MULTILINE)[1]
    needed = {f"{member}/Cargo.toml" for member in json.loads(members)}
    # Crates that were copied into the checkout.
    needed.update(re.findall(r"path = \"([^/\"]+)/[^\"]*\"", read("Cargo.toml")))
    for source in sorted((ROOT / "src").rglob("*.rs")):
        for path in re.findall(r"include_(?:str|bytes)!\(\"(.*?)\"\)", source.read_text()):
            needed.add(str((source.parent / path).resolve().relative_to(ROOT)))
    missing = {path for path in needed if not path.startswith("src/")} - copied
    expect(not missing, f"the Dockerfile does not copy {sorted(missing)}")
    left_out = {path for path in copied if f"!{path}" not in ignored}
    expect(not left_out, f".dockerignore leaves out {sorted(left_out)}")


def check_quality_of_service(manifests):
    """Each whole CPU of the limit is a worker; dedicated cores need Guaranteed and integers."""
    container = manifests.container("corepulse")
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    expect(requests["memory"] == limits["memory"], f"{manifests.name}: memory is overcommitted")
    pin = environment(container, SECRETS)["COREPULSE_PIN"]
    if manifests.name == "dedicated-cores":
        expect(pin == "on" and requests == limits, "dedicated-cores: not pinned or Guaranteed")
        expect(re.fullmatch(r"\d+", limits["cpu"]), "dedicated-cores: not whole CPUs")
    else:
        expect(pin == "off", f"{manifests.name}: pins to cores that it shares")


def check_redis(manifests):
    """Redis takes other pods' connections, which a check on loopback cannot see."""
    configuration = manifests.file("redis", "redis.conf")
    script = manifests.container("redis")["args"][0]
    is_open = "\nprotected-mode no\n" in configuration or "user default on nopass" not in script
    expect(is_open, "Redis would take connections of its own pod alone")
    number = port(manifests.container("redis"), "redis")
    expect(f"\nport {number}\n" in configuration, f"Redis does not listen on {number}")
    url = environment(manifests.container("corepulse"), SECRETS)["COREPULSE_REDIS_URL"]
    service = manifests.one("Service", "redis")["spec"]["ports"][0]["port"]
    expect(f"@redis:{service}/" in url, f"the server looks for Redis at {url}")


def documented_rights():
    """The commands that `docs/operating.md` says the user in Redis needs."""
    text = " ".join(read("docs/operating.md").split())
    found = re.findall(r"needs `~metric:\*`[^`]* and `([^`]*)`|`~cp:\*` and `([^`]*)`", text)
    expect(len(found) == 2, f"docs/operating.md has {len(found)} lists of rights, expected two")
    command = f"ACL SETUSER corepulse '~cp:*' {found[1][1]}\n"
    expect(command in read("docs/operating.md"), f"docs/operating.md has no line {command}")
    return {right for groups in found for group in groups for right in group.split()}


def check_fleet(manifests):
    """Pods have a fleet, names that differ, and the rights in Redis that this takes; no more."""
    variables = environment(manifests.container("corepulse"), SECRETS, "corepulse-7f-x")
    expect(variables.get("COREPULSE_FLEET"), f"{manifests.name}: the pods have no fleet")
    name = variables.get("COREPULSE_INSTANCE")
    expect(name == "corepulse-7f-x", f"{manifests.name}: pods are not called by their names")
    redis = manifests.container("redis")
    user = re.search(r"^user corepulse (.*)$", redis["args"][0], re.MULTILINE)[1].split()
    keys = [word for word in user if word.startswith("~")]
    expect(keys == ["~metric:*", "~cp:*"], f"{manifests.name}: the user of Redis has {keys}")
    rights = environment(redis, SECRETS)["COMMANDS"].split()
    expect(rights[0] == "-@all", f"{manifests.name}: rights begin with {rights[0]}")
    given, needed = set(rights[1:]), documented_rights()
    expect(given == needed, f"{manifests.name}: rights and documents differ: {given ^ needed}")


def check_alerts(manifests):
    """The manual lists the alerts that there are, each with its severity."""
    group, = yaml.safe_load(manifests.file("prometheus", "alerts.yaml"))["groups"]
    rules = [(rule["alert"], rule["labels"]["severity"]) for rule in group["rules"]]
    rows = re.findall(r"^\| `(Corepulse\w+)` \| (\w+) \|", read("docs/operating.md"), re.MULTILINE)
    expect(rows == rules, f"docs/operating.md lists {rows}, and there are {rules}")


def check_discovery(manifests):
    """Debian's promtool knows no Kubernetes, so this block is compared word by word."""
    job = yaml.safe_load(manifests.file("prometheus", "prometheus.yaml"))["scrape_configs"][0]
    label = manifests.pod("corepulse")["metadata"]["labels"]["app.kubernetes.io/name"]
    selector = {"role": "pod", "label": f"app.kubernetes.io/name={label}"}
    pods = {"role": "pod", "namespaces": {"own_namespace": True}, "selectors": [selector]}
    expect(job["kubernetes_sd_configs"] == [pods], f"discovery is not {pods}")
    rules = manifests.one("Role", "prometheus")["rules"]
    allowed = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    expect(rules == [allowed], f"Prometheus may do other than {allowed}")


def check_compose(server, manifests):
    """The compose file has the same images, and mounts files that are there."""
    services = yaml.safe_load(read("docker-compose.yaml"))["services"]
    variables = compose_variables(services["corepulse"])
    check_variables(server, "compose", variables)
    check_default_fields(server, "compose", variables)
    for name, service in services.items():
        # In a cluster the controller of the Ingress is in the place of the proxy.
        if name == "proxy":
            expect(re.match(r"haproxy:\d", service["image"]), f"compose: {service['image']}")
        else:
            # One that only needs a shell is in the image of Redis.
            image = manifests.container("redis" if name == "spill-owner" else name)["image"]
            expect(service["image"] == image, f"compose: {name} is not {image}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect((ROOT / source).is_file(), f"compose: no file {source}")
    expect(variables.get("COREPULSE_FLEET"), "compose: the replicas have no fleet")
    target = yaml.safe_load(read("compose/prometheus.yaml"))["scrape_configs"][0]
    shipped = yaml.safe_load(manifests.file("prometheus", "prometheus.yaml"))["scrape_configs"][0]
    for key in ("job_name", "metrics_path", "scrape_timeout", "sample_limit"):
        expect(target[key] == shipped[key], f"compose/prometheus.yaml: {key}")
    source = yaml.safe_load(manifests.file("grafana-provisioning", "datasources.yaml"))
    address = source["datasources"][0]["url"]
    number = manifests.one("Service", "prometheus")["spec"]["ports"][0]["port"]
    expect(address == f"http://prometheus:{number}", f"Grafana asks {address}")


def main():
    server, *paths = sys.argv[1:]
    link, target = ROOT / "k8s/grafana-dashboard.json", ROOT / "k8s/base/grafana/dashboard.json"
    try:
        expect(link.is_symlink() and link.resolve() == target, f"{link} is no link to {target}")
        check_build_context()
        for manifests in map(Manifests, paths):
            check_selectors(manifests)
            check_ports(manifests)
            check_names(manifests)
            check_every_object(manifests)
            check_references(manifests)
            check_server(server, manifests)
            check_quality_of_service(manifests)
            check_redis(manifests)
            check_fleet(manifests)
            check_alerts(manifests)
            check_discovery(manifests)
        check_compose(server, manifests)
    except Fault as fault:
        print(f"agreement: {fault}", file=sys.stderr)
        return 1
    print(f"agreement: {len(paths)} renderings, and the compose file, with the server")
    return 0


if __name__ == "__main__":
    sys.exit(main())
