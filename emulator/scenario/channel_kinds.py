"""The channels that a scenario may choose from, as types; `sim/channel.py` runs them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agents import radio
from emulator.scenario.fields import Distribution, NotNegative, Positive, Probability, Spec


class ChannelSpec(Spec):
    """What is to be known of a channel before a run; a kind says what differs."""

    has_state: ClassVar[bool] = True  # one for each pair; without state one serves them all
    has_snr: ClassVar[bool] = False  # a signal that faults can weaken

    def least_s(self, size_bits: float) -> float:
        """Returns how long an attempt takes at least."""
        raise NotImplementedError


class IdealChannel(ChannelSpec):
    has_state: ClassVar[bool] = False

    kind: Literal["ideal"]
    delay_s: NotNegative = 0.0

    def least_s(self, size_bits: float) -> float:
        return self.delay_s


def _least_s(rate_bps: float | None, airtime: Distribution | None, size_bits: float) -> float:
    if rate_bps is not None:
        return size_bits / rate_bps
    if airtime is not None and airtime.distribution == "deterministic":
        return airtime.mean_s
    return 0.0


class BernoulliChannel(ChannelSpec):
    """Each attempt is lost with probability `loss`; it takes size / rate, or a random time."""

    has_state: ClassVar[bool] = False

    kind: Literal["bernoulli"]
    loss: Probability = 0.0
    rate_bps: Positive | None = None
    airtime: Distribution | None = None

    def least_s(self, size_bits: float) -> float:
        return _least_s(self.rate_bps, self.airtime, size_bits)


class GilbertElliottChannel(ChannelSpec):
    """Good turns bad with probability `p` per slot, bad turns good with `r`."""

    kind: Literal["gilbert-elliott"]
    p: Probability
    r: Probability
    loss_good: Probability = 0.0
    loss_bad: Probability = 1.0
    slot_s: Positive = 0.01
    rate_bps: Positive | None = None
    airtime: Distribution | None = None

    def least_s(self, size_bits: float) -> float:
        return _least_s(self.rate_bps, self.airtime, size_bits)


class RayleighChannel(ChannelSpec):
    """Block fading with path loss. `snr_db` is the mean at `reference_m`."""

    has_snr: ClassVar[bool] = True

    kind: Literal["rayleigh"]
    snr_db: float = Field(30.0, ge=-50.0, le=100.0)
    reference_m: Positive = 50.0
    path_loss_exponent: float = Field(3.5, ge=1.0, le=8.0)
    threshold_db: float = Field(5.0, ge=-50.0, le=100.0)
    bandwidth_hz: Positive = 1.0e6
    coherence_s: Positive = 0.05

    def least_s(self, size_bits: float) -> float:
        return size_bits / radio.rate_bps(self.bandwidth_hz, self.threshold_db)


class AdaptiveChannel(ChannelSpec):
    """As `rayleigh`, but every channel of a base station fades for itself and is used at the rate
    that it supports, `efficiency_max` bit/s/Hz at most. `bandwidth_hz` is of one channel."""

    has_snr: ClassVar[bool] = True

    kind: Literal["adaptive"]
    snr_db: float = Field(20.0, ge=-50.0, le=100.0)
    reference_m: Positive = 50.0
    path_loss_exponent: float = Field(3.0, ge=1.0, le=8.0)
    bandwidth_hz: Positive = 1.0e6
    efficiency_max: Positive = 6.0
    coherence_s: Positive = 0.05

    def least_s(self, size_bits: float) -> float:
        return size_bits / (self.bandwidth_hz * self.efficiency_max)


class TraceChannel(ChannelSpec):
    """A CSV file beside the scenario with columns t_s, success, rate_bps; looped."""

    kind: Literal["trace"]
    file: str

    def least_s(self, size_bits: float) -> float:
        return 0.0  # its rate may be any, at times


Channel = Annotated[
    IdealChannel
    | BernoulliChannel
    | GilbertElliottChannel
    | RayleighChannel
    | AdaptiveChannel
    | TraceChannel,
    Field(discriminator="kind"),
]
