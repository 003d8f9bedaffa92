"""The image, built by the Dockerfile's own lines from what `.dockerignore` lets through.

    image.py FOLDER

`FOLDER` keeps the stand-in for the base image, which cannot be pulled here, from one run to the
next: a Debian of the release that the tag names, made of its packages, with this machine's
toolchain. Two things differ from `docker build`: crates come from this machine's cache, and the
profile is a light one. Both are variables of the stand-in; no line of the Dockerfile knows of them.

Then the build has to fail for want of any one of its files, as far as it gets by what is cached.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import context
from builder import Builder
from manifests import ROOT, Fault

COMMIT = "0123abc"
IMAGE = "corepulse:check"
# What the tag of the official image stands for.
PACKAGES = "ca-certificates,gcc,libc6-dev"
CARGO, RUSTUP = "/usr/local/cargo", "/usr/local/rustup"
VARIABLES = {
    "CARGO_HOME": CARGO,
    "RUSTUP_HOME": RUSTUP,
    "PATH": f"{CARGO}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # Here only: what is fetched is there, and the fastest build will do.
    "CARGO_NET_OFFLINE": "true",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_DEBUG": "0",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
}
# Files that are in many a checkout and have no business in a layer.
SECRETS = (".env", ".git/config", "README.md", "k8s/secret.yaml", "perf/src/lib.rs", "target/a/b")
BINARY = "usr/local/bin/corepulse"
AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def check_context(builder, folder):
    """Our reading of `.dockerignore` is buildah's, and nothing comes through that should not."""
    sample = folder / "sample"
    for path in (*SECRETS, "src/main.rs"):
        (sample / path).parent.mkdir(parents=True, exist_ok=True)
        (sample / path).write_text("a", encoding="utf-8")
    shutil.copy(ROOT / ".dockerignore", sample)
    recipe = folder / "Everything"
    recipe.write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
    for root in (sample, ROOT):
        ours = context.copy(root, folder / f"of-{root.name}")
        ignored = ("--ignorefile", root / ".dockerignore")
        builder("bud", "--quiet", *ignored, "--file", recipe, "--tag", "everything", root)
        container, mounted = builder.paths("everything")
        found = sorted(str(p.relative_to(mounted)) for p in mounted.rglob("*") if not p.is_dir())
        builder("rm", container)
        if found != ours:
            raise Fault(f"buildah is let through {sorted(set(found) ^ set(ours))}, or we are")
        let_through = sorted(set(SECRETS) & set(ours))
        if let_through or not ours:
            raise Fault(f".dockerignore lets through {let_through} of {ours}")
    return folder / f"of-{ROOT.name}"


def base_image():
    """Name, Rust version and Debian release of the image that the build begins with."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^FROM (rust:([\d.]+)-slim-(\w+)) AS build$", text, re.MULTILINE)
    if not found:
        raise Fault("the Dockerfile does not begin with an image of Rust on Debian")
    return found.groups()


def toolchain(version):
    """The folder of this machine's Rust, which has to be of that version."""
    found = output("rustc", "--version")
    if f" {version} " not in found:
        raise Fault(f"the image is built with Rust {version}, and here is {found}")
    return output("rustc", "--print", "sysroot")


