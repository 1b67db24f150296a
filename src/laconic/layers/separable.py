"""A linear that is given, of each channel, a filter of what stands at a position and at those before it.

Howard et al. 2017, arXiv:1704.04861, section 3.1 (MobileNet: a depthwise convolution, then a pointwise one). The
pointwise convolution is a linear of any kind at a path below the layer, and only with one that is cheaper than a dense
one, such as a grouped one, is the layer cheaper.
Differs from the paper: a filter reads back and never ahead, as in So et al. 2021, arXiv:2109.08668 (Primer). A layer is
not told what is padding, and where padding stands at the end of a text no token reads any.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import take
from laconic.maths.separable import behind


class Separable(nn.Module):
    """`kernel` (taps, in): its row k weighs what stands k positions back; `pointwise` reads the sum.

    Before the first position stand zeros, and the layer keeps nothing from call to call: it must see a text whole.
    """

    kind: ClassVar[str] = "separable"
    parts: ClassVar[tuple[str, ...]] = ("pointwise",)
    role: ClassVar[str] = "linear"
    multiplier: ClassVar[float] = 1.0
    pointwise: nn.Module

    def __init__(self, shape: list[int], taps: int, bias: bool = False) -> None:
        super().__init__()
        if not isinstance(taps, int) or taps < 1:
            raise RecipeError(f"taps is {taps!r}; a filter has a whole number of them, 1 at least")
        self.shape, self.taps = [int(n) for n in shape], taps
        self.kernel = nn.Parameter(torch.zeros(taps, self.shape[1]))
        self.pointwise = nn.Linear(self.shape[1], self.shape[0], bias=bias)

    @classmethod
    def of(cls, pointwise: nn.Module, kernel: torch.Tensor) -> Separable:
        """In front of a linear of any kind, which becomes the pointwise convolution; `kernel` is (taps, in)."""
        shape = [len(take(pointwise).weight), kernel.shape[1]]
        with torch.device("meta"):
            layer = cls(shape, len(kernel), take(pointwise).bias is not None)
        layer.pointwise = pointwise
        layer.kernel = nn.Parameter(kernel.detach().float().clone().contiguous())
        return layer.train(pointwise.training)

    @property
    def groups(self) -> int:
        """Groups of the pointwise convolution."""
        return int(getattr(self.pointwise, "groups", 1))

    @property
    def products(self) -> int:
        """Multiply-accumulates of the kernel for a token; the pointwise convolution has its own."""
        return self.taps * self.shape[1]

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {"shape": list(self.shape), "taps": self.taps, "bias": self.bias is not None}

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in), with which a position itself is read; `weights` has those before it too."""
        return self.weights[0]

    @property
    def weights(self) -> torch.Tensor:
        """Dense weights, (taps, out, in), with which a position and those before it are read; computed each time."""
        return take(self.pointwise).weight * self.kernel[:, None]

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        return cast("torch.Tensor | None", self.pointwise.bias)

    def bits(self) -> int:
        """Nothing: the kernel is a parameter like a norm's, and the pointwise convolution counts its own."""
        return 0

    def freeze(self) -> None:
        """The pointwise convolution is frozen where it stands."""

    def thaw(self) -> None:
        """The pointwise convolution is thawed where it stands."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., tokens, out) of (..., tokens, in)."""
        found: torch.Tensor = self.pointwise((behind(x, self.taps) * self.kernel).sum(-2))
        return found
