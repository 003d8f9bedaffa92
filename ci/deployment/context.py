"""What a builder sees of this checkout: the files that `.dockerignore` lets through.

As Docker reads it: the last line that matches a path or a folder above it decides, and `!` lets
through again what an earlier line has left out.
"""

import os
import re
import shutil

from manifests import Fault


def expression(pattern):
    """The paths that a line means. `*` and `?` stay within a name, `**` does not."""
    if re.search(r"[\[\]\\{}]", pattern):
        raise Fault(f".dockerignore: {pattern} is not understood here")
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*|\*|\?)", pattern.strip("/"))
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces))


class Ignored:
    """The lines of a `.dockerignore`."""

    def __init__(self, text):
        lines = [line.strip() for line in text.splitlines()]
        self.lines = [
            (line.startswith("!"), line.removeprefix("!").strip())
            for line in lines
            if line and not line.startswith("#")
        ]
        self.rules = [(through, expression(pattern)) for through, pattern in self.lines]

    def leaves_out(self, path):
        """Whether a path, relative to the folder of the file, is none of the builder's."""
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        verdict = False
        for through, rule in self.rules:
            if any(rule.fullmatch(one) for one in above):
                verdict = not through
        return verdict

    def has_exception_below(self, folder):
        """Whether something in a folder that is left out might come through all the same."""
        named = [pattern.strip("/") for through, pattern in self.lines if through]
        return any(one.startswith((f"{folder}/", "*")) for one in named)


def files(root, ignored):
    """The paths below `root` that are let through, sorted."""
    found = []
    for folder, folders, names in os.walk(root):
        here = os.path.relpath(folder, root)
        below = "" if here == "." else f"{here}/"
        links = {name for name in folders if os.path.islink(os.path.join(folder, name))}
        folders[:] = [
            name
            for name in folders
            if name not in links
            and (
                not ignored.leaves_out(below + name)
                or ignored.has_exception_below(below + name)
            )
        ]
        found += [below + n for n in [*names, *links] if not ignored.leaves_out(below + n)]
    return sorted(found)


def copy(root, folder):
    """Copies what `.dockerignore` lets through of `root` into a new folder; says the paths."""
    text = (root / ".dockerignore").read_text(encoding="utf-8")
    found = files(root, Ignored(text))
    for path in found:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, target, follow_symlinks=False)
    return found
