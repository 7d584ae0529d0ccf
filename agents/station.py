"""One server's mechanics: a bounded priority queue in front of one accelerator.

Used by the edge server for everybody's tasks and by the user for its own CPU. It decides nothing:
which job is next is the policy's `select`.
"""

from collections.abc import Callable, Iterator

from agents.api import ACCELERATOR, JOURNAL, Send
from agents.messages import Execute, Executed, ended
from agents.moments import Moments
from agents.queues import Job, PriorityQueue
from agents.tasks import Task

Select = Callable[[PriorityQueue, float], int]


def first_in_order(queue: PriorityQueue, now_s: float) -> int:
    """Selects by priority, then first come first served."""
    return 0


class Station:
    """Serves batches of at most `batch_max` jobs, one batch at a time."""

    def __init__(
        self,
        name: str,
        queue: PriorityQueue,
        moments: Moments,
        batch_max: int = 1,
        select: Select = first_in_order,
    ) -> None:
        self.name = name
        self.queue = queue
        self.moments = moments
        self.running: tuple[Job, ...] = ()
        self.started_s = 0.0
        self._busy_s = 0.0  # with batches that are done
        self._batch_max = batch_max
        self._select = select

    @property
    def backlog(self) -> int:
        """Tasks waiting or running."""
        return len(self.queue) + len(self.running)

    def busy_s(self, now_s: float) -> float:
        """Returns how long the accelerator has had something to do so far."""
        return self._busy_s + (now_s - self.started_s if self.running else 0.0)

    def admit(self, job: Job, now_s: float) -> list[Send]:
        if job.task.expires and now_s >= job.task.due_s:
            return [self._expire(job, now_s)]
        if not self.running and not self.queue:  # the common case of an idle server, kept short
            return [self._run((job,), now_s)]
        refused = self.queue.push(job)
        if refused is None:
            return []
        return [
            Send(JOURNAL, ended(refused.task, now_s, "dropped", "queue-full", self.name)),
        ]

    def finish(self, executed: Executed, now_s: float) -> tuple[Job, ...]:
        """Takes the running batch off the accelerator and learns from its service time."""
        done, self.running = self.running, ()
        self._busy_s += now_s - self.started_s
        work = done[0].task.work if len(done) == 1 else sum(job.task.work for job in done)
        self.moments.observe(executed.service_s / work)
        return done

    def next_batch(self, now_s: float) -> list[Send]:
        """Starts the next batch if tasks wait, giving up those whose deadline has passed."""
        queue = self.queue
        waiting = len(queue)
        sends: list[Send] = []
        batch: list[Job] = []
        while waiting and len(batch) < self._batch_max:
            waiting -= 1
            job = queue.pop(self._select(queue, now_s))
            if job.task.expires and now_s >= job.task.due_s:
                sends.append(self._expire(job, now_s))
            else:
                batch.append(job)
        if batch:
            sends.append(self._run(tuple(batch), now_s))
        return sends

    def abandon(self) -> tuple[Job, ...]:
        """Gives up the running batch; whoever calls this sends the accelerator an Abort."""
        given_up, self.running = self.running, ()
        return given_up

    def tasks(self) -> Iterator[Task]:
        """Names the waiting tasks; the running ones are on their way in an Executed."""
        for job in self.queue:
            yield job.task

    def _expire(self, job: Job, now_s: float) -> Send:
        end = ended(job.task, now_s, "expired", "deadline", self.name, job.attempts)
        return Send(JOURNAL, end)

    def _run(self, batch: tuple[Job, ...], now_s: float) -> Send:
        self.running = batch
        self.started_s = now_s
        return Send(ACCELERATOR, Execute(tuple([job.task for job in batch]), len(self.queue)))
