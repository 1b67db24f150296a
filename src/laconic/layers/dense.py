"""A layer that holds every weight as a float.

No paper: the layer that others are compared with; it also gives GPT-2's transposed linear the common (out, in) form.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import ROLES, Parts, compute, take
from laconic.maths import grid


class Dense(nn.Module):
    """Weight (out, in) or (rows, width) and bias (out,) or None, as parameters."""

    kind: ClassVar[str] = "dense"
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, role: str, shape: list[int], bias: bool = False, multiplier: float = 1.0) -> None:
        super().__init__()
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        rows, columns = self.shape
        self.weight = nn.Parameter(torch.zeros(rows, columns))  # (out, in)
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)  # (out,)

    @classmethod
    def of(cls, module: nn.Module) -> Dense:
        """The same function as a stock layer or another kind."""
        parts = take(module)
        with torch.device("meta"):
            layer = cls(parts.role, list(parts.weight.shape), parts.bias is not None, parts.multiplier)
        layer.weight = nn.Parameter(parts.weight.detach().clone().contiguous())
        if parts.bias is not None:
            layer.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "role": self.role,
            "shape": list(self.weight.shape),
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
        }

    def bits(self) -> int:
        """Bits of weight and bias: 16 a number where float16 loses nothing."""
        return grid.float_bits(self.weight) + (0 if self.bias is None else grid.float_bits(self.bias))

    def freeze(self) -> None:
        """A dense layer's numbers are final as they are."""

    def thaw(self) -> None:
        """A dense layer learns as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute(Parts(self.role, self.weight, self.bias, self.multiplier), x)
