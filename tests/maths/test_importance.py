"""Importance against brute force: gates zeroed one by one, finite differences, least squares written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.maths import importance


def test_gates_equal_the_slope_of_the_loss_in_each_gate_by_finite_differences():
    torch.manual_seed(0)
    values = torch.randn(3, 5, 6, dtype=torch.float64)  # (examples, tokens, structures * size)
    out = torch.randn(6, 4, dtype=torch.float64)

    def losses(gate):
        return ((values * gate.repeat_interleave(2)) @ out).tanh().square().sum((1, 2))  # (examples,)

    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((leaf @ out).tanh().square().sum(), [leaf])
    found, squares = (importance.gates(values, gradient, size=2, squared=squared) for squared in (False, True))
    one, step = torch.ones(3, dtype=torch.float64), 1e-6
    for k in range(3):
        nudge = torch.zeros(3, dtype=torch.float64).index_fill(0, torch.tensor([k]), step)
        slope = (losses(one + nudge) - losses(one - nudge)) / (2 * step)
        assert found[k].item() == pytest.approx(slope.abs().sum().item(), rel=1e-6)
        assert squares[k].item() == pytest.approx(slope.square().sum().item(), rel=1e-6)


def test_contributions_are_the_root_mean_square_of_what_reaches_the_output():
    torch.manual_seed(0)
    x, weight = torch.randn(50, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    for size in (1, 2, 3):
        slow = [(x[:, i : i + size] @ weight[:, i : i + size].T).square().sum().sqrt() for i in range(0, 6, size)]
        assert importance.contributions(x.T @ x, weight, size).tolist() == pytest.approx([s.item() for s in slow])


def test_influence_is_zero_for_a_scaled_copy_and_two_for_its_opposite():
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [1.0, 0.0]])
    after = torch.stack([3 * x[0], -x[1], torch.tensor([0.0, 5.0])])
    assert importance.influence(x, after).tolist() == pytest.approx([0.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("keep", "total", "multiple", "expected"),
    [
        (0.5, 12, 1, 6),
        (0.01, 12, 1, 1),
        (1.0, 7, 1, 7),
        (0.5, 384, 32, 192),
        (0.4, 384, 32, 160),
        (0.01, 384, 32, 32),
        (0.5, 20, 32, 20),
        (1, 50, 32, 50),
    ],
)
def test_count_keeps_the_nearest_multiple_and_never_none(keep, total, multiple, expected):
    assert importance.count(keep, total, multiple) == expected


def test_strongest_keeps_the_first_of_equals():
    assert importance.strongest(torch.tensor([1.0, 3.0, 1.0, 3.0]), 3) == [0, 1, 3]


def test_share_by_block_keeps_as_many_of_each():
    scores = [torch.tensor([9.0, 8.0, 7.0, 6.0]), torch.tensor([0.1, 0.3, 0.2, 0.4])]
    assert importance.share(scores, 0.5, "block") == [[0, 1], [1, 3]]


def test_share_over_all_follows_the_scores_and_leaves_no_block_empty():
    scores = [torch.tensor([5.0, 5.0, 5.0, 5.0]), torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4)]
    assert importance.share(scores, 0.5, "global") == [[0, 1, 2, 3], [0], [0]]
    assert importance.share(scores, 0.01, "global") == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("kept", "total", "expected"), [(1, 6, [0]), (2, 6, [0, 5]), (3, 6, [0, 2, 5]), (6, 6, [0, 1, 2, 3, 4, 5])]
)
def test_evenly_keeps_both_ends(kept, total, expected):
    assert importance.evenly(kept, total) == expected


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_evenly_gives_as_many_different_places_as_asked(total, data):
    kept = data.draw(st.integers(1, total))
    places = importance.evenly(kept, total)
    assert len(set(places)) == kept
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] < total


def test_reconstruction_without_damping_is_least_squares():
    torch.manual_seed(0)
    x, weight = torch.randn(200, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    x[:, 4] += x[:, 1]  # what is removed is partly seen in what stays
    kept = [0, 1, 3]
    slow = torch.linalg.lstsq(x[:, kept], x @ weight.T).solution.T  # (out, kept)
    torch.testing.assert_close(importance.reconstruct(weight, x.T @ x, kept, damp=0.0), slow)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 12), st.sampled_from([1e-6, 1e-2, 1.0, 100.0]))
def test_reconstruction_is_never_worse_than_plain_removal(seed, channels, tokens, damp):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, channels, generator=generator, dtype=torch.float64)
    kept = sorted(torch.randperm(channels, generator=generator)[: 1 + seed % channels].tolist())
    mended = importance.reconstruct(weight, x.T @ x, kept, damp)
    worse = (x @ weight.T - x[:, kept] @ weight[:, kept].T).square().sum()
    assert (x @ weight.T - x[:, kept] @ mended.T).square().sum() <= worse * (1 + 1e-9) + 1e-12


def test_reconstruction_of_dead_inputs_stays_finite_and_keeps_the_weights():
    weight = torch.arange(6.0).reshape(2, 3)
    assert importance.reconstruct(weight, torch.zeros(3, 3), [0, 2]).equal(weight[:, [0, 2]])


@pytest.mark.parametrize("tokens", [5, 20, 100, 2000])
def test_shrinkage_is_near_the_best_there_is_for_so_many_tokens(tokens):
    """By the covariance that the tokens are drawn from: over many draws, no part beats it by a sixth."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64) * torch.linspace(0.2, 2, 12)
    true = root @ root.T
    parts = torch.linspace(0, 1, 41).tolist()
    errors, mine = torch.zeros(len(parts)), 0.0
    for _ in range(60):
        x = torch.randn(tokens, 12, generator=generator, dtype=torch.float64) @ root.T
        sums = x.T @ x
        found = [*parts, importance.shrinkage(sums, tokens)]
        middle = torch.eye(12) * sums.diagonal().mean()
        away = [float((((1 - part) * sums + part * middle) / tokens - true).square().sum()) for part in found]
        errors += torch.tensor(away[:-1])
        mine += away[-1]
    assert mine <= 1.16 * float(errors.min())


def test_inputs_that_tell_nothing_of_each_other_shrink_whole():
    assert importance.shrinkage(torch.eye(4), 3) == 1
    assert importance.shrinkage(torch.zeros(4, 4), 3) == 1
    weight = torch.arange(10.0).reshape(2, 5)
    ones = torch.eye(5)
    assert importance.refit(weight[:, :4], ones, [0, 2]).equal(weight[:, [0, 2]])


@pytest.mark.parametrize("biased", [True, False])
def test_many_tokens_are_fitted_by_least_squares_and_few_never_worse_than_plain_removal(biased):
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 8 + biased, generator=generator, dtype=torch.float64)
    kept = [0, 2, 3, 6]
    for tokens in (1, 2, 5, 20, 100_000):
        x = torch.randn(tokens, 8, generator=generator, dtype=torch.float64) @ mix + 1
        x = torch.cat([x, torch.ones(tokens, 1)], 1)
        given, wanted = x[:, [*kept, *([8] if biased else [])]], x[:, : 8 + biased] @ weight.T
        found = importance.refit(weight, x.T @ x, kept)
        plain = weight[:, [*kept, *([8] if biased else [])]]
        losses = [float((given @ some.T - wanted).square().sum()) for some in (found, plain)]
        assert losses[0] <= losses[1] * (1 + 1e-9)
    torch.testing.assert_close(found, torch.linalg.lstsq(given, wanted).solution.T, rtol=0.01, atol=0.01)
