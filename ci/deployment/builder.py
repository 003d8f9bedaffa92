"""buildah, with a store of its own: what it does leaves nothing on this machine.

It runs the lines of a Dockerfile with no more isolation than a change of root, which needs neither
a daemon nor a registry. There is no network but a loopback of its own, so a port that somebody has
here is free there, and nothing can be fetched that was not there before.
"""

import pathlib
import shutil
import subprocess

from manifests import Fault

# The slowest of them compiles every dependency on two cores that have other work.
SECONDS_MAX = 900
ALONE = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


class Builder:
    """buildah with its images and containers in `folder`, which is removed when its `with` ends."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def __enter__(self):
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_):
        # What is still mounted could not be removed.
        self.attempt("umount", "--all")
        self.attempt("rm", "--all")
        shutil.rmtree(self.folder)

    def attempt(self, *arguments, seconds_max=SECONDS_MAX):
        """Exit code and words of one of its commands."""
        store = ["--root", self.folder / "store", "--runroot", self.folder / "run"]
        command = [*ALONE, "buildah", *store, *arguments]
        done = subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds_max,
        )
        return done.returncode, done.stdout

    def __call__(self, *arguments):
        """The words of a command that has to succeed."""
        code, said = self.attempt(*arguments)
        if code != 0:
            raise Fault(f"buildah {arguments[0]}: exit code {code}\n{said[-4000:]}")
        return said.strip()

    def paths(self, image):
        """A container's id and the folder that shows what is in an image."""
        container = self("from", "--pull-never", image).splitlines()[-1]
        return container, pathlib.Path(self("mount", container).splitlines()[-1])
