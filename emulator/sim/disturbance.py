"""What the active faults do to one link, attempt by attempt: their effect, and what they draw.

Every draw has a stream of its own, named after the link and the distribution, and kept over the
link's life: a fault that comes or goes shifts no draw of another, nor of the healthy link.
"""

import math
from collections.abc import Iterable, Sequence

from agents.api import NodeId
from agents.messages import Body, tag_of
from agents.reasons import Reason
from agents.tasks import Uniform
from emulator.faults.base import LinkKind
from emulator.faults.effects import Chance, Effect, deviate
from emulator.faults.fold import AnyFault, fold
from emulator.faults.selectors import selects
from emulator.sim.channel import BurstChain
from emulator.streams import Streams


class Persistent:
    """Uniforms of which each is the one before again with probability `correlation`.

    So draws k apart have the correlation `correlation**k`, and each is uniform by itself; netem
    averages instead, which makes losses rarer than asked for.
    """

    def __init__(self, correlation: float, uniform: Uniform) -> None:
        self._correlation = correlation
        self._uniform = uniform
        self._last = uniform()

    def __call__(self) -> float:
        if self._uniform() >= self._correlation:
            self._last = self._uniform()
        return self._last


class Disturbance:
    """That of one link; made when the first fault touches it."""

    def __init__(self, source: NodeId, target: NodeId, kind: LinkKind, streams: Streams) -> None:
        self._ends = (source, target, kind)
        self._pair = tuple(sorted((source, target)))  # what both directions have in common
        self._streams = streams
        self._uniforms: dict[tuple[str, ...], Uniform] = {}
        self._active: list[AnyFault] = []
        self._full_s = -math.inf
        self._effect = Effect()
        self._chains: list[BurstChain] = []
        self._normals: list[float] = []  # one per shadow
        self._losses: list[Uniform] = []
        self._delays: list[Uniform] = []
        self._lates: list[Uniform] = []

    def apply(self, touching: Iterable[AnyFault]) -> None:
        """Takes on the faults that touch the link, from the next attempt on."""
        self._active = list(touching)
        self._full_s = max((fault.full_s for fault in self._active), default=-math.inf)
        self._effect = effect = fold(self._active, *self._ends)
        streams = self._streams
        bursts = _named([f"{p}/{r}/{slot_s}" for p, r, slot_s in effect.bursts])
        self._chains = [
            BurstChain(*distribution, streams.uniform("burst-fault", *self._pair, *name))
            for distribution, name in zip(effect.bursts, bursts, strict=True)
        ]
        self._normals = [
            deviate("normal", streams.uniform("shadowing", *self._pair, *name)())
            for name in _named([f"{sigma_db}" for sigma_db, _ in effect.shadows])
        ]
        self._losses, self._delays, self._lates = map(
            self._draws, (effect.losses, effect.delays, effect.lates)
        )

    def effect(self, now_s: float) -> Effect:
        """Returns what the faults do at `now_s`: some may still be growing."""
        if now_s >= self._full_s:
            return self._effect
        return fold(self._active, *self._ends, now_s)

    def fade_db(self, effect: Effect) -> float:
        """Returns how much weaker the signal is, shadows included; negative: stronger."""
        if not self._normals:
            return effect.fade_db
        pairs = zip(effect.shadows, self._normals, strict=True)
        return effect.fade_db + math.fsum(sigma * share * z for (sigma, share), z in pairs)

    def strikes(self, effect: Effect, size_bits: float) -> Reason:
        """Draws whether faults lose this attempt, and says why."""
        reason = Reason.NONE
        for chance, draw in zip(effect.losses, self._losses, strict=True):
            if chance.drawn(draw(), size_bits):  # every one is drawn, whatever another did
                reason = reason or chance.reason
        return reason

    def in_burst(self, now_s: float) -> bool:
        return any(chain.bad(now_s) for chain in self._chains)

    def delay_s(self, effect: Effect, size_bits: float) -> float:
        """Draws how much longer this attempt takes: no fault makes it shorter."""
        if not self._delays:
            return effect.delay_s
        return effect.delay_s + _sum_s(effect.delays, self._delays, size_bits)

    def late_s(self, effect: Effect, size_bits: float) -> float:
        """Draws how much later than others this arrival is."""
        return _sum_s(effect.lates, self._lates, size_bits)

    def copies(self, now_s: float) -> bool:
        """Draws whether what arrives arrives twice."""
        single_p = self.effect(now_s).single_p
        return single_p < 1.0 and self._uniform(0.0, "duplicate")() >= single_p

    def hold_s(self, body: Body, now_s: float) -> float:
        """Draws how long a protocol message waits before the link carries it; inf: it vanishes."""
        effect = self.effect(now_s)
        word = tag_of(type(body))
        passes = [1.0 - p for message, p in effect.message_drops if selects(message, word)]
        if passes and self._uniform(0.0, "message-drop")() >= math.prod(passes):
            return math.inf
        return math.fsum(s for message, s in effect.message_delays if selects(message, word))

    def _draws(self, chances: Sequence[Chance]) -> list[Uniform]:
        names = _named([f"{each.stream}/{each.name}" for each in chances])
        return [
            self._uniform(each.correlation, each.stream, each.name, number)
            for each, (_, number) in zip(chances, names, strict=True)
        ]

    def _uniform(self, correlation: float, *what: str) -> Uniform:
        uniform = self._uniforms.get(what)
        if uniform is None:
            uniform = self._streams.uniform(what[0], *self._ends, *what[1:])
            if correlation:
                uniform = Persistent(correlation, uniform)
            self._uniforms[what] = uniform
        return uniform


def _sum_s(chances: Sequence[Chance], draws: Sequence[Uniform], size_bits: float) -> float:
    pairs = zip(chances, draws, strict=True)
    return math.fsum(chance.drawn(draw(), size_bits) for chance, draw in pairs)


def _named(distributions: Sequence[str]) -> list[tuple[str, str]]:
    """Names each distribution so that equal ones differ: equal faults are independent."""
    return [
        (distribution, str(distributions[:number].count(distribution)))
        for number, distribution in enumerate(distributions)
    ]
