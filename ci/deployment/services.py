"""The services of the manifests, started by hand: as their containers would be, on free ports."""

import subprocess
import time
import urllib.error
import urllib.request

from manifests import ROOT, Fault, environment
from processes import free_port

SECRETS = {("redis", "password"): "0123456789abcdef"}
ANSWER_SECONDS_MAX = 60


def get(url):
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_until(ready, what, seconds_max=ANSWER_SECONDS_MAX):
    """Asks until `ready` is true; what is not there yet may refuse connections."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise Fault(f"{what}: not within {seconds_max} s")


def start_redis(processes, manifests, folder):
    """Redis as its container starts it, on a free port."""
    container, number = manifests.container("redis"), free_port()
    configuration = manifests.file("redis", "redis.conf")
    configuration = configuration.replace("port 6379", f"port {number}\nbind 127.0.0.1")
    path = folder / "redis.conf"
    path.write_text(configuration.replace("dir /tmp", f"dir {folder}"), encoding="utf-8")
    script = container["args"][0].replace("/etc/redis/redis.conf", str(path))
    processes.start("redis", [*container["command"], script], environment(container, SECRETS))
    probe = [*container["readinessProbe"]["exec"]["command"], "-p", str(number)]
    probe = [probe[0], *probe[2:], probe[1]]

    def answers():
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        return done.stdout == "PONG\n"

    wait_until(answers, "the readiness probe of Redis")
    return number


def server_variables(container, address, redis, pod="corepulse-0"):
    """The variables of the server's container; only the two addresses are those of here."""
    variables = environment(container, SECRETS, pod)
    variables["COREPULSE_LISTEN"] = address
    url = variables["COREPULSE_REDIS_URL"]
    variables["COREPULSE_REDIS_URL"] = url.replace("@redis:6379", f"@127.0.0.1:{redis}")
    return variables


def tls_variables(folder):
    """Those of TLS, which the manifests leave to the Ingress, with a certificate of 90 days: the
    alert on its end has to find something."""
    key, certificate = f"{folder}/key.pem", f"{folder}/cert.pem"
    request = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 90"
    command = ["openssl", *request.split(), "-subj", "/CN=ci", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return {
        "COREPULSE_TLS_LISTEN": "127.0.0.1:0",
        "COREPULSE_TLS_CERT": certificate,
        "COREPULSE_TLS_KEY": key,
    }


def start_server(processes, server, manifests, redis, fields=None):
    """The server with the variables of its container, on a free port.

    With other fields than the manifests' it is another deployment, so it has another fleet.
    """
    container, number = manifests.container("corepulse"), free_port()
    variables = server_variables(container, f"127.0.0.1:{number}", redis)
    if fields not in (None, variables["COREPULSE_FIELDS"]):
        variables |= {"COREPULSE_FIELDS": fields, "COREPULSE_FLEET": "other"}
    variables |= tls_variables(processes.folder.name)
    process = processes.start("server", [server], variables)
    base = f"http://127.0.0.1:{number}"
    path = container["readinessProbe"]["httpGet"]["path"]
    wait_until(lambda: get(base + path)[0] == 200, "the readiness probe of the server")
    return process, number


def start_fleet(processes, base, name, *arguments):
    """Starts a fleet; its exit code is the verdict."""
    command = [
        str(ROOT / ".venv/bin/locust"),
        f"--locustfile={ROOT / 'locust/locustfile.py'}",
        f"--host={base}",
        "--headless",
        "--only-summary",
        "--loglevel=WARNING",
        *arguments,
    ]
    return processes.start(name, command, {})
