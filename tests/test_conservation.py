"""Every task ends exactly once or is in flight at the end, whatever the scenario does to it."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Spec, law, perform, scenario, server_group, user_group
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bodies import TaskEnd
from agents.protocols import PROTOCOLS
from emulator.record.journal import LinkCount, Record, Remains

DURATION_S = 2.0
NODES = ("phone-*", "phone-0", "bs-0", "bs-*,!bs-0", "edge-*", "*", "phone-0->bs-0", "bs-0->edge-1")
CHANCE = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds one recorded arrival process and one recorded channel."""
    made = tmp_path_factory.mktemp("traces")
    (made / "arrivals.txt").write_text("0.1\n0.10001\n0.5\n0.9\n1.999\n")
    (made / "channel.csv").write_text("t_s,success,rate_bps\n0,1,1e6\n0.3,0.2,1e5\n0.7,0,1e6\n")
    return made


def laws() -> st.SearchStrategy[Spec]:
    return st.one_of(
        st.builds(law, st.sampled_from(["deterministic", "exponential"]), st.just(0.02)),
        st.builds(law, st.sampled_from(["gamma", "lognormal"]), st.just(0.05), st.just(0.5)),
        st.builds(law, st.just("hyperexponential"), st.just(0.05), st.just(4.0)),
    )


def kinds(*choices: dict[str, Any]) -> st.SearchStrategy[Spec]:
    """Draws one of several dicts whose values are strategies or constants."""
    return st.one_of(
        *(
            st.fixed_dictionaries(
                {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in each.items()}
            )
            for each in choices
        )
    )


def arrivals(folder: Path) -> st.SearchStrategy[Spec]:
    return kinds(
        {"kind": "poisson", "rate_hz": st.sampled_from([1.0, 20.0])},
        {"kind": "periodic", "period_s": st.sampled_from([0.05, 0.5])},
        {"kind": "at-will", "wait_s": st.sampled_from([0.0, 0.1]), "timeout_s": 0.2},
        {"kind": "trace", "file": str(folder / "arrivals.txt")},
    )


def channels(folder: Path) -> st.SearchStrategy[Spec]:
    """Draws a channel on which every attempt takes time."""
    return kinds(
        {"kind": "ideal", "delay_s": 0.001},
        {"kind": "bernoulli", "loss": CHANCE, "rate_bps": 1.0e6},
        {"kind": "bernoulli", "loss": CHANCE, "airtime": law("exponential", 0.02)},
        {"kind": "gilbert-elliott", "p": CHANCE, "r": CHANCE, "rate_bps": 1.0e5},
        {"kind": "rayleigh", "snr_db": st.sampled_from([0.0, 30.0])},
        {"kind": "trace", "file": str(folder / "channel.csv")},
    )


def faults() -> st.SearchStrategy[Spec]:
    links = (
        {"type": "blackout"},
        {"type": "loss", "p": CHANCE},
        {"type": "corrupt", "p": CHANCE},
        {"type": "burst_loss", "loss": 0.4, "burst_length": 3.0},
        {"type": "fading", "depth_db": 10.0},
        {"type": "shadowing", "sigma_db": 8.0},
        {"type": "delay", "delay_s": 0.05, "jitter_s": st.sampled_from([0.0, 0.2])},
        {"type": "delay", "delay_s": 0.05, "jitter_s": 0.05, "distribution": "pareto"},
        {"type": "rate", "rate_bps": 1.0e4},
        {"type": "duplicate", "p": CHANCE},
        {"type": "duplicate", "p": 1.0},
        {"type": "reorder", "p": CHANCE, "delay_s": 0.1},
        {"type": "loss", "p": CHANCE, "correlation": 0.8},
        {"type": "message_drop", "message": "*", "p": CHANCE},
        {"type": "message_delay", "message": "*", "delay_s": 0.05},
    )
    when = {
        "at_s": st.sampled_from([0.0, 0.4, 0.7]),
        "for_s": st.sampled_from([None, 0.3, 0.8]),
    }
    how = {"direction": st.sampled_from(["up", "down", "both"])}
    again = {"at_s": 0.1, "for_s": 0.1, "every_s": 0.3, "probability": 0.6}
    return kinds(
        *({**link, **when, **how, "target": st.sampled_from(NODES)} for link in links),
        {**again, "type": "blackout", "target": "phone-*", "mode": "one"},
        {**again, "type": "duplicate", "target": "*", "mode": "percent", "value": 50.0, "p": 1.0},
        {**when, "type": "interference", "target": "phone-*,bs-0", "rise_db": 10.0},
        {**when, "type": "partition", "a": ["phone-*"], "b": ["bs-0"]},
        {**when, "type": "channel_loss", "target": "bs-0", "channels": [0]},
        {**when, "type": "server_pause", "target": "*"},
        {**when, "type": "server_slowdown", "target": "*", "factor": st.sampled_from([0.5, 5.0])},
        {**when, "type": "server_crash", "target": st.sampled_from(["*", "edge-0"])},
        {
            **when,
            "type": "bs_outage",
            "target": st.sampled_from(["*", "bs-0"]),
            "handover": st.sampled_from(["none", "nearest"]),
        },
        {
            **when,
            "type": "clock_skew",
            "target": st.sampled_from(["phone-*", "bs-*", "edge-0", "*"]),
            "offset_s": st.sampled_from([-5.0, -0.01, 0.3, 5.0]),
            "drift_ppm": st.sampled_from([-1e4, 0.0, 1e5]),
        },
        {
            **when,
            "type": "user_churn",
            "target": st.sampled_from(["*", "phone-0"]),
            "leave_rate_hz": st.sampled_from([None, 2.0, 50.0]),
            "join_rate_hz": st.sampled_from([0.0, 2.0, 50.0]),
        },
        {**when, "type": "arrival_burst", "target": "*", "factor": st.sampled_from([0.2, 10.0])},
    )


