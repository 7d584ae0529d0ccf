"""What all faults share: when they hold, and how a selector names whom they hit."""

import math
import re
from fnmatch import translate
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LinkKind = Literal[
    "uplink", "downlink", "control-up", "control-down", "to-server", "from-server", "control-peer"
]
RADIO_KINDS = frozenset({"uplink", "downlink", "control-up", "control-down"})
CONTROL_KINDS = frozenset({"control-up", "control-down", "control-peer"})

INSTANT_DIGITS = 9  # faults end on whole nanoseconds


def selects(selector: str, name: str) -> bool:
    """Says whether a selector means a node: a comma-separated union of globs, `!` excludes."""
    return bool(_pattern(selector).fullmatch(name))


@lru_cache(maxsize=1024)
def _pattern(selector: str) -> re.Pattern[str]:
    parts = [part.strip() for part in selector.split(",")]
    wanted = "|".join(translate(part) for part in parts if not part.startswith("!"))
    unwanted = "|".join(translate(part[1:]) for part in parts if part.startswith("!"))
    return re.compile(f"(?!(?:{unwanted})$)(?:{wanted})" if unwanted else f"(?:{wanted})")


class BaseFault(BaseModel):
    """When it holds; whom it hits is for the faults themselves. `for_s` None: to the run's end."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    at_s: float = Field(ge=0.0, description="When it begins, in emulated seconds.")
    for_s: float | None = Field(None, gt=0.0, description="How long it lasts; absent: to the end.")

    @property
    def until_s(self) -> float:
        # A sum of floats may miss the instant at which the next fault begins by a rounding.
        ends_s = math.inf if self.for_s is None else self.at_s + self.for_s
        return round(ends_s, INSTANT_DIGITS)
