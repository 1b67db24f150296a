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


@pytest.mark.parametrize("scope", ["layer", "row", "2:4"])
@pytest.mark.parametrize("columns", [12, 32])
def test_with_as_many_steps_as_are_taken_the_loss_is_the_least_within_a_hundredth(scope, columns):
    for seed in range(4):
        weight, _, matrix = problem(12, columns, seed=seed)
        found = surgeon.prune([weight], matrix, 0.5, scope)[0]
        exact = torch.stack([least(w, f != 0, damped(matrix)) for w, f in zip(weight, found, strict=True)])
        assert error(weight, found, damped(matrix)) <= 1.01 * error(weight, exact, damped(matrix))
        if columns == 12:  # fewer weights than steps stay in most rows, so the weights are the least's too
            torch.testing.assert_close(found, exact.float(), rtol=0.01, atol=0.01 * float(exact.abs().max()))


def cost(weight, i, matrix):
    """What is lost where input i goes, those before it stay as they are, and those after it make up for it: solved."""
    later = torch.arange(i + 1, len(weight))
    gone = weight.double().clone()
    gone[i] = 0.0
    if len(later):
        gone[later] += torch.linalg.solve(matrix[later][:, later], matrix[later, i]) * weight[i].double()
    return error(weight[None], gone[None], matrix)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_those_go_that_cost_the_surgeon_least(gone):
    firsts, errors = 0, torch.zeros(2)
    for seed in range(24):
        weight, _, matrix = problem(1, 4, seed=seed)
        costs = torch.tensor([cost(weight[0], i, damped(matrix)) for i in range(4)])
        found = surgeon.prune([weight], matrix, gone / 4, "row")[0][0]
        lost = (found == 0).nonzero()[:, 0].tolist()
        assert lost == sorted(costs.argsort()[:gone].tolist())
        firsts += 0 in lost  # for which nothing is fixed beforehand: the cost of Hassibi et al.
        kept = (found != 0).nonzero()[:, 0]
        torch.testing.assert_close(found, least(weight[0], kept, damped(matrix)).float(), rtol=1e-3, atol=1e-3)
        magnitude = torch.where(masks.kept([weight.abs()], gone / 4, "row")[0], weight, 0.0)
        errors += torch.tensor([error(weight, found[None], matrix), error(weight, magnitude, matrix)])
    assert firsts
    assert errors[0] < 0.7 * errors[1]


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


@pytest.mark.parametrize("damp", [1e-4, 1e-6, 1e-8, 1e-12, 1e-300])
@pytest.mark.parametrize("tokens", [1, 2, 8])
def test_few_tokens_and_hardly_any_damping_do_no_harm(tokens, damp, monkeypatch):
    """Nothing outgrows what there was, and the refit leaves no more error than the surgeon's own weights."""
    weight, x, _ = problem(8, 64, tokens=tokens)
    x[:, 3], x[:, 5] = 0.0, x[:, 4]
    for scope in ("layer", "row", "2:4"):
        found = surgeon.prune([weight], x.T @ x, 0.5, scope, damp=damp)[0]
        assert float(found.abs().max()) < 3 * float(weight.abs().max())
        with monkeypatch.context() as patch:
            patch.setattr(surgeon, "STEPS", 0)
            before = surgeon.prune([weight], x.T @ x, 0.5, scope, damp=damp)[0]
        outputs = [((weight - w).double() @ x.double().T).square().sum() for w in (found, before)]
        assert outputs[0] <= 1.01 * outputs[1] + 1e-9 * (weight @ x.T).square().sum()


def test_asked_for_nothing_it_changes_nothing():
    weight, _, matrix = problem(4, 8)
    assert torch.equal(surgeon.prune([weight], matrix, 0.0, "layer")[0], weight)


def rounded(weight, pruned, matrix, bits, symmetric):
    """On a grid fitted to what is left, as the method does it."""
    fitted = grid.fit(pruned, bits, "channel", symmetric)
    return hessian.together([pruned], matrix, [fitted], bits, "channel", damp=0.01)[0], fitted


@pytest.mark.parametrize("seed", range(6))
def test_on_a_grid_the_best_rounding_of_the_mask_and_next_to_the_best_of_all_masks(seed):
    weight, _, matrix = problem(1, 4, seed=seed)
    pruned = surgeon.prune([weight], matrix, 0.5, "row")[0]
    found, (scale, _) = rounded(weight, pruned, matrix, 2, True)
    every = [torch.tensor(p) for p in itertools.product([-1.0, 0.0, 1.0], repeat=4) if p.count(0.0) >= 2]
    own = [error(weight, p[None] * scale, matrix) for p in every if not p[pruned[0] == 0].any()]
    errors = sorted(error(weight, p[None] * scale, matrix) for p in every)
    assert len(own) == 9
    assert error(weight, found, matrix) == pytest.approx(min(own), rel=1e-4)
    assert error(weight, found, matrix) <= errors[1] * (1 + 1e-4)


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
