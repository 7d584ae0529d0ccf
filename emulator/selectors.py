"""Whom a fault means: selectors of nodes by name."""

import re
from fnmatch import translate
from functools import lru_cache


def selects(selector: str, name: str) -> bool:
    """Says whether a selector means a node: a comma-separated union of globs, `!` excludes."""
    return bool(_pattern(selector).fullmatch(name))


@lru_cache(maxsize=1024)
def _pattern(selector: str) -> re.Pattern[str]:
    parts = [part.strip() for part in selector.split(",")]
    wanted = "|".join(translate(part) for part in parts if not part.startswith("!"))
    unwanted = "|".join(translate(part[1:]) for part in parts if part.startswith("!"))
    return re.compile(f"(?!(?:{unwanted})$)(?:{wanted})" if unwanted else f"(?:{wanted})")
