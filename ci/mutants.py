"""The rules by which windows move, taken out one at a time: the simulation has to notice each.

Each mutant is a copy of the tree in target/mutants with a text or more replaced. It has to compile,
and the simulation has to fail. Prints one line a mutant, and fails if one survives.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREE = ROOT / "target" / "mutants"
WINDOWS = pathlib.Path("src/fleet/windows")

# The rule that is taken out, and of each change the file, the text and what stands in its place.
MUTANTS = [
    (
        "each replica writes keys of its own",
        [
            (
                "keys.rs",
                "b\"}:\", &by.digits()])",
                "b\"}:\", &[b'0'; 16][..usize::from(by.0 > 0) * 16]])",
            ),
        ],
    ),
    (
        "what is asked for is an exact claim",
        [
            (
                "mover/notes.rs",
                "let is_current = self.is_current(id, of);",
                "let is_current = self.is_current(id, of) || of > 0;",
            ),
        ],
    ),
    (
        "a copy is taken once",
        [
            (
                "taken.rs",
                "let known = self.copies.get(&gift).copied();",
                "let known = self.copies.get(&gift).copied().filter(|_| false);",
            ),
        ],
    ),
    (
        "who asks all takes all copies, its own included",
        [
            (
                "mover/replies.rs",
                "let copies = of.into_iter().zip(copies);",
                "let copies = of.into_iter().zip(copies).filter(|(by, _)| *by != self.me);",
            ),
        ],
    ),
    (
        "who holds a window in doubt gives it to who asks all",
        [
            (
                "mover/notes.rs",
                "Cell::Held { .. } => self.give(id, claim, now),\n"
                "            Cell::Absent =>",
                "Cell::Held { standing: Standing::Confirmed, .. } => self.give(id, claim, now),\n"
                "            Cell::Held { .. } | Cell::Absent =>",
            ),
        ],
    ),
    (
        "a partial gift is not the whole window",
        [
            (
                "pursuit.rs",
                "any(|(_, envelope)| !envelope.is_partial)",
                "any(|(_, envelope)| !envelope.is_partial || envelope.to.is_some())",
            ),
        ],
    ),
    (
        "a copy whose owner lives makes one ask again",
        [
            (
                "mover/moves.rs",
                "&& odd != Some((by, events))",
                "&& odd == Some((by, events))",
            ),
        ],
    ),
    (
        "a gift is kept until it was taken",
        [
            (
                "mover/replies.rs",
                "self.given.push_back((now.mono_ns + AGAIN_NS, id, gift));",
                "self.end_give(&id, gift, now);",
            ),
        ],
    ),
    (
        "each gift has a number",
        [
            (
                "mover/gives.rs",
                "let gift = self.next_number();",
                "let gift = self.next_number().min(1);",
            ),
        ],
    ),
    (
        "who asks all has just read who there is",
        [
            (
                "mover/moves.rs",
                "if knows_all && pursuit.stage_ns <= sent_ns => {",
                "if knows_all || pursuit.stage_ns <= sent_ns => {",
            ),
        ],
    ),
    (
        "a window begins as a branch if not all could be asked",
        [
            (
                "mover/moves.rs",
                "if self.roster.knows_all(now.mono_ns) {",
                "if self.roster.knows_all(now.mono_ns) || now.mono_ns > 0 {",
            ),
        ],
    ),
    (
        "who is out of touch neither claims nor gives",
        [
            (
                "mover.rs",
                "            && self.cells.is_sure(now.mono_ns)\n",
                "            && now.mono_ns > 0\n",
            ),
            (
                "mover/notes.rs",
                "        if !self.cells.is_sure(now.mono_ns) {\n"
                "            return;",
                "        if !self.cells.is_sure(now.mono_ns) && now.mono_ns == 0 {\n"
                "            return;",
            ),
            (
                "mover/notes.rs",
                "if self.gives.contains_key(id) || !self.cells.is_sure(now.mono_ns) {",
                "if self.gives.contains_key(id) {",
            ),
        ],
    ),
    (
        "what is in doubt is claimed when it is saved",
        [
            (
                "mover/saves.rs",
                "        if !is_confirmed {\n",
                "        if !is_confirmed && now.mono_ns == 0 {\n",
            ),
            (
                "mover/saves.rs",
                "        self.pursue_doubtful(&id, now);\n        self.saved.note(id);",
                "        self.saved.note(id);",
            ),
        ],
    ),
    (
        "what was given to one who is gone is joined before its key gets another copy",
        [
            (
                "mover/gives.rs",
                "if matches!(self.cells.cell(id, now), Cell::Held { .. }) {",
                "if matches!(self.cells.cell(id, now), Cell::Held { ticket: u64::MAX, .. }) {",
            ),
            (
                "mover/saves.rs",
                "if self.orphans.contains_key(&id) {",
                "if self.orphans.contains_key(&id) && now.mono_ns == 0 {",
            ),
        ],
    ),
    (
        "who leaves claims what others may have gone on with",
        [
            (
                "mover/saves.rs",
                "Cell::Held { standing: Standing::Lapsed, .. } => true,",
                "Cell::Held { standing: Standing::Lapsed, .. } => self.leaves_until_ns.is_none(),",
            ),
        ],
    ),
    (
        "who was out of touch since it asked takes no gift for all there is",
        [
            (
                "mover/replies.rs",
                "envelope.is_partial || pursuit.lapses != lapses;",
                "envelope.is_partial || pursuit.lapses > lapses;",
            ),
        ],
    ),
    (
        "what is joined to a window in doubt leaves it in doubt",
        [
            (
                "mover/replies.rs",
                "Some(Some(ticket).filter(|_| standing == Standing::Confirmed))",
                "Some(Some(ticket).filter(|_| standing == standing))",
            ),
        ],
    ),
    (
        "a gift on its way is joined to the next one",
        [
            (
                "mover/gives.rs",
                "            self.orphans.insert(id.into(), (now.mono_ns, envelope));\n",
                "            drop(envelope);\n",
            ),
        ],
    ),
    (
        "what was given before a lapse, and not taken, is joined",
        [
            (
                "mover/gives.rs",
                "        if !is_sole {\n",
                "        if !is_sole && now.mono_ns == 0 {\n",
            ),
        ],
    ),
    (
        "who leaves looks whether Redis has what was saved",
        [
            (
                "mover/saves.rs",
                "self.has_handed_over() && self.saved.is_empty()",
                "self.has_handed_over()",
            ),
        ],
    ),
    (
        "what is made out to an older claim is a gift",
        [
            (
                "mover/replies.rs",
                "filter(|it| waits || it.ticket == ticket)",
                "filter(|it| waits && it.ticket == ticket)",
            ),
        ],
    ),
]


def copy_tree() -> None:
    """Copies what git knows of, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = ROOT / name, TREE / name
        if not source.is_file():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)


