"""GPTQ against exhaustive search, against nearest rounding, and where the answer is known."""

import itertools

import pytest
import torch

from laconic.errors import RecipeError
from laconic.maths import grid, hessian


def problem(rows, columns, tokens=64, seed=0):
    torch.manual_seed(seed)
    mix = torch.randn(columns, columns) * 0.7 + torch.eye(columns)  # inputs that hang together
    x = torch.randn(tokens, columns) @ mix
    return torch.randn(rows, columns), x, x.T @ x


def outputs_error(weight, rounded, x):
    return float(((weight - rounded) @ x.T).double().square().sum())


def test_factor_is_of_the_damped_inverse():
    _, _, matrix = problem(1, 6)
    upper = hessian.inverse_factor(matrix, 0.01)
    damped = matrix.double() + 0.01 * matrix.double().diagonal().mean() * torch.eye(6)
    assert torch.allclose(upper.T @ upper, torch.linalg.inv(damped))
    assert not upper.tril(-1).any()


def test_loss_is_the_error_of_the_outputs():
    weight, x, matrix = problem(3, 5)
    rounded = weight.round()
    assert float(hessian.loss(weight, rounded, matrix).sum()) == pytest.approx(
        outputs_error(weight, rounded, x), rel=1e-4
    )


@pytest.mark.parametrize("seed", range(8))
def test_near_the_best_of_all_roundings_of_four_weights(seed):
    weight, x, matrix = problem(1, 4, seed=seed)
    scale, _ = grid.fit(weight, 2, "tensor", True)
    points = torch.tensor(list(itertools.product([-1.0, 0.0, 1.0], repeat=4))) * scale  # (81, 4)
    errors = ((points - weight) @ x.T).square().sum(1)
    found = hessian.solve(weight, matrix, scale, None, 2, "tensor")
    error = outputs_error(weight, found, x)
    assert error >= float(errors.min()) * (1 - 1e-4)
    assert int((errors < error * (1 - 1e-4)).sum()) <= 1  # first or second of 81
    assert error <= outputs_error(weight, grid.snap(weight, scale, None, 2, "tensor"), x) * (1 + 1e-5)


@pytest.mark.parametrize("group", ["tensor", "channel", 5])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("act_order", [True, False])
def test_no_row_is_worse_than_nearest_and_the_whole_is_better(group, symmetric, act_order):
    weight, _, matrix = problem(12, 16)
    scale, zero = grid.fit(weight, 3, group, symmetric)
    nearest = grid.snap(weight, scale, zero, 3, group)
    found = hessian.solve(weight, matrix, scale, zero, 3, group, act_order=act_order)
    assert torch.equal(grid.snap(found, scale, zero, 3, group), found)
    losses = hessian.loss(weight, found, matrix), hessian.loss(weight, nearest, matrix)
    assert (losses[0] <= losses[1] + 1e-9).all()
    assert float(losses[0].sum()) < 0.8 * float(losses[1].sum())


def test_inputs_that_do_not_hang_together_give_nearest_rounding():
    weight, _, _ = problem(4, 6)
    scale, _ = grid.fit(weight, 3, "channel", True)
    found = hessian.solve(weight, torch.diag(torch.arange(1.0, 7.0)), scale, None, 3, "channel")
    assert torch.equal(found, grid.snap(weight, scale, None, 3, "channel"))


def test_the_second_of_twin_inputs_pays_for_the_first():
    weight = torch.tensor([[0.4, 0.4]])
    found = hessian.solve(weight, torch.ones(2, 2) * 100, torch.ones(1, 1), None, 2, "tensor", damp=1e-4)
    assert float(found.sum()) == 1.0  # 0.8 in all: nearest rounding gives 0 and 0


def test_lazy_updates_in_blocks_change_nothing(monkeypatch):
    weight, _, matrix = problem(5, 30)
    scale, _ = grid.fit(weight, 3, "channel", True)
    whole = hessian.solve(weight, matrix, scale, None, 3, "channel")
    monkeypatch.setattr(hessian, "BLOCK", 7)
    assert torch.equal(hessian.solve(weight, matrix, scale, None, 3, "channel"), whole)


