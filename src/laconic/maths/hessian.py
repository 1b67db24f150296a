"""Round a weight so that its outputs on calibration inputs stay: each column's error is made up for by later columns.

Frantar et al. 2022, arXiv:2210.17323 (GPTQ), algorithm 1; zeros that stay zero as in Frantar and Alistarh 2023,
arXiv:2301.00774.
Differs from the paper: the grid is fitted before the first column, not at the start of each group, so that it does not
depend on the order of columns; the rounded weights are improved by columns (Behdin et al. 2023, arXiv:2309.01885), with
the same damping; the rows that nearest rounding serves better keep that, since greedy rounding has no guarantee.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from laconic.errors import RecipeError
from laconic.maths import grid

BLOCK = 128  # inputs between updates of all later ones: fewer passes over the weight
SURE = 1e-5  # of |D|^2 tr H: more than what float32 makes of D H D^T can be wrong by
SWEEPS = 2  # of the improvement; a third gains little
FIRM = 0.1  # damping where an original is followed: what few examples say of rare directions is mostly chance
TRIES = 6  # each raises the damping tenfold

Decide = Callable[[int, torch.Tensor, int], torch.Tensor]
Pick = Callable[[int, torch.Tensor, float], torch.Tensor]
"""Grid points for values (out,) of input i, where their squared errors weigh that much."""


def check(damp: float) -> None:
    """Raise RecipeError unless a matrix can be damped by that."""
    if not 0 < damp <= 1:
        raise RecipeError(f"damp is {damp}; give a part of the mean squared input, above 0 and at most 1")


def inverse_factor(hessian: torch.Tensor, damp: float) -> torch.Tensor:
    """Upper triangular U (in, in), float64, with U^T U the inverse of the damped matrix.

    `damp` is the part of the mean diagonal that is added to it; an input that never fires counts as that mean. When the
    matrix is not positive definite even so, the damping is raised; raises RecipeError when that does not help.
    """
    diagonal = hessian.diagonal().double()  # (in,)
    mean = float(diagonal.mean()) or 1.0
    dead = torch.where(diagonal > 0, 0.0, mean)  # (in,)
    for _ in range(TRIES):
        damped = hessian.to(torch.float64, copy=True)  # (in, in)
        damped.diagonal().add_(dead + damp * mean)
        found, failed = torch.linalg.cholesky_ex(damped)
        del damped  # as soon as may be: these matrices are the largest that are held here
        if not failed:
            found = torch.cholesky_inverse(found)
            found, failed = torch.linalg.cholesky_ex(found, upper=True)
            if not failed:
                return cast(torch.Tensor, found)
        damp = max(damp, 1e-6) * 10
    raise RecipeError(
        "the calibration inputs are not finite, so their matrix can't be inverted; check the model's weights"
    )


def damped(hessian: torch.Tensor, damp: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """With that part of its mean diagonal added, so that what hardly enters carries no errors of others."""
    firm = hessian.to(dtype, copy=True)
    firm.diagonal().add_(damp * firm.diagonal().mean())
    return firm


def loss(weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """Squared error of each output over the calibration inputs, (out,) float64: diag(D H D^T), D the difference."""
    return _squared(weight.double() - rounded.double(), hessian.double())


def propagated(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    moved: torch.Tensor,
    stream: torch.Tensor | None = None,
    *,
    part: float = 1.0,
) -> torch.Tensor:
    """The weight (out, in) with which outputs on inputs x are nearest to those of `weight` on x', or part of the way.

    Arai and Ichikawa 2025, arXiv:2504.09629: W + part W D H^-1, where H is sum x x^T and D, `moved`, sum (x' - x) x^T,
    (in, in) both. `stream` (out, in), of what else is wanted of the outputs, adds to W D. H is damped (FIRM), and
    weights that are zero stay.
    """
    factor = inverse_factor(hessian, FIRM)  # (in, in)
    wanted = weight.double() @ moved.double() + (0 if stream is None else stream.double())  # (out, in)
    return (weight + part * (wanted @ factor.t() @ factor).to(weight.dtype)) * (weight != 0)


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
    factor = inverse_factor(hessian[order[:, None], order], damp).float()  # (in, in)
    points = Points.of(scale, zero, bits, group, weight.shape, order)
    found, reached = descend(weight, damped(hessian, damp), factor, order, points.nearest)
    reached -= damp * hessian.diagonal().mean() * (found - weight.float()).square().sum(1)  # undamped, (out,)
    nearest = grid.snap(weight.float(), scale, zero, bits, group)
    return torch.where(_worse(weight, found, reached, nearest, hessian).unsqueeze(1), nearest, found).contiguous()


def _worse(
    weight: torch.Tensor, found: torch.Tensor, reached: torch.Tensor, nearest: torch.Tensor, hessian: torch.Tensor
) -> torch.Tensor:
    """Rows (out,) in which `found`, whose loss is about `reached`, has the larger one; in doubt float64 tells."""
    ours, theirs, matrix = (
        weight.float() - found,
        weight.float() - nearest,
        hessian.float(),
    )  # (out, in) twice, (in, in)
    doubt = SURE * matrix.trace() * (ours.square().sum(1) + theirs.square().sum(1))  # (out,)
    worse = ~(reached + doubt < _squared(theirs, matrix))
    rows = worse.nonzero()[:, 0]
    worse[rows] = loss(weight[rows], found[rows], hessian) > loss(weight[rows], nearest[rows], hessian)
    return worse


def _squared(difference: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """diag(D H D^T), (out,), of differences (out, in)."""
    return ((difference @ hessian) * difference).sum(1)


def descend(
    weight: torch.Tensor, hessian: torch.Tensor, factor: torch.Tensor, order: torch.Tensor, pick: Pick
) -> tuple[torch.Tensor, torch.Tensor]:
    """Algorithm 1 and its improvement, (out, in), and its loss (out,) in float32; points as `pick` says.

    Inputs are taken in `order`, which is that of `factor` too.
    """
    wanted = weight.float().t()[order].contiguous()  # (in, out): what is one input's lies together
    held = wanted == 0  # (in, out)
    weighs = factor.diagonal().pow(-2).tolist()

    def decide(i: int, left: torch.Tensor, _: int) -> torch.Tensor:
        return pick(i, left[i], weighs[i]).masked_fill(held[i], 0.0)

    found, reached = improve(
        wanted, compensate(wanted, factor, decide), hessian.float()[order[:, None], order], pick, held
    )
    return found[order.argsort()].t(), reached


def together(
    weights: Sequence[torch.Tensor],
    hessian: torch.Tensor,
    grids: Sequence[grid.Fitted],
    bits: int,
    group: grid.Group,
    *,
    damp: float,
    act_order: bool = True,
) -> list[torch.Tensor]:
    """`solve` for weights (out, in) that read one input, each with its scale and zero: below one another, at once."""
    rows = [len(weight) for weight in weights]
    scale = torch.cat([scale.expand(n, -1) for (scale, _), n in zip(grids, rows, strict=True)])
    zeros = [zero.expand(n, -1) for (_, zero), n in zip(grids, rows, strict=True) if zero is not None]
    solved = solve(
        torch.cat(list(weights)), hessian, scale, torch.cat(zeros) if zeros else None, bits,
        "channel" if group == "tensor" else group, damp=damp, act_order=act_order,
    )  # (out of all, in)  # fmt: skip
    return list(torch.split(solved, rows))


def least(
    weights: Sequence[torch.Tensor],
    hessian: torch.Tensor,
    grids: Sequence[Sequence[grid.Fitted]],
    bits: int,
    group: grid.Group,
    *,
    damp: float,
    act_order: bool = True,
) -> tuple[list[torch.Tensor], list[grid.Fitted]]:
    """`together` where each weight has several grids: every row keeps that of its least loss, and so do its scales.

    `grids` are lists that have one of each weight. With group "tensor" a whole weight keeps one.
    """
    if len(grids) == 1:
        return together(weights, hessian, grids[0], bits, group, damp=damp, act_order=act_order), list(grids[0])
    every = [fitted for found in grids for fitted in found]
    tried = together([*weights] * len(grids), hessian, every, bits, group, damp=damp, act_order=act_order)
    kept: list[tuple[torch.Tensor, grid.Fitted]] = []
    for i, weight in enumerate(weights):
        points, fitted = tried[i :: len(weights)], every[i :: len(weights)]  # one of each grid
        losses = torch.stack([loss(weight, some, hessian) for some in points])  # (grids, out)
        losses = losses.sum(1, keepdim=True) if group == "tensor" else losses
        best = losses.argmin(0)  # (out,), or (1,)
        zeros = [zero for _, zero in fitted if zero is not None]
        scale = _picked([scale for scale, _ in fitted], best)
        kept.append((_picked(points, best), (scale, _picked(zeros, best) if zeros else None)))
    return [points for points, _ in kept], [fitted for _, fitted in kept]


def _picked(tried: Sequence[torch.Tensor], best: torch.Tensor) -> torch.Tensor:
    """Of tensors (rows, columns), each row from the one that `best` (rows,) says, or all from the one it (1,) says."""
    rows = torch.arange(len(tried[0]), device=best.device)
    return torch.stack(list(tried))[best.expand(len(rows)), rows]


@dataclass(frozen=True)
class Points:
    """The grid of every weight, input by input: `scales` and `zeros` are (in, out)."""

    scales: torch.Tensor
    zeros: torch.Tensor | None
    bits: int

    @classmethod
    def of(
        cls,
        scale: torch.Tensor,
        zero: torch.Tensor | None,
        bits: int,
        group: grid.Group,
        shape: Sequence[int],
        order: torch.Tensor | slice = slice(None),
    ) -> Points:
        """Of the grid of an (out, in) weight whose inputs come in that order."""
        scales = _columns(scale, shape, group).t()[order].contiguous()
        return cls(scales, None if zero is None else _columns(zero, shape, group).t()[order].contiguous(), bits)

    def at(self, i: int) -> grid.Fitted:
        """Scale and zero of input i, (out, 1)."""
        return self.scales[i].unsqueeze(1), None if self.zeros is None else self.zeros[i].unsqueeze(1)

    def nearest(self, i: int, values: torch.Tensor, _: float = 1.0) -> torch.Tensor:
        """The grid points next to values (out,) of input i, whatever an error weighs."""
        return grid.snap(values.unsqueeze(1), *self.at(i), self.bits, "channel")[:, 0]


def compensate(weight: torch.Tensor, factor: torch.Tensor, decide: Decide, block: int = BLOCK) -> torch.Tensor:
    """Algorithm 1: fix input by input, and spread each error over the inputs not fixed yet; `weight` is (in, out).

    `decide(i, left, end)` says what input i becomes, (out,), from what is left of the weights, (in, out), of which
    those before `end` are up to date. `factor` is that of `inverse_factor`.
    """
    left = weight.clone()  # (in, out)
    done = torch.zeros_like(weight)
    for start in range(0, len(weight), block):
        end = min(start + block, len(weight))
        errors = torch.zeros_like(weight[start:end])  # (block, out)
        for i in range(start, end):
            done[i] = decide(i, left, end)
            errors[i - start] = (left[i] - done[i]) / factor[i, i]
            left[i + 1 : end].addr_(factor[i, i + 1 : end], errors[i - start], alpha=-1)
        left[end:].addmm_(factor[start:end, end:].t(), errors, alpha=-1)
    return done


def improve(
    weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor, pick: Pick, held: torch.Tensor,
    block: int = BLOCK,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Coordinate descent: each input to the point picked for where it is best while all others stay; and the loss.

    With the nearest point the loss (out,) only falls. Weights (in, out) that are `held` stay as they are.
    """
    found = rounded.clone()
    slope = hessian @ (found - weight)  # (in, out), half the gradient of the loss
    weighs = hessian.diagonal().tolist()
    for start in [*range(0, len(weight), block)] * SWEEPS:
        end = min(start + block, len(weight))
        before = found[start:end].clone()  # (block, out)
        for i in filter(weighs.__getitem__, range(start, end)):
            near = pick(i, found[i] - slope[i] / hessian[i, i], weighs[i])  # (out,)
            near = torch.where(held[i], found[i], near)
            slope[start:end].addr_(hessian[i, start:end], near - found[i])
            found[i] = near
        moved = found[start:end] - before
        slope[:start].addmm_(hessian[:start, start:end], moved)
        slope[end:].addmm_(hessian[end:, start:end], moved)
    return found, ((found - weight) * slope).sum(0)


def _columns(per_group: torch.Tensor, shape: Sequence[int], group: grid.Group) -> torch.Tensor:
    """Scale or zero of every weight, (out, in)."""
    rows, columns = shape
    if isinstance(group, int):
        return per_group.repeat_interleave(min(group, columns), 1)[:, :columns]
    return per_group.expand(rows, columns)
