"""The faults of links: settings, effect, and how several combine, each in one place."""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agents.messages import NodeId
from agents.reasons import Reason
from emulator.faults.base import (
    Directed,
    LinkFaultBase,
    LinkKind,
    LinkTarget,
)
from emulator.faults.effects import Chance, Distribution, Effect, deviate
from emulator.faults.radio import ChannelLoss, Fading, Interference, Shadowing
from emulator.faults.selectors import NodeSelector, selects

Probability = Annotated[float, Field(ge=0.0, le=1.0, description="Probability, in [0, 1].")]
Correlation = Annotated[
    float,
    Field(ge=0.0, lt=1.0, description="Of each draw with the one before, on the same link."),
]


class Blackout(LinkFaultBase):
    """Nothing gets through."""

    together: ClassVar[str] = "any"

    type: Literal["blackout"]

    def effect(self, share: float) -> Effect:
        return Effect(blocked_by=Reason(self.type))


class Loss(LinkFaultBase):
    """Each attempt is lost with a further probability `p`."""

    together: ClassVar[str] = "1 - product of (1 - p)"
    grows: ClassVar[str] = "p"

    type: Literal["loss"]
    p: Probability
    correlation: Correlation = 0.0

    def effect(self, share: float) -> Effect:
        if self.correlation:
            run = LossRun(p=self.p, correlation=self.correlation, share=share)
            return Effect(losses=(run,))
        return Effect(pass_p=1.0 - share * self.p)


class LossRun(Chance, frozen=True, kw_only=True):
    """That of a `loss` with a correlation."""

    stream: ClassVar[str] = "loss-run"
    named_by: ClassVar[tuple[str, ...]] = ("p", "correlation")
    reason: ClassVar[Reason] = Reason.LOSS_FAULT

    p: float

    def drawn(self, u: float, size_bits: float) -> float:
        return float(u < self.share * self.p)


class Corrupt(LinkFaultBase):
    """Each attempt that gets through is received but useless with probability `p`."""

    together: ClassVar[str] = "1 - product of (1 - p)"
    grows: ClassVar[str] = "p"

    type: Literal["corrupt"]
    p: Probability

    def effect(self, share: float) -> Effect:
        return Effect(clean_p=1.0 - share * self.p)


class WrongBit(Chance, frozen=True, kw_only=True):
    """That at least one bit of an attempt is wrong."""

    stream: ClassVar[str] = "bit-errors"
    named_by: ClassVar[tuple[str, ...]] = ("ber",)
    reason: ClassVar[Reason] = Reason.CORRUPT_FAULT

    ber: float

    def drawn(self, u: float, size_bits: float) -> float:
        return float(u < -math.expm1(size_bits * math.log1p(-self.share * self.ber)))


class BitErrors(LinkFaultBase):
    """Each bit is wrong with probability `ber`; one wrong bit corrupts all of an attempt.

    So what is larger is lost more often: of n bits, with probability 1 - (1 - ber)^n.
    """

    together: ClassVar[str] = "1 - product of (1 - ber)"
    grows: ClassVar[str] = "ber"

    type: Literal["bit_errors"]
    ber: float = Field(gt=0.0, le=0.5, description="Bit error rate; of a random bit it is 0.5.")

    def effect(self, share: float) -> Effect:
        return Effect(losses=(WrongBit(ber=self.ber, share=share),))


class Duplicate(LinkFaultBase):
    """What arrives arrives twice with probability `p`.

    A copy of a task is recognised and costs an attempt; protocol messages reach the node twice.
    """

    together: ClassVar[str] = "1 - product of (1 - p)"
    grows: ClassVar[str] = "p"

    type: Literal["duplicate"]
    p: Probability

    def effect(self, share: float) -> Effect:
        return Effect(single_p=1.0 - share * self.p)


class Reorder(LinkFaultBase):
    """What arrives arrives `delay_s` later with probability `p`, so that others overtake it."""

    together: ClassVar[str] = "independent"
    grows: ClassVar[str] = "p"

    type: Literal["reorder"]
    p: Probability
    delay_s: float = Field(gt=0.0)

    def effect(self, share: float) -> Effect:
        return Effect(lates=(Late(p=self.p, delay_s=self.delay_s, share=share),))


