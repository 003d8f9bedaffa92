"""The structure of the tree, which no other tool checks: `tidy.py [FOLDER]`, called by `ci/tidy`.

Holds sizes of files, that each is part of a crate, the rows of `## Layout` in `ARCHITECTURE.md`,
circles of imports, doors, dependencies of tests, which `cargo machete` skips, and that
`docs/cores.md` lists all that threads share. A path is an
import of the file that it leads to, through re-exports as well; the re-export of a child is none.
"""

import fnmatch
import graphlib
import json
import pathlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

import yaml

# Those whose modules have rows, and whose dependencies have doors.
SERVER = ("src/", "percore/src/")
LIST = "git ls-files --cached --others --exclude-standard . :!vendor :!*/sample/*".split()
SCAN = ["ast-grep", "scan", "--rule", f"{sys.path[0]}/lint/marks.yml", "--json=stream", "."]
DOORS = "ci/lint/rules/doors.yml"
FOLDERS = "bin|tests|examples|benches|fuzz_targets"
CRATE = re.compile(rf"(^build|src/(lib|main)|({FOLDERS})/[^/]+(/main)?).rs$")
MOD = re.compile(r"(?:#\[path\s*=(?P<path>[^]]*)\]\s*)?(?:\bpub\s+)?\bmod\s+(?P<name>\w+)\s*;")
USE = re.compile(r"(?:\bpub\s+)?\buse\s+([^;<]*);")
# Types that several threads can reach, in a field, a static or a struct without names.
SHARED = r"(?:Atomic\w+|Mutex|RwLock|Condvar|OnceLock|LazyLock|Count|PerCore|Sender|Receiver)"
SHARED = rf"\b(?:{SHARED}|CachePadded|ArrayQueue|SegQueue)\b(?!::)"
FIELD = rf"^\s*(?:pub\s+)?(?:static\s+)?(\w+):\s*(?!\s*&)[^=;\n]*{SHARED}[^=;\n]*[,;=]\s*$"
FIELD = re.compile(rf"{FIELD}|\bstruct\s+(\w+)(?:<[^>]*>)?\(.*{SHARED}.*\);", re.M)
PATH = re.compile(r"(?<![\w:])\w+(?:\s*::\s*\w+)+")


def blanked(text, spans):
    """Returns the text with the spans blanked: offsets and lines stay as they are."""
    chars = list(text)
    for start, end in spans:
        chars[start:end] = re.sub(r"[^\n]", " ", text[start:end])
    return "".join(chars)


def leaves(tree):
    """Returns each path of an import tree."""
    tree = re.sub(r"\s+as\s+\w+|\s", "", tree)
    while "{" in tree:
        flat = lambda m: ",".join(m[1] + leaf for leaf in m[2].split(",") if leaf)
        tree = re.sub(r"([\w:]*)\{([^{}]*)\}", flat, tree)
    return tree.split(",")


class Source:
    """One Rust file: its code without texts and tests, and the files that it declares."""

    def __init__(self, file, path, marks):
        # A character a byte, as the offsets of ast-grep count bytes; a visibility is no import.
        raw = file.read_bytes().decode("latin-1")
        whole = re.sub(r"\bpub\([^)]*\)", lambda m: "pub".ljust(len(m[0])), raw)
        self.whole = blanked(whole, marks["text"])
        self.code = blanked(self.whole, marks["test"])
        tests = [range(raw.count("\n", 0, s), raw.count("\n", 0, e) + 1) for s, e in marks["test"]]
        self.lines = raw.count("\n") - len(set().union(*tests))
        self.mods = {}
        for mod in MOD.finditer(self.whole):
            place = raw[mod.start("path") : mod.end("path")].strip('" ')
            is_flat = place or CRATE.search(path)
            below = path.rpartition("/")[0] if is_flat else path[:-3]
            is_test = not self.code[mod.start() : mod.end()].strip()
            self.mods[mod["name"]] = f"{below}/{place or mod['name'] + '.rs'}", is_test

    def paths(self):
        """Yields the line, the segments and whether it is re-exported of each path."""
        uses = list(USE.finditer(self.code))
        rest = blanked(self.code, [use.span() for use in uses])
        found = [(use, path) for use in uses for path in leaves(use[1])]
        for at, path in found + [(at, at[0]) for at in PATH.finditer(rest)]:
            line = self.code.count("\n", 0, at.start()) + 1
            yield line, re.findall(r"\w+", path), at[0].startswith("pub")


