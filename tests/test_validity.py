"""Age of information and waiting times against closed forms from queueing theory.

The whole emulator runs, in virtual time, on channels that take and lose nothing. Each age must lie
within 1 % of theory, and within three standard errors of it, where those come from the means of 40
batches; the runs are long enough for a 95 % confidence interval narrower than 1 %. Sources: Kaul,
Yates, Gruteser, "Real-time status: how often should one update?", INFOCOM 2012, for the ages;
Cobham, "Priority assignment in waiting line problems", 1954, for the waits.
"""

import math
from collections import defaultdict
from collections.abc import Callable

import pytest
from conftest import Spec, distribution, perform, scenario, server_group, unfold, user_group
from scipy.special import lambertw

from agents.messages import TaskEnd

MEAN_S = 1.0  # E[S]; the formulas below take it as the unit of time
BATCHES = 40
SIGMAS = 3.0
WIDEST = 0.01  # relative: of the 95 % interval's half width, and of the error allowed


Arrival = Callable[[float], Spec]  # of the load
Theory = Callable[[float], float]  # of the load, in units of E[S]


class BatchMeans:
    """Means of `BATCHES` equal spans of one run, long enough to be nearly independent."""

    def __init__(self, values: list[float]) -> None:
        size = len(values) // BATCHES
        means = [sum(values[k * size : (k + 1) * size]) / size for k in range(BATCHES)]
        self.mean = sum(means) / BATCHES
        variance = sum((each - self.mean) ** 2 for each in means) / (BATCHES - 1)
        self.error = math.sqrt(variance / BATCHES)


def queue(arrival: Spec, service: str, tasks: int, rate_hz: float, seed: int) -> Spec:
    """One user, one server, first come first served."""
    return scenario(
        seed=seed,
        duration_s=tasks / rate_hz,
        users=[user_group(arrival=arrival)],
        servers=[server_group(distribution(service, MEAN_S), queue_len_max=10_000)],
    )


def poisson(rho: float) -> Spec:
    return {"kind": "poisson", "rate_hz": rho / MEAN_S}


def periodic(rho: float) -> Spec:
    return {"kind": "periodic", "period_s": MEAN_S / rho}


def beta(rho: float) -> float:
    """The probability that a periodic arrival finds an M server busy: beta = exp(-(1-beta)/rho)."""
    return float(-rho * lambertw(-math.exp(-1.0 / rho) / rho).real)


# Ages in units of E[S]. The peak age of a queue served in order is E[X] + E[T]: the gap before a
# task, and the task's own time in the system.


def mm1_age(rho: float) -> float:
    return 1.0 + 1.0 / rho + rho**2 / (1.0 - rho)


def mm1_peak(rho: float) -> float:
    return 1.0 / rho + 1.0 / (1.0 - rho)


def md1_age(rho: float) -> float:
    return 0.5 / (1.0 - rho) + 0.5 + (1.0 - rho) * math.exp(rho) / rho


def md1_peak(rho: float) -> float:
    return 1.0 / rho + 1.0 + 0.5 * rho / (1.0 - rho)


def dm1_age(rho: float) -> float:
    return 0.5 / rho + 1.0 / (1.0 - beta(rho))


def dm1_peak(rho: float) -> float:
    return 1.0 / rho + 1.0 / (1.0 - beta(rho))


# (name, arrivals, service, load, tasks, age, peak age); more load and more variance need more tasks
QUEUES = [
    ("M/M/1", poisson, "exponential", 0.3, 150_000, mm1_age, mm1_peak),
    ("M/M/1", poisson, "exponential", 0.5, 250_000, mm1_age, mm1_peak),
    ("M/D/1", poisson, "deterministic", 0.5, 120_000, md1_age, md1_peak),
    ("M/D/1", poisson, "deterministic", 0.7, 150_000, md1_age, md1_peak),
    ("D/M/1", periodic, "exponential", 0.5, 120_000, dm1_age, dm1_peak),
    ("D/M/1", periodic, "exponential", 0.7, 450_000, dm1_age, dm1_peak),
]


def check(name: str, batches: BatchMeans, measured: float, theory: float) -> None:
    assert 1.96 * batches.error < WIDEST * theory, f"{name}: the run is too short to tell"
    assert measured == pytest.approx(theory, rel=WIDEST), name
    assert batches.mean == pytest.approx(theory, abs=SIGMAS * batches.error), name


