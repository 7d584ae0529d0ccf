"""Why tasks end and attempts are lost: one sentence each, wherever people read of it."""

import io
from html import escape

import msgspec
import pytest
from conftest import distribution, scenario, server_group
from rich.console import Console

from agents.messages import ended
from agents.reasons import Reason
from agents.tasks import Task
from emulator.faults.fold import AnyFault, fold
from emulator.faults.link_types import Blackout, Partition, Rate
from emulator.faults.node_types import BsOutage
from emulator.results import journal
from emulator.results.journal import Frame, LinkCount
from emulator.runtime.recorder import fresh_metrics
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario
from emulator.views import guarantees, report
from emulator.views.terminal import closing

SMALL = Scenario.model_validate(scenario(duration_s=1.0, runtime={}))
LOSSES = [reason for reason in Reason if reason]
TASK = Task("user-0", 0, 0.1, 0, 1000.0, 0)


def test_every_reason_has_a_word_and_a_sentence_of_its_own() -> None:
    assert len(Reason.__members__) == len(Reason)  # equal words would be one reason
    sentences = [reason.says for reason in Reason]
    assert all(sentences)
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("reason", LOSSES)
def test_the_journal_keeps_the_word(reason: Reason) -> None:
    end = ended(TASK, 0.5, "dropped", reason)
    count = LinkCount(0.5, "bs-0", "uplink", 1, 8.0, {reason: 1})
    frame = Frame(1.0, [end, count])

    plain = msgspec.msgpack.decode(journal.encode(frame))

    assert plain[1][0][8] == reason.value
    assert plain[1][1][-1] == {reason.value: 1}
    end_again, count_again = journal.decode(journal.encode(frame)).records
    assert end_again.reason is reason
    assert count_again == count


@pytest.mark.parametrize("reason", LOSSES)
def test_people_read_the_sentence_of_every_reason(reason: Reason) -> None:
    metrics = fresh_metrics(SMALL, None)
    end = ended(TASK, 0.5, "dropped", reason)
    metrics.fold([end, LinkCount(0.5, "bs-0", "uplink", 1, 8.0, {reason: 1})], 1.0)
    reported = io.StringIO()
    session = Session(SMALL)
    session.run()

    session.summary["given_up"] = {"user": {reason.value: 7}}  # as `summary.json` has it
    closing(session.summary, SMALL, Console(file=reported, width=200))

    assert f"<td>1</td><td>{escape(reason.says)}</td>" in guarantees.given_up(metrics)
    assert f"{reason}: {escape(reason.says)}" in report.losses(metrics)
    assert f"7 {reason}: {reason.says}\n" in reported.getvalue()


def test_tasks_that_find_no_room_or_no_server_are_not_lost_on_the_way() -> None:
    """A server of one place for 50 tasks per second of 1 s each, which crashes in between."""
    busy = server_group(distribution("deterministic", 1.0), queue_len_max=1)
    spec = scenario(
        duration_s=6.0,
        runtime={},
        servers=[busy],
        faults=[{"type": "server_crash", "target": "edge-0", "at_s": 2.0, "for_s": 1.0}],
    )
    spec["users"][0]["arrival"] = {"kind": "poisson", "rate_hz": 50.0}
    session = Session(Scenario.model_validate(spec))
    session.run()

    table = guarantees.given_up(session.metrics)

    assert session.metrics.given_up.keys() == {"queue-full", "crash"}
    assert "no room: the queue was full" in table
    assert "its server had crashed" in table
    assert "on the way" not in table


@pytest.mark.parametrize(
    "cut",
    [
        Blackout(type="blackout", at_s=0.0, target="*"),
        Partition(type="partition", at_s=0.0, a=["user-*"], b=["bs-*"]),
        Rate(type="rate", at_s=0.0, target="*", rate_bps=0.0),
        BsOutage(type="bs_outage", at_s=0.0, target="*"),
    ],
)
def test_a_fault_that_cuts_a_link_is_the_reason(cut: AnyFault) -> None:
    blocked_by = fold([cut], "user-0", "bs-0", "uplink").blocked_by

    assert blocked_by is Reason(cut.type.replace("_", "-"))
