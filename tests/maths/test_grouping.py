"""Groups against planted ones and every other choice."""

import itertools

import pytest
import torch

from laconic.maths import grouping


def blocks(outputs, inputs, groups):
    """Group of each output and input from the orders."""
    found = []
    for order in (outputs, inputs):
        group = torch.empty_like(order)
        group[order] = torch.arange(groups).repeat_interleave(len(order) // groups)
        found.append(group)
    return found


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_planted_blocks_are_found(noise):
    generator = torch.Generator().manual_seed(0)
    planted = torch.block_diag(*(torch.rand(6, 4, generator=generator) + 0.5 for _ in range(4)))
    dense = planted + noise * torch.rand(24, 16, generator=generator)
    rows, columns = torch.randperm(24, generator=generator), torch.randperm(16, generator=generator)
    outputs, inputs = grouping.orders(dense[rows][:, columns], 4)
    assert sorted(outputs.tolist()) == list(range(24))
    assert sorted(inputs.tolist()) == list(range(16))
    held = grouping.kept(planted[rows][:, columns], *blocks(outputs, inputs, 4))
    assert held == pytest.approx(float(planted.sum()))


def test_small_cases_are_near_the_best_of_all_and_never_below_the_order_as_it_comes():
    generator = torch.Generator().manual_seed(1)
    ratios = []
    for _ in range(20):
        energy = torch.rand(4, 4, generator=generator).square()
        choices = [torch.tensor([int(i in pair) for i in range(4)]) for pair in itertools.combinations(range(4), 2)]
        best = max(grouping.kept(energy, a, b) for a in choices for b in choices)
        found = grouping.kept(energy, *blocks(*grouping.orders(energy, 2), 2))
        assert found >= grouping.kept(energy, *blocks(torch.arange(4), torch.arange(4), 2)) - 1e-9
        ratios.append(found / best)
    assert sum(ratios) / 20 > 0.95


def test_one_group_is_everything():
    energy = torch.rand(4, 6)
    assert grouping.kept(energy, *blocks(*grouping.orders(energy, 1), 1)) == pytest.approx(float(energy.sum()))
