"""The protocols by name. To add one: write its policies in a file here and name it below."""

from agents.policy import Protocol
from agents.protocols import admm, baselines

PROTOCOLS: dict[str, Protocol] = {
    "local-only": baselines.LOCAL_ONLY,
    "random": baselines.RANDOM,
    "round-robin": baselines.ROUND_ROBIN,
    "nearest": baselines.NEAREST,
    "best-channel": baselines.BEST_CHANNEL,
    "shortest-wait": baselines.SHORTEST_WAIT,
    "popec": admm.POPEC,
    "popec-async": admm.POPEC_ASYNC,
}
