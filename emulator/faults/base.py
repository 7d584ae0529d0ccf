"""What faults have in common: when they happen, to how many, how they grow, and to whom.

Chance, choice and repetition are decided once, in `scenario/occurrences.py`; what kernels get is a
fault that names whom it hits and happens.
"""

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from agents.messages import NodeId
from emulator.faults.effects import HEALTHY, Effect
from emulator.faults.selectors import Place, Selector, selects

LinkKind = Literal[
    "uplink", "downlink", "control-up", "control-down", "to-server", "from-server", "control-peer"
]
RADIO_KINDS = frozenset({"uplink", "downlink", "control-up", "control-down"})
CONTROL_KINDS = frozenset({"control-up", "control-down", "control-peer"})
KINDS_OF_DIRECTION = {
    "up": frozenset({"uplink", "control-up", "to-server"}),
    "down": frozenset({"downlink", "control-down", "from-server"}),
}
NOTE_MAX = 200  # characters
INSTANT_DIGITS = 9  # faults end on whole nanoseconds
MODIFIER: JsonDict = {"modifier": True}  # what many faults take and most leave as it is
Mode = Literal["all", "one", "fixed", "percent"]
Direction = Literal["up", "down", "both"]


class BaseFault(BaseModel):
    """What all faults share. `for_s` None: until the run ends."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    grows: ClassVar[str] = ""  # the parameter that `ramp_s` lets grow; "": there is none
    ends_run: ClassVar[bool] = False  # nothing heals it
    whom: ClassVar[str] = "node"  # what its target may name, in words
    together: ClassVar[str]  # how several combine, in words; the rules are those of `effects.py`
    needs_snr: ClassVar[bool] = False  # a channel that knows a signal-to-noise ratio

    at_s: float = Field(ge=0.0, description="When it begins, in emulated seconds.")
    for_s: float | None = Field(None, gt=0.0, description="How long it lasts; absent: to the end.")
    every_s: float | None = Field(
        None, gt=0.0, description="It begins anew every so many seconds; needs a shorter for_s."
    )
    mode: Mode = Field(
        "all",
        description="How many of the targets it hits, chosen at random when it begins.",
        json_schema_extra=MODIFIER,
    )
    value: float | None = Field(
        None,
        gt=0.0,
        description="Mode fixed: how many nodes; percent: a share of them, up to 100.",
        json_schema_extra=MODIFIER,
    )
    probability: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="That it happens at all; each repetition is drawn anew.",
        json_schema_extra=MODIFIER,
    )
    ramp_s: float | None = Field(
        None,
        gt=0.0,
        description="It grows to full strength in so long, evenly; absent: at once.",
        json_schema_extra=MODIFIER,
    )
    note: str = Field(
        "", max_length=NOTE_MAX, description="Kept in the record.", json_schema_extra=MODIFIER
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.every_s is not None and (self.for_s is None or self.for_s >= self.every_s):
            raise ValueError(f"every_s: needs a for_s shorter than its {self.every_s:g} s")
        if self.mode in ("fixed", "percent"):
            if self.value is None:
                raise ValueError(f"value: mode {self.mode} needs it")
            if self.mode == "fixed" and not self.value.is_integer():
                raise ValueError(f"value: {self.value:g} is no whole number of nodes")
            if self.mode == "percent" and self.value > 100.0:
                raise ValueError(f"value: {self.value:g} percent is more than there is")
        elif self.value is not None:
            raise ValueError(f"value: mode {self.mode} has none; set mode: fixed or percent")
        if self.ramp_s is not None and not self.grows:
            raise ValueError(f"ramp_s: {self.kind} has no strength that could grow")
        return self

    @property
    def kind(self) -> str:
        """The word for it, its `type`."""
        return str(getattr(self, "type", ""))

    @property
    def until_s(self) -> float:
        # A sum of floats may miss the instant at which the next fault begins by a rounding.
        ends_s = math.inf if self.for_s is None else self.at_s + self.for_s
        return round(ends_s, INSTANT_DIGITS)

    @property
    def full_s(self) -> float:
        """When it has its full strength."""
        return self.at_s + (self.ramp_s or 0.0)

    def share(self, now_s: float) -> float:
        """Says how much of its strength it has at `now_s`: it grows evenly over `ramp_s`."""
        if self.ramp_s is None or now_s >= self.full_s:
            return 1.0
        return max(0.0, (now_s - self.at_s) / self.ramp_s)

    def may_mean(self, place: Place) -> bool:
        """Says whether its target may name such a node."""
        return True

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        """Says whether it does something to such a link."""
        return False

    def effect(self, share: float) -> Effect:
        """Returns what it does to a link that it touches, with a share of its strength."""
        return HEALTHY

    def described(self) -> dict[str, Any]:
        """Describes it as a scenario would, without what is as by default."""
        return self.model_dump(exclude_defaults=True)


class Directed(BaseFault):
    """A fault of links that may be about one direction only."""

    direction: Direction = Field(
        "both", description="Towards the servers (up), or from them.", json_schema_extra=MODIFIER
    )

    def goes(self, kind: LinkKind) -> bool:
        """Says whether links of that kind lead in its direction."""
        return self.direction == "both" or kind in KINDS_OF_DIRECTION[self.direction]


class LinkTarget(Directed):
    """A fault of links: which, and in which direction."""

    target: Selector = Field(
        description="Nodes ('bs-*', 'camera-*,!camera-0', 'group:camera', 'priority:0', "
        "'area:0,0,150,150') or one link ('camera-2->bs-0'). A user or base station stands for its "
        "radio links, a server for its backhaul links."
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        """Says whether the link from `source` to `target` is meant."""
        if not self.goes(kind):
            return False
        if "->" in self.target:
            left, right = self.target.split("->", 1)
            return selects(left, source) and selects(right, target)
        if kind in RADIO_KINDS or kind == "control-peer":
            return selects(self.target, source) or selects(self.target, target)
        return selects(self.target, target if kind == "to-server" else source)


class LinkFaultBase(LinkTarget):
    """A fault of whatever a link carries."""

    only: Literal["tasks", "control"] | None = Field(
        None,
        description="Radio links of tasks only, or control messages only: by radio and between "
        "base stations.",
        json_schema_extra=MODIFIER,
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        if self.only == "tasks" and (kind not in RADIO_KINDS or kind in CONTROL_KINDS):
            return False
        if self.only == "control" and kind not in CONTROL_KINDS:
            return False
        if kind == "control-peer" and self.only is None and "->" not in self.target:
            return False  # a wire between base stations: not what a blackout of one is
        return super().touches(source, target, kind)

    def may_mean(self, place: Place) -> bool:
        return self.only is None or place.kind != "server"