def surgeon(weight, matrix, damp, decide):
    """Optimal brain surgeon, one weight row: fix the inputs in order, move all later ones by the exact inverse."""
    damped = matrix.double() + damp * matrix.double().diagonal().mean() * torch.eye(len(matrix))
    left, done = weight.double().clone(), torch.zeros(len(weight), dtype=torch.float64)
    for i in range(len(weight)):
        inverse = torch.linalg.inv(damped[i:, i:])  # of the inputs that are still free
        done[i] = decide(i, left)
        left[i:] -= (left[i] - done[i]) / inverse[0, 0] * inverse[0]
    return done


@pytest.mark.parametrize("block", [3, 128])
def test_compensation_is_the_exact_surgeon_step(block):
    weight, _, matrix = problem(4, 10)
    factor = hessian.inverse_factor(matrix, 0.01).float()
    found = hessian.compensate(weight.t().contiguous(), factor, lambda i, left, _: left[i].round(), block).t()
    slow = [surgeon(row, matrix, 0.01, lambda i, left: left[i].round()) for row in weight]
    assert torch.equal(found, torch.stack(slow).float())


def test_improvement_only_helps_and_ends_where_no_single_step_helps(monkeypatch):
    monkeypatch.setattr(hessian, "SWEEPS", 50)
    weight, _, matrix = problem(3, 12)
    scale, _ = grid.fit(weight, 2, "channel", True)
    order = torch.arange(12)
    points = hessian.Points.of(scale, None, 2, "channel", weight.shape, order)
    nearest = grid.snap(weight, scale, None, 2, "channel")
    held = torch.zeros(12, 3, dtype=torch.bool)
    found, reached = hessian.improve(weight.t().contiguous(), nearest.t().contiguous(), matrix, points.nearest, held, 5)
    found = found.t()
    least = hessian.loss(weight, found, matrix)
    assert torch.allclose(reached.double(), least, rtol=1e-4)
    assert (least < hessian.loss(weight, nearest, matrix)).any()
    for i, point in itertools.product(range(12), (-1, 0, 1)):
        other = found.clone()
        other[:, i] = point * scale[:, 0]
        assert (hessian.loss(weight, other, matrix) >= least * (1 - 1e-5)).all()


def test_zeros_stay_and_are_carried_by_the_others():
    weight, _, matrix = problem(6, 16)
    weight[torch.rand(6, 16) < 0.5] = 0.0
    scale, zero = grid.fit(weight, 4, "channel", False)
    found = hessian.solve(weight, matrix, scale, zero, 4, "channel")
    assert not found[weight == 0].any()
    nearest = grid.snap(weight, scale, zero, 4, "channel")
    assert float(hessian.loss(weight, found, matrix).sum()) < float(hessian.loss(weight, nearest, matrix).sum())


def test_dead_and_repeated_inputs_do_no_harm():
    weight, x, _ = problem(3, 8, tokens=2)  # fewer tokens than columns
    x[:, 3] = 0.0
    scale, _ = grid.fit(weight, 4, "channel", True)
    found = hessian.solve(weight, x.T @ x, scale, None, 4, "channel", damp=1e-9)
    assert torch.isfinite(found).all()
    with pytest.raises(RecipeError, match="not finite"):
        hessian.inverse_factor(torch.full((2, 2), torch.nan), 0.01)


@pytest.mark.parametrize("act_order", [True, False])
def test_an_input_that_is_hardly_seen_does_not_carry_the_errors_of_others(act_order):
    """On tokens in which it is as large as the others, rounding to nearest is the measure."""
    generator = torch.Generator().manual_seed(0)
    weight, x = 0.05 * torch.randn(32, 48, generator=generator), torch.randn(60, 48, generator=generator)
    fresh = torch.randn(400, 48, generator=generator)
    x[:, 11] *= 1e-3
    scale, _ = grid.fit(weight, 4, "channel", True)
    found = hessian.solve(weight, x.T @ x, scale, None, 4, "channel", act_order=act_order)
    nearest = grid.snap(weight, scale, None, 4, "channel")
    assert found[:, 11].norm() < 1.2 * weight[:, 11].norm()
    assert outputs_error(weight, found, fresh) < 3 * outputs_error(weight, nearest, fresh)
    assert outputs_error(weight, found, x) < 0.7 * outputs_error(weight, nearest, x)


