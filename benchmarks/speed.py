"""Tasks per CPU-second in virtual time: Fresco, SimPy and a bare heap on one workload.

`python -m benchmarks.speed` runs them in turn, each in a process of its own, for several rounds,
so that what else the machine does hits all three alike. CPU time is the process's own; imports
are reported, not counted. `--write` keeps the figures in speed.json.
"""

import argparse
import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SYSTEMS = {"fresco": "w_fresco", "simpy": "w_simpy", "heapq": "w_heapq"}
RESULT = Path(__file__).with_name("speed.json")
DRIFT = 0.15  # relative; a mean delay further from theory than this is not the same model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--duration", type=float, default=100.0, help="emulated seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="keep the figures in speed.json")
    parser.add_argument("--only", choices=SYSTEMS, help="one measurement, in this process")
    chosen = parser.parse_args()
    if chosen.only:
        figures = measure(chosen.only, chosen.users[0], chosen.duration, chosen.seed)
        print(json.dumps(figures))
        return
    rows = [row for users in chosen.users for row in compare(users, chosen)]
    if chosen.write:
        seeds = [chosen.seed + number for number in range(chosen.rounds)]
        origin = {"python": platform.python_version(), "cpu": _cpu(), "commit": _commit()}
        figures = {**origin, "duration_s": chosen.duration, "seeds": seeds, "rows": rows}
        RESULT.write_text(json.dumps(figures, indent=1) + "\n")
        print(f"wrote {RESULT.name}")


def measure(system: str, users: int, duration_s: float, seed: int) -> dict[str, float]:
    """Runs one system once in this process."""
    began_s = time.process_time()
    module = importlib.import_module(f"benchmarks.{SYSTEMS[system]}")
    imported_s = time.process_time()
    measured = module.run(users, duration_s, seed)
    cpu_s = time.process_time() - imported_s
    return {
        "tasks_per_cpu_s": measured.completed / cpu_s,
        "cpu_s": cpu_s,
        "import_cpu_s": imported_s - began_s,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
        "delay_mean_s": measured.delay_mean_s,
        "paoi_mean_s": measured.peak_mean_s,
    }


def compare(users: int, chosen: argparse.Namespace) -> list[dict[str, object]]:
    """Measures every system in turn, round after round; prints and returns the medians."""
    theory_s = 0.025 + 9.333 / users
    rounds: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for number in range(chosen.rounds):
        for system in SYSTEMS:
            rounds[system].append(_in_its_own_process(system, users, chosen.seed + number, chosen))
    print(f"W({users}, {chosen.duration:g}), median of {chosen.rounds} rounds")
    print("system   tasks/CPU-s  of SimPy  import CPU s   RSS MB  delay ms (theory)")
    medians = {
        system: {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        for system, measured in rounds.items()
    }
    rows: list[dict[str, object]] = []
    for system, median in medians.items():
        ratio = median["tasks_per_cpu_s"] / medians["simpy"]["tasks_per_cpu_s"]
        drifted = abs(median["delay_mean_s"] / theory_s - 1.0) > DRIFT
        print(
            f"{system:8} {median['tasks_per_cpu_s']:11,.0f} {ratio:8.2f}x "
            f"{median['import_cpu_s']:12.2f} {median['rss_mb']:8.0f} "
            f"{1e3 * median['delay_mean_s']:8.1f} ({1e3 * theory_s:.1f})"
            f"{'  far from theory' if drifted else ''}"
        )
        rows.append({"system": system, "users": users, "ratio_to_simpy": ratio, **median})
    print(flush=True)
    return rows


def _in_its_own_process(
    system: str, users: int, seed: int, chosen: argparse.Namespace
) -> dict[str, float]:
    options = {"--only": system, "--users": users, "--duration": chosen.duration, "--seed": seed}
    words = [str(word) for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "benchmarks.speed", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _cpu() -> str:
    """Names the processor, where the system says what it is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=RESULT.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
