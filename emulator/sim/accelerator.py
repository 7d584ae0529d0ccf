"""What answers `@accelerator`: how long a batch takes, and what the network says of its images.

Three sources behind one switch. `Fitted` draws from a distribution with given moments; `Replay`
draws from the measured latencies of a network; `Live` runs the network. In virtual
time a stopwatch would break "same seed, same result", so there `Live` takes its latency from the
measured trace and still computes every prediction.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from agents.messages import Execute, Executed
from agents.tasks import Uniform
from emulator.scenario.distributions import Draw
from emulator.sim.stopwatch import Stopwatch

if TYPE_CHECKING:
    from models.engine import Engine


class Accelerator(Protocol):
    """One device."""

    def warm_up(self) -> None:
        """Loads what it needs, once; `execute` does it where nobody called this before."""
        return

    def execute(self, batch: Execute, now_s: float) -> Executed:
        """Serves a batch; says how long it takes on this device."""


class Fitted(Accelerator):
    """Draws each task's time from a distribution; a batch takes the sum. Looks at no image."""

    def __init__(self, draw: Draw, speed: float, uniform: Uniform) -> None:
        self._draw = draw
        self._speed = speed
        self._uniform = uniform

    def execute(self, batch: Execute, now_s: float) -> Executed:
        tasks = batch.tasks
        if len(tasks) == 1:
            return Executed(tasks, self._draw(self._uniform()) * tasks[0].work / self._speed)
        drawn_s = sum(self._draw(self._uniform()) * task.work for task in tasks)
        return Executed(tasks, drawn_s / self._speed)


# Of the time left; the rest is for tasks that come meanwhile. With all of it a busy device lets a
# queue grow as long as the deadline: 2 % fewer results right and fresh, information 11 % older
# (vision-digits at 4 tasks a second and user, seeds 1 and 2).
LEFT_SHARE = 0.5


class Students:
    """The networks that one device holds, best first, and which of them a batch gets."""

    def __init__(
        self, names: Sequence[str], batch_max: int, speed: float, engine: str = "torch"
    ) -> None:
        from models import latency

        sizes = range(1, batch_max + 1)
        self.names = tuple(names)
        self.engine = engine
        self.speed = speed
        self.traces = [
            [latency.trace(name, size, engine) / speed for size in sizes] for name in names
        ]
        self._mean_s = [[float(trace.mean()) for trace in traces] for traces in self.traces]

    def mean_s(self, student: int, batch_len: int) -> float:
        """Returns what a batch takes on this device on average."""
        return self._mean_s[student][batch_len - 1]

    def choose(self, batch: Execute, now_s: float) -> int:
        """Returns the first that is expected to be done in the batch's share of the time left.

        A part of the time until its earliest deadline is shared with as many batches as wait; where
        not even the fastest would do, it is the fastest all the same.
        """
        if len(self.names) == 1:
            return 0
        size = len(batch.tasks)
        left_s = min(task.due_s for task in batch.tasks) - now_s
        share_s = LEFT_SHARE * left_s / (1.0 + batch.waiting / size)
        fits = (n for n, means_s in enumerate(self._mean_s) if means_s[size - 1] <= share_s)
        return next(fits, len(self.names) - 1)


class Replay(Accelerator):
    """Draws a batch's time from the measured latencies of its network at that batch size."""

    def __init__(self, students: Students, uniform: Uniform) -> None:
        self.students = students
        self._uniform = uniform

    def execute(self, batch: Execute, now_s: float) -> Executed:
        chosen = self.students.choose(batch, now_s)
        return Executed(batch.tasks, self.service_s(chosen, len(batch.tasks)))

    def service_s(self, student: int, batch_len: int) -> float:
        trace = self.students.traces[student][batch_len - 1]
        return float(trace[int(self._uniform() * len(trace))])


class Live:
    """Runs a network on every image and says which answers are right.

    What labels pixels is right where the share of right ones is at least its manifest's.
    `stopwatch` says what a batch's CPU time on this core is worth; without one the time is drawn
    from the measured trace. torch, or ONNX Runtime, is imported when the first batch arrives or
    `warm_up` is called.
    """

    def __init__(
        self,
        students: Students,
        batch_max: int,
        threads: int,
        uniform: Uniform,
        stopwatch: Stopwatch | None,
    ) -> None:
        self._students = students
        self._batch_max = batch_max
        self._threads = threads
        self._stopwatch = stopwatch
        self._replay = Replay(students, uniform)
        self._engines: list[tuple[Engine, list[float]]] = []  # and what batches take here, if timed

    def warm_up(self) -> None:
        """Loads the networks, and what runs them; calibrates the core where that counts."""
        if not self._engines:
            from models.engine import Engine

            students = self._students
            for name in students.names:
                engine = Engine(name, self._threads, self._batch_max, students.engine)
                usual_s = [] if self._stopwatch is None else engine.usual_s(self._batch_max)
                self._engines.append((engine, usual_s))

    def execute(self, batch: Execute, now_s: float) -> Executed:
        self.warm_up()
        students, size = self._students, len(batch.tasks)
        chosen = students.choose(batch, now_s)
        engine, usual_s = self._engines[chosen]
        images = [task.image for task in batch.tasks]
        service_s = self._replay.service_s(chosen, size)  # drawn always: streams stay aligned
        if self._stopwatch is None:
            found = engine.infer(engine.test.images[images])
        else:
            found = engine.time(engine.test.images[images])
            mean_s = students.mean_s(chosen, size)
            share = self._stopwatch.share(found.cpu_s, usual_s[size - 1], mean_s * students.speed)
            service_s = share * mean_s
        return Executed(batch.tasks, service_s, engine.are_right(images, found.labels))
