"""What feedback buys: a server gets four times slower, and is believed or measured.

`python -m benchmarks.live_feedback` plays scenarios/popec-live.yaml twice in virtual
time and prints the mean peak age by class before and after, beside what the protocol predicts.
"""

import statistics
from pathlib import Path

from emulator.build.planning import plan
from emulator.checks import source
from emulator.results.metrics import Metrics
from emulator.runtime.loop import play
from emulator.runtime.recorder import Recorder

SCENARIO = Path(__file__).parent.parent / "scenarios" / "popec-live.yaml"
SPANS_S = {"before, 8 to 20 s": (8.0, 20.0), "20 to 25 s": (20.0, 25.0), "after 40 s": (40.0, 60.0)}


def measured(measure: bool) -> Metrics:
    """Plays the scenario with or without feedback."""
    chosen = source.load(SCENARIO, {"protocol.measure": measure, "runtime.kind": "loop"})
    planned = plan(chosen, stopwatch=False)
    recorder = Recorder(planned, None)
    for step in play(planned):
        recorder.take(step)
    return recorder.metrics


def main() -> None:
    print("| feedback | when | class 0 | class 1 | class 2 | weighted, predicted |")
    print("| --- | --- | --- | --- | --- | --- |")
    for measure in (True, False):
        series = measured(measure).series
        for name, (from_s, to_s) in SPANS_S.items():
            cells = [
                statistics.fmean(
                    value
                    for at_s, value in zip(series.at_s, series.columns[column], strict=False)
                    if from_s < at_s <= to_s and value is not None
                )
                for column in ("paoi_s/0", "paoi_s/1", "paoi_s/2", "protocol/objective")
            ]
            shown = " | ".join(f"{1e3 * cell:,.0f} ms" for cell in cells)
            print(f"| {'on' if measure else 'off'} | {name} | {shown} |")


if __name__ == "__main__":
    main()
