"""`fresco doctor`: looks for what could go wrong on this machine, and says what to do about it."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from emulator.cli.terminal import Terminal
from emulator.runtime.session import versions

SHM_NEEDED = 128 * 2**20  # Ray falls back to files under /tmp, with a warning, where there is less
DISK_NEEDED = 2**30


class Finding(Struct, frozen=True):
    """One thing looked at. `remedy` is empty where all is well."""

    what: str
    found: str
    remedy: str = ""


def examine(console: Terminal, with_ray: bool) -> bool:
    """Prints every finding; returns whether all is well."""
    well = True
    for finding in _findings(with_ray):
        mark = "[red]bad [/]" if finding.remedy else "[green]good[/]"
        console.say(f"{mark} {finding.what}: {finding.found}")
        if finding.remedy:
            well = False
            console.say(f"     {finding.remedy}")
    return well


def _findings(with_ray: bool) -> Iterator[Finding]:
    old = sys.version_info < (3, 11)
    yield Finding("Python", sys.version.split()[0], "needs 3.11 or newer" if old else "")
    for package, found in versions().items():
        if package not in ("python", "platform"):
            yield Finding(package, found) if package == "fresco" else _package(package, found)
    yield Finding("processors", str(os.cpu_count()))
    yield _space("shared memory", Path("/dev/shm"), SHM_NEEDED, "docker run --shm-size=1g")
    yield _space("disk here", Path(), DISK_NEEDED, "run folders and Ray's logs need room")
    yield from _networks()
    if with_ray:
        yield from _ray()
    else:
        yield Finding("Ray start", "not tried; `fresco doctor --ray` does")


def _package(package: str, found: str) -> Finding:
    """Imports a package: that it is listed as installed does not say that it is there."""
    install = "pip install 'ray[default]'" if package == "ray" else f"pip install {package}"
    try:
        import_module(package)
    except Exception as error:  # whatever a broken installation raises
        return Finding(package, f"{found}, cannot be imported: {error}", install)
    return Finding(package, found)


def _space(what: str, path: Path, needed: int, remedy: str) -> Finding:
    if not path.exists():
        return Finding(what, "not there", remedy)
    free = shutil.disk_usage(path).free
    return Finding(what, f"{free / 2**30:.1f} GiB free", remedy if free < needed else "")


def _networks() -> Iterator[Finding]:
    from models import zoo

    for name in zoo.names():
        try:
            zoo.load(name)
        except Exception as error:
            yield Finding(f"network {name}", type(error).__name__, str(error))
        else:
            yield Finding(f"network {name}", "weights are what they were when trained")


def _ray() -> Iterator[Finding]:
    from emulator.misplaced import misplaced
    from emulator.runtime.connect import RunError, ray_cluster

    try:
        with ray_cluster(None):
            import ray

            found = ray.get(ray.remote(num_cpus=0)(misplaced).remote())
            where = "a worker finds our packages"
            yield Finding("Ray", "a worker started and answered")
            yield Finding("packages on a worker", "others" if found else where, found)
    except RunError as error:
        yield Finding("Ray", "does not start", str(error))
