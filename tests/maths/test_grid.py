"""Grids: closed forms, bounds, and that nothing beats the promise of least error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.errors import RecipeError
from laconic.maths import grid

BITS = st.integers(2, 8)
GROUPS = st.one_of(st.sampled_from(["tensor", "channel"]), st.integers(1, 9))


@st.composite
def weights(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 13))
    seed, size = draw(st.integers(0, 10**6)), draw(st.sampled_from([1e-6, 1e-2, 1.0, 300.0]))
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    made[torch.rand(made.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.2] = 0.0
    return made


def test_symmetric_grid_by_hand():
    weight = torch.tensor([[-7.0, 3.4, 0.0, 7.0], [1.0, 0.5, -0.25, 0.1]])
    scale, zero = grid.fit(weight, 4, "channel", True, ratios=(1.0,))
    assert zero is None
    assert scale[0].item() == 1.0
    assert grid.codes(weight, scale, None, 4, "channel")[0].tolist() == [1, 11, 8, 15]
    assert grid.snap(weight, scale, None, 4, "channel")[0].tolist() == [-7.0, 3.0, 0.0, 7.0]


def test_asymmetric_grid_by_hand():
    weight = torch.tensor([[-1.0, 0.0, 2.0, 0.9]])
    scale, zero = grid.fit(weight, 2, "tensor", False, ratios=(1.0,))
    assert (scale.item(), zero.item()) == (1.0, 1)
    assert grid.codes(weight, scale, zero, 2, "tensor").tolist() == [[0, 1, 3, 2]]


def test_groups_have_scales_of_their_own_and_a_short_last_one():
    weight = torch.tensor([[1.0, -1.0, 10.0, 5.0, 100.0]])
    scale, _ = grid.fit(weight, 8, 2, True, ratios=(1.0,))
    assert scale.shape == grid.shape(1, 5, 2) == (1, 3)
    assert torch.allclose(scale, torch.tensor([[1.0, 10.0, 100.0]]) / 127, rtol=1e-3)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_group_wider_than_a_row_is_the_row(symmetric):
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    assert grid.split(weight, 2**16).shape == (3, 1, 7)
    row, wide = (grid.fit(weight, 3, group, symmetric) for group in ("channel", 2**16))
    assert torch.equal(row[0], wide[0])
    assert torch.equal(grid.snap(weight, *row, 3, "channel"), grid.snap(weight, *wide, 3, 2**16))


@given(weights(), BITS, GROUPS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_min_max_rounding_errs_by_at_most_half_a_step(weight, bits, group, symmetric):
    scale, zero = grid.fit(weight, bits, group, symmetric, ratios=(1.0,))
    steps = grid.split(torch.ones_like(weight), group) * scale.unsqueeze(-1)
    error = (grid.snap(weight, scale, zero, bits, group) - weight).abs()
    assert (error <= grid.join(steps, *weight.shape) * 0.5001).all()


@given(weights(), BITS, GROUPS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_fitted_grids(weight, bits, group, symmetric):
    scale, zero = grid.fit(weight, bits, group, symmetric)
    assert scale.shape == grid.shape(*weight.shape, group)
    assert torch.equal(scale.half().float(), scale)
    assert (scale > 0).all()
    found = grid.snap(weight, scale, zero, bits, group)
    codes = grid.codes(weight, scale, zero, bits, group)
    assert torch.equal(grid.values(codes, scale, zero, bits, group), found)  # the two roads agree bit for bit
    assert torch.equal(grid.codes(found, scale, zero, bits, group), codes)  # a grid point stays where it is
    assert int(codes.max()) < 2**bits
    assert not found[weight == 0].any()
    plain = grid.fit(weight, bits, group, symmetric, ratios=(1.0,))
    error = (found - weight).double().square()
    most = (grid.snap(weight, *plain, bits, group) - weight).double().square()
    assert float(error.sum()) <= float(most.sum()) * (1 + 1e-5)


def test_clipping_pays_at_two_bits_and_finds_a_planted_grid():
    torch.manual_seed(0)
    normal = torch.randn(1, 4000)
    scale, _ = grid.fit(normal, 2, "tensor", True)
    error = (grid.snap(normal, scale, None, 2, "tensor") - normal).square().mean()
    assert float(error) == pytest.approx(0.190, abs=0.015)  # the best three-level uniform quantizer of a normal
    planted = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 3.0]).repeat(4).reshape(2, 12) * 0.125
    scale, _ = grid.fit(planted, 3, "channel", True)
    assert torch.equal(grid.snap(planted, scale, None, 3, "channel"), planted)


def test_importance_moves_the_range_to_the_columns_that_count():
    weight = torch.cat([torch.full((1, 1), 10.0), torch.linspace(-1, 1, 63).reshape(1, -1)], 1)
    weigh = torch.ones(64)
    weigh[0] = 0.0
    wide, _ = grid.fit(weight, 3, "channel", True, ratios=grid.RATIOS)
    fine, _ = grid.fit(weight, 3, "channel", True, importance=weigh)
    assert float(fine) < float(wide)


def test_inside_is_between_the_ends_of_a_grid():
    weight = torch.tensor([[-3.4, -3.0, -2.9, 0.0, 2.9, 3.0, 3.4]])
    found = grid.inside(weight, torch.ones(1, 1), None, 3, "channel")
    assert found.tolist() == [[False, False, True, True, True, False, False]]
    sign = grid.inside(torch.tensor([[-1.1, -0.9, 0.4, 0.9, 1.1]]), torch.ones(1, 1), None, 1, "channel")
    assert sign.tolist() == [[False, True, True, True, False]]


def test_a_value_rises_with_its_scale_as_the_paper_says():
    """Esser et al., eq. 3, with Q_N = Q_P = 3: round(v / s) - v / s between the ends, and Q_N or Q_P from them on."""
    weight = torch.tensor([[-3.4, -3.0, -1.6, 0.3, 2.9, 3.0, 3.4, 9.0]])
    expected = torch.tensor([[-3.0, -3.0, -0.4, -0.3, 0.1, 3.0, 3.0, 3.0]])
    torch.testing.assert_close(grid.rise(weight, torch.ones(1, 1), None, 3, "channel"), expected)
    torch.testing.assert_close(grid.rise(weight * 0.5, torch.full((1, 1), 0.5), None, 3, "channel"), expected)


def test_float_bits():
    assert grid.float_bits(torch.tensor([0.5, -2.0, 0.0])) == 48
    assert grid.float_bits(torch.tensor([0.5, 0.1])) == 64
    assert grid.float_bits(torch.tensor([0.1]).half()) == 16
    assert grid.float_bits(torch.tensor([1e6])) == 32


def test_cost_counts_scales():
    assert grid.cost(4, "tensor", True, 64) == 4
    assert grid.cost(4, "channel", True, 64) == 4.25
    assert grid.cost(4, 16, False, 64) == 4 + 20 / 16


@pytest.mark.parametrize(("bits", "group"), [(1, "tensor"), (9, "tensor"), (True, "tensor"), (4, "row"), (4, 0)])
def test_impossible_grids_are_refused(bits, group):
    with pytest.raises(RecipeError, match=r"2 to 8 bits|columns per scale"):
        grid.check(bits, group)
