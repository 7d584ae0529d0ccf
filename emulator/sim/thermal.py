"""Devices that get slower as they heat: a first-order model in closed form.

    d heat / dt = (busy - heat) / time_s,   heat in [0, 1], busy 0 or 1, heat = 0 at the start
    service     = cold service * (1 + (slowdown - 1) * heat at its beginning)

so that after t seconds of work from cold the heat is 1 - exp(-t / time_s), and after t seconds of
rest it is exp(-t / time_s) times what it was. Real devices step their clock at a limit; this is the
smooth version with as few parameters. The factor holds for the whole of a batch, which is short
against `time_s`. What a fault adds to a service does not heat.
"""

import math

from agents.messages import Execute, Executed
from emulator.scenario.schema import Thermal
from emulator.sim.accelerator import Accelerator


class Heating:
    """An accelerator on a device that heats. Works alike for live, replayed and fitted services."""

    def __init__(self, cold: Accelerator, thermal: Thermal) -> None:
        self.cold = cold
        self._slowdown = thermal.slowdown
        self._time_s = thermal.time_s
        self._heat = 0.0  # when the last batch began
        self._began_s = self._ended_s = 0.0

    def warm_up(self) -> None:
        self.cold.warm_up()

    def execute(self, batch: Execute, now_s: float) -> Executed:
        executed = self.cold.execute(batch, now_s)
        self._heat = self.heat(now_s)
        service_s = executed.service_s * (1.0 + (self._slowdown - 1.0) * self._heat)
        self._began_s, self._ended_s = now_s, now_s + service_s
        return Executed(executed.tasks, service_s, executed.correct)

    def stop(self, now_s: float) -> None:
        """Is told that a batch under way was given up: it heats no longer."""
        self._ended_s = min(now_s, self._ended_s)

    def heat(self, now_s: float) -> float:
        """Returns how hot it is, 0 to 1."""
        busy_s = min(now_s, self._ended_s) - self._began_s
        idle_s = max(0.0, now_s - self._ended_s)
        heated = 1.0 - (1.0 - self._heat) * math.exp(-busy_s / self._time_s)
        return heated * math.exp(-idle_s / self._time_s)
