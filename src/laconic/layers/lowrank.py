"""A weight as the product of two thin factors, each a layer of its own.

Denton et al. 2014, arXiv:1404.0736 (linears); Lan et al. 2020, arXiv:1909.11942 (embeddings, ALBERT). The factors stand
at paths below the layer, so that each can be put on a grid, pruned, or shared with another layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from laconic.errors import RecipeError
from laconic.layers import ROLES, take
from laconic.maths import factor


class LowRank(nn.Module):
    """`up` after `down`: of a linear, in -> rank -> out; of an embedding, rows of width rank, then rank -> width.

    The bias (out,) or None is that of `up`.
    """

    kind: ClassVar[str] = "lowrank"
    parts: ClassVar[tuple[str, ...]] = ("down", "up")
    down: nn.Module
    up: nn.Module

    def __init__(self, role: str, shape: list[int], rank: int, bias: bool = False, multiplier: float = 1.0) -> None:
        super().__init__()
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        rows, columns = self.shape
        if not 1 <= rank <= min(rows, columns):
            raise RecipeError(f"rank is {rank}; a layer of {rows} x {columns} has a rank of 1 to {min(rows, columns)}")
        self.rank = int(rank)
        if role == "linear":
            self.down, self.up = nn.Linear(columns, rank, bias=False), nn.Linear(rank, rows, bias=bias)
        else:
            self.down, self.up = nn.Embedding(rows, rank), nn.Linear(rank, columns, bias=False)

    @classmethod
    def of(cls, module: nn.Module, left: torch.Tensor, right: torch.Tensor) -> LowRank:
        """In place of a linear or embedding, with weight `left` (rows, rank) @ `right` (rank, columns); bias kept."""
        parts = take(module)
        shape = [len(left), right.shape[1]]
        with torch.device("meta"):
            layer = cls(parts.role, shape, len(right), parts.bias is not None, parts.multiplier)
        down, up = (right, left) if parts.role == "linear" else (left, right.t())
        for thin, held in ((down, layer.down), (up, layer.up)):
            held.weight = nn.Parameter(thin.detach().to(parts.weight.dtype).clone().contiguous())
        if parts.bias is not None:
            layer.up.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    @staticmethod
    def smaller(shape: Sequence[int], keep: float, rank: int | None, copies: int = 1) -> int | None:
        """The rank that `rank`, or else the fraction `keep` of the parameters, asks of matrices of a shape.

        `copies` of them, below one another, share `down`. None where `keep` is 1 or the factors would be no smaller.
        """
        rows, columns = shape
        if rank is None and keep == 1:
            return None
        asked = factor.rank(keep, copies * rows, columns) if rank is None else rank
        found = min(asked, rows, columns)
        return found if found * (copies * rows + columns) < copies * rows * columns else None

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "role": self.role,
            "shape": list(self.shape),
            "rank": self.rank,
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) or (rows, width), computed from the factors each time."""
        down, up = take(self.down).weight, take(self.up).weight
        return up @ down if self.role == "linear" else down @ up.t()

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        return take(self.up).bias

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Dense rows of a flat index (n,): (n, columns), without computing the others."""
        if self.role == "linear":
            return take(self.up).weight[index] @ take(self.down).weight
        found: torch.Tensor = self.up(self.down(index))
        return found

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., columns) times the transposed weight, (..., rows), without computing that weight; no bias."""
        down, up = take(self.down).weight, take(self.up).weight
        if self.role == "linear":
            return functional.linear(functional.linear(x, down), up)
        return functional.linear(x @ up, down)

    def bits(self) -> int:
        """Nothing: the factors count theirs."""
        return 0

    def freeze(self) -> None:
        """The factors are frozen where they stand."""

    def thaw(self) -> None:
        """The factors are thawed where they stand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        found: torch.Tensor = self.up(self.down(x))
        return found if self.multiplier == 1.0 else found * self.multiplier