class Tree:
    """Every file below a folder, and how those of Rust hang together."""

    def __init__(self, root):
        files = subprocess.check_output(LIST, cwd=root, text=True).splitlines()
        marks = defaultdict(lambda: defaultdict(list))
        for line in subprocess.check_output(SCAN, cwd=root).splitlines():
            mark = json.loads(line)
            marks[mark["file"]][mark["ruleId"]].append(mark["range"]["byteOffset"].values())
        rust = [path for path in fnmatch.filter(files, "*.rs") if (root / path).exists()]
        self.sources = {path: Source(root / path, path, marks[path]) for path in rust}
        # The modules of each file from the name of its crate on, and which files are tests.
        self.names = {path: (path,) for path in rust if CRATE.search(path)}
        self.root, self.dependencies, self.tests, self.uses = root, set(), set(), []
        for path in fnmatch.filter(files, "*Cargo.toml"):
            manifest = tomllib.loads((root / path).read_text())
            library = path.replace("Cargo.toml", "src/lib.rs")
            self.names[library] = (manifest["package"]["name"].replace("-", "_"),)
            tables = [manifest, *manifest.get("target", {}).values()]
            own = path.replace("Cargo.toml", "[bets]*/*")
            self.uses += [(name, own, path) for name in manifest.get("dev-dependencies", ())]
            if library.startswith(SERVER):
                self.dependencies.update(*(table.get("dependencies", ()) for table in tables))
        for path in (reached := [path for path in rust if path in self.names]):
            for name, (file, is_test) in self.sources[path].mods.items():
                if is_test or path in self.tests:
                    self.tests.add(file)
                if file in self.sources and file not in self.names:
                    self.names[file] = (*self.names[path], name)
                    reached.append(file)
        self.modules = {name: path for path, name in self.names.items()}

    def resolve(self, path, segments):
        """Returns the file that a path leads to, if it is one of ours, and what is left of it."""
        own, (first, *rest) = self.names[path], segments
        starts = {"crate": own[:1], "self": own, "super": own[:-1]}
        child = (*own, first) if (*own, first) in self.modules else None
        start = starts.get(first) or child or ((first,) if (first,) in self.modules else ())
        while rest[:1] == ["super"]:
            start, rest = start[:-1], rest[1:]
        while (*start, *rest[:1]) in self.modules and rest:
            start, rest = (*start, rest[0]), rest[1:]
        return self.modules.get(start), rest

    def imports(self):
        """Returns for each file the files that it imports, each with its place and the path."""
        edges, exports, found = {}, defaultdict(dict), []
        for path in sorted(self.sources.keys() & self.names.keys() - self.tests):
            edges[path], name = {}, self.names[path]
            for line, segments, is_export in self.sources[path].paths() if "src/" in path else ():
                target, rest = self.resolve(path, segments)
                if is_export and target and self.names[target][:-1][: len(name)] == name:
                    exports[path][(rest or segments)[-1]] = target
                elif target:
                    found.append((path, f"{path}:{line}", segments, target, rest))
        for path, place, segments, target, rest in found:
            while target and target != path:
                edges[path].setdefault(target, (place, "::".join(segments)))
                target = exports[target].get(rest[0]) if rest else None
        return edges


def circles(edges):
    graph = {path: dict(targets) for path, targets in edges.items()}
    while True:
        try:
            return graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            path, target, *_ = circle = error.args[1][::-1]
        yield f"{edges[path][target][0]}: a circle of files: {' > '.join(circle)}"
        del graph[path][target]


def rows(tree, edges):
    layout = (tree.root / "ARCHITECTURE.md").read_text().partition("## Layout\n")[2]
    rows = {}
    for row, names in re.findall(r"^(\d+)  (\S+(?:  \S+)*)", layout.split("```")[1], re.M):
        rows |= {name.removesuffix("/*"): int(row) for name in names.split("  ")}
    names = re.compile(f"({'|'.join(sorted(rows, reverse=True))})(?=[./])")
    module = lambda path: (found := names.match(path.replace("src/", ""))) and found[0]
    for path in edges.keys() - {"src/lib.rs", "percore/src/lib.rs"}:
        if not (own := module(path)) and path.startswith(SERVER):
            yield f"{path}:1: no row in the layout of ARCHITECTURE.md"
        for target, (place, name) in edges[path].items() if own else ():
            if (other := module(target)) != own and rows.get(other, 99) >= rows[own]:
                yield f"{place}: `{name}` is in no row below `{own}`"


def doors(tree):
    rules = yaml.safe_load_all((tree.root / DOORS).read_text())
    doors = {rule["id"].removeprefix("door-"): rule["ignores"] for rule in rules}
    for name in doors.keys() ^ tree.dependencies:
        if (name.replace("-", "_"),) not in tree.modules:
            yield f"{DOORS}:1: `{name}` is no dependency, or one without a door"
    uses = [(name, place, DOORS) for name, places in doors.items() for place in places]
    for name, place, declared in uses + tree.uses:
        named = re.compile(rf"(?<!::)\b{name.replace('-', '_')}\b")
        files = fnmatch.filter(tree.sources, place)
        if not any(named.search(tree.sources[path].whole) for path in files):
            yield f"{declared}:1: `{name}` is not used in {place}"


def shared(tree):
    document = tree.root / "docs/cores.md"
    listed = set(re.findall(r"^\| `(\S+\.rs)` \| `(\w+)` \|", document.read_text(), re.M))
    found = {
        (path, field[1] or field[2])
        for path in tree.sources.keys() - tree.tests
        if path.startswith(SERVER) and "/may_minihttp/" not in path
        for field in FIELD.finditer(tree.sources[path].code)
    }
    for path, field in found - listed:
        yield f"{path}:1: `{field}` is shared, and has no row in docs/cores.md"
    for path, field in listed - found:
        yield f"docs/cores.md:1: `{field}` of {path} is not shared, or not there"


tree = Tree(pathlib.Path(*sys.argv[1:]))
edges = tree.imports()
faults = {*circles(edges), *rows(tree, edges), *doors(tree), *shared(tree)}
faults |= {f"{path}:1: part of no crate" for path in tree.sources.keys() - tree.names.keys()}
sizes = {path: tree.sources[path].lines for path in tree.sources.keys() - tree.tests}
faults |= {f"{path}:1: {size} lines, 400 at most" for path, size in sizes.items() if size > 400}
sys.exit("\n".join(sorted(faults)) or 0)
