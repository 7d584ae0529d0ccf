"""What live inference took on this host's core, said in the seconds of the traces' core.

A device is emulated: its trace says how fast it is, divided by its `speed`. The stopwatch measures
this core, at its present clock rate and load. So a reading counts relative to recent readings on
this core (docs/adr/0013):

    share   = r / mean of the last `RECENT` r, this one among them,   r = reading / calibration
    service = trace mean * share / speed

with calibration and trace of the same network, engine and batch size. Whatever slows all readings
down, for seconds or for good, cancels; what distinguishes one reading from the next stays. As long
as readings are exchangeable a share is 1 on average, exactly, however skewed they are. A device
that slows down is a fault, or `thermal`: they multiply the service that this gives.
"""

from collections import deque
from statistics import fmean

from emulator.results.journal import Timed

RECENT = 16  # readings: a step of the machine's speed is followed within them


class Stopwatch:
    """The core of one host: all that it runs drifts together."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._cpu_s = self._trace_s = 0.0

    def share(self, cpu_s: float, usual_s: float, trace_s: float) -> float:
        """Returns a reading over what is usual on this core now.

        `usual_s` is what the same batch took when the core was calibrated, `trace_s` what it takes
        in the trace on average.
        """
        self._cpu_s += cpu_s
        self._trace_s += trace_s
        self._recent.append(cpu_s / usual_s)
        return self._recent[-1] / fmean(self._recent)

    def take(self, now_s: float, host: str) -> list[Timed]:
        """Hands over what was read since the last call, as it was read; empty where nothing was."""
        if not self._cpu_s:
            return []
        timed = Timed(now_s, host, self._cpu_s, self._trace_s)
        self._cpu_s = self._trace_s = 0.0
        return [timed]
