"""The faults of links. How they fold into one effect stands in `fold.py`."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agents.messages import NodeId
from emulator.faults.base import (
    RADIO_KINDS,
    BaseFault,
    Directed,
    LinkFaultBase,
    LinkKind,
    LinkTarget,
)
from emulator.faults.selectors import NodeSelector, Place, selects

Probability = Annotated[float, Field(ge=0.0, le=1.0, description="Probability, in [0, 1].")]
Correlation = Annotated[
    float,
    Field(ge=0.0, lt=1.0, description="Of each draw with the one before, on the same link."),
]
Distribution = Literal["uniform", "normal", "pareto"]


class Blackout(LinkFaultBase):
    """Nothing gets through."""

    type: Literal["blackout"]


class Loss(LinkFaultBase):
    """Each attempt is lost with a further probability `p`."""

    grows: ClassVar[str] = "p"

    type: Literal["loss"]
    p: Probability
    correlation: Correlation = 0.0


class Corrupt(LinkFaultBase):
    """Each attempt that gets through is received but useless with probability `p`."""

    grows: ClassVar[str] = "p"

    type: Literal["corrupt"]
    p: Probability


class Duplicate(LinkFaultBase):
    """What arrives arrives twice with probability `p`.

    A copy of a task is recognised and costs an attempt; protocol messages reach the node twice.
    """

    grows: ClassVar[str] = "p"

    type: Literal["duplicate"]
    p: Probability


class Reorder(LinkFaultBase):
    """What arrives arrives `delay_s` later with probability `p`, so that others overtake it."""

    grows: ClassVar[str] = "p"

    type: Literal["reorder"]
    p: Probability
    delay_s: float = Field(gt=0.0)


class ChannelLoss(BaseFault):
    """Base stations hear nothing on some of their shared channels.

    Only users of scheduled access look first, and see it.
    """

    whom: ClassVar[str] = "base station with shared channels"

    type: Literal["channel_loss"]
    target: NodeSelector = Field(description="Base stations whose access is not dedicated.")
    channels: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="Numbers of the channels, from 0."
    )

    def may_mean(self, place: Place) -> bool:
        return place.channels > 0

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

    grows: ClassVar[str] = "depth_db"

    type: Literal["fading"]
    depth_db: float = Field(gt=0.0, le=200.0)


class Shadowing(LinkFaultBase):
    """Each link's signal is weaker or stronger for good: normal in dB; for channels with an SNR.

    What stands in the way of one link stands in the way of both directions.
    """

    grows: ClassVar[str] = "sigma_db"

    type: Literal["shadowing"]
    sigma_db: float = Field(gt=0.0, le=50.0, description="Standard deviation over links, in dB.")


class Interference(Directed):
    """Receivers hear a noise that is `rise_db` stronger; for channels that know an SNR."""

    grows: ClassVar[str] = "rise_db"
    whom: ClassVar[str] = "user or base station"

    type: Literal["interference"]
    target: NodeSelector = Field(description="Who hears it: users, base stations or both.")
    rise_db: float = Field(gt=0.0, le=200.0, description="By how much noise rises, in dB.")

    def may_mean(self, place: Place) -> bool:
        return place.kind != "server"

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        return self.goes(kind) and kind in RADIO_KINDS and selects(self.target, target)


class Delay(LinkFaultBase):
    """Everything takes `delay_s` longer, give or take a random time of the size `jitter_s`.

    Never shorter: where the deviation would take away more than `delay_s`, the fault adds nothing.
    """

    grows: ClassVar[str] = "delay_s"

    type: Literal["delay"]
    delay_s: float = Field(gt=0.0)
    jitter_s: float = Field(
        0.0,
        ge=0.0,
        description="Uniform: the most it deviates; normal and pareto: standard deviation.",
    )
    distribution: Distribution = Field("uniform", description="Of the deviation; its mean is 0.")
    correlation: Correlation = 0.0


class Rate(LinkFaultBase):
    """No attempt is faster than `rate_bps`; 0: nothing gets through."""

    type: Literal["rate"]
    rate_bps: float = Field(ge=0.0)


class Partition(Directed):
    """Nothing passes between the nodes of `a` (of which `mode` chooses) and those of `b`."""

    type: Literal["partition"]
    a: list[NodeSelector] = Field(
        min_length=1, description="Nodes of one side, as in [bs-0, medic-*]."
    )
    b: list[NodeSelector] = Field(min_length=1, description="Nodes of the other, as in [rack-*].")

    def touches(self, source: NodeId, target: NodeId, kind: LinkKind) -> bool:
        if not self.goes(kind):
            return False
        a, b = ",".join(self.a), ",".join(self.b)
        return (selects(a, source) and selects(b, target)) or (
            selects(b, source) and selects(a, target)
        )


MESSAGE_ABOUT = "Types of protocol messages, as in 'ask', 'ask,share' or '*'."


class MessageDrop(LinkTarget):
    """Protocol messages of some types vanish with probability `p` before a link carries them."""

    grows: ClassVar[str] = "p"

    type: Literal["message_drop"]
    message: str = Field(description=MESSAGE_ABOUT)
    p: Probability = 1.0


class MessageDelay(LinkTarget):
    """Protocol messages of some types wait `delay_s` before a link carries them."""

    grows: ClassVar[str] = "delay_s"

    type: Literal["message_delay"]
    message: str = Field(description=MESSAGE_ABOUT)
    delay_s: float = Field(gt=0.0)
