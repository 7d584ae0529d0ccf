"""The channels that a scenario may choose from, as types; `sim/channel.py` runs them."""

from typing import Annotated, Literal

from pydantic import Field

from emulator.scenario.fields import Distribution, NotNegative, Positive, Probability, Spec


class IdealChannel(Spec):
    kind: Literal["ideal"]
    delay_s: NotNegative = 0.0


class BernoulliChannel(Spec):
    """Each attempt is lost with probability `loss`; it takes size / rate, or a random time."""

    kind: Literal["bernoulli"]
    loss: Probability = 0.0
    rate_bps: Positive | None = None
    airtime: Distribution | None = None


class GilbertElliottChannel(Spec):
    """Good turns bad with probability `p` per slot, bad turns good with `r`."""

    kind: Literal["gilbert-elliott"]
    p: Probability
    r: Probability
    loss_good: Probability = 0.0
    loss_bad: Probability = 1.0
    slot_s: Positive = 0.01
    rate_bps: Positive | None = None
    airtime: Distribution | None = None


class RayleighChannel(Spec):
    """Block fading with path loss. `snr_db` is the mean at `reference_m`."""

    kind: Literal["rayleigh"]
    snr_db: float = Field(30.0, ge=-50.0, le=100.0)
    reference_m: Positive = 50.0
    path_loss_exponent: float = Field(3.5, ge=1.0, le=8.0)
    threshold_db: float = Field(5.0, ge=-50.0, le=100.0)
    bandwidth_hz: Positive = 1.0e6
    coherence_s: Positive = 0.05


class AdaptiveChannel(Spec):
    """As `rayleigh`, but every channel of a base station fades for itself and is used at the rate
    that it supports, `efficiency_max` bit/s/Hz at most. `bandwidth_hz` is of one channel."""

    kind: Literal["adaptive"]
    snr_db: float = Field(20.0, ge=-50.0, le=100.0)
    reference_m: Positive = 50.0
    path_loss_exponent: float = Field(3.0, ge=1.0, le=8.0)
    bandwidth_hz: Positive = 1.0e6
    efficiency_max: Positive = 6.0
    coherence_s: Positive = 0.05


class TraceChannel(Spec):
    """A CSV file beside the scenario with columns t_s, success, rate_bps; looped."""

    kind: Literal["trace"]
    file: str


Channel = Annotated[
    IdealChannel
    | BernoulliChannel
    | GilbertElliottChannel
    | RayleighChannel
    | AdaptiveChannel
    | TraceChannel,
    Field(discriminator="kind"),
]
