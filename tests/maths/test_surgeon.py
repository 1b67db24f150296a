"""SparseGPT against the exact surgeon step, exact least squares, and all masks there are."""

import itertools

import pytest
import torch

from laconic.maths import grid, hessian, masks, surgeon
from tests.maths.test_hessian import problem
from tests.maths.test_hessian import surgeon as step_by_step


def damped(matrix, damp=0.01):
    return matrix.double() + damp * matrix.double().diagonal().mean() * torch.eye(len(matrix))


def least(weight, kept, matrix):
    """The kept weights of one row that give the least damped error, by solving for them."""
    full = torch.zeros(len(weight), dtype=torch.float64)
    inner = matrix[kept][:, kept]
    full[kept] = torch.linalg.solve(inner, matrix[kept] @ weight.double())
    return full


def error(weight, other, matrix):
    return float(hessian.loss(weight, other, matrix).sum())


def test_masks_and_weights_are_the_exact_surgeons(monkeypatch):
    monkeypatch.setattr(surgeon, "STEPS", 0)
    weight, _, matrix = problem(4, 10)
    whole = damped(matrix)
    own = torch.stack([torch.linalg.inv(whole[i:, i:])[0, 0] for i in range(10)])  # what it costs to fix input i
    found = surgeon.prune([weight], matrix, 0.5, "row")[0]
    for row, got in zip(weight, found, strict=True):
        gone = (row.double().square() / own).argsort()[:5].tolist()
        slow = step_by_step(row, matrix, 0.01, lambda i, left, gone=gone: 0.0 if i in gone else left[i])
        torch.testing.assert_close(got, slow.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scope", ["layer", "row", "2:4"])
def test_what_is_left_is_the_least_squares_solution(scope, monkeypatch):
    weight, _, matrix = problem(5, 12)
    monkeypatch.setattr(surgeon, "STEPS", 40)
    found = surgeon.prune([weight], matrix, 0.5, scope, block=4)[0]
    exact = torch.stack([least(w, f != 0, damped(matrix)) for w, f in zip(weight, found, strict=True)])
    torch.testing.assert_close(found, exact.float(), rtol=1e-3, atol=1e-3)


def test_near_the_best_of_all_masks_of_four_weights():
    ranks = []
    for seed in range(12):
        weight, _, matrix = problem(1, 4, seed=seed)
        every = [torch.tensor(kept) for kept in itertools.combinations(range(4), 2)]
        errors = sorted(error(weight, least(weight[0], kept, damped(matrix))[None], matrix) for kept in every)
        found = surgeon.prune([weight], matrix, 0.5, "row")[0]
        mine = error(weight, found, matrix)
        assert int((found != 0).sum()) == 2
        assert min(abs(mine - e) for e in errors) < 1e-3 * mine  # its mask's own least
        ranks.append(sum(e < mine * (1 - 1e-3) for e in errors))
        magnitude = torch.where(masks.kept([weight.abs()], 0.5, "row")[0], weight, 0.0)
        assert mine <= error(weight, magnitude, matrix)
    assert max(ranks) <= 3  # never among the two worst of six
    assert sum(rank <= 1 for rank in ranks) >= 9, ranks  # and mostly the best or the second


@pytest.mark.parametrize("scope", ["layer", "row", "2:4", "1:4"])
def test_half_goes_and_less_is_lost_than_by_weights_alone_or_weights_times_inputs(scope):
    sparsity = 0.75 if scope == "1:4" else 0.5
    weight, _, matrix = problem(12, 32)
    found = surgeon.prune([weight], matrix, sparsity, scope, block=8)[0]
    assert float((found == 0).float().mean()) == pytest.approx(sparsity, abs=0.01)
    if ":" in scope:
        assert (found.reshape(12, 8, 4) == 0).sum(-1).eq(2 if scope == "2:4" else 3).all()
    for scores in (weight.abs(), weight.abs() * matrix.diagonal().sqrt()):
        plain = torch.where(masks.kept([scores], sparsity, scope)[0], weight, 0.0)
        assert error(weight, found, matrix) < 0.7 * error(weight, plain, matrix)


@pytest.mark.parametrize("block", [1, 2, 3, 5, 128])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_rows_lose_what_is_asked_whatever_the_block(block, sparsity):
    weight, _, matrix = problem(4, 32)
    found = surgeon.prune([weight], matrix, sparsity, "row", block=block)[0]
    assert (found == 0).sum(1).tolist() == [round(sparsity * 32)] * 4


@pytest.mark.parametrize(("sparsity", "least"), [(0.5, 2), (0.25, 4), (0.9, 10), (0.99, 100), (0.0, 1)])
def test_in_the_fewest_inputs_a_row_has_one_to_lose_and_one_to_keep(sparsity, least):
    assert surgeon.fewest(sparsity) == least


@pytest.mark.parametrize(("block", "columns"), [(2, 32), (4, 33), (32, 33)])
def test_which_inputs_a_row_loses_follows_its_weights(block, columns):
    """Of a block too short to choose in, every row would lose the same inputs; so it is with the last one of 33."""
    weight, _, matrix = problem(64, columns)
    found = surgeon.prune([weight], matrix, 0.5, "row", block=block)[0]
    lost = (found == 0).float().mean(0)  # (in,), of the rows
    assert ((lost > 0) & (lost < 1)).all()


def test_layers_that_read_one_input_have_masks_of_their_own():
    one, _, matrix = problem(6, 16)
    other = torch.randn(3, 16) * 0.01  # among the others' weights all of it would go
    together = surgeon.prune([one, other], matrix, 0.5, "layer")
    for found, weight in zip(together, (one, other), strict=True):
        torch.testing.assert_close(found, surgeon.prune([weight], matrix, 0.5, "layer")[0], rtol=1e-4, atol=1e-6)


def test_zeros_stay_and_count_and_dead_inputs_go_first():
    weight, x, _ = problem(4, 8)
    weight[:, 2] = 0.0
    x[:, 5] = 0.0
    found = surgeon.prune([weight], x.T @ x, 0.25, "row")[0]
    assert not found[:, [2, 5]].any()
    assert (found != 0).sum(1).eq(6).all()


def test_asked_for_nothing_it_changes_nothing():
    weight, _, matrix = problem(4, 8)
    assert torch.equal(surgeon.prune([weight], matrix, 0.0, "layer")[0], weight)


def rounded(weight, pruned, matrix, bits, symmetric):
    """On a grid fitted to what is left, as the method does it."""
    fitted = grid.fit(pruned, bits, "channel", symmetric)
    return hessian.together([pruned], matrix, [fitted], bits, "channel", damp=0.01)[0], fitted


@pytest.mark.parametrize("seed", range(6))
def test_on_a_grid_near_the_best_of_all_masks_and_roundings_of_four_weights(seed):
    weight, _, matrix = problem(1, 4, seed=seed)
    found, (scale, _) = rounded(weight, surgeon.prune([weight], matrix, 0.5, "row")[0], matrix, 2, True)
    every = [torch.tensor(p) for p in itertools.product([-1.0, 0.0, 1.0], repeat=4) if p.count(0.0) >= 2]
    errors = sorted(error(weight, p[None] * scale, matrix) for p in every)
    assert error(weight, found, matrix) >= errors[0] * (1 - 1e-4)
    assert error(weight, found, matrix) <= errors[len(errors) // 4] * (1 + 1e-4)


@pytest.mark.parametrize("symmetric", [True, False])
def test_on_a_grid_zeros_stay_and_less_is_lost_than_by_rounding_to_nearest(symmetric):
    weight, _, matrix = problem(12, 32)
    pruned = surgeon.prune([weight], matrix, 0.5, "2:4")[0]
    found, fitted = rounded(weight, pruned, matrix, 3, symmetric)
    assert torch.equal(grid.snap(found, *fitted, 3, "channel"), found)
    assert not found[pruned == 0].any()
    then = grid.snap(pruned, *grid.fit(pruned, 3, "channel", symmetric), 3, "channel")
    assert error(weight, found, matrix) < error(weight, then, matrix)
    least = error(weight, pruned, matrix)
    assert error(weight, found, matrix) == pytest.approx(least + error(pruned, found, matrix), rel=0.05)
