"""A linear whose inputs are rounded to whole numbers before it computes: each token by its own range, or all by one.

Jacob et al. 2018, arXiv:1712.05877; Xiao et al. 2022, arXiv:2211.10438: symmetric grids, "per token" dynamic or "per
tensor" static. Gradients pass the rounding as if it were not there (Bengio et al. 2013, arXiv:1308.3432), but not where
an input is clipped. The linear itself, of any kind, stands at a path below.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import kinds, take

BITS = (4, 8)  # the fewest and the most
SMALLEST = 1e-12  # of a range, so that zeros are divided by something


class Inputs(nn.Module):
    """`linear` of rounded inputs; with `static`, `scale` () is the step for all of them, else a token has its own."""

    kind: ClassVar[str] = "inputs"
    parts: ClassVar[tuple[str, ...]] = ("linear",)
    role: ClassVar[str] = "linear"
    multiplier: ClassVar[float] = 1.0
    linear: nn.Module
    scale: torch.Tensor | None

    def __init__(self, shape: list[int], input_bits: int = 8, static: bool = False, bias: bool = False) -> None:
        super().__init__()
        if not isinstance(input_bits, int) or not BITS[0] <= input_bits <= BITS[1]:
            raise RecipeError(f"input_bits is {input_bits!r}; inputs have {BITS[0]} to {BITS[1]} bits")
        self.shape, self.input_bits = [int(n) for n in shape], input_bits
        self.linear = nn.Linear(self.shape[1], self.shape[0], bias=bias)
        self.register_buffer("scale", torch.ones(()) if static else None)

    @classmethod
    def of(cls, module: nn.Module, input_bits: int, highest: float | None = None) -> Inputs:
        """Around a linear of any kind; `highest` is the largest magnitude of a static grid."""
        held = take(module)
        with torch.device("meta"):
            layer = cls(list(held.weight.shape), input_bits, highest is not None, held.bias is not None)
        if isinstance(module, kinds()):
            layer.linear = module
        else:
            layer.linear.weight = nn.Parameter(held.weight.detach().clone().contiguous())
            if held.bias is not None:
                layer.linear.bias = nn.Parameter(held.bias.detach().clone())
        if highest is not None:
            layer.scale = torch.tensor(max(highest, SMALLEST) / layer.top, device=held.weight.device)
        return layer.train(module.training)

    @property
    def top(self) -> int:
        """The largest whole number of the grid."""
        return int(2 ** (self.input_bits - 1) - 1)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        static, bias = self.scale is not None, self.bias is not None
        return {"shape": list(self.shape), "input_bits": self.input_bits, "static": static, "bias": bias}

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in), of the linear."""
        return take(self.linear).weight

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        return cast("torch.Tensor | None", self.linear.bias)

    def bits(self) -> int:
        """Those of the static step; the linear counts its own."""
        return 0 if self.scale is None else 32

    def freeze(self) -> None:
        """The linear is frozen where it stands."""

    def thaw(self) -> None:
        """The linear is thawed where it stands."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., out) of (..., in)."""
        found: torch.Tensor = self.linear(self.rounded(x))
        return found

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs (..., in) on their grid."""
        step = self.scale
        if step is None:
            step = x.detach().abs().amax(-1, keepdim=True).clamp(min=SMALLEST) / self.top  # (..., 1)
        inside = x.clamp(-self.top * step, self.top * step)
        return inside + (torch.round(inside / step) * step - inside).detach()
