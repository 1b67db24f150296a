"""Rotations: orthogonal, spread evenly, and the same for the same seed."""

import pytest
import torch

from laconic.maths import rotation


@pytest.mark.parametrize("size", [1, 2, 3, 8, 12, 24, 64, 384])
def test_they_are_orthogonal(size):
    made = rotation.hadamard(size, torch.Generator().manual_seed(0))
    assert torch.allclose(made @ made.T, torch.eye(size, dtype=torch.float64), atol=1e-12)


def test_a_power_of_two_spreads_one_channel_over_all():
    made = rotation.hadamard(64, torch.Generator().manual_seed(0))
    assert torch.allclose(made.abs(), torch.full((64, 64), 0.125, dtype=torch.float64))


def test_the_seed_says_which():
    made = [rotation.hadamard(24, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])