@pytest.mark.parametrize(
    ("name", "arrival", "service", "rho", "tasks", "age", "peak"),
    QUEUES,
    ids=[f"{each[0]}-{each[3]}" for each in QUEUES],
)
def test_ages_are_those_of_the_closed_form(
    name: str, arrival: Arrival, service: str, rho: float, tasks: int, age: Theory, peak: Theory
) -> None:
    spec = queue(arrival(rho), service, tasks, rho / MEAN_S, seed=3)

    *_, (_, metrics) = unfold(spec)

    summary, columns = metrics.summary()["user"], metrics.series.columns
    ages, peaks = columns["aoi_s/user"], columns["paoi_s/0"]
    check(f"age of {name}", BatchMeans(ages), summary["aoi_mean_s"], age(rho))
    check(f"peak age of {name}", BatchMeans(peaks), summary["paoi_mean_s"], peak(rho))


@pytest.mark.parametrize(("service", "scv"), [("deterministic", 0.0), ("exponential", 1.0)])
def test_zero_wait_ages_are_those_of_the_closed_form(service: str, scv: float) -> None:
    tasks = 100_000
    arrival = {"kind": "at-will", "wait_s": 0.0, "timeout_s": 1e4}
    spec = queue(arrival, service, tasks, 1.0 / MEAN_S, seed=3)

    *_, (_, metrics) = unfold(spec)

    # A renewal process whose age restarts at the service time Y before: E[Y] + E[Y^2] / 2 E[Y].
    summary, columns = metrics.summary()["user"], metrics.series.columns
    age, peak = MEAN_S * (1.5 + 0.5 * scv), 2.0 * MEAN_S
    # Constant service leaves only the first, fresh cycle: one task in all of them, twice over.
    slack = 2.0 / tasks
    assert summary["aoi_mean_s"] == pytest.approx(age, rel=WIDEST if scv else slack)
    assert summary["paoi_mean_s"] == pytest.approx(peak, rel=WIDEST if scv else slack)
    if scv:
        check("zero-wait age", BatchMeans(columns["aoi_s/user"]), summary["aoi_mean_s"], age)


def test_ages_after_a_warm_up_are_those_of_the_journal() -> None:
    # 1.01 s falls between two steps of 0.05 s: what is folded by then has passed it already.
    warmup_s, duration_s = 1.01, 5.0
    spec = scenario(
        duration_s=duration_s,
        warmup_s=warmup_s,
        users=[user_group(arrival={"kind": "poisson", "rate_hz": 50.0})],
    )

    records, metrics, _ = perform(spec)

    ends = [record for record in records if isinstance(record, TaskEnd)]
    area_s2, from_s, freshest_s = 0.0, 0.0, 0.0
    for at_s, born_s in [*((e.ended_s, e.born_s) for e in ends), (duration_s, 0.0)]:
        begin_s = max(from_s, warmup_s)
        if at_s > begin_s:
            area_s2 += (at_s - begin_s) * (0.5 * (at_s + begin_s) - freshest_s)
        from_s, freshest_s = at_s, max(freshest_s, born_s)
    naive_s = area_s2 / (duration_s - warmup_s)
    assert metrics.summary()["user"]["aoi_mean_s"] == pytest.approx(naive_s, rel=1e-9)


@pytest.mark.parametrize(
    # As many as the interval of 3 % below needs: gamma's is 2.3 % wide, and the other's 3.4 % at
    # 500,000.
    ("kind", "scv", "tasks"),
    [("gamma", 0.5, 150_000), ("hyperexponential", 4.0, 700_000)],
)
def test_waits_of_two_classes_are_those_of_cobham(kind: str, scv: float, tasks: int) -> None:
    rhos = (0.2, 0.3)  # urgent, relaxed
    users = [
        user_group(name=name, priority=k, arrival=poisson(rhos[k]))
        for k, name in enumerate(("urgent", "relaxed"))
    ]
    spec = scenario(
        seed=5,
        duration_s=tasks * MEAN_S / sum(rhos),
        users=users,
        servers=[server_group(distribution(kind, MEAN_S, scv), queue_len_max=10_000)],
    )
    waits_s: dict[int, list[float]] = defaultdict(list)  # class -> mean wait of each step

    for step, so_far in unfold(spec):
        metrics = so_far
        for k in range(len(rhos)):
            ends = [r for r in step.records if isinstance(r, TaskEnd) and r.priority == k]
            waits_s[k].append(sum(e.started_s - e.arrived_s for e in ends) / len(ends))

    residual_s = 0.5 * sum(rhos) * (1.0 + scv) * MEAN_S  # of the task in service, on arrival
    ahead = 0.0
    for k, name in enumerate(("urgent", "relaxed")):
        theory_s = residual_s / ((1.0 - ahead) * (1.0 - ahead - rhos[k]))
        ahead += rhos[k]
        batches, measured_s = BatchMeans(waits_s[k]), metrics.summary()[name]["queue_mean_s"]
        # A wait varies more than an age: its interval may be 3 % wide either way
        assert 1.96 * batches.error < 3.0 * WIDEST * theory_s, f"{name}: the run is too short"
        assert measured_s == pytest.approx(theory_s, abs=SIGMAS * batches.error)
