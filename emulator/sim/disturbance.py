"""What the active faults do to one link, attempt by attempt: their effect, and what they draw.

Every draw has a stream of its own, named after the link and the distribution, and kept over the
link's life: a fault that comes or goes shifts no draw of another, nor of the healthy link.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import Any, TypeVar

from agents.api import NodeId
from agents.messages import Body, tag_of
from agents.tasks import Uniform
from emulator.faults.base import LinkKind
from emulator.faults.effects import AnyFault, Effect, fold
from emulator.faults.link_types import Distribution
from emulator.faults.selectors import selects
from emulator.sim.channel import BurstChain
from emulator.streams import Streams

PARETO_SHAPE = 3.0  # netem's; the heaviest whole one with a standard deviation
_NORMAL = NormalDist()
Term = TypeVar("Term", bound=tuple[Any, ...])


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


def deviate(distribution: Distribution, u: float) -> float:
    """Maps a uniform to a deviation of mean 0: of half-width 1, or of standard deviation 1."""
    match distribution:
        case "uniform":
            return 2.0 * u - 1.0
        case "normal":
            return _NORMAL.inv_cdf(min(max(u, 1e-300), 1.0 - 1e-16))
        case "pareto":
            shape = PARETO_SHAPE
            mean = shape / (shape - 1.0)
            deviation = math.sqrt(shape / (shape - 2.0)) / (shape - 1.0)
            return float(((1.0 - u) ** (-1.0 / shape) - mean) / deviation)


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
        self._runs: list[Uniform] = []
        self._jitters: list[Uniform] = []
        self._lates: list[Uniform] = []

    def apply(self, touching: Iterable[AnyFault]) -> None:
        """Takes on the faults that touch the link, from the next attempt on."""
        self._active = list(touching)
        self._full_s = max((fault.full_s for fault in self._active), default=-math.inf)
        self._effect = effect = fold(self._active, *self._ends)
        streams, draw = self._streams, self._uniform
        self._chains = [
            BurstChain(*burst, streams.uniform("burst-fault", *self._pair, *name))
            for burst, name in _named(effect.bursts, 3)
        ]
        self._normals = [
            deviate("normal", streams.uniform("shadowing", *self._pair, *name)())
            for _, name in _named(effect.shadows, 1)
        ]
        self._runs = [
            draw(correlation, "loss-run", *name)
            for (_, correlation, _), name in _named(effect.runs, 2)
        ]
        self._jitters = [
            draw(correlation, "jitter", *name)
            for (_, _, correlation, *_), name in _named(effect.jitters, 3)
        ]
        self._lates = [draw(0.0, "reorder", *name) for _, name in _named(effect.lates, 2)]

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

    def strikes(self, effect: Effect) -> bool:
        """Draws whether a correlated loss strikes this attempt."""
        is_struck = False
        for (p, _, share), draw in zip(effect.runs, self._runs, strict=True):
            is_struck |= draw() < share * p  # every chain goes on, whatever another did
        return is_struck

    def in_burst(self, now_s: float) -> bool:
        return any(chain.bad(now_s) for chain in self._chains)

    def delay_s(self, effect: Effect) -> float:
        """Draws how much longer this attempt takes: no fault makes it shorter."""
        if not self._jitters:
            return effect.delay_s
        pairs = zip(effect.jitters, self._jitters, strict=True)
        jittered_s = [
            share * max(0.0, delay_s + s * deviate(distribution, draw()))
            for (distribution, s, _, share, delay_s), draw in pairs
        ]
        return effect.delay_s + math.fsum(jittered_s)

    def late_s(self, effect: Effect) -> float:
        """Draws how much later than others this arrival is."""
        pairs = zip(effect.lates, self._lates, strict=True)
        return math.fsum([s for (p, s, share), draw in pairs if draw() < share * p])

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

    def _uniform(self, correlation: float, *what: str) -> Uniform:
        uniform = self._uniforms.get(what)
        if uniform is None:
            uniform = self._streams.uniform(what[0], *self._ends, *what[1:])
            if correlation:
                uniform = Persistent(correlation, uniform)
            self._uniforms[what] = uniform
        return uniform


def _named(terms: Sequence[Term], count: int) -> Iterator[tuple[Term, tuple[str, str]]]:
    """Names each term after its first `count` numbers, and equal ones apart: equal faults are
    independent."""
    seen = Counter[str]()
    for term in terms:
        name = "/".join(map(str, term[:count]))
        yield term, (name, str(seen[name]))
        seen[name] += 1
