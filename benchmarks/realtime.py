"""Real time on Ray against virtual time at the same seed, on W(100, T) and W(1000, T).

    python -m benchmarks.realtime [--duration 60]

Both play `scenarios/w100.yaml` and `w1000.yaml`: the same arrivals, losses and services, so that
what differs is the lateness of the real-time run and nothing else.
"""

import argparse
from pathlib import Path
from typing import Any

from emulator.checks import source
from emulator.runtime.session import Session

SCENARIOS = Path(__file__).parent.parent / "scenarios"
SEED = 1


def measure(name: str, duration_s: float, on_ray: bool) -> dict[str, Any]:
    """Plays a scenario and returns its summary."""
    kind = "ray" if on_ray else "loop"
    changes = {"duration_s": duration_s, "seed": SEED, "runtime.kind": kind, "expect": []}
    return Session(source.load(SCENARIOS / f"{name}.yaml", changes)).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, help="emulated seconds")
    duration_s = parser.parse_args().duration
    print(
        "| | offered/s | results/s | mean delay | virtual time | ratio "
        "| lateness p50, p99 | verdict |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in ("w100", "w1000"):
        reference = measure(name, duration_s, on_ray=False)
        found = measure(name, duration_s, on_ray=True)
        real, virtual = found["metrics"]["all"], reference["metrics"]["all"]
        offered_hz = found["balance"]["generated"] / duration_s
        late = [1e3 * found[f"lateness_{q}_s"] for q in ("p50", "p99")]
        print(
            f"| {name} | {offered_hz:.1f} | {real['throughput_hz']:.1f} "
            f"| {1e3 * real['delay_mean_s']:.2f} ms | {1e3 * virtual['delay_mean_s']:.2f} ms "
            f"| {real['delay_mean_s'] / virtual['delay_mean_s']:.4f} "
            f"| {late[0]:.2g}, {late[1]:.2g} ms | {found['verdict']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
