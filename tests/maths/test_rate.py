"""Choices by error and bits: against exhaustive search, against nearest rounding, and where the answer is known."""

import itertools
import math

import pytest
import torch

from laconic.maths import grid, hessian, rate


def test_lengths_are_those_of_the_histogram():
    codes = torch.tensor([[1, 1, 1, 1, 2, 2, 3, 0]], dtype=torch.uint8).repeat(1, 1000)
    assert torch.allclose(rate.lengths(codes, 2), torch.tensor([3.0, 1.0, 2.0, 3.0]).double(), atol=1e-3)
    assert rate.lengths(codes, 3)[7] > 13


@pytest.mark.parametrize("zero", [None, torch.tensor([[5]], dtype=torch.uint8)])
def test_a_choice_is_the_best_of_all_codes(zero):
    torch.manual_seed(0)
    weight, scale = torch.randn(1, 400), torch.tensor([[0.3]])
    middle, low = (8, 1) if zero is None else (5, 0)
    cost = 0.02 * (1 + (torch.arange(16) - middle).abs())  # never falls away from zero
    points = (torch.arange(low, 16) - middle) * 0.3
    price = (points[:, None] - weight).square() + cost[low:, None]
    best = points[price.argmin(0)]
    assert torch.allclose(rate.choose(weight, scale, zero, 4, "channel", cost)[0], best)
    assert not torch.equal(best, grid.snap(weight, scale, zero, 4, "channel")[0])


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_free_bit_leaves_the_nearest_points(symmetric):
    weight = torch.randn(8, 30)
    scale, zero, worth = rate.fit(weight, 3, 10, symmetric, 0.0)
    plain, middle = grid.fit(weight, 3, 10, symmetric)
    assert worth == 0
    assert torch.equal(scale, plain)
    found = rate.solve(weight, None, scale, zero, 3, 10, worth=worth)
    assert torch.equal(found, grid.snap(weight, plain, middle, 3, 10))


def test_a_dear_bit_leaves_zeros():
    weight = torch.randn(64, 30)
    scale, zero, worth = rate.fit(weight, 8, "tensor", True, 1.0)
    assert not rate.solve(weight, None, scale, zero, 8, "tensor", worth=worth).any()


@pytest.mark.parametrize("price", [0.005, 0.02, 0.1])
def test_steps_are_those_of_the_slope(price):
    """On a wide Gaussian, D = step^2 / 12 and dD/dR = -2 ln2 D give the step in closed form."""
    weight = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    scale, _, worth = rate.fit(weight, 8, "tensor", True, price)
    assert worth == pytest.approx(price, rel=0.02)
    assert float(scale) == pytest.approx((12 * worth / (2 * math.log(2))) ** 0.5, rel=0.2)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_row_of_zeros_changes_nothing_for_the_others(symmetric):
    """Nor does one group of zeros in a row; weights are small, as they are in models."""
    weight = 0.02 * torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    longer = torch.cat([weight, torch.zeros(1, 64)])
    scale, zero, worth = rate.fit(weight, 8, "channel", symmetric, 0.05)
    wide, middle, dearer = rate.fit(longer, 8, "channel", symmetric, 0.05 * 501 / 500)
    assert dearer == pytest.approx(worth, rel=1e-5)
    assert torch.equal(wide[:-1], scale)
    assert zero is None or torch.equal(middle[:-1], zero)
    spent = []
    for rows, *fitted in ((weight, scale, zero), (longer, wide, middle)):
        found = rate.solve(rows, None, *fitted, 8, "channel", worth=worth)
        codes = grid.codes(found, *fitted, 8, "channel")[:500]
        spent.append(float(rate.lengths(codes, 8)[codes.long()].mean()))
    assert spent[1] == pytest.approx(spent[0], rel=0.01)
    holed = torch.cat([weight, torch.zeros(500, 16)], 1)
    assert torch.equal(rate.fit(holed, 8, 16, True, 0.0625)[0][:, :4], rate.fit(weight, 8, 16, True, 0.05)[0])


@pytest.mark.parametrize("known", [False, True])
def test_error_and_bits_together_are_never_above_the_nearest_points(known):
    torch.manual_seed(1)
    weight, x = torch.randn(64, 24) * torch.rand(64, 1), torch.randn(100, 24) @ torch.randn(24, 24)
    inputs = x.T @ x if known else None
    metric = torch.eye(24) if inputs is None else inputs
    curvature = 1.0 if inputs is None else float(hessian.inverse_factor(inputs, 0.01).diagonal().pow(-2).mean())
    scale, _ = grid.fit(weight, 4, "channel", True)
    totals, sizes, errors = [], [], []
    for worth in (0.0, 0.01, 0.03, 0.1):
        found = rate.solve(weight, inputs, scale, None, 4, "channel", worth=worth)
        for points in (found, grid.snap(weight, scale, None, 4, "channel")):
            codes = grid.codes(points, scale, None, 4, "channel")
            assert torch.equal(grid.values(codes, scale, None, 4, "channel"), points)
            sizes.append(float(rate.lengths(codes, 4)[codes.long()].sum()))
            errors.append(float(hessian.loss(weight, points, metric).sum()))
            totals.append(errors[-1] + worth * curvature * sizes[-1])
    assert all(mine <= nearest * 1.01 for mine, nearest in zip(totals[::2], totals[1::2], strict=True))
    assert totals[6] < 0.9 * totals[7]
    assert sorted(sizes[::2], reverse=True) == sizes[::2]
    assert sorted(errors[::2]) == errors[::2]


def test_a_row_is_near_the_best_of_all_rows():
    """Exhaustive over 5 weights of 7 codes, under the code lengths of the last round."""
    torch.manual_seed(2)
    over = []
    for _ in range(20):
        weight, x = torch.randn(1, 5), torch.randn(40, 5) @ (torch.eye(5) + 0.4 * torch.randn(5, 5))
        inputs = x.T @ x
        scale, _ = grid.fit(weight, 3, "channel", True)
        bit = torch.tensor([9.0, 6, 4, 2.5, 1, 2.5, 4, 6])
        exchange = rate.SLOPE * float(scale.square()) * float(inputs.diagonal().mean())
        rows = torch.tensor(list(itertools.product(range(1, 8), repeat=5)))
        off = ((rows - 4) * scale - weight).double()  # (7^5, 5)
        totals = ((off @ inputs.double()) * off).sum(1) + exchange * bit.double()[rows].sum(1)
        order, factor = torch.arange(5), hessian.inverse_factor(inputs, 1e-4).float()
        points = hessian.Points.of(scale, None, 3, "channel", weight.shape, order)
        found = rate._weighed(weight, inputs, factor, order, points, exchange * bit)
        codes = grid.codes(found, scale, None, 3, "channel").long()
        mine = float(hessian.loss(weight, found, inputs)[0] + exchange * bit.double()[codes].sum())
        over.append(mine / float(totals.min()))
    assert min(over) >= 1 - 1e-6
    assert sum(o < 1 + 1e-6 for o in over) >= 10
    assert sum(over) / len(over) < 1.08


def test_zeros_stay_zero():
    torch.manual_seed(3)
    weight = torch.randn(16, 12) * (torch.rand(16, 12) > 0.5)
    x = torch.randn(50, 12)
    scale, zero = grid.fit(weight, 4, "channel", False)
    for inputs in (None, x.T @ x):
        assert not rate.solve(weight, inputs, scale, zero, 4, "channel", worth=0.01)[weight == 0].any()
