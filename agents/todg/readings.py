"""What the nodes of a scheduled network tell of themselves over time."""

from agents.policy import Reading

READINGS = (
    Reading("waiting_users", "Waiting at users", "tasks"),
    Reading("waiting_servers", "Waiting at servers", "tasks"),
    Reading("persistence", "Persistence queues, all", "tasks"),
    Reading("admission", "Admission queues, all", "tasks"),
    Reading("weight", "Weight of the schedule, per slot", "per slot", counts=True),
    Reading("allocations", "Base stations that allocate", "per slot", counts=True),
    Reading("mini_rounds", "Mini-rounds of the allocation", "per slot", "allocations", counts=True),
    Reading("messages", "Control messages per slot, all nodes", "per slot", counts=True),
    Reading("bytes", "Control bytes per slot, all nodes", "per slot", counts=True),
    Reading("wait_breaches", "Broken bounds of waiting in a queue, so far"),
    Reading("backlog_breaches", "Broken bounds of a backlog, so far"),
    Reading("admission_breaches", "Broken bounds of admission, so far"),
)
BREACHES = {
    "wait_breaches": "a bound of waiting in a queue",
    "backlog_breaches": "a backlog bound",
    "admission_breaches": "an admission bound",
}
"""Which bound was exceeded, in words, by the reading that counts it."""


class Tally:
    """Counts what one node sends and what bounds it sees broken."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0.0
        self.wait_breaches = self.backlog_breaches = self.admission_breaches = 0

    def sent(self, size_bits: float) -> None:
        self.messages += 1
        self.bytes += size_bits / 8.0

    def readings(self) -> dict[str, float]:
        counted = {name: getattr(self, name) for name in BREACHES}
        return {"messages": self.messages, "bytes": self.bytes, **counted}
