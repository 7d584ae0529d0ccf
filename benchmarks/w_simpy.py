"""W(N, T) as a SimPy user would write it: a process per user, task and server.

The model is in README.md. One process a task carries it through its attempts; a server is a
process that takes tasks from its store.
"""

from collections.abc import Generator
from itertools import accumulate
from random import Random
from typing import Any

import simpy

from benchmarks.w_heapq import ATTEMPTS_MAX, LOAD, LOSS, SPEEDS, UPLINK_MEAN_S, Measured

Process = Generator[simpy.Event, Any, None]
Task = tuple[int, float]  # user, born_s


class World:
    def __init__(self, users: int, seed: int) -> None:
        self.env = simpy.Environment()
        self.rng = Random(seed)
        self.stores = [simpy.Store(self.env) for _ in SPEEDS]
        self.cumulative = list(accumulate(SPEEDS))
        self.freshest_s = [0.0] * users
        self.completed = self.peaks = 0
        self.delay_s = self.peak_s = 0.0
        service_mean_s = LOAD * sum(SPEEDS) / users
        for store, speed in zip(self.stores, SPEEDS, strict=True):
            self.env.process(self.server(store, speed / service_mean_s))
        for user in range(users):
            self.env.process(self.user(user))

    def user(self, user: int) -> Process:
        env, exponential = self.env, self.rng.expovariate
        while True:
            yield env.timeout(exponential(1.0))
            env.process(self.offload((user, env.now)))

    def offload(self, task: Task) -> Process:
        rng = self.rng
        for _ in range(ATTEMPTS_MAX):
            yield self.env.timeout(rng.expovariate(1.0 / UPLINK_MEAN_S))
            if rng.random() >= LOSS:
                (store,) = rng.choices(self.stores, cum_weights=self.cumulative)
                store.put(task)
                return

    def server(self, store: simpy.Store, service_hz: float) -> Process:
        env, exponential = self.env, self.rng.expovariate
        while True:
            task = yield store.get()
            yield env.timeout(exponential(service_hz))
            self.receive(task)

    def receive(self, task: Task) -> None:
        user, born_s = task
        now_s = self.env.now
        self.completed += 1
        self.delay_s += now_s - born_s
        if born_s > self.freshest_s[user]:
            self.peak_s += now_s - self.freshest_s[user]
            self.peaks += 1
            self.freshest_s[user] = born_s


def run(users: int, duration_s: float, seed: int) -> Measured:
    """Plays W(users, duration_s) and returns what it measured."""
    world = World(users, seed)
    world.env.run(until=duration_s)
    completed = world.completed
    return Measured(completed, world.delay_s / completed, world.peak_s / world.peaks)