def test_no_row_is_worse_even_where_its_loss_drowns_in_float32():
    """Differences across a direction in which the inputs are a million times as large as in all others."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(64, generator=generator, dtype=torch.float64)
    matrix = torch.eye(64, dtype=torch.float64) + 1e6 * torch.outer(wide, wide)
    both = torch.randn(2, 200, 64, generator=generator, dtype=torch.float64)
    both -= (both @ wide).unsqueeze(-1) * wide / (wide @ wide)
    weight = torch.zeros(200, 64)
    ours, theirs = both.float()
    reached = hessian._squared(ours, matrix.float())
    worse = hessian._worse(weight, ours, reached, theirs, matrix.float())
    losses = [hessian.loss(weight, some, matrix.float()) for some in (ours, theirs)]
    assert torch.equal(worse, losses[0] > losses[1])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", ["tensor", "channel", 5])
def test_each_row_keeps_the_grid_of_its_least_loss(group, symmetric):
    one, x, matrix = problem(6, 16)
    weights = [one, torch.randn(9, 16)]
    whole = [grid.fit(w, 3, group, symmetric, ratios=(1.0,)) for w in weights]
    grids = [[(scale * part, zero) for scale, zero in whole] for part in (1.0, 0.95, 0.9)]
    found, fitted = hessian.least(weights, matrix, grids, 3, group, damp=0.01)
    for i, weight in enumerate(weights):
        assert torch.equal(grid.snap(found[i], *fitted[i], 3, group), found[i])
        tried = [hessian.together([weight], matrix, [tries[i]], 3, group, damp=0.01)[0] for tries in grids]
        errors = torch.stack([((weight - some).double() @ x.double().T).square().sum(1) for some in tried])  # (3, out)
        ours = ((weight - found[i]).double() @ x.double().T).square().sum(1)
        if group == "tensor":
            assert float(ours.sum()) == pytest.approx(float(errors.sum(1).min()), rel=1e-4)
            assert fitted[i][0].shape == (1, 1)
        else:
            torch.testing.assert_close(ours, errors.amin(0), rtol=1e-4, atol=1e-6)
            assert len(set(errors.argmin(0).tolist())) > 1


def shifted(seed=0):
    """A weight (3, 5), inputs now and in the original, and what its outputs are added to, now and then."""
    weight, now, _ = problem(3, 5, seed=seed)
    then = now + 0.3 * torch.randn_like(now) + 0.3 * now.roll(1, 1)
    return weight, now, then, torch.randn(len(now), 3), torch.randn(len(now), 3)


@pytest.mark.parametrize("added", [False, True])
def test_an_original_is_followed_by_least_squares(added, monkeypatch):
    monkeypatch.setattr(hessian, "FIRM", 1e-9)
    weight, now, then, here, there = shifted()
    goal = then @ weight.T + (there - here if added else 0)
    stream = (there - here).T @ now if added else None
    found = hessian.propagated(weight, now.T @ now, (then - now).T @ now, stream)
    torch.testing.assert_close(found, torch.linalg.lstsq(now, goal).solution.T, rtol=1e-3, atol=1e-4)
    half = hessian.propagated(weight, now.T @ now, (then - now).T @ now, stream, part=0.5)
    torch.testing.assert_close(half, (weight + found) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_an_original_is_followed_more_nearly_damped_too_and_zeros_stay(seed):
    weight, now, then, _, _ = shifted(seed)
    weight[1, 2:] = 0
    found = hessian.propagated(weight, now.T @ now, (then - now).T @ now)
    goal = then @ weight.T
    errors = [(now @ w.T - goal).square().sum(0) for w in (found, weight)]
    assert (errors[0][[0, 2]] < errors[1][[0, 2]]).all()
    assert torch.equal(found == 0, weight == 0)


def test_where_nothing_has_moved_nothing_changes():
    weight, now, _, _, _ = shifted()
    assert torch.equal(hessian.propagated(weight, now.T @ now, torch.zeros(5, 5)), weight)


def test_a_group_wider_than_a_row_has_the_scales_of_the_row():
    weight, _, matrix = problem(4, 6)
    found = [
        hessian.least([weight], matrix, [[grid.fit(weight, 3, group, True)]], 3, group, damp=0.01, act_order=True)[0][0]
        for group in ("channel", 2**16)
    ]
    assert torch.equal(*found)
