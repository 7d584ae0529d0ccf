"""Equal seeds give equal runs, and a fault changes nothing but what it touches."""

import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, unfold, user_group

from agents.messages import TaskEnd
from agents.protocols import PROTOCOLS
from agents.tasks import Uniform
from emulator.streams import Streams

BEGIN_S = 3.0
HEAL_S = 6.0
TESTS = Path(__file__).parent
DIGEST = (
    "import json, sys; from conftest import perform; print(perform(json.load(sys.stdin)).digest)"
)


def busy(kind: str = "random", **changes: object) -> Spec:
    """Everything that draws: two classes, two cells, contention, fading and four faults."""
    cpu = {"accelerator": {"kind": "fitted", "service": distribution("exponential", 0.05)}}
    slow = server_group(distribution("gamma", 0.02, 0.5), name="slow", speed=0.5)
    spec = scenario(
        protocol={"kind": kind},
        users=[
            user_group(name="phone", count=4, arrival={"kind": "poisson", "rate_hz": 5.0}, cpu=cpu),
            user_group(name="meter", count=3, priority=1, cpu=cpu, deadline_s=0.2, drop_late=True),
        ],
        base_stations=[
            {"name": "bs"},
            {"name": "cell", "access": "contention", "channels": 2},
            {"name": "grant", "access": "granted", "channels": 2},
        ],
        servers=[server_group(distribution("hyperexponential", 0.01, 4.0), count=2), slow],
        channel={"kind": "rayleigh", "snr_db": 25.0},
        backhaul={"delay_s": 0.002, "loss": 0.05},
        faults=[
            {"type": "loss", "target": "phone-*", "p": 0.3, "at_s": 1.0, "for_s": 4.0},
            {"type": "burst_loss", "target": "bs-0", "loss": 0.4, "burst_length": 5.0, "at_s": 2.0},
            {"type": "delay", "target": "*", "delay_s": 0.01, "jitter_s": 0.01, "at_s": 4.0},
            {"type": "server_slowdown", "target": "edge-*", "factor": 2.0, "at_s": 5.0},
        ],
    )
    if PROTOCOLS[kind].slotted:
        slots = {"access": "slotted", "channels": 2, "grant_s": 0.02}
        spec["base_stations"] = [{"name": name, **slots} for name in ("bs", "cell", "grant")]
        spec["users"] = [group | {"arrival": {"kind": "on-grant"}} for group in spec["users"]]
        spec["resend"] = {"attempts_max": 1}
    return spec | changes


def alone(faults: list[Spec]) -> Spec:
    """Open arrivals, own channels, random servers: what one user meets on its way to a server
    depends on nobody else."""
    return scenario(
        protocol={"kind": "random"},
        users=[user_group(count=4, arrival={"kind": "poisson", "rate_hz": 10.0})],
        servers=[server_group(distribution("exponential", 0.02), count=2)],
        channel={"kind": "bernoulli", "loss": 0.3, "airtime": distribution("exponential", 0.01)},
        faults=faults,
    )


# Hits user-0's radio links and no others, in four ways that draw and delay differently.
FAULTS = [
    {"type": "blackout", "target": "user-0", "at_s": BEGIN_S, "for_s": HEAL_S - BEGIN_S},
    {"type": "loss", "target": "user-0", "p": 0.5, "at_s": BEGIN_S, "for_s": HEAL_S - BEGIN_S},
    {
        "type": "delay",
        "target": "user-0->*",
        "delay_s": 0.05,
        "jitter_s": 0.05,
        "at_s": BEGIN_S,
        "for_s": HEAL_S - BEGIN_S,
    },
    {
        "type": "burst_loss",
        "target": "user-0",
        "loss": 0.5,
        "burst_length": 4.0,
        "at_s": BEGIN_S,
        "for_s": HEAL_S - BEGIN_S,
    },
]


@pytest.mark.parametrize("kind", sorted(PROTOCOLS))
def test_the_same_seed_gives_the_same_digest(kind: str) -> None:
    assert perform(busy(kind)).digest == perform(busy(kind)).digest


def test_another_seed_gives_another_digest() -> None:
    assert perform(busy()).digest != perform(busy(seed=2)).digest


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    spec = json.dumps(busy())

    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            input=spec,
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }

    assert digests == {perform(busy()).digest}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["type"]))
def test_a_fault_changes_no_record_before_it_begins(fault: Spec) -> None:
    without = [(step.now_s, step.records) for step, _ in unfold(alone([]))]
    hit = [(step.now_s, step.records) for step, _ in unfold(alone([fault]))]

    before = [step for step in without if step[0] < BEGIN_S]
    assert before == hit[: len(before)]
    assert before
    assert without != hit


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["type"]))
def test_a_fault_leaves_the_way_of_other_users_as_it_was(fault: Spec) -> None:
    def uplinks(spec: Spec) -> dict[tuple[str, int], tuple[float, str, int]]:
        ends = [r for r in perform(spec).records if isinstance(r, TaskEnd)]
        completed = (end for end in ends if end.outcome == "completed" and end.user != "user-0")
        return {(e.user, e.seq): (e.arrived_s, e.server, e.attempts) for e in completed}

    without, hit = uplinks(alone([])), uplinks(alone([fault]))

    # Results can be in flight at the end of one run and back in the other: compare what is in both.
    both = without.keys() & hit.keys()
    assert len(both) > 0.98 * len(without)
    assert {key: hit[key] for key in both} == {key: without[key] for key in both}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["type"]))
def test_every_stream_gives_the_same_draws_with_and_without_a_fault(
    fault: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, hit = draws(alone([]), monkeypatch), draws(alone([fault]), monkeypatch)

    own = {name for name in hit if "user-0" in name}
    assert without.keys() - own == hit.keys() - own, "a fault gives no other node a stream"
    for name in without.keys() & hit.keys():
        shared = min(len(without[name]), len(hit[name]))
        assert without[name][:shared] == hit[name][:shared], name
    for user in ("user-1", "user-2", "user-3"):
        for name in (("attempt", user, "bs-0"), ("demand", user), ("policy", user)):
            assert without[name] == hit[name], "no draw more and none less than without the fault"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["type"]))
def test_a_healed_fault_leaves_the_later_attempts_of_its_link_as_they_were(
    fault: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without resends no fault makes an attempt more or less, so that even the link it hits draws
    # the same numbers for the same attempts: after it heals all arrivals are the old ones. The way
    # back is ideal, for an arrival is only told with its result.
    once = {"resend": {"attempts_max": 1}, "downlink": {"kind": "ideal"}}

    def late(spec: Spec) -> dict[int, float]:
        ends = [r for r in perform(spec).records if isinstance(r, TaskEnd)]
        after = (end for end in ends if end.user == "user-0" and end.born_s > HEAL_S + 0.1)
        return {end.seq: end.arrived_s for end in after if not math.isnan(end.arrived_s)}

    name = ("attempt", "user-0", "bs-0")
    without, hit = alone([]) | once, alone([fault]) | once
    assert draws(without, monkeypatch)[name] == draws(hit, monkeypatch)[name]
    assert late(without) == late(hit)
    assert late(without)


def draws(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], list[float]]:
    """Plays a scenario and returns what each named stream was asked for, in order."""
    drawn: dict[tuple[str, ...], list[float]] = defaultdict(list)
    original = Streams.uniform

    def recording(self: Streams, *name: str) -> Uniform:
        uniform = original(self, *name)

        def draw() -> float:
            value = uniform()
            drawn[name].append(value)
            return value

        return draw

    with monkeypatch.context() as patched:
        patched.setattr(Streams, "uniform", recording)
        perform(spec)
    return drawn
