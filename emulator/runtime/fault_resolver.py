"""Reads the faults that people ask of one run, and says whom they hit there."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from emulator.build.known_fault import Known, State, hit_by, links_of
from emulator.build.plan import Plan
from emulator.checks import fault_words
from emulator.checks import faults as check_faults
from emulator.checks.fault_words import TTL_MAX_S, Invalid
from emulator.faults.fold import AnyFault
from emulator.scenario.occurrences import certain, places_of, settle
from emulator.streams import Streams


class FaultResolver:
    """What a plan says of targets: its links, places, and the streams that chance draws from."""

    def __init__(self, plan: Plan) -> None:
        self._scenario = plan.scenario
        self._links = list(links_of(plan))
        self._places = places_of(plan.scenario, plan.layout)
        self._streams = Streams(plan.scenario.seed)

    def read(
        self,
        given: Mapping[str, Any],
        now_s: float,
        ttl_max_s: float | None = TTL_MAX_S,
        old: Mapping[str, Any] = MappingProxyType({}),
    ) -> AnyFault:
        """Checks a fault as people give it against this run; `old` is what they change."""
        fault = fault_words.read(given, now_s, ttl_max_s, old)
        problems = check_faults.fault_problems(self._scenario, fault, self._places)
        for where, message, remedy in problems:
            raise Invalid(f"{where[-1]}: {message}; {remedy}", str(where[-1]))
        everyone = settle(certain(fault), self._places, self._streams)
        if everyone is None or not self.resolve(everyone):
            raise Invalid("target: no link joins these nodes, so nothing would fail", "target")
        return fault

    def settle(self, fault: AnyFault, number: int) -> AnyFault | None:
        """Draws whom a fault that is injected hits; its number names what is drawn for it."""
        return settle(fault, self._places, self._streams, "injected", str(number))

    def resolve(self, fault: AnyFault) -> list[str]:
        """Names the links or nodes that a fault hits, whose targets are settled."""
        return hit_by(fault, self._links, self._places)

    def known(
        self,
        number: int,
        fault: AnyFault,
        source: str,
        settled: AnyFault | None,
        client: str = "",
    ) -> Known:
        """Returns a fault that is to come, or that chance spared everybody."""
        hit = [] if settled is None else self.resolve(settled)
        state: State = "spared" if settled is None else "scheduled"
        return Known(number, fault, source, settled, hit, client, state)
