"""Freshness-aware offloading by consensus ADMM: PoPeC-style, after arXiv 2303.15119.

Users and resources agree on who transmits and offloads how much, by messages, without anybody
seeing the whole problem. The synchronous and the asynchronous protocol are the same nodes; they
differ in how many answers one waits for. `docs/popec.md` explains it.
"""

from agents.messages import Ask, Hint, Join, Share
from agents.policy import Protocol, Reading
from agents.popec.options import AsynchronousOptions, Options
from agents.popec.resource import NegotiatingCell, NegotiatingServer
from agents.popec.user import NegotiatingUser

READINGS = (
    Reading("objective", "Weighted peak age, as predicted", "s", per="weights"),
    Reading("primal", "Primal residual", per="edges", root=True, log=True),
    Reading("dual", "Dual residual", per="edges", root=True, log=True),
    Reading("rounds", "Rounds of a user", "per s", per="users", counts=True),
    Reading("messages", "Control messages, all nodes", "per s", counts=True),
    Reading("bytes", "Control bytes, all nodes", "per s", counts=True),
    Reading("rounds_old", "Staleness of asks, in rounds", "", per="asks"),
)

POPEC = Protocol(
    "Freshness by consensus ADMM, round by round.",
    user=NegotiatingUser,
    cell=NegotiatingCell,
    server=NegotiatingServer,
    options=Options,
    slotted=True,
    says=(Join, Hint, Ask, Share),
    readings=READINGS,
)
POPEC_ASYNC = Protocol(
    "Freshness by consensus ADMM, asynchronous.",
    user=NegotiatingUser,
    cell=NegotiatingCell,
    server=NegotiatingServer,
    options=AsynchronousOptions,
    slotted=True,
    says=(Join, Hint, Ask, Share),
    readings=READINGS,
)
