"""The bounded priority queue that users and servers keep their waiting tasks in.

Order of service: class 0 first, first come first served inside a class, non-preemptive because
what is being served has left the queue.
"""

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from agents.tasks import Task


class Job(Struct, frozen=True, gc=False):
    """A waiting task with what its holder knows of it: who brought it, and when.

    `attempts` counts the radio attempts that its uplink took.
    """

    task: Task
    brought_by: str
    arrived_s: float
    attempts: int = 0


class PriorityQueue:
    """At most `len_max` jobs; when full, the youngest job of the least urgent class gives way."""

    def __init__(self, len_max: int) -> None:
        self.len_max = len_max
        self._classes: dict[int, deque[Job]] = {}  # keys kept in rising order
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def __iter__(self) -> Iterator[Job]:
        """Iterates in order of service."""
        for jobs in self._classes.values():
            yield from jobs

    def push(self, job: Job) -> Job | None:
        """Takes a job in; returns the job that found no room: an older one, `job`, or None."""
        jobs = self._classes.get(job.task.priority)
        if jobs is None:
            self._classes[job.task.priority] = jobs = deque()
            self._classes = dict(sorted(self._classes.items()))
        jobs.append(job)
        if self._len < self.len_max:
            self._len += 1
            return None
        return next(waiting.pop() for waiting in reversed(self._classes.values()) if waiting)

    def push_front(self, job: Job) -> None:
        """Puts a job back that was taken and came to nothing; it has its room still."""
        self._classes[job.task.priority].appendleft(job)
        self._len += 1

    def pop(self, index: int = 0) -> Job:
        """Takes the job at `index` in order of service; IndexError where there is none."""
        for jobs in self._classes.values():
            if index < len(jobs):
                self._len -= 1
                if index == 0:
                    return jobs.popleft()
                job = jobs[index]
                del jobs[index]
                return job
            index -= len(jobs)
        raise IndexError(index)

    def head(self) -> Job | None:
        """Returns the next job in order of service, without taking it; None when empty."""
        return next(iter(self), None)
