"""What users of PoPeC believe of their radio links, against what got through.

    python -m benchmarks.beliefs [--seed 1] [SCENARIO ...]

A row for each shipped scenario of the protocol, number of channels and delay of the downlink: the
share of the transmissions that was expected to get through when they were sent, and the share that
did. So a link counts as often as it is used. Exit 1 where they are more than 2 % apart.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

from agents.api import Send
from agents.messages import NodeId
from agents.popec.user import NegotiatingUser
from emulator.build.planning import plan
from emulator.checks import source
from emulator.runtime.loop import play
from emulator.scenario.schema import Scenario

SCENARIOS = Path(__file__).parent.parent / "scenarios"
NAMES = ("popec-sync", "popec-async", "popec-fade", "popec-churn", "popec-live")
BOUND = 0.02
JOINED_S = 2.0  # until then nobody has a rate


def chosen(name: str, channels: int, downlink_s: float, **changes: Any) -> Scenario:
    """Returns a shipped scenario with so many channels and a downlink of such a delay."""
    more = {
        "base_stations.0.channels": channels,
        "downlink": {"kind": "ideal", "delay_s": downlink_s},
        "expect": [],
    }
    return source.load(SCENARIOS / f"{name}.yaml", more | changes)


def expected_and_seen(scenario: Scenario) -> tuple[float, float, int]:
    """Returns which part of the transmissions was to get through, which did, and their number."""
    expected: list[float] = []
    lost = 0
    sent, give_back = NegotiatingUser.sent, NegotiatingUser.lost

    def count(
        self: NegotiatingUser, bs: NodeId, seq: int, until_s: float, at_s: float
    ) -> list[Send]:
        if at_s > JOINED_S:
            expected.append(self.success[bs])
        return sent(self, bs, seq, until_s, at_s)

    def count_lost(self: NegotiatingUser, bs: NodeId, seq: int, now_s: float) -> list[Send]:
        nonlocal lost
        lost += now_s > JOINED_S
        return give_back(self, bs, seq, now_s)

    with patch.multiple(NegotiatingUser, sent=count, lost=count_lost):
        for _ in play(plan(scenario, stopwatch=False)):
            pass
    number = len(expected)
    return sum(expected) / number, 1.0 - lost / number, number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("scenarios", nargs="*", default=NAMES)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    print("| scenario | channels | downlink | transmissions | expected | seen | off by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for name, channels, downlink_s in product(words.scenarios, (1, 2, 4), (0.0, 0.001)):
        scenario = chosen(name, channels, downlink_s, seed=words.seed)
        expected, seen, number = expected_and_seen(scenario)
        off = expected / seen - 1.0
        worst = max(worst, abs(off))
        cells = [name, str(channels), f"{1e3 * downlink_s:g} ms", f"{number:,}"]
        cells += [f"{expected:.4f}", f"{seen:.4f}", f"{100.0 * off:+.2f} %"]
        print(f"| {' | '.join(cells)} |", flush=True)
    sys.exit(0 if worst <= BOUND else 1)


if __name__ == "__main__":
    main()
