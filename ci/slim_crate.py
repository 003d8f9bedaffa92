"""A crate of those files of the server that the simulation of windows needs, built in seconds.

The files are copies; of the few in `EXCERPTS` only the modules and items that are named there, word
for word. Versions, features and profiles are those of Cargo.toml, and the packages those of
Cargo.lock: so it is the code of the server that runs, or it does not compile.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Files and folders under src/ that are there whole.
WHOLE = """
    analytics/lineage.rs
    fleet/commands.rs fleet/directory.rs fleet/event_queue.rs fleet/json.rs fleet/mail.rs
    fleet/mailbox.rs fleet/windows
    limits.rs limits
    store/redis/batch.rs store/redis/command.rs store/redis/error.rs store/redis/outage_tracker.rs
    telemetry/escaped.rs telemetry/latency.rs
""".split()

# Those of them that need threads, sockets or the analytics, which the simulation has models of.
WITHOUT = ["fleet/windows/analytics_cells.rs", "fleet/windows/thread.rs"]

# Files of which only the modules are there that the crate has, and the items that begin like this.
EXCERPTS = {
    "lib.rs": [],
    "analytics.rs": [],
    "analytics/cell.rs": ["pub enum Standing ", "pub enum Cell "],
    "analytics/shared_windows.rs": ["pub use super::cell::{Cell, Standing};"],
    "fleet.rs": [],
    "fleet/windows.rs": ["pub(super) use note::LETTER;"],
    "metric.rs": [],
    "metric/id_hash.rs": ["use std::hash::", "use foldhash::", "pub(crate) fn steady_hash("],
    "store.rs": [],
    "store/redis.rs": [],
    "store/redis/observer.rs": ["use std::time::Duration;", "pub struct Outage "],
    "telemetry.rs": [],
    "telemetry/log.rs": ["pub use tracing::"],
}

MOD = re.compile(r"(?:pub(?:\([^)]*\))? )?mod (\w+);")

# Much of it is for callers that are not here.
LINTS = "#![allow(dead_code, unused_imports, unreachable_pub, reason = \"a part of a crate\")]\n"


def names() -> list[str]:
    """Returns the files that are there whole."""
    whole = []
    for name in WHOLE:
        place = ROOT / "src" / name
        files = place.rglob("*.rs") if place.is_dir() else [place]
        whole += [str(file.relative_to(ROOT / "src")) for file in files]
    return sorted(set(whole) - set(WITHOUT))


def excerpt(name: str, there: set[str]) -> str:
    """Returns what the crate has of a file of which it does not have all."""
    lines = (ROOT / "src" / name).read_text().splitlines(keepends=True)
    folder = "" if name == "lib.rs" else name.removesuffix(".rs") + "/"
    wanted = {start: False for start in EXCERPTS[name]}
    kept = [line for line in lines if line.startswith("//!")]
    head = 0
    for at, line in enumerate(lines):
        start = next((start for start in wanted if line.startswith(start)), None)
        mod = MOD.match(line)
        if start or mod and f"{folder}{mod[1]}.rs" in there:
            end = at
            while not lines[end].rstrip().endswith(";") and lines[end].rstrip() != "}":
                end += 1
            kept += lines[head : end + 1]
            wanted |= {start: True} if start else {}
        # What stands directly above an item belongs to it.
        if not line.startswith(("#[", "///", " ", ")]")):
            head = at + 1
    if missing := [start for start, is_found in wanted.items() if not is_found]:
        sys.exit(f"src/{name} has no item that begins like this: {missing}")
    return "".join(kept)


def as_toml(value: object) -> str:
    """Returns a value as TOML writes it within a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {as_toml(it)}" for name, it in value.items()) + " }"
    return json.dumps(value)


def manifest(code: str) -> str:
    """Returns the manifest: that of the server, with those dependencies that the code names."""
    server = tomllib.loads((ROOT / "Cargo.toml").read_text())
    package = {name: server["package"][name] for name in ("name", "version", "edition")}
    tables = {"workspace": {}, "package": package}
    for kind in ("dependencies", "dev-dependencies"):
        tables[kind] = {}
        for name, asked in server[kind].items():
            if isinstance(asked, dict) and "path" in asked:
                asked = asked | {"path": str(ROOT / asked["path"])}
            if re.search(rf"(?<!::)\b{name.replace('-', '_')}::", code):
                tables[kind][name] = asked
    # Line tables take longer to make than the lines are worth here.
    tables["profile.test"] = {"opt-level": 2, "debug": 0, "codegen-units": 64}
    text = ""
    for name, table in tables.items():
        text += f"[{name}]\n" + "".join(f"{key} = {as_toml(it)}\n" for key, it in table.items())
    return text


def write(file: pathlib.Path, text: str) -> None:
    """Writes a file, unless it has that text: cargo goes by the times of files."""
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def generate(crate: pathlib.Path) -> None:
    """Makes the crate in this folder, out of the tree as it is now."""
    whole = names()
    texts = {name: (ROOT / "src" / name).read_text() for name in whole}
    there = set(whole) | set(EXCERPTS)
    texts |= {name: excerpt(name, there) for name in EXCERPTS}
    texts["lib.rs"] = LINTS + texts["lib.rs"]
    source = crate / "src"
    for file in source.rglob("*.rs"):
        if str(file.relative_to(source)) not in texts:
            file.unlink()
    for name, text in texts.items():
        write(source / name, text)
    write(crate / "Cargo.toml", manifest("".join(texts.values())))
    lock(crate)


def lock(crate: pathlib.Path) -> None:
    """Gives the crate those packages of Cargo.lock that it needs, and no other."""
    listed = (ROOT / "Cargo.lock").read_text()
    (crate / "Cargo.lock").write_text(listed)
    subprocess.run(["cargo", "metadata", "--quiet", "--format-version=1"], cwd=crate, check=True,
                   stdout=subprocess.DEVNULL)
    of = lambda text: {(it["name"], it["version"], it.get("checksum"))
                       for it in tomllib.loads(text)["package"]}
    if others := of((crate / "Cargo.lock").read_text()) - of(listed):
        sys.exit(f"these packages are not in Cargo.lock: {sorted(others)}")
