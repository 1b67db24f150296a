"""Filters and matrices against planted ones, a closed form, and the sums written out."""

import pytest
import torch

from laconic.maths import factor, importance, separable

TAPS = 3


def inputs(channels: int, bias: bool, seed: int = 0) -> torch.Tensor:
    """u of 40 texts of 10 tokens whose channels and neighbours are alike, (tokens, u)."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(channels, channels, generator=generator)
    x = torch.randn(40, 10, channels, generator=generator).cumsum(1) @ mixed * 0.3
    u = separable.behind(x, TAPS).reshape(400, -1)
    return torch.cat([u, torch.ones(400, 1)], 1) if bias else u


def joined(matrix: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The matrix of u that filters and matrix are together, (out, u)."""
    width = kernel.shape[1]
    return torch.cat([*(matrix[:, :width] * tap for tap in kernel), matrix[:, width:]], 1)


def test_what_stands_behind_is_found_position_by_position():
    x = torch.randn(2, 4, 3)
    found = separable.behind(x, TAPS)
    assert found.shape == (2, 4, TAPS, 3)
    for token in range(4):
        for back in range(TAPS):
            expected = x[:, token - back] if token >= back else torch.zeros(2, 3)
            assert torch.equal(found[:, token, back], expected)


@pytest.mark.parametrize("bias", [True, False])
def test_planted_filters_are_found(bias, monkeypatch):
    monkeypatch.setattr(separable, "SWEEPS", 300)
    monkeypatch.setattr(separable, "ENOUGH", 0.0)
    generator, u = torch.Generator().manual_seed(1), inputs(4, bias).double()
    planted = joined(torch.randn(6, 4 + bias, generator=generator), torch.randn(TAPS, 4, generator=generator)).double()
    found = joined(*separable.fit(planted, u.T @ u, torch.arange(4), TAPS))
    assert (u @ (found - planted).T).norm() < 1e-4 * (u @ planted.T).norm()


def test_with_one_channel_it_is_the_best_matrix_of_rank_one(monkeypatch):
    """Eckart and Young 1936, behind the square root of the inputs' second moments."""
    monkeypatch.setattr(separable, "SWEEPS", 300)
    monkeypatch.setattr(separable, "ENOUGH", 0.0)
    u = inputs(1, bias=False).double()
    wanted = torch.randn(5, TAPS, generator=torch.Generator().manual_seed(2)).double()
    root = torch.linalg.cholesky(u.T @ u)
    least = float(torch.linalg.svdvals(wanted @ root)[1:].square().sum())
    found = joined(*separable.fit(wanted, u.T @ u, torch.tensor([0]), TAPS))
    assert float((u @ (found - wanted).T).square().sum()) == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_it_never_loses_more_than_one_tap(seed, bias):
    """Of a group of channels, against the least squares that `convolve` takes."""
    u = inputs(6, bias, seed)
    plain, found = losses(u, torch.tensor([4, 1, 2]), bias, seed)
    assert found <= plain * (1 + 1e-6)


def test_what_a_group_does_not_see_is_brought_back_by_what_it_saw_before():
    """Channels outside the group repeat, one position later, what those inside it are."""
    x = torch.randn(40, 10, 3, generator=torch.Generator().manual_seed(0))
    late = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]
    u = separable.behind(torch.cat([x, late], -1), TAPS).reshape(400, -1)
    plain, found = losses(u, torch.arange(3), bias=False, seed=0)
    assert found < 0.8 * plain


def losses(u: torch.Tensor, group: torch.Tensor, bias: bool, seed: int) -> tuple[float, float]:
    """What a dense matrix of 6 channels loses in a group of 3 with one tap, and with several."""
    gram = u.T @ u
    weight = torch.randn(5, 6 + bias, generator=torch.Generator().manual_seed(seed))
    wanted = torch.cat([weight[:, :6], torch.zeros(5, 6 * (TAPS - 1)), weight[:, 6:]], 1)
    matrix, kernel = separable.fit(wanted, gram, group, TAPS)
    found = torch.zeros_like(wanted)
    for back in range(TAPS):
        found[:, 6 * back + group] = matrix[:, :3] * kernel[back]
    found[:, 6 * TAPS :] = matrix[:, 3:]
    own = [0, 1, 2, 3, 4, 5, *range(6 * TAPS, len(gram))]
    kept = [*group.tolist(), *range(6, 6 + bias)]
    plain = torch.zeros_like(weight)
    plain[:, kept] = importance.reconstruct(weight, gram[own][:, own], kept)
    return factor.loss(weight, plain, gram[own][:, own]), factor.loss(wanted, found, gram)
