"""Channel models: how long a transmission attempt takes, and whether it gets through.

A channel is a pure function of time and of one uniform per question: what happens
on it does not depend on who asks. What faults add to it is folded in `network.py`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

from msgspec import Struct

from agents import radio
from agents.blocks import ROUNDING, block_of
from agents.reasons import Reason
from agents.tasks import Uniform
from emulator.scenario import channel_kinds, distributions
from emulator.scenario.distributions import Draw
from emulator.scenario.traces import ChannelTrace
from emulator.streams import Field, Streams

Airtime = Callable[[float, float, float], float]
"""Maps (size_bits, now_s, a uniform) to how long an attempt takes."""


class Channel(Protocol):
    """One radio link's channel, the same in both directions."""

    reason: Reason  # what a loss by this channel is called in the journal

    @property
    def nominal_success(self) -> float:
        """The share of attempts that succeed in the long run, without faults."""

    def success(self, now_s: float, fade_db: float) -> float:
        """Returns the probability that an attempt begun at `now_s` succeeds."""

    @property
    def airtime_s(self) -> Airtime:
        """Says how long one attempt takes."""


def airtime(rate_bps: float, draw: Draw | None = None) -> Airtime:
    """Returns the duration of an attempt: drawn from a distribution, or else size over rate."""
    if draw is None:
        return lambda size_bits, now_s, u: size_bits / rate_bps
    return lambda size_bits, now_s, u: draw(u)


class Ideal:
    """Delivers everything after `delay_s`."""

    reason = Reason.NONE  # it loses nothing
    nominal_success = 1.0

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def success(self, now_s: float, fade_db: float) -> float:
        return 1.0

    def airtime_s(self, size_bits: float, now_s: float, u: float) -> float:
        return self.delay_s


class Bernoulli:
    """Loses each attempt independently with the same probability."""

    reason = Reason.LOSS

    def __init__(self, loss: float, airtime: Airtime) -> None:
        self._success = self.nominal_success = 1.0 - loss
        self.airtime_s = airtime

    def success(self, now_s: float, fade_db: float) -> float:
        return self._success


class BurstChain:
    """A two-state Markov chain over time slots, a function of the slot number alone.

    Per slot good turns bad with probability `p` and bad turns good with `r`; it starts in its
    stationary distribution, so P(bad) = p / (p + r) in every slot and a bad run lasts 1 / r slots
    on average (Gilbert 1960, Elliott 1963). It keeps the slots at which the state changed.
    """

    def __init__(self, p: float, r: float, slot_s: float, uniform: Uniform) -> None:
        self.bad_share = p / (p + r) if p else 0.0
        self._leave = (
            math.log1p(-p) if p < 1.0 else -math.inf,
            math.log1p(-r) if r < 1.0 else -math.inf,
        )
        self._slot_s = slot_s
        self._uniform = uniform
        self._starts_bad = uniform() * (p + r) < p
        self._changes = [0]  # slot k of change number i; the state after it flips each time
        self._extend()

    def bad(self, now_s: float) -> bool:
        slot = block_of(now_s, self._slot_s)
        while self._changes[-1] <= slot:
            self._extend()
        flips = bisect_right(self._changes, slot) - 1
        return self._starts_bad ^ bool(flips & 1)

    def _extend(self) -> None:
        """Draws the next sojourn, geometric from one slot up."""
        is_bad = self._starts_bad ^ (len(self._changes) % 2 == 0)
        leave = self._leave[is_bad]
        stay = math.log(1.0 - self._uniform()) / leave if leave < 0.0 else math.inf
        self._changes.append(self._changes[-1] + 1 + int(min(stay, 1e15)))


class GilbertElliott:
    """Loses attempts with a probability that depends on the state of a `BurstChain`."""

    reason = Reason.BURST

    def __init__(
        self, chain: BurstChain, loss_good: float, loss_bad: float, airtime: Airtime
    ) -> None:
        self._chain = chain
        self._success = (1.0 - loss_good, 1.0 - loss_bad)
        good = 1.0 - chain.bad_share
        self.nominal_success = 1.0 - good * loss_good - chain.bad_share * loss_bad
        self.airtime_s = airtime

    def success(self, now_s: float, fade_db: float) -> float:
        return self._success[self._chain.bad(now_s)]


