"""Weights that several layers share, fitted to what each layer gives on its own inputs.

Bae et al. 2024, arXiv:2410.20672 (relaxed recursive transformers: a shared weight and low-rank differences); Wang et
al. 2024, arXiv:2410.03765 (a basis shared by layers, coefficients of their own).
Differs from the papers: the shared weight is the least-squares solution over all layers' inputs and not a copy or a
mean, differences are whitened by those inputs and alternate with it, and coefficients are solved for on each layer's
own inputs where the paper takes those of the common whitening.
"""

from collections.abc import Sequence

import torch

from laconic.errors import RecipeError
from laconic.maths import factor

SWEEPS = 4  # of the alternation; each only lowers the loss
Factors = tuple[torch.Tensor, torch.Tensor]


def sets(total: int, share: int, pattern: str) -> list[list[int]]:
    """Which of `total` blocks share: `share` neighbours ("sequence"), or those equally far apart ("cycle")."""
    if pattern == "sequence":
        return [list(range(start, min(start + share, total))) for start in range(0, total, share)]
    apart = -(-total // share)
    return [list(range(start, total, apart)) for start in range(apart)]


def check(share: int, stacks: Sequence[int], method: str) -> None:
    """Raise RecipeError where none of the stacks, of so many blocks each, has `share` of them."""
    if share > max(stacks):
        raise RecipeError(
            f"share is {share}, and no stack of the model has more than {max(stacks)} blocks of its own; "
            f"give at most that many, or leave {method} out"
        )


def common(
    weights: Sequence[torch.Tensor], grams: Sequence[torch.Tensor], rank: int = 0
) -> tuple[torch.Tensor, list[Factors]]:
    """W (out, in) and differences of at most `rank` with least sum of ||(W_l - W - left_l right_l) X_l||^2, float64.

    Without differences W = (sum W_l G_l)(sum G_l)^-1 over G_l = X_l X_l^T, which is damped; with them, W and the
    whitened truncations of what it leaves are solved in turn.
    """
    held = [factor.damped(gram) for gram in grams]
    full = [weight.double() for weight in weights]
    total = torch.stack(held).sum(0)  # (in, in)

    def solve(targets: Sequence[torch.Tensor]) -> torch.Tensor:
        outputs = torch.stack([target @ gram for target, gram in zip(targets, held, strict=True)]).sum(0)
        solved: torch.Tensor = torch.linalg.solve(total, outputs, left=False)
        return solved

    shared = solve(full)
    deltas: list[Factors] = []
    lowers = [factor.whitening(gram, 0.0) for gram in held] if rank else []
    for sweep in range(SWEEPS if rank else 0):
        if sweep:
            shared = solve([weight - left @ right for weight, (left, right) in zip(full, deltas, strict=True)])
        deltas = [factor.truncate(weight - shared, rank, lower) for weight, lower in zip(full, lowers, strict=True)]
    return shared, deltas


def basis(
    weights: Sequence[torch.Tensor], grams: Sequence[torch.Tensor], rank: int
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Coefficients (out, rank) of each layer and the basis (rank, in) they share, float64.

    The basis is that of the layers below one another, whitened by the inputs of all of them; coefficients are the
    least-squares ones on each layer's own inputs.
    """
    held = [factor.damped(gram) for gram in grams]
    lower = factor.whitening(torch.stack(held).sum(0), 0.0)
    _, right = factor.truncate(torch.cat(list(weights)), rank, lower)
    found = []
    for weight, gram in zip(weights, held, strict=True):
        inner = torch.linalg.pinv(right @ gram @ right.T, hermitian=True)  # (rank, rank)
        found.append(weight.double() @ gram @ right.T @ inner)  # (out, rank)
    return found, right
