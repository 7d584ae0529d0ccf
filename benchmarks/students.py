"""Students and their servers, measured: what size buys, and what a latency model teaches.

python -m benchmarks.students size       size against freshness by load, beside a server that adapts
python -m benchmarks.students sources    services drawn in virtual time; live and replayed on Ray
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.live_fidelity import in_virtual_time, on_ray
from emulator.checks import source
from emulator.experiments import compare
from emulator.scenario.schema import Scenario
from models import latency

SCENARIO = Path(__file__).parent.parent / "scenarios" / "vision-digits.yaml"
NETWORKS = ("noisy-xs", "noisy-s", "noisy-m", "noisy-l", "noisy-teacher")
ADAPTIVE = {"model": "noisy-l", "students": ["noisy-m"]}  # the best alone at some of the rates
RATES_HZ = (2.5, 5.0, 7.5, 10.0)
DEVICE = "servers.0.accelerator"
Cells = Mapping[tuple[str, str], compare.Row]


def measured(variants: Mapping[str, dict[str, Any]], seeds: int) -> Cells:
    """Runs the scenario with each variant's overrides; returns rows by (metric, variant)."""
    chosen: dict[str, Scenario] = {
        label: source.load(SCENARIO, {"runtime.kind": "loop", **overrides})
        for label, overrides in variants.items()
    }
    found = compare.measure("vision-digits", chosen, range(1, seeds + 1), lambda done, of: None)
    if found.cause:
        sys.exit(found.cause)
    return {(row.metric, row.protocol): row for row in found.rows}


def size(seeds: int) -> None:
    print("| tasks/s and user | network | right | age, mean | fresh and right, /s |")
    print("| --- | --- | --- | --- | --- |")
    for rate_hz in RATES_HZ:
        common = {"users.0.arrival.rate_hz": rate_hz}
        variants: dict[str, dict[str, Any]] = {
            name: {**common, f"{DEVICE}.model": name} for name in NETWORKS
        }
        adapts = "adapts: noisy-l or -m"
        reported = {f"{DEVICE}.{key}": value for key, value in ADAPTIVE.items()}
        variants[adapts] = {**common, **reported}
        rows = measured(variants, seeds)
        best = max(NETWORKS, key=lambda name: rows["fresh_correct_hz", name].estimate.mean)
        for label in variants:
            right, age_s, fresh_hz = (
                rows[metric, label].estimate
                for metric in ("accuracy", "aoi_mean_s", "fresh_correct_hz")
            )
            mark = "**" if label == best else ""
            print(
                f"| {rate_hz:g} | {label} | {100 * right.mean:.1f} % | {1e3 * age_s.mean:.0f} ± "
                f"{1e3 * age_s.half_width:.0f} ms | {mark}{fresh_hz.mean:.3f} ± "
                f"{fresh_hz.half_width:.3f}{mark} |"
            )


def sources(seeds: int) -> None:
    print("| network | service | played | peak age, mean | to replayed, same clock |")
    print("| --- | --- | --- | --- | --- |")
    for name in ("noisy-m", "noisy-l"):
        trace_s = latency.trace(name, 1)
        mean_s = float(trace_s.mean())
        distributions = {
            "gamma, two moments": {
                "distribution": "gamma",
                "scv": float(trace_s.var()) / mean_s**2,
            },
            "deterministic, mean only": {"distribution": "deterministic"},
            "exponential, mean only": {"distribution": "exponential"},
        }
        drawn: dict[str, dict[str, Any]] = {"replay": {"kind": "replay", "model": name}} | {
            f"fitted: {label}": {"kind": "fitted", "service": {"mean_s": mean_s, **distribution}}
            for label, distribution in distributions.items()
        }
        timed = {kind: {"kind": kind, "model": name} for kind in ("replay", "live")}
        _sources(name, "in virtual time", drawn, seeds, in_virtual_time, {"runtime.kind": "loop"})
        _sources(name, "on Ray", timed, seeds, on_ray, {"runtime.kind": "ray", "runtime.hosts": 2})


def _sources(
    name: str,
    where: str,
    accelerators: Mapping[str, dict[str, Any]],
    seeds: int,
    played: Callable[[Scenario], dict[str, Any]],
    runtime: dict[str, Any],
) -> None:
    """Prints a row for each accelerator; the first is what the others are compared with."""
    replayed = None
    for label, accelerator in accelerators.items():
        paoi_s = []
        for seed in range(1, seeds + 1):
            changes = {DEVICE: accelerator, "expect": [], "seed": seed, **runtime}
            found = played(source.load(SCENARIO, changes))
            paoi_s.append(found["metrics"]["all"]["paoi_mean_s"])
            for text in [*found["causes"], *found["warnings"]]:
                print(f"{name}, {label}, seed {seed}: {text}", file=sys.stderr)
        mean = compare.estimate(paoi_s)
        replayed = replayed or mean.mean
        shown = f"{1e3 * mean.mean:.1f} ± {1e3 * mean.half_width:.1f} ms"
        off = f"{100 * (mean.mean / replayed - 1.0):+.1f} %"
        print(f"| {name} | {label} | {where} | {shown} | {off} |", flush=True)


@click.command()
@click.argument("table", type=click.Choice(["size", "sources"]))
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True)
def main(table: str, seeds: int) -> None:
    {"size": size, "sources": sources}[table](seeds)


if __name__ == "__main__":
    main()
