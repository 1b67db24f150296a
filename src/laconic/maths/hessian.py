"""Round a weight so that its outputs on calibration inputs stay: each column's error is made up for by later columns.

Frantar et al. 2022, arXiv:2210.17323 (GPTQ), algorithm 1; zeros that stay zero as in Frantar and Alistarh 2023,
arXiv:2301.00774.
Differs from the paper: the grid is fitted before the first column, not at the start of each group, so that it does not
depend on the order of columns; the rounded weights are improved by columns (Behdin et al. 2023, arXiv:2309.01885); the
rows that nearest rounding serves better keep that, since greedy rounding has no guarantee.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch

from laconic.errors import RecipeError
from laconic.maths import grid

BLOCK = 128  # columns between updates of all later ones: fewer passes over the weight
SWEEPS = 2  # of the improvement; a third gains little
TRIES = 6  # each raises the damping tenfold

Choose = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, float], torch.Tensor]
"""Grid points for weights (out, 1) with their scale and zero (out, 1), where squared errors weigh that much."""


def inverse_factor(hessian: torch.Tensor, damp: float) -> torch.Tensor:
    """Upper triangular U (in, in), float64, with U^T U the inverse of the damped matrix.

    `damp` is the part of the mean diagonal that is added to it; an input that never fires counts as that mean. When the
    matrix is not positive definite even so, the damping is raised; raises RecipeError when that does not help.
    """
    matrix = hessian.double()  # (in, in)
    diagonal = matrix.diagonal()  # (in,)
    mean = float(diagonal.mean()) or 1.0
    dead = torch.where(diagonal > 0, 0.0, mean)  # (in,)
    for _ in range(TRIES):
        damped = matrix + torch.diag(dead + damp * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return cast(torch.Tensor, upper)
        damp = max(damp, 1e-6) * 10
    raise RecipeError(
        "the calibration inputs are not finite, so their matrix can't be inverted; check the model's weights"
    )


def loss(weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Squared error of each output over the calibration inputs, (out,) float64: diag(D H D^T), D the difference."""
    difference = weight.double() - rounded.double()  # (out, in)
    return ((difference @ hessian.double()) * difference).sum(1)


def solve(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
    bits: int,
    group: grid.Group,
    *,
    damp: float = 0.01,
    act_order: bool = True,
) -> torch.Tensor:
    """Weights on the grid (out, in) whose outputs are near those of `weight`; never worse than `grid.snap`, row by row.

    `hessian` is the sum of x x^T over inputs (in, in); `act_order` rounds columns of large inputs first. A weight that
    is exactly zero stays zero, and its share is carried by the others.
    """
    order = torch.arange(len(hessian), device=hessian.device)
    if act_order:
        order = hessian.diagonal().argsort(descending=True, stable=True)
    factor = inverse_factor(hessian[order][:, order], damp).float()  # (in, in)
    found = descend(weight, hessian, factor, order, scale, zero, group, partial(_near, bits))
    nearest = grid.snap(weight.float(), scale, zero, bits, group)
    worse = loss(weight, found, hessian) > loss(weight, nearest, hessian)  # (out,)
    return torch.where(worse.unsqueeze(1), nearest, found)


def descend(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    factor: torch.Tensor,
    order: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
    group: grid.Group,
    choose: Choose,
) -> torch.Tensor:
    """Algorithm 1 and its improvement, with columns in `order` (that of `factor` too) and points as `choose` says."""
    scales = _columns(scale, weight.shape, group)[:, order]  # (out, in)
    zeros = None if zero is None else _columns(zero, weight.shape, group)[:, order]
    ordered = weight.float()[:, order]  # (out, in)
    found = _rounded(ordered, factor, scales, zeros, choose)
    return _improved(ordered, found, hessian.float()[order][:, order], scales, zeros, choose)[:, order.argsort()]


def _near(
    bits: int, weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, curvature: float
) -> torch.Tensor:
    """The nearest grid points, whatever an error weighs."""
    return grid.snap(weight, scale, zero, bits, "channel")


def _rounded(
    weight: torch.Tensor, factor: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, choose: Choose
) -> torch.Tensor:
    """Algorithm 1: round column by column, spread each error over the columns not rounded yet."""
    left = weight.clone()  # (out, in)
    done = torch.zeros_like(weight)
    held = weight == 0  # (out, in)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        errors = torch.zeros_like(weight[:, start:end])  # (out, block)
        for i in range(start, end):
            zero = None if zeros is None else zeros[:, i : i + 1]
            curvature = float(factor[i, i]) ** -2
            near = choose(left[:, i : i + 1], scales[:, i : i + 1], zero, curvature)[:, 0]  # (out,)
            done[:, i] = near.masked_fill(held[:, i], 0.0)
            errors[:, i - start] = (left[:, i] - done[:, i]) / factor[i, i]
            left[:, i + 1 : end] -= errors[:, i - start, None] * factor[i, i + 1 : end]
        left[:, end:] -= errors @ factor[start:end, end:]
    return done


def _improved(
    weight: torch.Tensor,
    rounded: torch.Tensor,
    hessian: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    choose: Choose,
) -> torch.Tensor:
    """Coordinate descent: each column to the grid point that is best while all others stay, so the loss only falls."""
    found, held = rounded.clone(), weight == 0  # (out, in)
    slope = (found - weight) @ hessian  # (out, in), half the gradient of the loss
    for i in [*range(weight.shape[1])] * SWEEPS:
        if hessian[i, i] <= 0:
            continue
        zero = None if zeros is None else zeros[:, i : i + 1]
        best = (found[:, i] - slope[:, i] / hessian[i, i]).unsqueeze(1)  # (out, 1)
        near = choose(best, scales[:, i : i + 1], zero, float(hessian[i, i]))[:, 0].masked_fill(held[:, i], 0.0)
        slope += (near - found[:, i]).unsqueeze(1) * hessian[i]
        found[:, i] = near
    return found


def _columns(per_group: torch.Tensor, shape: torch.Size, group: grid.Group) -> torch.Tensor:
    """Scale or zero of every weight, (out, in)."""
    rows, columns = shape
    if isinstance(group, int):
        return per_group.repeat_interleave(group, 1)[:, :columns]
    return per_group.expand(rows, columns)
