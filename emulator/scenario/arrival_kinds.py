"""The arrival processes that a scenario may choose from, as types; `agents/tasks.py` runs them."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from agents import tasks
from emulator.scenario.fields import NotNegative, Positive, Spec


class ArrivalSpec(Spec):
    """What is to be known of an arrival process before a run; a kind says what differs."""

    @property
    def declared_hz(self) -> float:
        """Tasks per second of one user that the scenario itself declares; 0: none."""
        return 0.0

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        """Returns what runs it; `recorded` are the instants of files."""
        raise NotImplementedError


class PoissonArrivals(ArrivalSpec):
    kind: Literal["poisson"]
    rate_hz: Positive

    @property
    def declared_hz(self) -> float:
        return self.rate_hz

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        return tasks.Poisson(self.rate_hz)


class PeriodicArrivals(ArrivalSpec):
    kind: Literal["periodic"]
    period_s: Positive

    @property
    def declared_hz(self) -> float:
        return 1.0 / self.period_s

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        return tasks.Periodic(self.period_s)


class AtWillArrivals(ArrivalSpec):
    """Generate-at-will: the next task `wait_s` after the last one ended, or after `timeout_s`."""

    kind: Literal["at-will"]
    wait_s: NotNegative = 0.0
    timeout_s: Positive = 1.0

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        return tasks.AtWill(self.wait_s, self.timeout_s)


class OnGrantArrivals(ArrivalSpec):
    """A fresh task in every slot granted to the user; needs slotted access."""

    kind: Literal["on-grant"]

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        return tasks.OnGrant()


class TraceArrivals(ArrivalSpec):
    """Instants read from a text file beside the scenario, one number a line, in rising order."""

    kind: Literal["trace"]
    file: str

    def process(self, recorded: Mapping[str, tuple[float, ...]]) -> tasks.Arrivals:
        return tasks.Trace(recorded[self.file])


Arrivals = Annotated[
    PoissonArrivals | PeriodicArrivals | AtWillArrivals | OnGrantArrivals | TraceArrivals,
    Field(discriminator="kind"),
]
