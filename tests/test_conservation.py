"""What `check` calls good runs to its end; every task ends exactly once or is in flight then."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from any_scenario import DURATION_S, inputs, scenarios
from conftest import distribution, perform, scenario, server_group, user_group
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.messages import TaskEnd
from agents.protocols import PROTOCOLS
from emulator.checks import check, source
from emulator.results.journal import LinkCount, Record, Remains
from emulator.runtime.session import Session
from emulator.scenario.schema import Scenario

UNFIT = [HealthCheck.filter_too_much, HealthCheck.too_slow]  # half of the draws are refused
EXAMPLES = 300  # about 40 s of processor time, half of them runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds recorded arrivals and a recorded channel; topologies and scenarios come and go."""
    made = tmp_path_factory.mktemp("inputs")
    inputs(made)
    return made


def good(spec: dict[str, Any]) -> Scenario | None:
    """Returns the scenario if `check` finds nothing wrong with it."""
    try:
        chosen = Scenario.model_validate(spec)
    except ValidationError:
        return None
    return None if check.problems(chosen) else chosen


def ends(records: list[Record]) -> list[TaskEnd]:
    return [record for record in records if isinstance(record, TaskEnd)]


def numbers(found: Any) -> Iterator[float]:
    """Yields all numbers in nested dicts and lists."""
    if isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from numbers(each)
    elif isinstance(found, int | float):
        yield found


def must_be_refused_where_it_stands(spec: dict[str, Any], folder: Path) -> None:
    """Whoever wrote it is told the line, for all that the file has."""
    path = folder / "refused.yaml"
    path.write_text(json.dumps({k: v for k, v in spec.items() if v is not None}, indent=1))
    with pytest.raises(source.ScenarioError) as caught:
        source.load(path)
    for problem in caught.value.problems:
        assert problem.message
        assert problem.file == str(path)
        field = problem.field.partition(".")[0].partition("[")[0]
        assert problem.line > 0 or spec.get(field) is None, str(problem)


def test_what_check_calls_good_runs_and_loses_no_task(folder: Path) -> None:
    seen = Counter[str]()

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
    @given(data=st.data())
    def holds(data: st.DataObject) -> None:
        spec = data.draw(scenarios(folder))
        chosen = good(spec)
        seen["good" if chosen else "refused"] += 1
        if chosen is None:
            must_be_refused_where_it_stands(spec, folder)
            return
        check.warnings(chosen)
        records: list[Record] = []
        session = Session(chosen)
        for progress in session:
            records += progress.step.records
        summary = session.summary

        assert summary["emulated_s"] == DURATION_S
        assert all(map(math.isfinite, numbers(summary)))
        (remains,) = (record for record in records if isinstance(record, Remains))
        account = [(end.user, end.seq) for end in ends(records)] + list(remains.in_flight)
        generated = {(u, k) for u, count in remains.generated.items() for k in range(count)}
        assert len(account) == len(set(account)), "a task is accounted for twice"
        assert set(account) == generated
        assert summary["balance"]["lost"] == 0

    holds()

    assert seen["good"] > 0.4 * EXAMPLES, "most draws are to be run"


@pytest.mark.parametrize("kind", ["random", "max-rate", "todg"])
def test_a_scheduled_cell_without_users_runs(kind: str) -> None:
    spec = scenario(
        duration_s=1.0,
        protocol={"kind": kind},
        users=[user_group(deadline_s=1.0, arrival={"kind": "poisson", "rate_hz": 10.0})],
        base_stations=[
            {"name": "bs", "count": 3, "access": "scheduled", "channels": 2, "grant_s": 0.04}
        ],
        servers=[server_group(distribution("deterministic", 0.003))],
        channel={"kind": "adaptive", "coherence_s": 0.04},
        downlink={"kind": "ideal"},
        control={"channel": {"kind": "ideal", "delay_s": 0.001}},
        resend={"attempts_max": 1},
        topology={"kind": "generated", "cells_per_user": 1},
    )

    assert good(spec) is not None
    assert perform(spec).metrics.balance()["completed"] > 0


def test_a_slotted_cell_without_users_grants_its_slots_to_nobody() -> None:
    spec = scenario(
        users=[user_group(arrival={"kind": "on-grant"})],
        base_stations=[
            {"name": "bs", "count": 3, "access": "slotted", "channels": 2, "grant_s": 0.02}
        ],
        channel={"kind": "bernoulli", "rate_bps": 1.0e6},
        resend={"attempts_max": 1},
        topology={"kind": "generated", "cells_per_user": 1},
    )

    assert good(spec) is not None
    assert perform(spec).metrics.balance()["completed"] > 0


@pytest.mark.parametrize(
    ("kind", "access"),
    [
        ("best-channel", "dedicated"),
        ("best-channel", "granted"),
        ("shortest-wait", "contention"),
        ("shortest-wait", "slotted"),
        ("popec-async", "slotted"),
    ],
)
def test_a_task_is_counted_once_where_everything_arrives_twice(kind: str, access: str) -> None:
    on_grant = PROTOCOLS[kind].slotted
    arrival = {"kind": "on-grant"} if on_grant else {"kind": "poisson", "rate_hz": 10.0}
    shared = {} if access == "dedicated" else {"channels": 2, "grant_s": 0.05}
    copies = {"type": "duplicate", "target": "*", "p": 1.0, "at_s": 0.0}
    late = {"type": "reorder", "target": "*", "p": 0.3, "delay_s": 0.02, "at_s": 0.0}
    spec = scenario(
        duration_s=3.0,
        protocol={"kind": kind},
        users=[user_group(count=3, arrival=arrival)],
        base_stations=[{"name": "bs", "access": access, **shared}],
        servers=[server_group(distribution("exponential", 0.02), count=2)],
        channel={"kind": "bernoulli", "loss": 0.1, "rate_bps": 1.0e6},
        resend={"attempts_max": 1 if on_grant else 3},
        faults=[copies, late],
    )

    records, metrics, _ = perform(spec)

    account = [(end.user, end.seq) for end in ends(records)]
    assert len(account) == len(set(account)) > 20
    assert metrics.balance()["lost"] == 0
    losses = [record.losses for record in records if isinstance(record, LinkCount)]
    assert sum(each.get("copy", 0) for each in losses) > 40


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=UNFIT)
@given(data=st.data())
def test_the_instants_of_a_task_are_in_order(folder: Path, data: st.DataObject) -> None:
    spec = data.draw(scenarios(folder))
    # Instants of wrong clocks need not be.
    spec["faults"] = [fault for fault in spec["faults"] if fault["type"] != "clock_skew"]
    assume(good(spec) is not None)

    records, _, _ = perform(spec)

    for end in ends(records):
        assert 0.0 <= end.born_s <= end.ended_s <= DURATION_S
        if end.outcome == "completed":
            stages = [end.born_s, end.arrived_s, end.started_s, end.finished_s, end.ended_s]
            assert stages == sorted(stages)
        else:
            assert end.reason, "a task that brought no result has a reason"


def test_a_task_that_reaches_an_idle_server_after_its_deadline_expires() -> None:
    # The uplink takes 0.2 s, the deadline is 0.1 s: nobody waits for any of these results.
    users = [user_group(deadline_s=0.1, drop_late=True)]
    spec = scenario(users=users, channel={"kind": "ideal", "delay_s": 0.2})

    records, _, _ = perform(spec)

    assert {end.outcome for end in ends(records)} == {"expired"}
