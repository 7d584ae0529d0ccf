"""The protocols by name. To add one: write its policies in a file here and name it below."""

from agents.policy import Protocol
from agents.protocols import admm, baselines, delay_baselines, planned, todg

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
    "popec": admm.POPEC,
    "popec-async": admm.POPEC_ASYNC,
    "max-rate": delay_baselines.MAX_RATE,
    "edf": delay_baselines.EDF,
    "max-weight": todg.MAX_WEIGHT,
    "todg": todg.TODG,
}
