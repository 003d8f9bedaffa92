"""The rules by which windows move, taken out one at a time: the simulation has to notice each.

`mutants.py [WORD...]`: only the rules with one of these words; `mutants.py --texts` looks only
whether each mutant still has its place in the code.

Each mutant is a crate in target/mutants (`slim_crate.py`) with a text or more replaced. It has to
compile, and the simulation has to fail, which has passed without it. Prints one line a mutant, and
fails if one survives.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import slim_crate

CRATE = slim_crate.ROOT / "target" / "mutants"
WINDOWS = pathlib.Path("src/fleet/windows")
SIMULATION = "fleet::windows::simulation"

# The simulation takes half a minute: a mutant that is not done by then runs in a circle.
LONGEST_SECONDS = 900

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
            (
                "keys.rs",
                "[b\"}:\", me.digits().as_slice()]",
                "[b\"}:\", &[b'0'; 16][..usize::from(me.0 > 0) * 16]]",
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
                "if !is_confirmed {\n                doubtful",
                "if !is_confirmed && now.mono_ns == 0 {\n                doubtful",
            ),
            (
                "mover/saves.rs",
                "if !is_confirmed {\n            self",
                "if !is_confirmed && now.mono_ns == 0 {\n            self",
            ),
            (
                "mover/replies.rs",
                "if end.is_okay() && lapses == lapses_now {",
                "if end.is_okay() {",
            ),
        ],
    ),
    (
        "what was saved as the lease ran out is claimed",
        [
            (
                "mover/replies.rs",
                "if end.is_okay() && lapses == lapses_now {",
                "if end.is_okay() {",
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
            (
                "mover/saves.rs",
                "if orphans.contains_key(id) {",
                "if orphans.contains_key(id) && now.mono_ns == 0 {",
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
        "who hears that Redis has lost its memory is in doubt",
        [
            (
                "mover/replies.rs",
                "            self.cells.doubt();\n        }\n        if self.roster.read",
                "        }\n        if self.roster.read",
            ),
        ],
    ),
    (
        "who has found its entry lost is believed that all is lost",
        [
            (
                "roster.rs",
                "let is_new = self.read_ns.is_some() && told_us > before_us;",
                "let is_new = self.read_ns.is_some() && told_us < before_us;",
            ),
        ],
    ),
]


def misplaced() -> list[str]:
    """Returns what is wrong with the places of the mutants in the tree."""
    wrong = []
    for rule, changes in MUTANTS:
        for name, old, _ in changes:
            count = (slim_crate.ROOT / WINDOWS / name).read_text().count(old)
            if count != 1:
                wrong.append(f"{rule}: {name} has {count} times, not once: {old}")
    return wrong


def build(what: str) -> str:
    """Builds the tests of the crate as it is. Returns their program, and ends all if there is none.

    Cargo builds elsewhere than in the tree's own target: it gives what it builds of two copies the
    same name, and would take one for the other.
    """
    command = ["cargo", "test", "--locked", "--lib", "--no-run", "--quiet", "--message-format=json"]
    # Whoever builds the server otherwise than its profile says has other reasons.
    own = {name: it for name, it in os.environ.items() if not name.startswith("CARGO_PROFILE_")}
    environment = own | {"CARGO_TARGET_DIR": str(CRATE / "target")}
    built = subprocess.run(
        command, cwd=CRATE, env=environment, text=True, stdout=subprocess.PIPE, check=False
    )
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    said = [it["message"] for it in messages if it["reason"] == "compiler-message"]
    errors = [it["rendered"] for it in said if it["level"] == "error"]
    programs = [it["executable"] for it in messages if it.get("executable")]
    if built.returncode != 0 or not programs:
        sys.exit(f"{''.join(errors)}\n{what} does not compile")
    return programs[-1]


def simulate(what: str) -> str | None:
    """Builds and runs the simulation. Returns what it has found; `None` if nothing."""
    program = build(what)
    try:
        ran = subprocess.run(
            [program, SIMULATION], text=True, capture_output=True, timeout=LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    if ran.returncode == 0:
        if re.search(r"^test result: ok\. [1-9]", ran.stdout, re.MULTILINE) is None:
            sys.exit(f"there is no test {SIMULATION}")
        return None
    seeds = re.findall(r"^seed \d+ .*", ran.stdout, re.MULTILINE)
    if seeds:
        return f"{seeds[0]}; {len(seeds)} in all"
    other = re.search(r"^.*no seed came.*", ran.stdout, re.MULTILINE)
    tests = re.findall(r"^test (\S+) \.\.\. FAILED", ran.stdout, re.MULTILINE)
    return (other[0] if other else " ".join(tests)) or "it failed"


def mutated(rule: str, changes: list[tuple[str, str, str]]) -> str | None:
    """Returns what the simulation has found in a mutant; `None` if nothing."""
    texts = {}
    for name, old, new in changes:
        file = CRATE / WINDOWS / name
        texts.setdefault(file, file.read_text())
        file.write_text(file.read_text().replace(old, new))
    try:
        return simulate(f"the mutant without \"{rule}\"")
    finally:
        for file, text in texts.items():
            file.write_text(text)


def main() -> None:
    words = sys.argv[1:]
    if wrong := misplaced():
        sys.exit("\n".join(wrong))
    if words == ["--texts"]:
        return
    chosen = [it for it in MUTANTS if not words or any(word in it[0] for word in words)]
    if not chosen:
        sys.exit(f"no rule has one of these words: {words}")
    slim_crate.generate(CRATE)
    # What is left of a build that was broken off does not link with what is new.
    shutil.rmtree(CRATE / "target" / "debug" / "incremental", ignore_errors=True)
    if found := simulate("the crate that is made by the lists in ci/slim_crate.py"):
        sys.exit(f"the simulation fails without a mutant: {found}")
    print("passed   the simulation without a mutant", flush=True)
    survivors = 0
    for rule, changes in chosen:
        began = time.monotonic()
        found = mutated(rule, changes)
        survivors += found is None
        fate = "SURVIVED" if found is None else "noticed"
        print(f"{fate:8} {rule}: {found or '-'} ({time.monotonic() - began:.0f} s)", flush=True)
    if survivors:
        sys.exit(f"{survivors} of {len(chosen)} mutants survived")


if __name__ == "__main__":
    main()
