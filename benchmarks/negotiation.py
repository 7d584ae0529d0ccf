"""What it costs PoPeC's nodes to agree: time and messages, synchronous against asynchronous.

`python -m benchmarks.negotiation race|ideas|faults|scale`. Everything runs in virtual time in the
emulator, messages cross its lossy control channel, and the gap is that of the allocation in force
to the centralised optimum, at every `EVERY_S`.
"""

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct, structs

from agents.popec.user import NegotiatingUser
from agents.reference.optimum import optimum
from agents.reference.problem import Allocation, Problem, repair, weighted_paoi_s
from emulator.build.assemble import assemble
from emulator.build.planning import plan
from emulator.build.problem import Whole, whole_of
from emulator.results.journal import Readings
from emulator.scenario.schema import Scenario
from emulator.sim.kernel import Kernel

EVERY_S = 0.01
GATHER_S = 0.006
ACK_BYTES = 24.0
SERVERS = (("gamma", 0.020, 0.25), ("deterministic", 0.012, 1.0), ("exponential", 0.060, 1.0))
OLD = ("hyperexponential", 0.035, 2.0)
CLASSES = ((0.2, 4.0), (0.3, 2.0), (0.5, 1.0))  # share of the users, weight
Spec = dict[str, Any]


def scenario(users: int, seed: int, loss: float, stragglers: bool, **changes: Any) -> Spec:
    """The reference network on our channels; nothing is measured."""
    size = {10: 2, 20: 3, 50: 4, 200: 8}.get(users, max(2, users // 25))
    counts = [round(users * share) for share, _ in CLASSES]
    kinds = (*SERVERS, OLD)
    faults: list[Spec] = []
    if stragglers:  # a tenth of the users, spread over the classes: five times slower
        slow = [f"class{k}-{i}" for k, count in enumerate(counts) for i in range(0, count, 10)]
        faults.append(
            {
                "at_s": 0.0,
                "type": "delay",
                "target": ",".join(slow),
                "delay_s": 0.02,
                "only": "control",
            }
        )
    return {
        "name": "negotiation",
        "seed": seed,
        "duration_s": 30.0,
        "protocol": {"kind": "popec-async", "measure": False},
        "users": [
            {
                "name": f"class{k}",
                "count": count,
                "priority": k,
                "weight": weight,
                "arrival": {"kind": "on-grant"},
                "input_bits": 3.0e4,
            }
            for k, (count, (_, weight)) in enumerate(zip(counts, CLASSES, strict=True))
        ],
        "base_stations": [
            {"name": "bs", "count": size, "access": "slotted", "channels": 1, "grant_s": 0.02}
        ],
        "servers": [
            {
                "name": f"edge{m}",
                "accelerator": {"kind": "fitted", "service": service(*kinds[m % 4])},
            }
            for m in range(size)
        ],
        "channel": {
            "kind": "rayleigh",
            "snr_db": 22.0,
            "path_loss_exponent": 2.5,
            "threshold_db": 5.0,
            "coherence_s": 0.02,
        },
        "downlink": {"kind": "ideal"},
        "resend": {"attempts_max": 1},
        "control": {
            "channel": {
                "kind": "bernoulli",
                "loss": loss,
                "airtime": {"distribution": "exponential", "mean_s": 0.005},
            }
        },
        "topology": {
            "kind": "generated",
            "area_m": 200.0 * size**0.5,
            "servers_per_cell": min(4, size),
        },
        "faults": faults,
    } | changes


def service(distribution: str, mean_s: float, scv: float) -> Spec:
    return {"distribution": distribution, "mean_s": mean_s, "scv": scv}


class Race(Struct):
    """How one run went: gaps over time, and what they cost by then."""

    at_s: list[float] = []
    gaps: list[float] = []
    messages: list[float] = []
    bytes: list[float] = []

    def sojourns_below(self, gap: float, since_s: float = 0.0) -> int | None:
        """Returns the first sample from which the gap stays below, None if it does not."""
        last = max((i for i, g in enumerate(self.gaps) if not g < gap), default=-1)
        first = max(last + 1, next(i for i, at_s in enumerate(self.at_s) if at_s >= since_s))
        return first if first < len(self.gaps) else None


@lru_cache(maxsize=256)
def _reference(text: str) -> tuple[Whole, float]:
    spec = Scenario.model_validate_json(text)
    whole = whole_of(plan(spec, stopwatch=False))
    return whole, optimum(whole.problem)[1]


def reference(spec: Spec) -> tuple[Whole, float]:
    """Returns the problem of a scenario without its faults, and its optimum."""
    plain = spec | {"faults": [], "control": None, "protocol": {"kind": "popec-async"}}
    return _reference(Scenario.model_validate(plain).model_dump_json())


def in_force(kernel: Kernel, whole: Whole) -> Allocation:
    """Returns what the users act on, before they scale it to what both sides carry."""
    policies = ((name, getattr(node, "policy", None)) for name, node in kernel.nodes.items())
    users = ((n, p) for n, p in policies if isinstance(p, NegotiatingUser))
    return whole.allocation({name: {**user.grants_hz, **user.splits_hz} for name, user in users})


def race(spec: Spec, until_s: float, acks: bool) -> Race:
    """Plays a scenario and follows the gap; `acks` counts an acknowledgement per delivery."""
    whole, best_s = reference(spec)
    planned = plan(Scenario.model_validate(spec), stopwatch=False)
    kernel = assemble(planned, planned.names)
    kernel.start()
    found = Race([], [], [], [])
    attempts = bits = lost = 0.0
    for step in range(1, round(until_s / EVERY_S) + 1):
        at_s = step * EVERY_S
        kernel.run_until(at_s)
        for record in kernel.take_records(at_s):
            if getattr(record, "kind", "").startswith("control"):
                attempts += record.attempts  # type: ignore[union-attr]
                bits += record.bits  # type: ignore[union-attr]
                lost += sum(record.losses.values())  # type: ignore[union-attr]
        delivered = attempts - lost
        found.at_s.append(at_s)
        acted = repair(whole.problem, in_force(kernel, whole))
        found.gaps.append(weighted_paoi_s(whole.problem, acted) / best_s - 1.0)
        found.messages.append(attempts + delivered * acks)
        found.bytes.append(bits / 8.0 + delivered * acks * ACK_BYTES)
    return found


RELIABLE = {"attempts_max": 50, "ack_s": 0.02, "backoff_s": 0.0}


def synchronous(spec: Spec) -> Spec:
    """The same scenario round by round, over a link layer that resends until it is through."""
    return spec | {
        "protocol": {"kind": "popec", "measure": False},
        "control": spec["control"] | {"resend": RELIABLE},
    }


def show(rows: Sequence[Sequence[str]]) -> None:
    head, *body = rows
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in body:
        print("| " + " | ".join(row) + " |", flush=True)


def median(values: Sequence[float | None]) -> float:
    return statistics.median(float("inf") if value is None else value for value in values)


def summed(runs: Sequence[Race], gap: float) -> list[str]:
    """Returns time, packets and kilobytes to a gap as medians; the largest last gap."""
    firsts = [run.sojourns_below(gap) for run in runs]
    pairs = list(zip(runs, firsts, strict=True))
    at_s = median([None if i is None else run.at_s[i] for run, i in pairs])
    messages = median([None if i is None else run.messages[i] for run, i in pairs])
    kilobytes = median([None if i is None else run.bytes[i] / 1e3 for run, i in pairs])
    last = max(run.gaps[-1] for run in runs)
    return [f"{at_s:.2f} s", f"{messages:,.0f}", f"{kilobytes:,.0f} kB", f"{last:.1e}"]


def asynchronous(spec: Spec, gather_s: float | None = GATHER_S, **options: Any) -> Spec:
    """The same scenario without barriers; `gather_s` None: no two messages share a packet."""
    return spec | {
        "protocol": spec["protocol"] | options,
        "control": spec["control"] | {"gather_s": gather_s},
    }


def race_table(users: int, seeds: Sequence[int], until_s: float) -> None:
    """Against the synchronous variant, over losses, with stragglers and without."""
    print(f"\n{users} users, seeds {seeds[0]} to {seeds[-1]}, medians; last gap: the largest")
    rows = [["slow users", "loss", "variant", "to 1 %", "packets", "bytes", "last gap", "speed-up"]]
    for stragglers in (True, False):
        for loss in (0.0, 0.1, 0.2, 0.3):
            specs = [scenario(users, seed, loss, stragglers) for seed in seeds]
            slow = [race(synchronous(spec), until_s, acks=True) for spec in specs]
            fast = [race(asynchronous(spec), until_s, acks=False) for spec in specs]
            gains = [
                a.at_s[i] / b.at_s[j]
                for a, b in zip(slow, fast, strict=True)
                if (i := a.sojourns_below(0.01)) is not None
                and (j := b.sojourns_below(0.01)) is not None
            ]
            case = ["10 %" if stragglers else "none", f"{loss:.0%}"]
            rows.append([*case, "popec, acks counted", *summed(slow, 0.01), ""])
            gain = f"{statistics.median(gains):.1f}x" if gains else "-"
            rows.append([*case, "popec-async", *summed(fast, 0.01), gain])
    show(rows)


def ideas_table(users: int, seeds: Sequence[int], until_s: float) -> None:
    """What each idea to spare messages buys, one after the other."""
    print(f"\n{users} users, 10 % slow, seeds {seeds[0]} to {seeds[-1]}, medians")
    rows = [["loss", "variant", "to 1 %", "packets", "bytes", "last gap", "packets in 5 s"]]
    for loss in (0.1, 0.2):
        specs = [scenario(users, seed, loss, True) for seed in seeds]
        variants = {
            "small steps (gamma 0.3), every change sent": {"gamma": 0.3, "censor": 0.0},
            "larger steps, refined (gamma 1)": {"censor": 0.0},
            "and small changes not sent": {},
        }
        for name, options in variants.items():
            runs = [
                race(asynchronous(spec, None, **options), until_s, acks=False) for spec in specs
            ]
            rows.append([f"{loss:.0%}", name, *summed(runs, 0.01), _total(runs)])
        runs = [race(asynchronous(spec), until_s, acks=False) for spec in specs]
        name = f"and packets gathered for {1e3 * GATHER_S:g} ms"
        rows.append([f"{loss:.0%}", name, *summed(runs, 0.01), _total(runs)])
        runs = [race(synchronous(spec), until_s, acks=True) for spec in specs]
        rows.append([f"{loss:.0%}", "synchronous, acks counted", *summed(runs, 0.01), _total(runs)])
        gathered = [
            spec | {"control": spec["control"] | {"gather_s": GATHER_S}}
            for spec in map(synchronous, specs)
        ]
        runs = [race(spec, until_s, acks=True) for spec in gathered]
        rows.append([f"{loss:.0%}", "synchronous, gathered", *summed(runs, 0.01), _total(runs)])
    show(rows)


def _total(runs: Sequence[Race]) -> str:
    return f"{statistics.median(run.messages[-1] for run in runs):,.0f}"


EVENTS: dict[str, tuple[str, Spec]] = {  # what happens, to whom, as a fault
    "a base station's signal is 6 dB weaker": ("bs-0", {"type": "fading", "depth_db": 6.0}),
    "a base station goes dark": ("bs-2", {"type": "blackout"}),
    "the fastest server is cut off": ("edge1-0", {"type": "blackout"}),
    "five urgent users fall silent": (
        ",".join(f"class0-{number}" for number in range(5)),
        {"type": "blackout"},
    ),
}
HIT_S, HEAL_S, END_S = 5.0, 12.0, 19.0


def changed(whole: Whole, target: str, fault: Spec) -> tuple[Problem, Any]:
    """Returns the problem while a fault lasts, of the users that are left, and who these are."""
    names, problem = target.split(","), whole.problem
    success, reach = problem.success.copy(), problem.reach.copy()
    users = np.array([user not in names for user in whole.users])
    cells = [bs in names for bs in whole.base_stations]
    if fault["type"] == "fading":  # Rayleigh: p = exp(-threshold / mean SNR)
        success[:, cells] **= 10.0 ** (fault["depth_db"] / 10.0)
    else:
        success[:, cells] = 0.0
        reach[:, [server in names for server in whole.servers]] = False
    return structs.replace(
        problem,
        success=success[users],
        reach=reach[users],
        weights=problem.weights[users],
        priorities=problem.priorities[users],
        rate_max_hz=problem.rate_max_hz[users],
    ), users


def recovery(spec: Spec, target: str, fault: Spec) -> list[float | None]:
    """Returns the gap at once, seconds to 5 % and 1 %, packets to 1 %, seconds after the heal."""
    whole, before_s = reference(spec)
    problem, users = changed(whole, target, fault)
    during_s = optimum(problem)[1]
    hit = {**fault, "target": target, "at_s": HIT_S, "for_s": HEAL_S - HIT_S}
    planned = plan(Scenario.model_validate(spec | {"faults": [hit]}), stopwatch=False)
    kernel = assemble(planned, planned.names)
    kernel.start()
    hurt, healed = Race([], [], [], []), Race([], [], [], [])
    packets = 0.0
    for step in range(1, round(END_S / EVERY_S) + 1):
        at_s = step * EVERY_S
        kernel.run_until(at_s)
        for record in kernel.take_records(at_s):
            if getattr(record, "kind", "").startswith("control"):
                packets += record.attempts  # type: ignore[union-attr]
        if at_s < HIT_S:
            packets = 0.0
            continue
        run = hurt if at_s < HEAL_S else healed
        run.at_s.append(at_s)
        run.messages.append(packets)
        acted = in_force(kernel, whole)
        if run is hurt:
            usable = Allocation(
                acted.grants_hz[users] * (problem.success > 0.0),
                acted.splits_hz[users] * problem.reach,
            )
            now_s = weighted_paoi_s(problem, repair(problem, usable))
            run.gaps.append(now_s / during_s - 1.0)
        else:
            now_s = weighted_paoi_s(whole.problem, repair(whole.problem, acted))
            run.gaps.append(now_s / before_s - 1.0)
    to_5, to_1, back = (
        hurt.sojourns_below(0.05),
        hurt.sojourns_below(0.01),
        healed.sojourns_below(0.01),
    )
    return [
        hurt.gaps[0],
        None if to_5 is None else hurt.at_s[to_5] - HIT_S,
        None if to_1 is None else hurt.at_s[to_1] - HIT_S,
        None if to_1 is None else hurt.messages[to_1],
        None if back is None else healed.at_s[back] - HEAL_S,
    ]


def faults_table(users: int, seeds: Sequence[int]) -> None:
    """How long until the allocation is within 1 % of the optimum of the network as it then is."""
    print(f"\n{users} users, 10 % loss, seeds {seeds[0]} to {seeds[-1]}, medians")
    rows = [["what happens", "gap at once", "to 5 %", "to 1 %", "packets to 1 %", "healed, to 1 %"]]
    for name, (target, fault) in EVENTS.items():
        runs = []
        for seed in seeds:
            spec = asynchronous(
                scenario(users, seed, 0.1, False), measure=fault["type"] == "fading"
            )
            runs.append(recovery(spec, target, fault))
        gap, to_5, to_1, packets, back = (median(column) for column in zip(*runs, strict=True))
        rows.append(
            [
                name,
                f"{gap:.0%}" if gap < 9 else "inf",
                f"{to_5:.2f} s",
                f"{to_1:.2f} s" if to_1 < math.inf else f"not in {HEAL_S - HIT_S:g} s",
                f"{packets:,.0f}" if packets < math.inf else "-",
                f"{back:.2f} s" if back < math.inf else f"not in {END_S - HEAL_S:g} s",
            ]
        )
    show(rows)


def scale_table(sizes: Sequence[int]) -> None:
    """How the cost of agreeing grows with the network. No oracle: rounds for two emulated seconds.

    Users on slots are left out, so that only the negotiation costs.
    """
    rows = [["users", "CPU s for 2 s", "rounds of a user", "per user and round", "primal residual"]]
    for users in sizes:
        spec = asynchronous(scenario(users, 1, 0.1, True))
        planned = plan(Scenario.model_validate(spec), stopwatch=False)
        kernel = assemble(planned, planned.names)
        began_s = time.process_time()
        kernel.start()
        kernel.run_until(2.0)
        cpu_s = time.process_time() - began_s
        readings = [r for r in kernel.take_records(2.0) if isinstance(r, Readings)][-1].values
        rounds = readings["rounds"]
        residual = (readings["primal"] / readings["edges"]) ** 0.5
        rows.append(
            [
                f"{users:,}",
                f"{cpu_s:.1f}",
                f"{rounds / users:.0f}",
                f"{1e6 * cpu_s / rounds:.0f} us",
                f"{residual:.3f}",
            ]
        )
    show(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["race", "ideas", "faults", "scale"])
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    seeds = range(1, arguments.seeds + 1)
    began_s = time.process_time()
    match arguments.what:
        case "race":
            race_table(arguments.users, seeds, 5.0)
        case "ideas":
            ideas_table(arguments.users, seeds, 5.0)
        case "faults":
            faults_table(arguments.users, seeds)
        case "scale":
            scale_table((50, 100, 200, 400, 700, 1000))
    print(f"\n{time.process_time() - began_s:.0f} CPU s")


if __name__ == "__main__":
    main()
