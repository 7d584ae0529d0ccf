"""TODG in the whole emulator: the guarantee, the trade-off over V, its rivals, a blackout.

`python -m benchmarks.todg_network guarantee|tradeoff|rivals|blackout` prints a table each. Virtual
time, so every number is repeatable; runs are shared out to two processes.
"""

import argparse
import math
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from emulator.build.planning import plan
from emulator.checks import source
from emulator.experiments.compare import Estimate, estimate
from emulator.results.metrics import Metrics
from emulator.runtime.loop import play
from emulator.runtime.recorder import Recorder
from emulator.scenario.schema import Scenario

TODG = Path(__file__).parent.parent / "scenarios" / "todg.yaml"
WORKERS = 2
TASKS = 2_000_000
Overrides = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--quick", action="store_true", help="A twentieth of the work.")
    chosen = parser.parse_args()
    print(f"`python -m benchmarks.todg_network {chosen.table}`\n")
    with ProcessPoolExecutor(WORKERS) as pool:
        TABLES[chosen.table](pool, chosen.quick)


def measured(overrides: Overrides) -> Metrics:
    recorder = Recorder(planned := plan(source.load(TODG, overrides), stopwatch=False), None)
    for step in play(planned):
        recorder.take(step)
    return recorder.metrics


# The guarantee


def hostile(seed: int) -> Overrides:
    """Draws a network, a load and faults of all kinds; half of the runs are overloaded."""
    rng = random.Random(seed)
    load = rng.choice([0.5, 1.0, 1.5, 2.5])
    overrides: Overrides = {
        "seed": seed,
        "duration_s": 60.0,
        "protocol.mode": rng.choice(["hol", "capped", "persistent"]),
        "protocol.effort": rng.randrange(6),
        "topology.hear_m": rng.choice([0.0, 70.0, 95.0, 120.0]),
        "control.channel.loss": rng.choice([0.0, 0.1, 0.3, 0.9]),
    }
    for number, rate_hz in enumerate((16.0, 12.0, 7.0)):
        overrides[f"users.{number}.arrival.rate_hz"] = load * rate_hz
    kinds: tuple[Overrides, ...] = (
        {"type": "blackout", "target": rng.choice(["bs-0", "bs-*", "rack-0", "camera-*"])},
        {"type": "channel_loss", "target": "bs-*", "channels": rng.choice([[0], [0, 1], [1, 3]])},
        {"type": "loss", "target": "bs-*", "p": rng.random()},
        {"type": "loss", "target": "bs-*", "p": rng.random(), "only": "control"},
        {"type": "delay", "target": "bs-*", "delay_s": 0.08, "only": "control"},
        {"type": "server_slowdown", "target": rng.choice(["rack-0", "*"]), "factor": 20.0},
    )
    overrides["faults"] = [
        {**fault, "at_s": rng.uniform(0.0, 40.0), "for_s": rng.uniform(1.0, 20.0)}
        for fault in rng.sample(kinds, 3)
    ]
    return overrides


def _guarded(seed: int) -> tuple[int, int, float, dict[str, int]]:
    metrics = measured(hostile(seed))
    balance = metrics.balance()
    scenario: Scenario = source.load(TODG, {})
    worst = max(
        metrics.groups[group.name].stays.max_s / (group.deadline_s or math.inf)
        for group in scenario.users
    )
    return balance["generated"], (metrics.violations or 0), worst, balance


