"""The protocols by name. To add one: write its policies in a folder here and name it below."""

from agents import baselines
from agents.policy import Protocol
from agents.popec.protocol import POPEC, POPEC_ASYNC
from agents.reference import share_rules
from agents.todg.baselines import EDF, MAX_RATE
from agents.todg.protocol import MAX_WEIGHT, TODG

PROTOCOLS: dict[str, Protocol] = {
    "local-only": baselines.LOCAL_ONLY,
    "random": baselines.RANDOM,
    "round-robin": baselines.ROUND_ROBIN,
    "nearest": baselines.NEAREST,
    "best-channel": baselines.BEST_CHANNEL,
    "shortest-wait": baselines.SHORTEST_WAIT,
    "equal-share": share_rules.EQUAL_SHARE,
    "greedy": share_rules.GREEDY,
    "fixed-rate": share_rules.FIXED_RATE,
    "priority-agnostic": share_rules.PRIORITY_AGNOSTIC,
    "static-optimum": share_rules.STATIC_OPTIMUM,
    "popec": POPEC,
    "popec-async": POPEC_ASYNC,
    "max-rate": MAX_RATE,
    "edf": EDF,
    "max-weight": MAX_WEIGHT,
    "todg": TODG,
}