class Late(Chance, frozen=True, kw_only=True):
    """That of a `reorder`."""

    stream: ClassVar[str] = "reorder"
    named_by: ClassVar[tuple[str, ...]] = ("p", "delay_s")

    p: float
    delay_s: float

    def drawn(self, u: float, size_bits: float) -> float:
        return self.delay_s if u < self.share * self.p else 0.0


class BurstLoss(LinkFaultBase):
    """Losses in bursts: an overall share `loss`, in runs of `burst_length` slots on average."""

    together: ClassVar[str] = "independent"

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

    def effect(self, share: float) -> Effect:
        return Effect(bursts=((self.p, self.r, self.slot_s),))


class Delay(LinkFaultBase):
    """Everything takes `delay_s` longer, give or take a random time of the size `jitter_s`.

    Never shorter: where the deviation would take away more than `delay_s`, the fault adds nothing.
    """

    together: ClassVar[str] = "sum; jitters independent"
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

    def effect(self, share: float) -> Effect:
        if self.jitter_s:
            jitter = Jitter(
                distribution=self.distribution,
                jitter_s=self.jitter_s,
                correlation=self.correlation,
                delay_s=self.delay_s,
                share=share,
            )
            return Effect(delays=(jitter,))
        return Effect(delay_s=share * self.delay_s)


class Jitter(Chance, frozen=True, kw_only=True):
    """That of a `delay` with jitter."""

    stream: ClassVar[str] = "jitter"
    named_by: ClassVar[tuple[str, ...]] = ("distribution", "jitter_s", "correlation")

    distribution: Distribution
    jitter_s: float
    delay_s: float

    def drawn(self, u: float, size_bits: float) -> float:
        deviation_s = self.jitter_s * deviate(self.distribution, u)
        return self.share * max(0.0, self.delay_s + deviation_s)


class Rate(LinkFaultBase):
    """No attempt is faster than `rate_bps`; 0: nothing gets through."""

    together: ClassVar[str] = "minimum"

    type: Literal["rate"]
    rate_bps: float = Field(ge=0.0)

    def effect(self, share: float) -> Effect:
        return (
            Effect(rate_bps=self.rate_bps)
            if self.rate_bps
            else Effect(blocked_by=Reason(self.type))
        )


class Partition(Directed):
    """Nothing passes between the nodes of `a` (of which `mode` chooses) and those of `b`."""

    together: ClassVar[str] = "any"

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

    def effect(self, share: float) -> Effect:
        return Effect(blocked_by=Reason(self.type))


MESSAGE_ABOUT = "Types of protocol messages, as in 'ask', 'ask,share' or '*'."


class MessageDrop(LinkTarget):
    """Protocol messages of some types vanish with probability `p` before a link carries them."""

    together: ClassVar[str] = "1 - product of (1 - p)"
    grows: ClassVar[str] = "p"

    type: Literal["message_drop"]
    message: str = Field(description=MESSAGE_ABOUT)
    p: Probability = 1.0

    def effect(self, share: float) -> Effect:
        return Effect(message_drops=((self.message, share * self.p),))


class MessageDelay(LinkTarget):
    """Protocol messages of some types wait `delay_s` before a link carries them."""

    together: ClassVar[str] = "sum"
    grows: ClassVar[str] = "delay_s"

    type: Literal["message_delay"]
    message: str = Field(description=MESSAGE_ABOUT)
    delay_s: float = Field(gt=0.0)

    def effect(self, share: float) -> Effect:
        return Effect(message_delays=((self.message, share * self.delay_s),))


LinkFault = (
    Blackout
    | Loss
    | Corrupt
    | BitErrors
    | BurstLoss
    | Duplicate
    | Reorder
    | Fading
    | Shadowing
    | Interference
    | Delay
    | Rate
    | ChannelLoss
    | Partition
    | MessageDrop
    | MessageDelay
)
