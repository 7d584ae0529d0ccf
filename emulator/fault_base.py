"""What faults have in common: when they begin and end, and which links or nodes they are about."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.bodies import NodeId
from emulator.selectors import selects

LinkKind = Literal[
    "uplink", "downlink", "control-up", "control-down", "to-server", "from-server", "control-peer"
]
RADIO_KINDS = frozenset({"uplink", "downlink", "control-up", "control-down"})
CONTROL_KINDS = frozenset({"control-up", "control-down", "control-peer"})


class BaseFault(BaseModel):
    """What all faults share: when, and whom. `for_s` None: until the run ends."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    at_s: float = Field(ge=0.0, description="When it begins, in emulated seconds.")
    for_s: float | None = Field(None, gt=0.0, description="How long it lasts; absent: to the end.")

    @property
    def until_s(self) -> float:
        return math.inf if self.for_s is None else self.at_s + self.for_s


class LinkFaultBase(BaseFault):
    target: str = Field(
        description="Nodes ('user-2', 'bs-*', 'user-1,user-3', 'user-*,!user-0') or one link "
        "('user-2->bs-0'). A user or base station stands for its radio links, a server for its "
        "backhaul links."
    )
    only: Literal["tasks", "control"] | None = Field(
        None,
        description="Radio links of tasks only, or control messages only: by radio and between "
        "base stations.",
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        """Says whether the link from `source` to `target` is meant."""
        if self.only == "tasks" and (kind not in RADIO_KINDS or kind in CONTROL_KINDS):
            return False
        if self.only == "control" and kind not in CONTROL_KINDS:
            return False
        if "->" in self.target:
            left, right = self.target.split("->", 1)
            return selects(left, source) and selects(right, target)
        if kind == "control-peer":  # a wire between base stations: not what a blackout of one is
            return self.only == "control" and (
                selects(self.target, source) or selects(self.target, target)
            )
        if kind in RADIO_KINDS:
            return selects(self.target, source) or selects(self.target, target)
        return selects(self.target, target if kind == "to-server" else source)


class ServerFaultBase(BaseFault):
    target: str = Field(description="Servers, as in 'edge-0' or 'edge-*,!edge-1'.")
