"""How the kernel carries messages: one link, two links past a base station, another host."""

from collections.abc import Iterable

import pytest

from agents.api import Message, Node, Send
from agents.messages import Beacon, Body, NodeId, Offload, Undelivered, Wake
from agents.reasons import Reason
from agents.tasks import Task
from emulator.faults.base import LinkKind
from emulator.sim.air import Flight
from emulator.sim.channel import Bernoulli, Ideal, airtime
from emulator.sim.kernel import Kernel
from emulator.sim.network import Link, Network, Resend
from emulator.streams import Streams

TASK = Task("user", 0, 0.0, 0, 1000.0, 7)
Ends = tuple[NodeId, NodeId]
ENDS: dict[Ends, LinkKind] = {("user", "bs"): "uplink", ("bs", "edge"): "to-server"}


class Listener(Node):
    """Sends what it is given at the start and keeps what it hears."""

    kind = "base_station"

    def __init__(self, name: NodeId, says: Iterable[Send] = ()) -> None:
        self.id = name
        self.heard: list[tuple[Message, float]] = []
        self._says = list(says)

    def start(self, now_s: float) -> list[Send]:
        return self._says

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        raise AssertionError(wake)

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        self.heard.append((message, now_s))
        return []

    def tasks(self) -> tuple[Task, ...]:
        return ()


class Trio:
    """A user, a base station and a server; radio 0.5 s, backhaul 0.25 s, each with a loss."""

    def __init__(
        self, body: Body, via: NodeId = "bs", radio_loss: float = 0.0, wire_loss: float = 0.0
    ) -> None:
        self.sends = [Send("edge" if via else "bs", body, None, via)]
        self.losses = {"uplink": radio_loss, "to-server": wire_loss}
        self.delay_s = {"uplink": 0.5, "to-server": 0.25}
        self.names = ("user", "bs", "edge")
        self.nodes = {
            name: Listener(name, self.sends if name == "user" else ()) for name in self.names
        }
        self.mailed: list[tuple[Message | Flight, float, NodeId]] = []

    def kernel(self, *names: NodeId) -> Kernel:
        return Kernel(
            {name: self.nodes[name] for name in names},
            Network(self._link, {}),
            {},
            remote=lambda parcel, at_s, to: self.mailed.append((parcel, at_s, to)),
        )

    def _link(self, source: NodeId, target: NodeId) -> Link:
        kind = ENDS[source, target]
        loss, delay_s = self.losses[kind], self.delay_s[kind]
        channel = Bernoulli(loss, airtime(1.0, lambda u: delay_s)) if loss else Ideal(delay_s)
        return Link(source, target, kind, channel, Resend(attempts_max=9), Streams(1))


@pytest.mark.parametrize("body", [Offload(TASK, "edge"), Beacon(0, 1.0)])
def test_a_message_passes_a_base_station_without_waking_it(body: Body) -> None:
    trio = Trio(body)
    kernel = trio.kernel(*trio.names)

    kernel.start()
    kernel.run_until(10.0)

    assert trio.nodes["bs"].heard == []
    assert trio.nodes["edge"].heard == [(Message("user", "edge", 0.0, body, 1, "bs"), 0.75)]
    counts = [(count.kind, count.attempts) for count in kernel.take_records(10.0)]
    assert counts == [("uplink", 1), ("to-server", 1)]


def test_the_first_hop_says_how_many_attempts_it_took() -> None:
    trio = Trio(Beacon(0, 1.0), radio_loss=0.7)
    kernel = trio.kernel(*trio.names)

    kernel.start()
    kernel.run_until(100.0)

    ((message, at_s),) = trio.nodes["edge"].heard
    assert message.attempts > 1
    assert at_s == pytest.approx(0.5 * message.attempts + 0.25)


def test_a_task_lost_behind_the_base_station_is_given_back_to_it() -> None:
    trio = Trio(Offload(TASK, "edge"), wire_loss=1.0)
    kernel = trio.kernel(*trio.names)

    kernel.start()
    assert list(kernel.tasks()) == [TASK]
    kernel.run_until(10.0)

    ((message, _),) = trio.nodes["bs"].heard
    assert message.body == Undelivered(Offload(TASK, "edge"), "edge", Reason.LOSS, 9)
    assert trio.nodes["user"].heard == trio.nodes["edge"].heard == []


@pytest.mark.parametrize("hosts", [["user"], ["user", "edge"], ["user", "bs"]])
def test_a_message_passes_a_base_station_of_another_host(hosts: list[NodeId]) -> None:
    trio = Trio(Beacon(0, 1.0))
    here = trio.kernel(*hosts)
    there = trio.kernel(*(set(trio.names) - set(hosts)))
    here.start()

    for kernel in (here, there, here, there):
        kernel.run_until(10.0)
        other = there if kernel is here else here
        for parcel, at_s, to in trio.mailed:
            assert to in other.nodes
            other.accept(parcel, at_s)
        trio.mailed.clear()

    assert [at_s for _, at_s in trio.nodes["edge"].heard] == [0.75]
    assert trio.nodes["bs"].heard == []
