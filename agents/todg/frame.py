"""What all nodes of a scheduled network know from the start: slots, kinds of task, who hears whom.

Kinds, users, base stations and servers have numbers, in the order of the scenario. All of it is
public and constant, as a network's configuration is; nothing of it is measured.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from agents.blocks import begin_of, block_of, next_block
from agents.messages import NodeId
from agents.todg.allocation.conflict_graph import Attachment, ConflictGraph
from agents.todg.rules import TaskClass

SLACK_SLOTS = 2  # one as births fall inside slots, one for what reaches its server late
SERVICE_SD = 4.0  # standard deviations of a service time that its reserve covers
ARRIVALS_LEAST = 4  # the least A_max, tasks per slot
BURST_SD = 6.0  # standard deviations of Poisson arrivals that A_max covers: at 4 an idle network
# turned away one task in 10,000, and lost to rivals by that at low load


class Slotting(Struct, frozen=True):
    """The plan of one slot, offsets from its begin in seconds.

    Reports and boards are read at `report_s`; then a mini-round every `round_s`; then channels are
    granted, and bursts end `guard_s` before the slot does, so that servers have them by then.
    """

    slot_s: float
    report_s: float
    round_s: float
    guard_s: float

    def at_s(self, slot: int, offset_s: float = 0.0) -> float:
        return begin_of(slot, self.slot_s, offset_s)

    def slot(self, now_s: float) -> int:
        return block_of(now_s, self.slot_s)

    def next_slot(self, now_s: float) -> int:
        """Returns the first slot that begins no earlier than `now_s`."""
        return next_block(now_s, self.slot_s)


class Machine(Struct, frozen=True):
    """A server as declared: E[S] of a task of work 1."""

    name: NodeId
    mean_s: float


class Place(Struct, frozen=True):
    """Where a user is: the base stations that may serve it, nearest first, and who hears it."""

    homes: tuple[int, ...]
    heard: frozenset[int]


class Frame:
    """The whole of it. `kind_of[user]` and `rate_of[kind]` (tasks per slot) are by number."""

    def __init__(
        self,
        slotting: Slotting,
        kinds: Sequence[TaskClass],
        works: Sequence[float],
        rates: Sequence[float],
        kind_of: dict[NodeId, int],
        machines: Sequence[Machine],
        stations: Sequence[NodeId],
        channels: int,
        places: Sequence[Place],
    ) -> None:
        self.slotting = slotting
        self.kinds = tuple(kinds)
        self.works = tuple(works)
        self.rates = tuple(rates)
        self.kind_of = kind_of
        self.users = tuple(kind_of)
        self.machines = tuple(machines)
        self.server_number = {machine.name: n for n, machine in enumerate(machines)}
        self.stations = tuple(stations)
        self.station_number = {name: number for number, name in enumerate(stations)}
        self._channels = channels
        self._places = tuple(places)
        self._graphs: dict[frozenset[int], ConflictGraph] = {}
        self.graph = self.graph_without(frozenset())

    def graph_without(self, gone: frozenset[int]) -> ConflictGraph:
        """Returns who may not share a channel while some base stations are gone.

        Their users are with the nearest that is left, or with none where they reach no other.
        """
        if gone not in self._graphs:
            at: dict[int, Attachment] = {}
            for user, place in enumerate(self._places):
                home = next((bs for bs in place.homes if bs not in gone), None)
                if home is not None:
                    at[user] = Attachment(home, place.heard - gone - {home})
            self._graphs[gone] = ConflictGraph(range(len(self.stations)), self._channels, at)
        return self._graphs[gone]

    @property
    def arrivals_max(self) -> int:
        """A_max, the most tasks that a user lets in per slot."""
        most = max(math.ceil(rate + BURST_SD * math.sqrt(rate)) for rate in self.rates)
        return max(ARRIVALS_LEAST, most)

    def mean_slots(self, server: int, kind: int) -> float:
        """Returns the declared service time of one task, in slots."""
        return self.machines[server].mean_s * self.works[kind] / self.slotting.slot_s


def service_slots(mean_s: float, deviation_s: float, slot_s: float) -> int:
    """Returns the slots that a service is given: mean and `SERVICE_SD` standard deviations."""
    return next_block(mean_s + SERVICE_SD * deviation_s, slot_s)


def queue_slots(deadline_s: float, slot_s: float, reserve_slots: int) -> int:
    """Returns how many slots a task may spend in queues and yet be done by its deadline."""
    return block_of(deadline_s, slot_s) - SLACK_SLOTS - reserve_slots
