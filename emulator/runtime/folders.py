"""Run folders: made where results can be written, named by `latest` once there is a result, and
told apart from those whose run still goes on."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from emulator.results.journal import NAME as JOURNAL
from emulator.results.journal import Unwritten
from models.files import whole

ROOM_BYTES = 2**20  # tables and report of a small run; less than this is a full disk
LATEST = "latest"
ELSEWHERE = "name another folder with --out"
CONTROL = "control.json"  # where a run listens; locked as long as it does


class Unwritable(OSError):
    """Results cannot be written; the message says where, why and what to do."""


def new_folder(root: Path, name: str) -> Path:
    """Makes root/name/<stamp>/ and tries whether results fit in there."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        folder = root / name / (stamp if number == 1 else f"{stamp}-{number}")
        if make(folder):
            return folder
    raise Unwritable(f"{root / name}: there are 999 folders of this second already")


def make(folder: Path, elsewhere: str = ELSEWHERE) -> bool:
    """Makes a folder, tries whether results fit in there, and says whether it was not there yet.

    Unwritable where they do not; `elsewhere` says how to have them at another place.
    """
    is_new = False
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            folder.mkdir()
            is_new = True
        with whole(folder / ".room") as room:
            room.write_bytes(bytes(ROOM_BYTES))
        (folder / ".room").unlink()
    except OSError as error:
        if is_new:
            discard(folder)
        raise unwritable(folder, error, elsewhere) from error
    return is_new


def unwritable(path: Path, error: OSError, elsewhere: str = ELSEWHERE) -> Unwritable:
    """Says why results cannot be written at `path`, and what to do about it."""
    remedy = elsewhere
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = f"free some room, or {remedy}"
    if isinstance(error, FileExistsError | NotADirectoryError):
        blocked = next(each for each in (path, *path.parents) if each.exists())
        why = f"{blocked} is a file"
    else:
        why = error.strerror or str(error)
    return Unwritable(f"results cannot be written to {path}: {why}; {remedy}")


def discard(folder: Path) -> None:
    """Removes a folder of this run again, and the one above it where nothing else is in that."""
    shutil.rmtree(folder, ignore_errors=True)
    discard_empty(folder)


def discard_empty(folder: Path) -> None:
    for each in (folder, folder.parent):
        with suppress(OSError):  # something is in there
            each.rmdir()


def discard_unbegun(folder: Path) -> None:
    """Removes the folder of a run that was refused: it recorded nothing."""
    journal = folder / JOURNAL
    if not (folder / "summary.json").exists() and not (journal.exists() and journal.stat().st_size):
        discard(folder)


def name_latest(folder: Path, links: Iterable[Path]) -> None:
    """Has every one of `links` lead to the folder; at once, as another run may do the same.

    Unwritten where one cannot be made.
    """
    for link in links:
        fresh = link.with_name(f".latest-{os.getpid()}")
        try:
            fresh.symlink_to(os.path.relpath(folder, link.parent))
            fresh.replace(link)
        except OSError as error:
            raise Unwritten(f"{link}: {error.strerror}") from error


def announce(folder: Path, url: str) -> IO[str]:
    """Says where a run listens. The file is locked until it is closed or its process is gone."""
    with whole(folder / CONTROL) as fresh:
        file = fresh.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        file.flush()
    return file


def going_on(root: Path) -> list[Path]:
    """Returns the folders of the runs under `root` that go on and can be asked."""
    found = (reported.parent for reported in root.glob(f"*/*/{CONTROL}"))
    return sorted(folder for folder in found if not folder.is_symlink() and goes_on(folder))


def goes_on(folder: Path) -> bool:
    """Says whether somebody holds the lock: a run that was killed left its file, not its lock."""
    try:
        with (folder / CONTROL).open() as reported:
            fcntl.flock(reported, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def address(folder: Path) -> str:
    return str(json.loads((folder / CONTROL).read_text())["url"])
