"""What is counted of each edge server, and the metrics of servers."""

from agents.bodies import ServerReport
from emulator.record.histogram import Bins
from emulator.record.metric import Metric
from emulator.record.stats import DELAY_BOUNDS_S


class Server:
    """One edge server, from its first report on."""

    def __init__(self, report: ServerReport) -> None:
        self.report = report  # its newest
        self.service_s = Bins(DELAY_BOUNDS_S)

    def take(self, report: ServerReport) -> None:
        self.report = report


METRICS: tuple[Metric, ...] = ()
