"""Ranges by output error: the search written out, and never worse than the range of least weight error."""

import pytest
import torch

from laconic.maths import clip, grid, hessian


def given(seed: int, rows: int = 6, columns: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    x = x * torch.rand(columns, generator=generator).exp2().pow(4)
    return torch.randn(rows, columns, generator=generator), x.T @ x


@pytest.mark.parametrize("group", ["tensor", "channel", 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_row_is_worse_than_on_the_range_of_least_weight_error(group, symmetric, seed):
    weight, gram = given(seed)
    scale, zero, error = clip.fit(weight, gram, 3, group, symmetric)
    mine = hessian.loss(weight, grid.snap(weight, scale, zero, 3, group), gram)
    nearest = hessian.loss(weight, grid.snap(weight, *grid.fit(weight, 3, group, symmetric), 3, group), gram)
    assert error == pytest.approx(float(mine.sum()), rel=1e-5)
    if group != "tensor":
        assert (mine <= nearest * (1 + 1e-6)).all()
    assert error <= float(nearest.sum())
    assert group == "tensor" or error < 0.97 * float(nearest.sum())


@pytest.mark.parametrize("group", ["tensor", "channel", 8])
def test_every_group_has_the_ratio_of_least_error_of_its_own_share(group):
    weight, gram = given(2)
    found = clip._searched(weight, gram, 3, group, True)[0]
    width = 8 if group == 8 else 20
    for row in range(1 if group == "tensor" else 6):
        for start in range(0, 20, width):
            rows = slice(None) if group == "tensor" else slice(row, row + 1)
            part, own = weight[rows, start : start + width], gram[start : start + width, start : start + width]
            tried = []
            for ratio in grid.RATIOS:
                scale, _ = grid.fit(part * ratio, 3, "tensor", True, ratios=(1.0,))
                difference = (grid.snap(part, scale, None, 3, "tensor") - part).double()
                tried.append((float(((difference @ own.double()) * difference).sum()), float(scale)))
            assert float(found[row, start // width]) == pytest.approx(min(tried)[1], rel=1e-3)
