"""An edge server: a bounded priority queue in front of one accelerator.

Mechanics only: which job is next is its policy's choice, how long it takes the accelerator's.
"""

from collections.abc import Iterable, Sequence

from agents.api import CLOCK, JOURNAL, Message, Node, NodeKind, Send
from agents.messages import (
    Executed,
    NodeId,
    Offload,
    Result,
    ServerReport,
    Undelivered,
    Wake,
    ended,
)
from agents.policy import ServerPolicy
from agents.queues import Job
from agents.reasons import ServerCause
from agents.station import Station
from agents.tasks import Task


class EdgeServer(Node):
    """One server. It reports to `base_stations` every `report_s` seconds; 0: never."""

    kind: NodeKind = "server"

    def __init__(
        self,
        name: NodeId,
        station: Station,
        policy: ServerPolicy,
        base_stations: Sequence[NodeId],
        report_s: float = 0.0,
    ) -> None:
        self.id = name
        self._station = station
        self.policy = policy
        self._base_stations = tuple(base_stations)
        self._report_s = report_s

    def start(self, now_s: float) -> list[Send]:
        sends = [Send(CLOCK, Wake(now_s, ServerCause.REPORT))] if self._report_s > 0.0 else []
        return sends + self.policy.start(now_s)

    def on_tick(self, wake: Wake, now_s: float) -> list[Send]:
        if wake.cause is not ServerCause.REPORT:
            return self.policy.on_tick(wake, now_s)
        report = self.report(now_s)
        sends = [Send(bs, report) for bs in self._base_stations]
        sends.append(Send(CLOCK, Wake(now_s + self._report_s, ServerCause.REPORT)))
        return sends

    def on_message(self, message: Message, now_s: float) -> list[Send]:
        match message.body:
            case Offload(task=task, attempts=attempts):
                bs = message.via or message.source
                job = Job(task, bs, now_s, attempts or message.attempts)
                return self._station.admit(job, now_s)
            case Executed() as executed:
                return self._finish(executed, now_s)
            case Undelivered(lost=Result(task=task), reason=reason):
                return [Send(JOURNAL, ended(task, now_s, "dropped", reason, self.id))]
            case _:
                return self.policy.on_message(message, now_s)

    def tasks(self) -> Iterable[Task]:
        return self._station.tasks()

    def readings(self, now_s: float) -> dict[str, float]:
        return self.policy.readings(now_s)

    def report(self, now_s: float) -> ServerReport:
        return self._station.report(self._station.backlog, now_s)

    def _finish(self, executed: Executed, now_s: float) -> list[Send]:
        done = self._station.finish(executed, now_s)
        sends = self._station.next_batch(now_s)
        for job, result in done:
            sends.append(Send(job.task.user, result, None, job.brought_by))
        return sends
