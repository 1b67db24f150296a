"""Shared weights against slow solutions, and no worse than what they replace."""

import pytest
import torch

from laconic.maths import factor, sharing


def layers(count: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(5, 6, generator=generator, dtype=torch.float64) for _ in range(count)]
    inputs = [torch.randn(6, 30, generator=generator, dtype=torch.float64) for _ in range(count)]
    return weights, inputs, [x @ x.T for x in inputs]


def total(weights, found, grams):
    return sum(factor.loss(w, f, g) for w, f, g in zip(weights, found, grams, strict=True))


@pytest.mark.parametrize(
    ("pattern", "found"), [("sequence", [[0, 1, 2], [3, 4, 5], [6]]), ("cycle", [[0, 3, 6], [1, 4], [2, 5]])]
)
def test_sets(pattern, found):
    assert sharing.sets(7, 3, pattern) == found


def test_the_common_weight_is_the_least_squares_one_and_no_copy_or_mean_is_better():
    weights, inputs, grams = layers()
    found, _ = sharing.common(weights, grams)
    outputs = torch.cat([w @ x for w, x in zip(weights, inputs, strict=True)], 1)  # (out, all tokens)
    slow = torch.linalg.lstsq(torch.cat(inputs, 1).T, outputs.T).solution.T
    torch.testing.assert_close(found, slow, atol=1e-5, rtol=1e-5)
    best = total(weights, [found] * 3, grams)
    for other in (*weights, sum(weights) / 3):
        assert best < total(weights, [other] * 3, grams)


def test_differences_are_the_whitened_truncation_and_more_rank_is_better():
    weights, _, grams = layers()
    losses = []
    for rank in (0, 1, 2, 5):
        shared, deltas = sharing.common(weights, grams, rank)
        own = [shared + left @ right for left, right in deltas] if rank else [shared] * 3
        losses.append(total(weights, own, grams))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-8 * losses[0]  # full rank: exact
    shared, _ = sharing.common(weights, grams)
    once = [factor.truncate(w - shared, 1, factor.whitening(g)) for w, g in zip(weights, grams, strict=True)]
    assert losses[1] <= total(weights, [shared + left @ right for left, right in once], grams)


def test_a_planted_shared_weight_with_differences_is_nearly_recovered():
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    _, _, grams = layers()
    thin = [torch.randn(8, 1, generator=generator, dtype=torch.float64) for _ in grams]
    weights = [base + t @ torch.ones(1, 6, dtype=torch.float64) for t in thin]
    shared, deltas = sharing.common(weights, grams, 1)
    own = [shared + left @ right for left, right in deltas]
    assert total(weights, own, grams) < 1e-3 * total(weights, [torch.zeros_like(base)] * 3, grams)


def test_a_planted_basis_is_found_and_own_coefficients_are_no_worse_than_common_ones():
    weights, _, grams = layers()
    right = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    planted = [w[:, :2] @ right for w in weights]
    coefficients, found = sharing.basis(planted, grams, 2)
    assert total(planted, [c @ found for c in coefficients], grams) < 1e-8 * total(
        planted, [0 * w for w in weights], grams
    )
    coefficients, found = sharing.basis(weights, grams, 2)
    common, _ = factor.truncate(torch.cat(weights), 2, factor.whitening(sum(grams)))
    theirs = [part @ found for part in common.split(5)]
    assert total(weights, [c @ found for c in coefficients], grams) < total(weights, theirs, grams)