def cargo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the tests of the copy by cargo, which builds elsewhere than in the tree's own target.

    Cargo gives what it builds of two copies the same name, and would take one for the other.
    """
    target = {"CARGO_TARGET_DIR": str(TREE / "target"), "CARGO_PROFILE_TEST_DEBUG": "0"}
    environment = {"CARGO_PROFILE_TEST_OPT_LEVEL": "1"} | os.environ | target
    return subprocess.run(
        ["cargo", "test", "--locked", "--lib", "--quiet", *arguments],
        cwd=TREE,
        env=environment,
        text=True,
        capture_output=True,
    )


def change(name: str, old: str, new: str) -> None:
    """Changes a file of the copy."""
    file = TREE / WINDOWS / name
    text = file.read_text()
    if text.count(old) != 1:
        sys.exit(f"{name} does not have once: {old}")
    file.write_text(text.replace(old, new))


def fate(changes: list[tuple[str, str, str]]) -> str | None:
    """Returns what the simulation has said about a mutant; None if nothing."""
    for name, old, new in changes:
        change(name, old, new)
    try:
        built = cargo("--no-run")
        if built.returncode != 0:
            sys.exit(f"a mutant does not compile: {changes}\n{built.stderr}")
        ran = cargo("fleet::windows::simulation")
    finally:
        for name, old, new in reversed(changes):
            change(name, new, old)
    if ran.returncode == 0:
        return None
    said = re.search(r"^(seed \d+|.*(?:panicked|no seed came).*)", ran.stdout, re.MULTILINE)
    return said[0] if said else "it failed"


def main() -> None:
    copy_tree()
    survivors = 0
    for rule, changes in MUTANTS:
        said = fate(changes)
        survivors += said is None
        print(f"{'SURVIVED' if said is None else 'noticed':8} {rule}: {said or '-'}", flush=True)
    if survivors:
        sys.exit(f"{survivors} mutants survived")


main()
