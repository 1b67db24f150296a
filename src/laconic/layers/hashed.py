"""A weight matrix whose positions read a short list of real weights, through a hash that is computed and not stored.

Chen et al. 2015, arXiv:1504.04788 (HashedNets): weight[i, j] = sign(i, j) values[h(i, j)].
Differs from the paper: h and sign are the bits of one mixing function of position and seed (xor-shifts and products of
32-bit numbers, which any tensor library computes alike), not of xxHash.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import ROLES, Parts, compute, take
from laconic.maths import grid

MASK = 2**32 - 1
CACHED = 2**22  # weights: a layer up to this size keeps its places between calls; a larger one computes them


class Hashed(nn.Module):
    """`values` (count,) are all there is to store and to train, beside the bias (out,) or None."""

    kind: ClassVar[str] = "hashed"
    values: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self, role: str, shape: list[int], count: int, seed: int, bias: bool = False, multiplier: float = 1.0
    ) -> None:
        super().__init__()
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        rows, columns = self.shape
        if not 1 <= count <= rows * columns:
            raise RecipeError(f"count is {count}; a layer of {rows} x {columns} shares 1 to {rows * columns} values")
        self.seed = int(seed)
        self.values = nn.Parameter(torch.zeros(count))
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)
        self._places: tuple[torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def of(cls, module: nn.Module, count: int, seed: int) -> Hashed:
        """In place of a linear or embedding: each value is the mean of the weights that read it (least squares)."""
        parts = take(module)
        weight = parts.weight.detach().float()  # (out, in)
        index, sign = places(list(weight.shape), count, seed, weight.device)
        sums = weight.new_zeros(count).index_add_(0, index.reshape(-1), (weight * sign).reshape(-1))  # (count,)
        readers = torch.bincount(index.reshape(-1), minlength=count).clamp_min(1)  # (count,)
        with torch.device("meta"):
            layer = cls(parts.role, list(weight.shape), count, seed, parts.bias is not None, parts.multiplier)
        layer.values = nn.Parameter(sums / readers)
        if parts.bias is not None:
            layer.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "role": self.role,
            "shape": list(self.shape),
            "count": len(self.values),
            "seed": self.seed,
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) or (rows, width); it carries the gradient to the values."""
        held = self._places
        if held is None or held[0].device != self.values.device:
            held = places(self.shape, len(self.values), self.seed, self.values.device)
            self._places = held if held[0].numel() <= CACHED else None
        return self.values[held[0]] * held[1]

    def bits(self) -> int:
        """Bits of the values and the bias: 16 a number where float16 loses nothing."""
        return grid.float_bits(self.values.detach()) + (0 if self.bias is None else grid.float_bits(self.bias.detach()))

    def freeze(self) -> None:
        """The values are final as they are."""

    def thaw(self) -> None:
        """The values learn as they are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute(Parts(self.role, self.weight, self.bias, self.multiplier), x)


def places(shape: list[int], count: int, seed: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of `count` values every position reads, (rows, columns) of int64, and its sign, of 1 and -1 in float32."""
    rows, columns = shape
    position = torch.arange(rows * columns, device=device)  # int64
    mixed = _mix(_mix(position & MASK) ^ _mix(torch.tensor(seed & MASK, device=device)))
    sign = 1.0 - 2.0 * (mixed & 1).float()
    index = ((mixed >> 1) * count) >> 31  # the high bits: an even share for every value
    return index.reshape(rows, columns), sign.reshape(rows, columns)


def _mix(x: torch.Tensor) -> torch.Tensor:
    """A bijection of 32-bit numbers, each bit of which hangs on all of those given; products stay below 2^63."""
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & MASK
    x = ((x ^ (x >> 16)) * 0x45D9F3B) & MASK
    return x ^ (x >> 16)
