"""A weight that other layers share, plus a low-rank difference of this layer's own.

Bae et al. 2024, arXiv:2410.20672 (relaxed recursive transformers); Hu et al. 2021, arXiv:2106.09685 (LoRA). Base and
factors stand at paths below the layer; the base is a linear, or shared from another such layer's base.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import take


class Delta(nn.Module):
    """weight (out, in) = that of `base` + `up` (out, rank) @ `down` (rank, in); the bias is that of `base`."""

    kind: ClassVar[str] = "delta"
    parts: ClassVar[tuple[str, ...]] = ("base", "down", "up")
    role: ClassVar[str] = "linear"
    multiplier: ClassVar[float] = 1.0
    base: nn.Module
    down: nn.Module
    up: nn.Module

    def __init__(self, shape: list[int], delta_rank: int, bias: bool = False) -> None:
        super().__init__()
        self.shape = [int(n) for n in shape]
        rows, columns = self.shape
        if not 1 <= delta_rank <= min(rows, columns):
            raise RecipeError(f"delta_rank is {delta_rank}; a layer of {rows} x {columns} takes 1 to {min(self.shape)}")
        self.delta_rank = int(delta_rank)
        self.base = nn.Linear(columns, rows, bias=bias)
        self.down = nn.Linear(columns, delta_rank, bias=False)
        self.up = nn.Linear(delta_rank, rows, bias=False)

    @classmethod
    def of(cls, base: nn.Module, left: torch.Tensor, right: torch.Tensor) -> Delta:
        """The difference `left` (out, rank) @ `right` (rank, in) laid over a linear, which becomes the base."""
        with torch.device("meta"):
            layer = cls([len(left), right.shape[1]], len(right), cast(Any, base).bias is not None)
        layer.base = base
        for held, factor in ((layer.down, right), (layer.up, left)):
            held.weight = nn.Parameter(factor.detach().float().clone().contiguous())
        return layer.train(base.training)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {"shape": list(self.shape), "delta_rank": self.delta_rank, "bias": self.bias is not None}

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in), computed each time."""
        return take(self.base).weight + take(self.up).weight @ take(self.down).weight

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        return cast("torch.Tensor | None", self.base.bias)

    def bits(self) -> int:
        """Nothing: the parts count theirs."""
        return 0

    def freeze(self) -> None:
        """The parts are frozen where they stand."""

    def thaw(self) -> None:
        """The parts are thawed where they stand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., out) of (..., in)."""
        found: torch.Tensor = self.base(x) + self.up(self.down(x))
        return found