def guarantee(pool: ProcessPoolExecutor, quick: bool) -> None:
    print(
        "| runs | tasks | completed | given up | lost | violations | longest sojourn / deadline |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    tasks, runs, violations, worst = 0, 0, 0, 0.0
    completed, given_up, lost = 0, 0, 0
    seeds = iter(range(1, 1_000_000))
    wanted = TASKS // 20 if quick else TASKS
    while tasks < wanted:
        for generated, broken, share, balance in pool.map(
            _guarded, [next(seeds) for _ in range(8)]
        ):
            runs += 1
            tasks += generated
            violations += broken
            worst = max(worst, share)
            completed += balance["completed"]
            given_up += balance["expired"] + balance["dropped"]
            lost += balance["lost"]
    print(f"| {runs} | {tasks:,} | {completed:,} | {given_up:,} | {lost} | {violations} |", end="")
    print(f" {worst:.3f} |")


# The trade-off over V


def _at_v(job: tuple[float, int]) -> tuple[float, float]:
    v_slots, seed = job
    deadlines = {f"users.{n}.deadline_s": 40.0 * d for n, d in enumerate((2.25, 3.25, 6.25))}
    rates = {f"users.{n}.arrival.rate_hz": 1.6 * r for n, r in enumerate((16.0, 12.0, 7.0))}
    protocol = {"protocol.V": v_slots, "protocol.guarantee": "watchdog"}
    length = {"duration_s": 60.0 + 0.3 * v_slots, "warmup_s": 20.0 + 0.3 * v_slots}
    modest = {"protocol.persistence": 0.3, "protocol.mode": "persistent", "seed": seed}
    numbers = measured({**deadlines, **rates, **protocol, **length, **modest}).summary()["all"]
    return float(numbers["utility"] or 0.0), float(numbers["backlog_mean"] or 0.0)


def tradeoff(pool: ProcessPoolExecutor, quick: bool) -> None:
    values = [10.0, 20.0, 40.0, 80.0, 160.0, 320.0]
    seeds = range(1, 2 if quick else 4)
    print("Deadlines 40 times as long, so that only V acts; load 1.6; eps = 0.3 u, persistent.\n")
    print("| V, slots | utility | backlog, tasks | backlog / V |\n| --- | --- | --- | --- |")
    found = iter(pool.map(_at_v, [(v, seed) for v in values for seed in seeds]))
    utilities, backlogs = [], []
    for v in values:
        rows = np.array([next(found) for _ in seeds])
        utility, backlog = rows.mean(axis=0)
        utilities.append(utility)
        backlogs.append(backlog)
        print(f"| {v:g} | {utility:.1f} | {backlog:.0f} | {backlog / v:.2f} |", flush=True)
    inverse = 1.0 / np.array(values[1:])
    slope, limit = np.polyfit(inverse, utilities[1:], 1)
    grown, _ = np.polyfit(np.log(values[2:]), np.log(backlogs[2:]), 1)
    print(f"\nUtility = {limit:.1f} - {-slope:.0f} / V (least squares, V >= 20).")
    print(f"Backlog grows with V to the power of {grown:.2f} (V >= 40).")


# Rivals

RIVALS: dict[str, Overrides] = {
    "todg": {"kind": "todg"},
    "max-weight": {"kind": "max-weight"},
    "max-weight, effort 4": {"kind": "max-weight", "effort": 4},  # todg's allocation
    **{kind: {"kind": kind} for kind in ("round-robin", "max-rate", "edf", "random")},
}


def _rival(job: tuple[str, float, int]) -> tuple[float, float, float, tuple[float, ...]]:
    protocol, load, seed = job
    rates = {f"users.{n}.arrival.rate_hz": load * r for n, r in enumerate((16.0, 12.0, 7.0))}
    overrides = {"seed": seed, "duration_s": 60.0, "protocol": RIVALS[protocol], **rates}
    summary = measured(overrides).summary()
    numbers = summary["all"]
    on_time = tuple(1.0 - float(summary[g]["miss_ratio"] or 0.0) for g in GROUPS)
    found = (numbers[key] for key in ("utility", "backlog_mean", "delay_mean_s"))
    utility, backlog, delay_s = (float(value or 0.0) for value in found)
    return utility, backlog, delay_s, on_time


GROUPS = ("alarm", "camera", "survey")


def rivals(pool: ProcessPoolExecutor, quick: bool) -> None:
    seeds = range(1, 3 if quick else 11)
    print(f"{len(seeds)} paired seeds, 60 s each; ± half of the 95 % interval.\n")
    print("| load | protocol | net utility | minus todg, paired | backlog | delay | on time |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    loads = (0.7, 1.0, 1.3, 2.0)
    jobs = [(p, load, seed) for load in loads for p in RIVALS for seed in seeds]
    found = iter(pool.map(_rival, jobs))
    for load in loads:
        first: list[float] = []
        for protocol in RIVALS:
            rows = [next(found) for _ in seeds]
            utility = [row[0] for row in rows]
            first = first or utility
            gaps = [a - b for a, b in zip(utility, first, strict=True)]
            gap = "" if protocol == "todg" else _worded(estimate(gaps))
            on_time = ", ".join(
                f"{100.0 * np.mean(c):.1f}" for c in zip(*(r[3] for r in rows), strict=True)
            )
            print(
                f"| {load:g} | {protocol} | {_worded(estimate(utility))} | {gap} |"
                f" {np.mean([row[1] for row in rows]):.0f} |"
                f" {1e3 * np.mean([row[2] for row in rows]):.0f} ms | {on_time} % |",
                flush=True,
            )


def _worded(found: Estimate) -> str:
    return f"{found.mean:.1f} ± {found.half_width:.1f}"


# A blackout


def _blackout(seed: int) -> tuple[float, float, float]:
    """Returns the mean backlog before, its peak, and how long after the end it stayed above."""
    lost = {"at_s": 20.0, "for_s": 10.0, "type": "channel_loss", "target": "bs-*"}
    metrics = measured({"seed": seed, "faults": [{**lost, "channels": [0, 1]}]})
    assert metrics.violations == 0
    at_s = np.array(metrics.series.at_s)
    columns = metrics.series.columns
    users = np.array(columns["protocol/waiting_users"], dtype=float)
    before = users[(at_s > 5.0) & (at_s < 20.0)]
    usual = before.mean() + 2.0 * before.std()
    above = at_s[(at_s > 30.0) & (users > usual)]
    after = at_s[(at_s > 30.0) & (users <= usual)]
    recovered_s = float(after.min()) - 30.0 if len(after) else math.inf
    return float(before.mean()), float(users.max()), recovered_s if len(above) else 0.0


def blackout(pool: ProcessPoolExecutor, quick: bool) -> None:
    print("Two of four channels lost from 20 to 30 s, load 1; recovered: backlog at users back")
    print("within two standard deviations of its mean before. No violation in any run.\n")
    print("| seed | backlog before | at its peak | recovered after |\n| --- | --- | --- | --- |")
    for seed, row in enumerate(pool.map(_blackout, range(1, 3 if quick else 11)), start=1):
        print(f"| {seed} | {row[0]:.0f} | {row[1]:.0f} | {row[2]:.2f} s |", flush=True)


TABLES: dict[str, Callable[[ProcessPoolExecutor, bool], None]] = {
    "guarantee": guarantee,
    "tradeoff": tradeoff,
    "rivals": rivals,
    "blackout": blackout,
}

if __name__ == "__main__":
    main()
