"""Choose grid points by error and by the bits they cost once coded.

Wiedemann et al. 2019, arXiv:1907.11900 (DeepCABAC: weighted squared error plus lambda times the code length), with the
outputs' error of Frantar et al. 2022, arXiv:2210.17323, where inputs are known.
Differs from the paper: code lengths are those of the layer's own histogram, taken again after each pass, since the
store codes by tables that fit the layer. Steps follow from lambda, since the best quantizer at a given slope is nearly
a uniform one whose squared step is in proportion to it (Sullivan 1996, IEEE Transactions on Information Theory 42).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from laconic.maths import grid, hessian

ROUNDS = 3  # of code lengths from choices and choices from code lengths
SLOPE = math.log(2) / 6  # error that a bit is worth on a fine grid, in squared steps: -dD/dR, where D is step^2 / 12


def lengths(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Bits that each code costs under the histogram of all, (2^bits,); unseen ones as if seen a sixteenth of a time."""
    seen = torch.bincount(codes.flatten().long(), minlength=2**bits).double() + 1 / 16
    return -(seen / seen.sum()).log2()


def choose(
    weight: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
    bits: int,
    group: grid.Group,
    cost: torch.Tensor,
) -> torch.Tensor:
    """Grid points (rows, columns) of least squared error plus `cost` of the code, (2^bits,) in squared weights.

    Candidates are the nearest point, its neighbours and zero: what lies further costs more error than a code can save,
    unless it is zero.
    """
    low, high = (1, 2**bits - 1) if zero is None else (0, 2**bits - 1)
    parts, step = grid.split(weight, group), scale.unsqueeze(-1)  # (R, G, n), (R, G, 1)
    middle = torch.full_like(step, 2 ** (bits - 1)) if zero is None else zero.to(step.dtype).unsqueeze(-1)
    near = (torch.round(parts / step) + middle).clamp(low, high)  # (R, G, n)
    best, least = near, torch.full_like(near, math.inf)
    for candidate in (near, (near - 1).clamp_min(low), (near + 1).clamp_max(high), middle.expand_as(near)):
        price = ((candidate - middle) * step - parts).square() + cost[candidate.long()]  # (R, G, n)
        best, least = torch.where(price < least, candidate, best), torch.minimum(price, least)
    return grid.join((best - middle) * step, *weight.shape)


def fit(
    weight: torch.Tensor,
    bits: int,
    group: grid.Group,
    symmetric: bool,
    price: float,
    squares: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """Scale, zero, and the squared error that a bit is worth: `price` times the mean squared weight.

    The steps are those of `grid.fit`, all widened alike where that brings error and bits together down. `squares` are
    the sums of the inputs' squares (in,), where known: a weight that stands out is clipped only if its input is small.
    """
    scale, zero = grid.fit(weight, bits, group, symmetric, squares)
    worth = price * float(weight.square().mean())
    alive = grid.split(weight, group).any(-1)  # (R, G): the scale of a group of zeros says nothing of steps
    own = float(scale[alive].square().mean()) if worth else 1.0
    wanted = max(math.sqrt(worth / SLOPE / own), 1.0)  # in steps of that grid
    near = round(4 * math.log2(wanted))
    best, least = (scale, zero), math.inf
    for i in range(max(0, near - 4), near + 5) if worth else ():
        wide = grid.upward(scale * 2 ** (i / 4))  # (R, G)
        middle = None if zero is None else (zero / 2 ** (i / 4)).round().to(torch.uint8)
        codes = grid.codes(weight, wide, middle, bits, group)  # (rows, columns)
        error = float((grid.values(codes, wide, middle, bits, group) - weight).double().square().sum())
        total = error + worth * float(lengths(codes, bits)[codes.long()].sum())
        if total < least:
            best, least = (wide, middle), total
    return *best, worth


def solve(
    weight: torch.Tensor,
    inputs: torch.Tensor | None,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
    bits: int,
    group: grid.Group,
    *,
    worth: float,
    damp: float = 0.01,
) -> torch.Tensor:
    """Weights on the grid (out, in) of small error and few bits; `inputs` is the sum of x x^T (in, in), where known.

    A bit is worth that much squared error of a weight, or as much of the outputs as such an error makes. Row by row,
    error plus bits are never above those of the nearest points. Zeros stay zero.
    """
    weight = weight.float()
    near: Callable[[torch.Tensor], torch.Tensor] = partial(_alone, weight, scale, zero, bits, group)
    curvature = 1.0
    if inputs is not None:
        order = inputs.diagonal().argsort(descending=True, stable=True)
        factor = hessian.inverse_factor(inputs[order][:, order], damp).float()  # (in, in)
        curvature = float(factor.diagonal().pow(-2).mean())
        points = hessian.Points.of(scale, zero, bits, group, weight.shape, order)
        near = partial(_weighed, weight, hessian.damped(inputs, damp), factor, order, points)
    exchange = worth * curvature
    found = nearest = grid.snap(weight, scale, zero, bits, group)  # (out, in)
    for _ in range(ROUNDS):
        bit = lengths(grid.codes(found, scale, zero, bits, group), bits).to(weight)  # (2^bits,)
        found = near(exchange * bit)
    totals = []
    for held in (found, nearest):
        codes = grid.codes(held, scale, zero, bits, group).long()  # (out, in)
        error = (held - weight).double().square().sum(1) if inputs is None else hessian.loss(weight, held, inputs)
        totals.append(error + exchange * bit.double()[codes].sum(1))  # (out,)
    return torch.where((totals[0] > totals[1]).unsqueeze(1), nearest, found)


def _alone(
    weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: grid.Group,
    cost: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """`choose` for all weights at once, each by its own error."""
    return choose(weight, scale, zero, bits, group, cost).masked_fill(weight == 0, 0.0)


def _weighed(
    weight: torch.Tensor, inputs: torch.Tensor, factor: torch.Tensor, order: torch.Tensor, points: hessian.Points,
    cost: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """`choose` input by input, by the error of the outputs."""

    def pick(i: int, values: torch.Tensor, weighs: float) -> torch.Tensor:
        return choose(values.unsqueeze(1), *points.at(i), points.bits, "channel", cost / weighs)[:, 0]

    return hessian.descend(weight, inputs, factor, order, pick)[0]
