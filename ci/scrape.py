"""Scrapes a server, which is in a fleet, under a short, bounded load and judges what it exposes.

The text of format 0.0.4 must be clean under `promtool check metrics`, the answer to an OpenMetrics
scraper must pass the strict parser of `prometheus_client`, no counter may fall between scrapes, and
the metrics exposed must be those of the table in docs/operating.md, with their labels.
"""

import contextlib
import http.client
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as lenient

from server import Fault, Server

CLIENTS = 2
REQUESTS_PER_CLIENT = 1500
SCRAPES_MIN = 3
# Of all scrapes in a format, so many are given to the slow judges.
JUDGED = 8
TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# Labels that a histogram or summary adds by itself.
OWN_LABELS = {"le", "quantile"}


def request(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)


def post(port, client, faults):
    """Single metrics of a few devices, with a spike now and then, and some bad ones."""
    connection = connect(port)
    try:
        for number in range(REQUESTS_PER_CLIENT):
            cpu = 5000 if number % 500 == 499 else 40 + number % 7
            body = f'{{"device_id":"d{client}-{number % 5}","cpu":{cpu},"rps":{number % 11}}}'
            expected = 202
            if number % 100 == 99:
                body, expected = '{"cpu":1}', 400
            status, _, answer = request(connection, "POST", "/metrics", body)
            if status != expected:
                raise Fault(f"POST {body}: {status} {answer!r}")
    except (Fault, OSError, http.client.HTTPException) as fault:
        faults.append(fault)
    finally:
        connection.close()


def scrape(connection, accept):
    path = "/metrics/prometheus"
    status, headers, body = request(connection, "GET", path, headers={"Accept": accept})
    if status != 200:
        raise Fault(f"GET {path}: {status}")
    kind = headers["Content-Type"]
    if not kind.startswith(accept.split(";")[0]):
        raise Fault(f"Accept: {accept} was answered with {kind}")
    return body.decode()


def scrapes_under_load(port):
    """Both formats, again and again while the clients post and once when they have ended."""
    faults, texts, strict_texts = [], [], []
    clients = [
        threading.Thread(target=post, args=(port, client, faults)) for client in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    connection = connect(port)
    is_loaded = True
    while is_loaded or len(texts) < SCRAPES_MIN:
        is_loaded = any(client.is_alive() for client in clients)
        texts.append(scrape(connection, TEXT))
        strict_texts.append(scrape(connection, OPENMETRICS))
    connection.close()
    if faults:
        raise Fault(f"the load failed: {faults[0]}")
    return texts, strict_texts


def promtool(text):
    command = ["promtool", "check", "metrics"]
    check = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if check.returncode != 0:
        raise Fault(f"promtool check metrics:\n{check.stdout}{check.stderr}")


def counters(families):
    """The value of each sample that may only grow."""
    values = {}
    for family in families:
        for sample in family.samples:
            grows = family.type == "counter" or sample.name.endswith(("_bucket", "_count"))
            if grows and not sample.name.endswith("_created"):
                values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return values


def check_growth(texts):
    before = {}
    for text in texts:
        now = counters(lenient(text))
        for key, value in before.items():
            if now.get(key, -1) < value:
                raise Fault(f"a counter fell: {key} from {value} to {now.get(key)}")
        before = now
    return before


def exposed(text):
    """Each metric of a text by its name in the table, with its labels."""
    found = {}
    types = re.findall(r"^# TYPE (\S+) \S+$", text, re.MULTILINE)
    duplicates = {name for name in types if types.count(name) > 1}
    if duplicates:
        raise Fault(f"more than one TYPE: {sorted(duplicates)}")
    for family in lenient(text):
        labels = {label for sample in family.samples for label in sample.labels} - OWN_LABELS
        name = family.name if family.name in types else f"{family.name}_total"
        found[name] = labels
    return found


def documented():
    """The metrics of the table in docs/operating.md: rows that start with a name in backquotes."""
    path = pathlib.Path("docs/operating.md")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    row = r"^\|\s*`((?:corepulse|process)_[a-z0-9_*]+)(?:\{([^}]*)\})?`"
    return {
        name: {label.strip() for label in labels.split(",") if label}
        for name, labels in re.findall(row, text, re.MULTILINE)
    }


def check_table(found):
    table = documented()
    if not table:
        raise Fault("docs/operating.md has no table of metrics")
    prefixes = tuple(name[:-1] for name in table if name.endswith("*"))
    missing = [n for n in table if n not in found and not n.endswith("*")]
    unknown = [n for n in found if n not in table and not (prefixes and n.startswith(prefixes))]
    labels = [n for n in table if n in found and table[n] != found[n]]
    said = {
        "in the table but not exposed": sorted(missing),
        "exposed but not in the table": sorted(unknown),
        "with other labels than the table says": [f"{n}{sorted(found[n])}" for n in sorted(labels)],
    }
    faults = [f"{what}: {', '.join(names)}" for what, names in said.items() if names]
    if faults:
        raise Fault("\n".join(faults))


def sample(texts):
    """The first, the last and some between them."""
    step = max(1, len(texts) // JUDGED)
    return [*texts[::step], texts[-1]]


def check(port):
    texts, strict_texts = scrapes_under_load(port)
    for text in sample(texts):
        promtool(text)
    for text in sample(strict_texts):
        try:
            families = list(strict(text))
        except ValueError as fault:
            raise Fault(f"strict OpenMetrics: {fault}") from fault
    final = check_growth(texts)
    accepted = final.get(("corepulse_events_accepted_total", ()))
    expected = CLIENTS * (REQUESTS_PER_CLIENT - REQUESTS_PER_CLIENT // 100)
    if accepted != expected:
        raise Fault(f"corepulse_events_accepted_total is {accepted}, {expected} were acknowledged")
    found = exposed(texts[-1])
    check_table(found)
    print(f"{len(found)} metrics, {len(texts)} scrapes in each format, {len(families)} families")


@contextlib.contextmanager
def redis():
    """A Redis behind a socket of its own: a member of a fleet has metrics that others do not."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""]
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            yield f"redis+unix://{socket}"
        finally:
            process.kill()
            process.wait()


def tls_flags(folder):
    """Flags of a server that speaks TLS, which has metrics that others do not."""
    key, certificate = f"{folder}/key.pem", f"{folder}/cert.pem"
    request = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=ci"
    command = ["openssl", *request.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return ["--tls-listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key]


def main():
    try:
        with redis() as url, tempfile.TemporaryDirectory() as folder:
            flags = ["--redis-url", url, "--fleet", "ci", "--admin-token", "ci", *tls_flags(folder)]
            with Server(sys.argv[1], *flags) as server:
                check(server.port)
                server.stop()
    except Fault as fault:
        print(f"metrics: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
