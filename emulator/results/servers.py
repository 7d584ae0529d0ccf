"""What is counted of each edge server, and the metrics of servers."""

from collections.abc import Sequence

from agents.messages import NodeId, ServerReport
from emulator.results.histogram import Bins
from emulator.results.metric import Curve, Metric, Span, Value, ratio_of_sums
from emulator.results.stats import DELAY_BOUNDS_S

DOWN = "server_crash"  # the fault in which a server is not there


class Server:
    """One edge server.

    `busy_s` of `up_s` it had something to do. A stretch between two reports in which it was down
    counts for neither: it forgot how busy it had been.
    """

    def __init__(self, name: NodeId) -> None:
        self.report = ServerReport(name, 0.0, 0, 0.0, 0.0)  # its newest; it begins idle
        self.service_s = Bins(DELAY_BOUNDS_S)
        self.busy_s = self.up_s = 0.0
        self._at_warmup = (0.0, 0.0)
        self._down_by: set[int] = set()  # numbers of faults
        self._was_down = False  # since the newest report

    def take(self, report: ServerReport) -> None:
        before, self.report = self.report, report
        if not self._was_down:
            up_s = report.at_s - before.at_s
            # A clock that is set meanwhile makes a batch look longer or shorter than it was.
            self.busy_s += min(max(0.0, report.busy_s - before.busy_s), up_s)
            self.up_s += up_s
        self._was_down = bool(self._down_by)

    def turn(self, fault: int, is_down: bool) -> None:
        """Takes in that a fault takes it down, or does so no more."""
        (self._down_by.add if is_down else self._down_by.discard)(fault)
        self._was_down = True

    def end_warm_up(self) -> None:
        self._at_warmup = (self.busy_s, self.up_s)

    @property
    def counted(self) -> tuple[float, float]:
        """How long it was busy, and up, since the warm-up ended."""
        return self.busy_s - self._at_warmup[0], self.up_s - self._at_warmup[1]


def _utilisation(servers: Sequence[Server], span: Span) -> Value:
    return ratio_of_sums(server.counted for server in servers) if span.counted_s else None


METRICS = (
    Metric(
        name="utilisation",
        about="share of the time that a server is up in which it is busy",
        label="server utilisation",
        short="busy",
        unit="ratio",
        fold=_utilisation,
        of="server",
        is_compared=True,
        is_gauge=True,
        curve=Curve("Server utilisation", lambda server, at_s: (server.busy_s, server.up_s)),
    ),
)