class Rayleigh:
    """Block fading: the power gain is exponential and constant over one coherence time.

    An attempt succeeds when the block's SNR reaches the threshold; it is sent at the rate that
    the threshold just supports. Outage is 1 - exp(-threshold / mean SNR).
    """

    reason = Reason.FADING

    def __init__(
        self,
        mean_snr_db: float,
        threshold_db: float,
        coherence_s: float,
        bandwidth_hz: float,
        gain: Field,
    ) -> None:
        self._mean = radio.linear(mean_snr_db)
        self._threshold = radio.linear(threshold_db)
        self.nominal_success = 1.0 - radio.rayleigh_outage(mean_snr_db, threshold_db)
        self._coherence_s = coherence_s
        self._rate_bps = radio.rate_bps(bandwidth_hz, threshold_db)
        self._gain = gain

    def success(self, now_s: float, fade_db: float) -> float:
        snr = self._mean * self._gain(block_of(now_s, self._coherence_s))
        if fade_db:
            snr *= radio.linear(-fade_db)
        return 1.0 if snr >= self._threshold else 0.0

    def airtime_s(self, size_bits: float, now_s: float, u: float) -> float:
        return size_bits / self._rate_bps


class Adaptive:
    """Several channels that fade independently, each used at the rate that it supports.

    Rayleigh block fading as above; the rate in a block is bandwidth x log2(1 + SNR), at most
    `efficiency_max` bit/s/Hz, and an attempt that ends in its block is not lost. Who sends knows
    the rate of its channel, `rate_bps`; `airtime_s` is that at the mean SNR, for plans.
    """

    reason = Reason.FADING
    nominal_success = 1.0

    def __init__(
        self,
        mean_snr_db: float,
        channels: int,
        coherence_s: float,
        bandwidth_hz: float,
        efficiency_max: float,
        gain: Field,
    ) -> None:
        self._mean = radio.linear(mean_snr_db)
        self._channels = channels
        self._coherence_s = coherence_s
        self._bandwidth_hz = bandwidth_hz
        self._efficiency_max = efficiency_max
        self._gain = gain

    def success(self, now_s: float, fade_db: float) -> float:
        return 1.0

    def airtime_s(self, size_bits: float, now_s: float, u: float) -> float:
        return size_bits / self._rate_bps(self._mean)

    def rate_bps(self, channel: int, now_s: float, fade_db: float) -> float:
        block = block_of(now_s, self._coherence_s)
        snr = self._mean * self._gain(block * self._channels + channel)
        return self._rate_bps(snr * radio.linear(-fade_db) if fade_db else snr)

    def _rate_bps(self, snr: float) -> float:
        return self._bandwidth_hz * min(math.log2(1.0 + snr), self._efficiency_max)


