"""W(N, T) with a bare heap and nothing else: the floor that any Python emulator stands on.

The model is in README.md. It is a script, not a framework: no node, no journal, no fault.
"""

from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

UPLINK_MEAN_S = 0.02
LOSS = 0.2
ATTEMPTS_MAX = 10
SPEEDS = (1.0, 0.8, 0.6, 0.4)
LOAD = 0.7
BIRTH, TRY, DONE = range(3)


class Measured(NamedTuple):
    completed: int
    delay_mean_s: float
    peak_mean_s: float


def run(users: int, duration_s: float, seed: int) -> Measured:
    """Plays W(users, duration_s) and returns what it measured."""
    rng = Random(seed)
    uniform, exponential = rng.random, rng.expovariate
    service_mean_s = LOAD * sum(SPEEDS) / users
    service_hz = [speed / service_mean_s for speed in SPEEDS]
    cumulative = [sum(SPEEDS[: k + 1]) for k in range(len(SPEEDS))]
    waiting: list[list[tuple[int, float]]] = [[] for _ in SPEEDS]
    heads = [0] * len(SPEEDS)  # where each queue begins in its list
    busy = [False] * len(SPEEDS)
    freshest_s = [0.0] * users
    completed, dropped, peaks = 0, 0, 0
    delay_s = peak_s = 0.0
    heap: list[tuple[float, int, int, int, float, int]] = []
    seq = 0
    for user in range(users):
        seq += 1
        heappush(heap, (exponential(1.0), seq, BIRTH, user, 0.0, 0))
    while heap and heap[0][0] <= duration_s:
        now_s, _, kind, user, born_s, number = heappop(heap)
        if kind == BIRTH:
            seq += 2
            heappush(heap, (now_s + exponential(1.0), seq - 1, BIRTH, user, 0.0, 0))
            first_s = now_s + exponential(1.0 / UPLINK_MEAN_S)
            heappush(heap, (first_s, seq, TRY, user, now_s, 1))
        elif kind == TRY:
            if uniform() < LOSS:
                if number == ATTEMPTS_MAX:
                    dropped += 1
                    continue
                seq += 1
                again_s = now_s + exponential(1.0 / UPLINK_MEAN_S)
                heappush(heap, (again_s, seq, TRY, user, born_s, number + 1))
                continue
            drawn, server = uniform() * cumulative[-1], 0
            while drawn >= cumulative[server]:
                server += 1
            if busy[server]:
                waiting[server].append((user, born_s))
                continue
            busy[server] = True
            seq += 1
            done_s = now_s + exponential(service_hz[server])
            heappush(heap, (done_s, seq, DONE, user, born_s, server))
        else:
            completed += 1
            delay_s += now_s - born_s
            if born_s > freshest_s[user]:
                peak_s += now_s - freshest_s[user]
                peaks += 1
                freshest_s[user] = born_s
            queue, head = waiting[number], heads[number]
            if head == len(queue):
                busy[number] = False
                queue.clear()
                heads[number] = 0
                continue
            heads[number] = head + 1
            seq += 1
            done_s = now_s + exponential(service_hz[number])
            heappush(heap, (done_s, seq, DONE, *queue[head], number))
    return Measured(completed, delay_s / completed, peak_s / peaks)
