"""The distributions of durations against their exact moments and scipy's quantiles."""

import math

import numpy as np
import pytest
from conftest import distribution, scenario, server_group
from scipy import stats

from emulator.checks import check
from emulator.scenario.distributions import SCV_MAX, Kind, draw_of, second_moment_s2
from emulator.scenario.schema import Scenario

MEAN_S = 0.02
DISTRIBUTIONS: list[tuple[Kind, float]] = [
    ("deterministic", 0.0),
    ("exponential", 1.0),
    ("gamma", 1e-6),
    ("gamma", 0.1),
    ("gamma", 0.5),
    ("gamma", 4.0),
    ("gamma", SCV_MAX["gamma"]),
    ("lognormal", 1e-6),
    ("lognormal", 0.1),
    ("lognormal", 0.5),
    ("lognormal", 4.0),
    ("lognormal", 100.0),
    ("lognormal", SCV_MAX["lognormal"]),
    ("hyperexponential", 1.0),
    ("hyperexponential", 4.0),
    ("hyperexponential", 20.0),
    ("hyperexponential", SCV_MAX["hyperexponential"]),
]


@pytest.mark.parametrize(("kind", "scv"), DISTRIBUTIONS)
def test_the_first_two_moments_are_exact(kind: Kind, scv: float) -> None:
    draw = draw_of(kind, MEAN_S, scv)

    # The draw is a quantile function q(u); its moments are integrals of q^k over [0, 1]. With
    # u = 1 / (1 + e^-x) both tails are resolved: du = u (1 - u) dx, and the trapezoidal rule on a
    # smooth integrand that vanishes at both ends converges faster than any power of the step.
    step = 1e-3
    x = np.arange(-36.0, 36.0, step) + 0.37 * step  # 0 is where one distribution has its jump
    u = 1.0 / (1.0 + np.exp(-x))
    values = np.array([draw(float(each)) for each in u])
    weights = np.exp(-np.abs(x)) / (1.0 + np.exp(-np.abs(x))) ** 2 * step
    mean_s, second_s2 = float(values @ weights), float(values**2 @ weights)

    # A hyperexponential density jumps where the phase changes, which the rule resolves to a step:
    # 1e-3 at most. Beyond x = 36 lie 2e-16 of the probability: of the second moment of the
    # heaviest lognormal that is Phi(2 sigma - 8.1) = 0.2 %, and the last few uniforms are coarse.
    mean_off = 2e-3 if kind == "hyperexponential" else 1e-6
    second_off = 4e-3 if kind == "hyperexponential" or scv >= 100.0 else 3e-5
    exact_s2 = (1.0 + scv) * MEAN_S**2
    assert mean_s == pytest.approx(MEAN_S, rel=mean_off)
    assert second_s2 == pytest.approx(exact_s2, rel=second_off)
    assert second_moment_s2(kind, MEAN_S, scv) == pytest.approx(exact_s2)


@pytest.mark.parametrize(("kind", "scv"), DISTRIBUTIONS)
def test_every_draw_takes_time_and_ends(kind: Kind, scv: float) -> None:
    draw = draw_of(kind, MEAN_S, scv)
    border = 0.5 * (1.0 + math.sqrt(max(scv - 1.0, 0.0) / (scv + 1.0)))  # between two phases

    for u in (0.0, 2.0**-53, 1e-12, 0.5, border, 1.0 - 2.0**-53):
        assert 0.0 < draw(u) < math.inf


@pytest.mark.parametrize("scv", [0.1, 1.0, 4.0, 16.0])
def test_quantiles_are_those_of_the_distribution(scv: float) -> None:
    levels = [1e-9, 0.01, 0.5, 0.99, 1.0 - 1e-9]
    sigma = math.sqrt(math.log(1.0 + scv))
    twins = {
        "exponential": stats.expon(scale=MEAN_S),
        "gamma": stats.gamma(1.0 / scv, scale=scv * MEAN_S),
        "lognormal": stats.lognorm(sigma, scale=MEAN_S / math.sqrt(1.0 + scv)),
    }

    for kind, twin in twins.items():
        draw = draw_of(kind, MEAN_S, scv)  # type: ignore[arg-type]
        assert [draw(u) for u in levels] == pytest.approx(twin.ppf(levels).tolist(), rel=1e-6)


@pytest.mark.parametrize("kind", ["gamma", "lognormal", "hyperexponential"])
def test_a_tail_that_cannot_be_drawn_is_refused_with_the_heaviest_that_can(kind: Kind) -> None:
    def found(scv: float) -> list[str]:
        spec = scenario(servers=[server_group(distribution(kind, 0.01, scv))])
        problems = check.problems(Scenario.model_validate(spec))
        return [f"{'.'.join(map(str, at))}: {text}; {remedy}" for at, text, remedy in problems]

    assert found(SCV_MAX[kind]) == []
    (reported,) = found(SCV_MAX[kind] * 1.01)
    assert reported.startswith("servers.0.accelerator.service.scv: ")
    assert f"at most {SCV_MAX[kind]:g}" in reported