class TraceChannel:
    """Follows a recording of (time, success probability, rate), held between rows and looped.

    As on other channels, what an attempt begins in decides whether it gets through: in a row with
    rate 0, an outage, none does. Its bits are sent at the rate of each row that it crosses; some
    row has a rate. The last row only ends the loop: its success and rate are never used.
    """

    reason = Reason.TRACE

    def __init__(
        self, times_s: Sequence[float], success: Sequence[float], rates_bps: Sequence[float]
    ) -> None:
        self._times_s = list(times_s)
        self._rates_bps = list(rates_bps[:-1])
        self._success = [p if r else 0.0 for p, r in zip(success, self._rates_bps, strict=False)]
        held_s = [after - before for before, after in pairwise(self._times_s)]
        by_row = zip(self._success, held_s, strict=True)
        self.nominal_success = math.fsum(p * s for p, s in by_row) / self._times_s[-1]
        carried_bits = [r * s for r, s in zip(self._rates_bps, held_s, strict=True)]
        self._before_bits = list(accumulate(carried_bits, initial=0.0))  # of the loop, each row
        # Borders of rows are as wide as those of blocks of the shortest one.
        self._rounding_s = ROUNDING * min(held_s)
        self._rounding_bits = ROUNDING * min(bits for bits in carried_bits if bits)
        self._begins_s = [at_s - self._rounding_s for at_s in self._times_s[:-1]]

    def success(self, now_s: float, fade_db: float) -> float:
        return self._success[self._at(now_s)[0]]

    def airtime_s(self, size_bits: float, now_s: float, u: float) -> float:
        row, into_s = self._at(now_s)
        rate_bps, left_s = self._rates_bps[row], self._times_s[row + 1] - into_s
        if rate_bps and size_bits <= rate_bps * (left_s + self._rounding_s):
            return size_bits / rate_bps
        # Counted from the begin of this loop; `last` is the row that carries the last bit.
        before_bits = self._before_bits
        end_bits = before_bits[row + 1] + size_bits - rate_bps * left_s
        loops, bits = divmod(max(0.0, end_bits - self._rounding_bits), before_bits[-1])
        last = bisect_right(before_bits, bits) - 1
        rest_bits = end_bits - loops * before_bits[-1] - before_bits[last]
        ends_s = loops * self._times_s[-1] + self._times_s[last]
        return ends_s + rest_bits / self._rates_bps[last] - into_s

    def _at(self, now_s: float) -> tuple[int, float]:
        """Returns the row that an instant lies in, and how far the instant is into the loop."""
        loop_s = self._times_s[-1]
        into_s = now_s - loop_s * math.floor((now_s + self._rounding_s) / loop_s)
        return max(0, bisect_right(self._begins_s, into_s) - 1), into_s


class Site(Struct, frozen=True, kw_only=True):
    """What a channel depends on beside what its kind says: the pair of nodes that it joins."""

    key: tuple[str, ...]  # of its streams
    streams: Streams
    distance_m: Callable[[], float]  # asked of those who are within reach only
    channels: int
    traces: Mapping[str, ChannelTrace]

    def mean_snr_db(
        self, spec: channel_kinds.RayleighChannel | channel_kinds.AdaptiveChannel
    ) -> float:
        exponent = spec.path_loss_exponent
        return spec.snr_db - radio.path_loss_db(self.distance_m(), spec.reference_m, exponent)


def made(spec: channel_kinds.Channel, site: Site) -> Channel:
    """Returns the channel of a kind."""
    match spec:
        case channel_kinds.IdealChannel():
            return Ideal(spec.delay_s)
        case channel_kinds.BernoulliChannel():
            return Bernoulli(spec.loss, _airtime(spec))
        case channel_kinds.GilbertElliottChannel():
            uniform = site.streams.uniform("burst", *site.key)
            chain = BurstChain(spec.p, spec.r, spec.slot_s, uniform)
            return GilbertElliott(chain, spec.loss_good, spec.loss_bad, _airtime(spec))
        case channel_kinds.RayleighChannel():
            return Rayleigh(
                site.mean_snr_db(spec),
                spec.threshold_db,
                spec.coherence_s,
                spec.bandwidth_hz,
                site.streams.field("fading", *site.key),
            )
        case channel_kinds.AdaptiveChannel():
            return Adaptive(
                site.mean_snr_db(spec),
                site.channels,
                spec.coherence_s,
                spec.bandwidth_hz,
                spec.efficiency_max,
                site.streams.field("fading", *site.key),
            )
        case channel_kinds.TraceChannel():
            trace = site.traces[spec.file]
            return TraceChannel(trace.times_s, trace.success, trace.rates_bps)


def _airtime(spec: channel_kinds.BernoulliChannel | channel_kinds.GilbertElliottChannel) -> Airtime:
    if (given := spec.airtime) is None:
        return airtime(spec.rate_bps or math.inf)
    return airtime(math.inf, distributions.draw_of(given.distribution, given.mean_s, given.scv))
