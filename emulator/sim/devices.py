"""What answers `@accelerator` on one host: each node's accelerator, and what faults do to it."""

from collections.abc import Iterator, Mapping

import msgspec

from agents.api import ACCELERATOR, Message
from agents.messages import Execute, NodeId
from agents.tasks import Task
from emulator.faults.node_types import WELL, Condition
from emulator.sim.accelerator import Accelerator
from emulator.sim.events import EventQueue, Handler
from emulator.sim.thermal import Heating


class Devices:
    """Serves one batch of each node at a time. Who is paused keeps its next one."""

    def __init__(
        self,
        accelerators: Mapping[NodeId, Accelerator],
        faulty: Mapping[NodeId, Condition],
        events: EventQueue,
        deliver: Handler,
    ) -> None:
        """`faulty` are the conditions of those that are not well; who keeps them changes them."""
        self.accelerators = dict(accelerators)
        self._events = events
        self._deliver = deliver
        self._faulty = faulty
        self._held: dict[NodeId, Execute] = {}  # a paused one's next batch; it has but one
        self._serving: dict[NodeId, Message] = {}  # the last answer of each, perhaps to come

    def warm_up(self) -> None:
        """Loads the networks that accelerators run, so that no task waits for it."""
        for accelerator in self.accelerators.values():
            accelerator.warm_up()

    def install(self, name: NodeId, accelerator: Accelerator) -> None:
        """Gives a node another accelerator, from its next batch on."""
        self.accelerators[name] = accelerator

    def execute(self, source: NodeId, batch: Execute, now_s: float) -> None:
        """Begins a batch, which is answered when it was served."""
        condition = self._faulty.get(source)
        if condition is not None and condition.is_paused:
            self._held[source] = batch
            return
        executed = self.accelerators[source].execute(batch, now_s)
        if condition is not None:
            slower_s = executed.service_s * condition.slowdown(now_s)
            executed = msgspec.structs.replace(executed, service_s=slower_s)
        self._serving[source] = done = Message(ACCELERATOR, source, now_s, executed)
        self._events.at(now_s + executed.service_s, self._deliver, done)

    def give_up(self, name: NodeId, now_s: float) -> tuple[Task, ...]:
        """Takes a node's batch off its accelerator, which answers nothing; returns its tasks."""
        held = self._held.pop(name, None)
        if held is not None:
            return held.tasks
        serving = self._serving.pop(name, None)
        if serving is None or not self._events.cancel(lambda payload: payload is serving):
            return ()
        accelerator = self.accelerators[name]
        if isinstance(accelerator, Heating):
            accelerator.stop(now_s)
        return serving.body.tasks  # type: ignore[union-attr]

    def resume(self, now_s: float) -> None:
        """Begins the batches of those that are not paused any more."""
        for name in sorted(self._held):
            if not self._faulty.get(name, WELL).is_paused:
                self.execute(name, self._held.pop(name), now_s)

    def tasks(self) -> Iterator[Task]:
        """Names the tasks of batches that have not begun."""
        for batch in self._held.values():
            yield from batch.tasks
