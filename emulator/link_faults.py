"""The faults of links. How they fold into one effect stands in `faults.py`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agents.bodies import NodeId
from emulator.fault_base import RADIO_KINDS, BaseFault, LinkFaultBase, LinkKind
from emulator.selectors import selects


class Blackout(LinkFaultBase):
    """Nothing gets through."""

    type: Literal["blackout"]


class Loss(LinkFaultBase):
    """Each attempt is lost with a further probability `p`."""

    type: Literal["loss"]
    p: float = Field(ge=0.0, le=1.0)


class Corrupt(LinkFaultBase):
    """Each attempt that gets through is received but useless with probability `p`."""

    type: Literal["corrupt"]
    p: float = Field(ge=0.0, le=1.0, description="Probability, in [0, 1].")


class ChannelLoss(BaseFault):
    """Base stations hear nothing on some of their shared channels.

    Only users of scheduled access look first, and see it.
    """

    type: Literal["channel_loss"]
    target: str = Field(description="Base stations whose access is not dedicated.")
    channels: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Numbers of the channels, from 0."
    )

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return kind == "uplink" and selects(self.target, target)


class BurstLoss(LinkFaultBase):
    """Losses in bursts: an overall share `loss`, in runs of `burst_length` slots on average."""

    type: Literal["burst_loss"]
    loss: float = Field(gt=0.0, lt=1.0)
    burst_length: float = Field(ge=1.0)
    slot_s: float = Field(0.01, gt=0.0)

    @property
    def r(self) -> float:
        """The probability per slot that a burst ends."""
        return 1.0 / self.burst_length

    @property
    def p(self) -> float:
        """The probability per slot that one begins."""
        return self.r * self.loss / (1.0 - self.loss)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        shortest = self.loss / (1.0 - self.loss)
        if self.burst_length < shortest:
            raise ValueError(
                f"a share of {self.loss:g} needs a burst_length of {shortest:.3g} at least"
            )
        return self


class Fading(LinkFaultBase):
    """The signal is `depth_db` weaker; for channels that know a signal-to-noise ratio."""

    type: Literal["fading"]
    depth_db: float = Field(gt=0.0, le=200.0)


class Interference(BaseFault):
    """Receivers hear a noise that is `rise_db` stronger; for channels that know an SNR."""

    type: Literal["interference"]
    target: str = Field(description="Who hears it: users, base stations or both.")
    rise_db: float = Field(gt=0.0, le=200.0, description="By how much noise rises, in dB.")

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return kind in RADIO_KINDS and selects(self.target, target)


class Delay(LinkFaultBase):
    """Everything takes `delay_s` longer, give or take `jitter_s` (uniform)."""

    type: Literal["delay"]
    delay_s: float = Field(gt=0.0)
    jitter_s: float = Field(0.0, ge=0.0)


class Rate(LinkFaultBase):
    """No attempt is faster than `rate_bps`."""

    type: Literal["rate"]
    rate_bps: float = Field(gt=0.0)


class Partition(BaseFault):
    """Nothing passes between the nodes of `a` and those of `b`, in either direction."""

    type: Literal["partition"]
    a: list[str] = Field(min_length=1)
    b: list[str] = Field(min_length=1)

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        a, b = ",".join(self.a), ",".join(self.b)
        return (selects(a, source) and selects(b, target)) or (
            selects(b, source) and selects(a, target)
        )
