"""The measured latencies that virtual time draws from."""

import json

import numpy as np
import pytest

from models import latency, zoo
from models.zoo import ModelError

NAME = "digits-s"
BATCHES = range(1, latency.BATCH_MAX + 1)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_trace_is_what_the_file_holds(batch: int) -> None:
    stored = json.loads((zoo.WEIGHTS / NAME / "latency.json").read_text())

    seconds = latency.trace(NAME, batch)

    assert seconds.dtype == np.float64
    assert seconds.tolist() == stored["samples_s"][batch - 1]
    assert len(seconds) == latency.ROUNDS
    assert (seconds > 0.0).all()


@pytest.mark.parametrize("batch", BATCHES)
def test_the_moments_are_those_of_the_samples(batch: int) -> None:
    seconds = latency.trace(NAME, batch)

    m1_s, m2_s2 = latency.moments(NAME, batch)

    # 512 terms, each rounded to 1.1e-16 of itself: any order of summation agrees to 6e-14.
    assert m1_s == pytest.approx(np.mean(seconds), rel=1e-12)
    assert m2_s2 == pytest.approx(np.var(seconds) + np.mean(seconds) ** 2, rel=1e-12)
    assert m2_s2 >= m1_s**2


@pytest.mark.parametrize("batch", [0, -1, latency.BATCH_MAX + 1])
def test_a_batch_that_was_not_measured_is_refused(batch: int) -> None:
    with pytest.raises(ModelError, match=f"measured for batches of 1 to 8, not {batch}"):
        latency.trace(NAME, batch)


def test_an_unknown_name_is_not_told_to_measure_it() -> None:
    with pytest.raises(ModelError, match=f"did you mean '{NAME}'"):
        latency.trace("digit-s", 1)


def test_measuring_takes_each_batch_size_equally_often() -> None:
    [measured] = latency.measure(NAME, rounds=3)

    assert [len(samples_s) for samples_s in measured.samples_s] == [3] * latency.BATCH_MAX
    assert measured.threads == 1
