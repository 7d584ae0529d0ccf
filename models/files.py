"""Files that are whole or not there: written beside their name, then put there at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields where to write; that becomes `path` at once, or goes again where writing fails."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        yield fresh
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: str | bytes) -> None:
    with whole(path) as fresh:
        fresh.write_bytes(data.encode() if isinstance(data, str) else data)
