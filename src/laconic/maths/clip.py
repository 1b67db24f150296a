"""Fit the range of every group so that the outputs of a layer stay: clipping by output error, not by weight error.

Lin et al. 2023, arXiv:2306.00978, on weight clipping (AWQ): each group's range is searched for the least squared error
of that group's share of the output. Differs from the paper: inputs are summed up in the matrix of x x^T beforehand, so
that a candidate costs no pass over them; a row (or tensor) that the range of least weight error serves better, all
groups together, keeps that.
"""

import torch

from laconic.maths import grid, hessian


def fit(
    weight: torch.Tensor, gram: torch.Tensor, bits: int, group: grid.Group, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor | None, float]:
    """Scale and zero as `grid.fit` gives them, and the outputs' squared error; never worse than that of `grid.fit`.

    `gram` is the sum of x x^T over inputs (in, in).
    """
    nearest = grid.fit(weight, bits, group, symmetric)
    searched = _searched(weight, gram, bits, group, symmetric)
    errors = [hessian.loss(weight, grid.snap(weight, *found, bits, group), gram) for found in (nearest, searched)]
    if group == "tensor":
        errors = [error.sum(0, keepdim=True) for error in errors]  # (1,)
    better = (errors[1] < errors[0])[:, None]  # (R, 1)
    scale = torch.where(better, searched[0], nearest[0])
    zero = None
    if searched[1] is not None and nearest[1] is not None:
        zero = torch.where(better, searched[1], nearest[1])
    return scale, zero, float(torch.minimum(*errors).sum())


def _searched(
    weight: torch.Tensor, gram: torch.Tensor, bits: int, group: grid.Group, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The ratio of the min-max range with the least error of each group alone."""
    scale, zero = grid.fit(weight, bits, group, symmetric, ratios=(1.0,))
    least = _error(weight, grid.snap(weight, scale, zero, bits, group), gram, group)  # (R, G)
    for ratio in grid.RATIOS[1:]:
        tried, middle = grid.fit(weight * ratio, bits, group, symmetric, ratios=(1.0,))
        error = _error(weight, grid.snap(weight, tried, middle, bits, group), gram, group)
        better = error < least
        least, scale = torch.where(better, error, least), torch.where(better, tried, scale)
        if zero is not None and middle is not None:
            zero = torch.where(better, middle, zero)
    return scale, zero


def _error(weight: torch.Tensor, rounded: torch.Tensor, gram: torch.Tensor, group: grid.Group) -> torch.Tensor:
    """Squared error that each group alone makes in the outputs, (R, G)."""
    parts = grid.split(rounded - weight, group if isinstance(group, int) else "channel").transpose(0, 1)  # (G, out, n)
    own = _blocks(gram, parts.shape[2])  # (G, n, n)
    error = ((parts @ own) * parts).sum(2).T  # (out, G)
    return error.sum(0, keepdim=True) if group == "tensor" else error


def _blocks(gram: torch.Tensor, width: int) -> torch.Tensor:
    """The square blocks on the diagonal, (G, n, n), the last one filled up with zeros."""
    missing = -len(gram) % width
    filled = torch.nn.functional.pad(gram, (0, missing, 0, missing)).float()
    count = len(filled) // width
    return filled.reshape(count, width, count, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
