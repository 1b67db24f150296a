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


@pytest.mark.parametrize("bits", [2, 3, 4])
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


def test_two_values_are_for_both_signs_whatever_is_zero():
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(2))
    weight[0] = 0
    codes, values, pruned = cluster.fit(weight, 1, "channel")
    assert not pruned
    assert (values[1:, 0].amin(-1) < 0).all()
    assert (values[1:, 0].amax(-1) > 0).all()
    assert not values[0, 0][codes[0].long()].any()


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


NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
"""NormalFloat of 4 bits, Dettmers et al. 2023, arXiv:2305.14314, appendix E."""


def multiples(codes: torch.Tensor, scale: torch.Tensor, values: torch.Tensor, group: grid.Group) -> torch.Tensor:
    return grid.join(values[0, 0][grid.split(codes, group).long()] * scale.unsqueeze(-1), *codes.shape)


def layers_of(seed: int, *shapes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) * 0.1 * (i + 1) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("group", ["channel", 64])
def test_a_common_codebook_is_nearer_than_normal_floats(group):
    weights = layers_of(0, (40, 128), (64, 200))
    found, values, pruned = cluster.common(weights, 4, group, [None, None])
    assert values.shape == (1, 1, 16)
    assert not pruned
    for weight, (codes, scale) in zip(weights, found, strict=True):
        parts = grid.split(weight, group)
        wide, table = parts.abs().amax(-1, keepdim=True), torch.tensor(NF4)
        theirs = table[(parts.unsqueeze(-1) / wide.unsqueeze(-1) - table).abs().argmin(-1)] * wide
        error = (multiples(codes, scale, values, group) - weight).square().sum()
        assert float(error) < 0.95 * float((grid.join(theirs, *weight.shape) - weight).square().sum())


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_of_one_group_the_common_codebook_is_the_best_partition(bits, seed):
    generator = torch.Generator().manual_seed(seed)
    weight, weigh = torch.randn(1, 10, generator=generator), torch.rand(10, generator=generator) + 0.05
    [(codes, scale)], values, _ = cluster.common([weight], bits, "channel", [weigh])
    error = (weigh * (multiples(codes, scale, values, "channel") - weight).square()).sum()
    assert float(error) == pytest.approx(brute(weight[0], weigh, 2**bits), rel=1e-2)


def test_a_planted_common_codebook_and_its_multiples_are_found():
    planted, times = torch.tensor([-3.0, -0.25, 0.5, 7.0]), torch.tensor([0.5, 1.0, 2.0, 4.0, 0.25])
    draw = torch.randint(0, 4, (5, 400), generator=torch.Generator().manual_seed(1))
    weight = planted[draw] * times[:, None]
    [(codes, scale)], values, _ = cluster.common([weight], 2, "channel", [None])
    error = (multiples(codes, scale, values, "channel") - weight).square().mean() / weight.square().mean()
    assert float(error) < 1e-5


def test_every_turn_lessens_the_error(monkeypatch):
    weights, weighs = layers_of(3, (8, 96), (12, 64)), [torch.rand(96) + 0.1, None]
    errors = []
    for turns in (1, 2, 4, 8, 16):
        monkeypatch.setattr(cluster, "TURNS", turns)
        found, values, _ = cluster.common(weights, 3, 32, weighs)
        parts = zip(weights, weighs, found, strict=True)
        wrong = [((1 if m is None else m) * (multiples(c, s, values, 32) - w).square()).sum() for w, m, (c, s) in parts]
        errors.append(float(sum(wrong)))
    assert all(after <= before * (1 + 1e-3) for before, after in itertools.pairwise(errors))  # values are float16
    assert errors[-1] < errors[0]


def test_zeros_of_a_common_codebook_are_held():
    weights = layers_of(5, (6, 40), (6, 40))
    weights[1] *= torch.rand(6, 40, generator=torch.Generator().manual_seed(6)) > 0.5
    found, values, pruned = cluster.common(weights, 3, "channel", [None, None])
    assert pruned
    assert not values[0, 0, 0]
    assert not found[1][0][weights[1] == 0].any()


def test_a_sample_of_the_weights_does_nearly_as_well(monkeypatch):
    [weight] = layers_of(7, (64, 96))
    weight[:, 0] *= 8
    errors = []
    for size in (2**22, 64 * 32):  # as few as every third weight
        monkeypatch.setattr(cluster, "SAMPLE", size)
        [(codes, scale)], values, _ = cluster.common([weight], 4, 32, [None])
        errors.append(float((multiples(codes, scale, values, 32) - weight).square().sum()))
    assert errors[1] < 1.1 * errors[0]


@pytest.mark.parametrize("weigh", [torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]), torch.zeros(8), None])
def test_a_group_of_inputs_that_never_fire_keeps_its_values(weigh):
    weight = torch.tensor([[0.5, -0.3, 0.1, 0.9, 0.2, -0.7, 0.4, 0.8, 0.3]])
    squares = None if weigh is None else torch.cat([weigh, torch.zeros(1)])  # the last group is filled up
    codes, values, _ = cluster.fit(weight, 2, 4, squares)
    found = values[0].gather(1, torch.nn.functional.pad(codes.long(), (0, 3)).reshape(3, 4)).flatten()[:9]
    torch.testing.assert_close(found, weight[0], rtol=1e-3, atol=1e-3)


def test_inputs_that_never_fire_leave_a_common_codebook_as_it_is_without_weights():
    weights = [torch.randn(6, 8, generator=torch.Generator().manual_seed(0))]
    (dead,), table, _ = cluster.common(weights, 3, 4, [torch.zeros(8)])
    (plain,), same, _ = cluster.common(weights, 3, 4, [None])
    assert torch.equal(table, same)
    assert torch.equal(dead[0], plain[0])