@st.composite
def scenarios(draw: st.DrawFn, folder: Path) -> Spec:
    """Draws a scenario of up to two groups of users, two cells and two servers."""
    kind = draw(st.sampled_from(sorted(PROTOCOLS)))
    queue_len_max = st.sampled_from([1, 2, 100])
    slotted = [
        {"access": "slotted", "channels": 1, "grant_s": 0.02},
        {"access": "slotted", "channels": 2, "grant_s": 0.1},
    ]
    access = st.sampled_from(
        slotted
        if PROTOCOLS[kind].slotted
        else [
            *slotted,
            {"access": "dedicated"},
            {"access": "contention", "channels": 1},
            {"access": "contention", "channels": 3},
            {"access": "granted", "channels": 2, "grant_s": 0.005},
            {"access": "granted", "channels": 1, "grant_s": 0.1},
        ]
    )

    def arrival() -> Spec:
        return {"kind": "on-grant"} if PROTOCOLS[kind].slotted else draw(arrivals(folder))

    def device() -> Spec:
        service = {"kind": "fitted", "service": draw(laws())}
        return {"accelerator": service, "queue_len_max": draw(queue_len_max)}

    users = [
        user_group(
            name=name,
            count=draw(st.integers(1, 3)),
            priority=draw(st.integers(0, 2)),
            arrival=draw(arrivals(folder)) if draw(st.booleans()) else arrival(),
            deadline_s=draw(st.sampled_from([None, 0.03, 0.3])),
            drop_late=draw(st.booleans()),
            queue_len_max=draw(queue_len_max),
            cpu=device() if PROTOCOLS[kind].local or draw(st.booleans()) else None,
        )
        for name in draw(st.sampled_from([("phone",), ("phone", "camera")]))
    ]
    # Nothing can be planned over a channel that nothing gets through.
    fair: Spec = {"kind": "bernoulli", "loss": 0.5, "rate_bps": 1.0e6}
    channel = draw(channels(folder)) if PROTOCOLS[kind].plan is None else fair
    return scenario(
        seed=draw(st.integers(0, 2**32)),
        duration_s=DURATION_S,
        protocol={"kind": kind},
        users=users,
        base_stations=[{"name": "bs", "count": draw(st.integers(1, 2)), **draw(access)}],
        servers=[server_group(draw(laws()), count=2, queue_len_max=draw(queue_len_max))],
        channel=channel,
        downlink=draw(st.none() | channels(folder)),
        resend={"attempts_max": draw(st.integers(1, 4)), "ack_s": 0.001},
        backhaul={"delay_s": 0.002, "loss": draw(CHANCE)},
        faults=draw(st.lists(faults(), max_size=4)),
    )


def ends(records: list[Record]) -> list[TaskEnd]:
    return [record for record in records if isinstance(record, TaskEnd)]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.data())
def test_every_task_ends_exactly_once_or_is_in_flight(folder: Path, data: st.DataObject) -> None:
    spec = data.draw(scenarios(folder))

    records, metrics, _ = perform(spec)

    (remains,) = (record for record in records if isinstance(record, Remains))
    account = [(end.user, end.seq) for end in ends(records)] + list(remains.in_flight)
    generated = {(u, k) for u, count in remains.generated.items() for k in range(count)}
    assert len(account) == len(set(account)), "a task is accounted for twice"
    assert set(account) == generated
    assert metrics.balance()["lost"] == 0


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
        servers=[server_group(law("exponential", 0.02), count=2)],
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


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_the_instants_of_a_task_are_in_order(folder: Path, data: st.DataObject) -> None:
    spec = data.draw(scenarios(folder))
    # Instants of wrong clocks need not be.
    spec["faults"] = [fault for fault in spec["faults"] if fault["type"] != "clock_skew"]

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
