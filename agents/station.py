"""What serves tasks: an accelerator with the batch in service, and the queue in front of it.

Used by edge servers for everybody's tasks and by users for their own CPU. It decides nothing:
which job is next is the policy's `select`.
"""

from collections.abc import Callable, Iterator

from agents.api import ACCELERATOR, JOURNAL, Send
from agents.messages import Execute, Executed, Result, ServerReport, ended
from agents.moments import Moments
from agents.queues import Job, PriorityQueue
from agents.reasons import Reason
from agents.tasks import Task

Select = Callable[[PriorityQueue, float], int]


def first_in_order(queue: PriorityQueue, now_s: float) -> int:
    """Selects by priority, then first come first served."""
    return 0


class Service:
    """The batch that a node has in service, and what it learned from those before."""

    def __init__(self, name: str, moments: Moments) -> None:
        self.name = name
        self.moments = moments  # of a task of work 1, alone in its batch or not
        self.running: tuple[Job, ...] = ()
        self.started_s = 0.0
        self._busy_s = 0.0  # with batches that ended

    def busy_s(self, now_s: float) -> float:
        """Returns how long the accelerator has had something to do so far."""
        return self._busy_s + (now_s - self.started_s if self.running else 0.0)

    def report(self, backlog: int, now_s: float) -> ServerReport:
        """Says what is known of its server: how many wait or run, and how long service takes."""
        mean_s, second_s2 = self.moments.mean, self.moments.second_moment
        busy_s = self.busy_s(now_s)
        return ServerReport(self.name, now_s, backlog, mean_s, second_s2, busy_s=busy_s)

    def run(self, batch: tuple[Job, ...], waiting: int, now_s: float) -> Send:
        """Starts a batch; `waiting` more wait."""
        self.running = batch
        self.started_s = now_s
        return Send(ACCELERATOR, Execute(tuple([job.task for job in batch]), waiting))

    def finish(self, executed: Executed, now_s: float) -> list[tuple[Job, Result]]:
        """Takes the batch off the accelerator, learns from its service time, says what came out."""
        done, self.running = self.running, ()
        started_s = self.started_s
        self._busy_s += now_s - started_s
        work = done[0].task.work if len(done) == 1 else sum(job.task.work for job in done)
        self.moments.observe(executed.service_s / work)
        name, correct = self.name, executed.correct or (None,) * len(done)
        return [
            (job, Result(job.task, name, job.arrived_s, started_s, now_s, is_correct, job.attempts))
            for job, is_correct in zip(done, correct, strict=True)
        ]

    def abandon(self, now_s: float) -> tuple[Job, ...]:
        """Gives up the batch in service; whoever calls this sends the accelerator an Abort."""
        self._busy_s += now_s - self.started_s
        given_up, self.running = self.running, ()
        return given_up


class Station(Service):
    """Serves batches of at most `batch_max` jobs, one batch at a time; the others wait in line."""

    def __init__(
        self,
        name: str,
        queue: PriorityQueue,
        moments: Moments,
        batch_max: int = 1,
        select: Select = first_in_order,
    ) -> None:
        super().__init__(name, moments)
        self.queue = queue
        self._batch_max = batch_max
        self._select = select

    @property
    def backlog(self) -> int:
        """Tasks waiting or running."""
        return len(self.queue) + len(self.running)

    def admit(self, job: Job, now_s: float) -> list[Send]:
        if job.task.expires and now_s >= job.task.due_s:
            return [self._expire(job, now_s)]
        if not self.running and not self.queue:  # the common case of an idle server, kept short
            return [self.run((job,), 0, now_s)]
        refused = self.queue.push(job)
        if refused is None:
            return []
        end = ended(refused.task, now_s, "dropped", Reason.QUEUE_FULL, self.name)
        return [Send(JOURNAL, end)]

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
            sends.append(self.run(tuple(batch), len(queue), now_s))
        return sends

    def tasks(self) -> Iterator[Task]:
        """Names the waiting tasks; the running ones are on their way in an Executed."""
        for job in self.queue:
            yield job.task

    def _expire(self, job: Job, now_s: float) -> Send:
        end = ended(job.task, now_s, "expired", Reason.DEADLINE, self.name, job.attempts)
        return Send(JOURNAL, end)
