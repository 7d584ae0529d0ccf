"""The protocols by name. To add one: write its policies in a folder here and name it below."""

from agents import baselines
from agents.policy import Protocol
from agents.popec.protocol import POPEC, POPEC_ASYNC
from agents.reference import planned
from agents.todg.baselines import EDF, MAX_RATE
from agents.todg.protocol import MAX_WEIGHT, TODG

PROTOCOLS: dict[str, Protocol] = {
    "local-only": baselines.LOCAL_ONLY,
    "random": baselines.RANDOM,
    "round-robin": baselines.ROUND_ROBIN,
    "nearest": baselines.NEAREST,
    "best-channel": baselines.BEST_CHANNEL,
    "shortest-wait": baselines.SHORTEST_WAIT,
    "equal-share": planned.EQUAL_SHARE,
    "greedy": planned.GREEDY,
    "fixed-rate": planned.FIXED_RATE,
    "priority-agnostic": planned.PRIORITY_AGNOSTIC,
    "static-optimum": planned.STATIC_OPTIMUM,
    "popec": POPEC,
    "popec-async": POPEC_ASYNC,
    "max-rate": MAX_RATE,
    "edf": EDF,
    "max-weight": MAX_WEIGHT,
    "todg": TODG,
}
