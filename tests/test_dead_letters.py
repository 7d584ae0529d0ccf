"""What a node does not know is never swallowed: not by roles, not by policies, not in a run."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
from conftest import perform, scenario
from todg_network import network

from agents import reasons
from agents.api import CLOCK, Message, Node, Send, Unhandled
from agents.messages import Hint, Offload, Wake
from agents.messages.slots import Burst, Commit
from agents.policy import CellPolicy, Policy, Protocol, ServerPolicy, UserPolicy
from agents.protocols import PROTOCOLS
from agents.reasons import Cause, Reason
from agents.tasks import Task
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.results.journal import DeadLetter
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.scenario.topology import members
from emulator.sim.kernel import Kernel

SLOTTED = {"base_stations": [{"name": "bs", "access": "slotted", "channels": 1}]}
NEGOTIATING = scenario(protocol={"kind": "popec-async"}, **SLOTTED)
NEGOTIATING["users"][0]["arrival"] = {"kind": "on-grant"}
WORLDS = {"plain": scenario(), "negotiating": NEGOTIATING, "scheduled": network()}
KNOWN = [
    cause
    for owner in vars(reasons).values()
    if isinstance(owner, type)
    for cause in vars(owner).values()
    if isinstance(cause, Cause)
]
WORDS = sorted({cause.word for cause in KNOWN})


def world(spec: dict[str, object]) -> Kernel:
    chosen = plan(Scenario.model_validate(spec), stopwatch=False)
    return assemble(chosen, chosen.names)


def nodes() -> Iterator[tuple[str, Node]]:
    """Yields a node of every kind in every world."""
    for name, spec in WORLDS.items():
        kernel = world(spec)
        for node in kernel.nodes.values():
            yield f"{name} {node.id}", node


@contextmanager
def raises(name: str) -> Iterator[None]:
    try:
        yield
    except Unhandled:
        return
    pytest.fail(f"{name} swallows it")


@pytest.mark.parametrize("spec", WORLDS.values(), ids=WORLDS)
def test_nodes_say_what_they_are_and_only_servers_report(spec: dict[str, object]) -> None:
    chosen = Scenario.model_validate(spec)
    declared = {
        name: kind
        for kind, groups in (
            ("user", chosen.users),
            ("base_station", chosen.base_stations),
            ("server", chosen.servers),
        )
        for name, _ in members(groups)
    }

    found = world(spec).nodes

    assert {name: node.kind for name, node in found.items()} == declared
    for name, node in found.items():
        report = node.report(1.5)
        assert (report is not None) == (declared[name] == "server")
        assert report is None or (report.server, report.at_s, report.backlog) == (name, 1.5, 0)
        assert node.generated == 0


def test_every_cause_has_a_sentence_and_words_of_one_owner_differ() -> None:
    assert len(KNOWN) > 10
    assert all(cause.word and cause.says for cause in KNOWN)
    for one, other in itertools.combinations(KNOWN, 2):
        assert one != other
        assert one.says != other.says or one.word == other.word


@pytest.mark.parametrize("word", WORDS)
def test_no_node_takes_a_cause_of_somebody_else_for_its_own(word: str) -> None:
    """Not even one of the same word: so a policy may call its causes what it likes."""
    for name, node in nodes():
        with raises(name):
            node.on_tick(Wake(1.0, Cause(word, "of nobody")), 1.0)


def test_no_node_takes_a_message_that_is_not_for_it() -> None:
    for name, node in nodes():
        strange = Hint(1.0) if name.startswith("scheduled") else Commit(0, 0, 0, ())
        with raises(name):
            node.on_message(Message("bs-0", node.id, 1.0, strange), 1.0)


class Wakes(Policy):
    """Wakes once for a cause of its own by every word that roles use."""

    causes = tuple(Cause(word, "the policy's own") for word in WORDS)
    woken: ClassVar[list[tuple[str, Cause]]] = []

    def start(self, now_s: float) -> list[Send]:
        return [Send(CLOCK, Wake(now_s + 0.5, cause)) for cause in self.causes]

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        self.woken.append((type(self).__name__, wake.cause))
        return []


class WakesUser(Wakes, UserPolicy):
    pass


class WakesCell(Wakes, CellPolicy):
    pass


class WakesServer(Wakes, ServerPolicy):
    pass


WAKES = Protocol("", WakesUser, WakesCell, WakesServer, beacons=True, reports=True)


def test_a_policy_is_woken_whatever_it_calls_its_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "wakes", WAKES)  # type: ignore[arg-type]
    monkeypatch.setattr(Wakes, "woken", [])

    perform(scenario(protocol={"kind": "wakes"}, duration_s=1.0))

    roles = ("WakesUser", "WakesCell", "WakesServer")
    assert sorted(Wakes.woken, key=repr) == sorted(itertools.product(roles, Wakes.causes), key=repr)


class Mistaken(UserPolicy):
    """Wakes for a cause that it does not know, and asks its base station what that does not."""

    def start(self, now_s: float) -> list[Send]:
        wake = Wake(now_s + 0.5, Cause("forgotten", "nobody knows"))
        return [Send(CLOCK, wake), Send("bs-0", Hint(1.0))]


def mistaken(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setitem(PROTOCOLS, "mistaken", Protocol("", Mistaken))  # type: ignore[arg-type]
    return Session(Scenario.model_validate(scenario(protocol={"kind": "mistaken"}, runtime={})))


def test_a_mistake_is_an_error_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="DeadLetter"):
        mistaken(monkeypatch).run()


@pytest.mark.dead_letters
def test_a_mistake_is_on_record_in_a_run_which_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    session = mistaken(monkeypatch)

    records = [record for progress in session for record in progress.step.records]

    wake, message = "wake-up 'forgotten' (nobody knows)", "message 'hint' from user-0"
    letters = [(r.node, r.what) for r in records if isinstance(r, DeadLetter)]
    assert letters == [("bs-0", message), ("user-0", wake)]
    assert session.metrics.dead_letters == {("bs-0", message): 1, ("user-0", wake): 1}
    assert session.summary["verdict"] == "good"
    (warning,) = session.summary["warnings"]
    assert message in warning
    assert "1 more" in warning


def test_tasks_in_a_message_that_nobody_knows_end_on_record() -> None:
    """A burst for a server that has no slots: conservation holds all the same."""
    kernel = world(scenario())
    task = Task("user-0", 0, 0.1, 0, 1000.0, 0)

    kernel.performer.deliver(
        Message("bs-0", "edge-0", 0.2, Burst((task,), ("edge-0",), 1000.0)), 0.3
    )
    kernel.performer.deliver(Message("bs-0", "edge-0", 0.2, Offload(task, "edge-0")), 0.3)

    letter, end = kernel.performer.take_records()
    assert letter == DeadLetter(0.3, "edge-0", "message 'burst' from bs-0")
    assert (end.user, end.seq, end.outcome, end.reason) == (  # type: ignore[union-attr]
        "user-0",
        0,
        "dropped",
        Reason.UNHANDLED,
    )
