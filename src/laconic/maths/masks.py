"""Which weights to drop: the lowest of one tensor, of several together, or of every M neighbours.

Zhu and Gupta 2017, arXiv:1710.01878 (lowest magnitudes); Zhou et al. 2021, arXiv:2102.04010 (N:M). Ties go by position,
so that a mask is the same on every machine.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from laconic.errors import RecipeError

Inside = Literal["layer", "row", "1:2", "2:4", "4:8", "1:4", "2:8"]
"""Scopes inside one layer."""

Scope = Literal["global"] | Inside
"""Among which the lowest are sought: all weights, of a layer or a row, or every M neighbours of which N stay."""

Growing = Literal["global", "layer", "row"]
"""Scopes in which a mask can grow step by step."""

INSIDE = get_args(Inside)
SCOPES = ("global", *INSIDE)


def lowest(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Bool, shape of `scores`: exactly round(sparsity * size) lowest are True."""
    flat = scores.reshape(-1)  # (n,)
    count = round(sparsity * flat.numel())
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= flat.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    bound = flat.kthvalue(count).values
    mask = flat < bound  # (n,)
    ties = (flat == bound).nonzero().reshape(-1)[: count - int(mask.sum())]
    mask[ties] = True
    return mask.reshape(scores.shape)


def lowest_overall(scores: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """One bool mask per tensor; the lowest of all of them taken together are True."""
    if not scores:
        return []
    mask = lowest(torch.cat([s.reshape(-1) for s in scores]), sparsity)  # (n,)
    parts = torch.split(mask, [s.numel() for s in scores])
    return [part.reshape(s.shape) for part, s in zip(parts, scores, strict=True)]


def lowest_of_each(scores: torch.Tensor, keep: int, of: int) -> torch.Tensor:
    """Bool (out, in): of every `of` neighbours in a row all but the `keep` highest are True; a short end is as full."""
    rows, columns = scores.shape
    missing = -columns % of
    padded = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)  # (out, in + missing)
    groups = padded.reshape(rows, -1, of)  # (out, groups, of)
    order = groups.argsort(dim=-1, stable=True)  # lowest first
    mask = torch.zeros_like(groups, dtype=torch.bool)
    mask.scatter_(-1, order[..., : of - keep], True)
    return mask.reshape(rows, -1)[:, :columns]


def check(sparsity: float, scope: str) -> None:
    """Raise RecipeError for a sparsity that is no share, a scope that is none, or an N:M scope of another sparsity."""
    if not 0 <= sparsity < 1:
        raise RecipeError(f"sparsity is {sparsity}; give the share of weights to set to zero, 0 <= sparsity < 1")
    if scope not in SCOPES:
        raise RecipeError(f"scope is {scope!r}; choose one of {', '.join(SCOPES)}")
    if ":" in scope and sparsity != 1 - pattern(scope)[0] / pattern(scope)[1]:
        keep, of = pattern(scope)
        raise RecipeError(f"scope {scope} is a sparsity of {1 - keep / of:g}, not {sparsity}; make them agree")


def kept(scores: Sequence[torch.Tensor], sparsity: float, scope: str) -> list[torch.Tensor]:
    """One bool mask per tensor of scores (out, in), True where a weight is kept."""
    if scope == "global":
        dropped = lowest_overall(scores, sparsity)
    elif scope == "layer":
        dropped = [lowest(s, sparsity) for s in scores]
    elif scope == "row":
        dropped = [lowest_of_each(s, s.shape[1] - round(sparsity * s.shape[1]), s.shape[1]) for s in scores]
    else:
        dropped = [lowest_of_each(s, *pattern(scope)) for s in scores]
    return [~mask for mask in dropped]


def pattern(scope: str) -> tuple[int, int]:
    """(kept, of) of an N:M scope."""
    keep, _, of = scope.partition(":")
    return int(keep), int(of)