def make_stand_in(builder, kept):
    """The base image under its own name; says what the builds have to mount."""
    name, version, release = base_image()
    sysroot = toolchain(version)
    packed = kept / f"{release}.tar"
    if not packed.exists():
        kept.mkdir(parents=True, exist_ok=True)
        growing = kept / f"{release}.{os.getpid()}.tar"
        wanted = ["--variant=minbase", f"--include={PACKAGES}", release, str(growing)]
        done = subprocess.run(
            ["mmdebstrap", *wanted], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            growing.unlink(missing_ok=True)
            raise Fault(f"mmdebstrap: {done.stderr[-2000:]}")
        growing.rename(packed)
    container = builder("from", "scratch")
    builder("add", "--quiet", container, packed, "/")
    builder("config", *(f"--env={k}={v}" for k, v in VARIABLES.items()), container)
    mounted = pathlib.Path(builder("mount", container))
    for folder in (f"{CARGO}/bin", f"{CARGO}/registry", RUSTUP):
        mounted.joinpath(folder.removeprefix("/")).mkdir(parents=True)
    for tool in ("cargo", "rustc"):
        mounted.joinpath(CARGO.removeprefix("/"), "bin", tool).symlink_to(f"{RUSTUP}/bin/{tool}")
    builder("umount", container)
    builder("commit", "--quiet", "--rm", container, f"docker.io/library/{name}")
    crates = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    # What is written to the cache is thrown away with its layer.
    return [f"--volume={sysroot}:{RUSTUP}:ro", f"--volume={crates}/registry:{CARGO}/registry:O"]


def build(builder, volumes, folder):
    """Exit code and words of building the Dockerfile in that folder."""
    architecture = output("dpkg", "--print-architecture")
    return builder.attempt(
        "bud", "--isolation=chroot", "--pull-never", "--layers", "--format=docker", *volumes,
        f"--build-arg=TARGETARCH={architecture}", f"--build-arg=COREPULSE_COMMIT={COMMIT}",
        f"--tag={IMAGE}", "--file", ROOT / "Dockerfile", folder,
    )


def check_build(builder, volumes, folder):
    """It succeeds, and the smoke test has seen the server start and stop."""
    code, said = build(builder, volumes, folder)
    for line in (r"\blistening on http://127\.0\.0\.1:8080\b", r"\bstopped\b.*\brequests=1\b"):
        if code != 0 or not re.search(line, said):
            raise Fault(f"exit code {code}, and the smoke test must say {line}:\n{said[-6000:]}")


def check_image(builder):
    """What is in the image, and what it says of itself."""
    container, mounted = builder.paths(IMAGE)
    found = {str(p.relative_to(mounted)) for p in mounted.rglob("*") if not p.is_dir()}
    linked = output("ldd", str(mounted / BINARY))
    wanted = {path.removeprefix("/") for path in re.findall(r"/\S+", linked)}
    if found != wanted | {BINARY, AUTHORITIES}:
        raise Fault(f"in the image are {sorted(found)}, and it needs {sorted(wanted)}")
    if COMMIT.encode() not in (mounted / BINARY).read_bytes():
        raise Fault("the binary does not know the commit that it was built of")
    if "BEGIN CERTIFICATE" not in (mounted / AUTHORITIES).read_text(encoding="utf-8"):
        raise Fault("the image has no certificate authorities")
    said = builder("run", "--isolation=chroot", container, f"/{BINARY}", "--version")
    if not re.search(rf"^corepulse \d\S* \({COMMIT}\)$", said, re.MULTILINE):
        raise Fault(f"the image's server says {said!r}")
    builder("rm", container)
    inspected = json.loads(builder("inspect", "--type=image", IMAGE))["Docker"]["config"]
    for key, value in {
        "User": "65532:65532",
        "Entrypoint": [f"/{BINARY}"],
        "ExposedPorts": {"8080/tcp": {}},
        "StopSignal": "SIGTERM",
    }.items():
        if inspected.get(key) != value:
            raise Fault(f"the image has {key} {inspected.get(key)}, expected {value}")
    if inspected["Healthcheck"]["Test"] != ["CMD", f"/{BINARY}", "healthcheck"]:
        raise Fault(f"the image checks its health by {inspected['Healthcheck']}")
    if inspected["Labels"]["org.opencontainers.image.revision"] != COMMIT:
        raise Fault("the image's label is of another commit")


def removals(folder):
    """Each file or folder at the top of the context, and one deep in it: a module of the server."""
    yield from sorted(path.name for path in folder.iterdir())
    yield "src/limits.rs"


def check_missing(builder, volumes, folder):
    """Without any one of its files the build fails, and says which it was."""
    for name in removals(folder):
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            moved = pathlib.Path(aside, "moved")
            (folder / name).rename(moved)
            code, said = build(builder, volumes, folder)
            moved.rename(folder / name)
        if code == 0 or pathlib.Path(name).stem not in said:
            raise Fault(f"without {name} the build ends with {code}:\n{said[-2000:]}")
    # A target that is in the manifest, and not among the sources that stand in for ours.
    manifest = folder / "Cargo.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(f'{text}\n[[bench]]\nname = "nowhere"\n', encoding="utf-8")
    code, said = build(builder, volumes, folder)
    manifest.write_text(text, encoding="utf-8")
    if code == 0 or "can't find `nowhere` bench" not in said:
        raise Fault(f"with a benchmark that is nowhere the build ends with {code}:\n{said[-2000:]}")


def main():
    kept = pathlib.Path(sys.argv[1]).resolve()
    kept.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            folder = pathlib.Path(folder)
            with Builder(folder / "buildah") as builder:
                copied = check_context(builder, folder)
                print(f"context: {sum(p.is_file() for p in copied.rglob('*'))} files", flush=True)
                volumes = make_stand_in(builder, kept)
                check_build(builder, volumes, copied)
                check_image(builder)
                print("image: built, started and stopped as its user", flush=True)
                check_missing(builder, volumes, copied)
                print("image: not built for want of any one file")
    except Fault as fault:
        print(f"image: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # A terminated check removes what it made, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
