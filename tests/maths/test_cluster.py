"""k-means on a line: the best partition by brute force, a planted codebook, held zeros, and known distortions."""

import itertools

import pytest
import torch

from laconic.maths import cluster, grid


def rebuilt(codes: torch.Tensor, values: torch.Tensor, group: grid.Group) -> torch.Tensor:
    return grid.join(values.gather(-1, grid.split(codes, group).long()), *codes.shape)


def brute(x: torch.Tensor, mass: torch.Tensor, count: int) -> float:
    """Least weighed squared error of all ways to cut sorted numbers into so many runs."""
    order = x.argsort()
    x, mass = x[order].double(), mass[order].double()
    least = float("inf")
    for cuts in itertools.combinations(range(1, len(x)), count - 1):
        total = 0.0
        for a, b in itertools.pairwise((0, *cuts, len(x))):
            mean = (mass[a:b] * x[a:b]).sum() / mass[a:b].sum()
            total += float((mass[a:b] * (x[a:b] - mean).square()).sum())
        least = min(least, total)
    return least


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_small_groups_have_the_best_partition(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 10, generator=generator)
    weigh = torch.rand(10, generator=generator) + 0.05
    codes, values, pruned = cluster.fit(weight, bits, "channel", weigh)
    assert not pruned
    errors = (weigh * (rebuilt(codes, values, "channel") - weight).square()).sum(1)
    for row, error in zip(weight, errors.tolist(), strict=True):
        assert error == pytest.approx(brute(row, weigh, 2**bits), rel=1e-2)  # values are rounded to float16


@pytest.mark.parametrize(("bits", "known"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_distortion_of_a_gaussian_is_that_of_max(bits, known):
    """Max 1960, doi:10.1109/TIT.1960.1057548, table I."""
    weight = torch.randn(100, 500, generator=torch.Generator().manual_seed(0))
    codes, values, _ = cluster.fit(weight, bits, "tensor")
    assert float((rebuilt(codes, values, "tensor") - weight).square().mean()) == pytest.approx(known, rel=0.02)


@pytest.mark.parametrize("group", ["tensor", "channel", 40, 80])
def test_a_planted_codebook_is_found(group):
    planted = torch.tensor([-3.0, -0.25, 0.5, 7.0])
    draw = torch.randint(0, 4, (5, 100), generator=torch.Generator().manual_seed(1))
    draw[:, ::20] = torch.arange(5) % 4
    weight = planted[draw]
    codes, values, _ = cluster.fit(weight, 2, group)
    assert torch.equal(rebuilt(codes, values, group), weight)
    assert torch.equal(values[0, 0], planted)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("group", ["tensor", "channel", 16])
def test_zeros_have_the_first_value_and_it_is_zero(bits, group):
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(2))
    weight[torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5] = 0
    codes, values, pruned = cluster.fit(weight, bits, group)
    assert pruned
    assert not values[..., 0].any()
    found = rebuilt(codes, values, group)
    assert not found[weight == 0].any()
    nearest = (grid.split(weight, group).unsqueeze(-1) - values.unsqueeze(2)).abs().amin(-1)
    assert torch.allclose((found - weight).abs(), grid.join(nearest, *weight.shape), atol=1e-6)


def test_no_row_is_worse_than_its_grid():
    weight = torch.randn(50, 200, generator=torch.Generator().manual_seed(4)).exp()
    codes, values, _ = cluster.fit(weight, 3, "channel")
    scale, zero = grid.fit(weight, 3, "channel", False)
    errors = (rebuilt(codes, values, "channel") - weight).square().sum(1)
    assert (errors < (grid.snap(weight, scale, zero, 3, "channel") - weight).square().sum(1)).all()


def test_a_short_group_does_not_see_what_fills_it_up():
    weight = torch.tensor([[5.0, 6.0, 7.0, 8.0, 9.0]])
    codes, values, _ = cluster.fit(weight, 1, 3)
    assert rebuilt(codes, values, 3).tolist() == [[5.0, 6.5, 6.5, 8.0, 9.0]] or (
        rebuilt(codes, values, 3).tolist() == [[5.5, 5.5, 7.0, 8.0, 9.0]]
    )
