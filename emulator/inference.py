"""What answers `@accelerator`: how long a batch takes, and what the network says of its images.

Three sources behind one switch. `Fitted` draws from a law with given moments; `Replay` draws from
the measured latencies of a network; `Live` runs the network. In virtual time a stopwatch would
break "same seed, same result", so there `Live` takes its latency from the measured trace and
still computes every prediction.
"""

from collections.abc import Callable
from typing import Protocol

from agents.bodies import Execute, Executed
from agents.tasks import Uniform
from emulator import laws, scenario
from emulator.laws import Draw


class Accelerator(Protocol):
    """One device."""

    def warm_up(self) -> None:
        """Loads what it needs, once; `execute` does it where nobody called this before."""

    def execute(self, batch: Execute) -> Executed:
        """Serves a batch; says how long it takes on this device."""


class Fitted:
    """Draws each task's time from a law; a batch takes the sum. Looks at no image."""

    def __init__(self, draw: Draw, speed: float, uniform: Uniform) -> None:
        self._draw = draw
        self._speed = speed
        self._uniform = uniform

    def warm_up(self) -> None:
        pass  # nothing to load

    def execute(self, batch: Execute) -> Executed:
        tasks = batch.tasks
        if len(tasks) == 1:
            return Executed(tasks, self._draw(self._uniform()) * tasks[0].work / self._speed)
        drawn_s = sum(self._draw(self._uniform()) * task.work for task in tasks)
        return Executed(tasks, drawn_s / self._speed)


class Replay:
    """Draws a batch's time from the measured latencies of `model` at that batch size."""

    def __init__(self, model: str, batch_max: int, speed: float, uniform: Uniform) -> None:
        from models import latency

        self._traces = {
            size: latency.trace(model, size) / speed for size in range(1, batch_max + 1)
        }
        self._uniform = uniform

    def warm_up(self) -> None:
        pass  # the trace is loaded

    def execute(self, batch: Execute) -> Executed:
        return Executed(batch.tasks, self.service_s(len(batch.tasks)))

    def service_s(self, batch_len: int) -> float:
        trace = self._traces[batch_len]
        return float(trace[int(self._uniform() * len(trace))])


class Live:
    """Runs the network on every image and says which answers are right.

    `stopwatch`: the time is what this thread's CPU took, over `speed`; otherwise it is drawn from
    the measured trace. torch is imported when the first batch arrives or `warm_up` is called.
    """

    def __init__(
        self,
        model: str,
        batch_max: int,
        threads: int,
        speed: float,
        uniform: Uniform,
        stopwatch: bool,
    ) -> None:
        self._model = model
        self._batch_max = batch_max
        self._threads = threads
        self._speed = speed
        self._stopwatch = stopwatch
        self._replay = Replay(model, batch_max, speed, uniform)
        self._infer: Callable[[Execute], tuple[tuple[bool, ...], float]] | None = None

    def warm_up(self) -> None:
        """Loads torch and the network."""
        if self._infer is not None:
            return
        from models import engine

        network = engine.Engine(self._model, threads=self._threads, batch_max=self._batch_max)
        images, labels = network.test.images, network.test.labels
        run = network.time if self._stopwatch else network.infer

        def infer(batch: Execute) -> tuple[tuple[bool, ...], float]:
            chosen = [task.image for task in batch.tasks]
            inference = run(images[chosen])
            right = inference.labels == labels[chosen]
            return tuple(right.tolist()), inference.cpu_s

        self._infer = infer

    def execute(self, batch: Execute) -> Executed:
        self.warm_up()
        assert self._infer is not None
        correct, cpu_s = self._infer(batch)
        drawn_s = self._replay.service_s(len(batch.tasks))  # drawn always: streams stay aligned
        return Executed(batch.tasks, cpu_s / self._speed if self._stopwatch else drawn_s, correct)


def nominal_moments(accelerator: scenario.Accelerator, speed: float) -> tuple[float, float]:
    """Returns E[S] in seconds and E[S^2] in seconds squared, per task alone in its batch.

    What is known of a device before it has served anything.
    """
    if isinstance(accelerator, scenario.FittedAccelerator):
        law = accelerator.service
        mean_s, second_s2 = law.mean_s, laws.second_moment_s2(law.law, law.mean_s, law.scv)
    else:
        from models import latency

        mean_s, second_s2 = latency.moments(accelerator.model, 1)
    return mean_s / speed, second_s2 / speed**2


IMAGES = 500  # where no network says how many it was tested on


def images_of(chosen: scenario.Scenario) -> int:
    """Returns how many images tasks are drawn from: those that every network was tested on."""
    from models import zoo

    devices = [*chosen.servers, *(group.cpu for group in chosen.users if group.cpu is not None)]
    models = {d.accelerator.model for d in devices if d.accelerator.kind != "fitted"}
    return min((zoo.manifest(model).test_images for model in models), default=IMAGES)
