"""Training repeats itself: equal seeds give equal weights, other seeds others."""

import pytest
import torch

from models.train import shift, train

NAME = "digits-s"


def test_equal_seeds_give_equal_weights_bit_for_bit() -> None:
    first, again, other = (train(NAME, seed, epochs=2).state_dict() for seed in (3, 3, 4))

    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_shift_moves_by_at_most_one_pixel_and_brings_in_nothing(seed: int) -> None:
    dot = torch.zeros(400, 1, 8, 8)
    dot[:, 0, 0, 4] = 1.0  # on the upper edge: moved up, it is gone

    moved = shift(dot, torch.Generator().manual_seed(seed))

    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in (0, 1) for x in (3, 4, 5)}
    assert set(moved.sum(dim=(1, 2, 3)).tolist()) == {0.0, 1.0}
