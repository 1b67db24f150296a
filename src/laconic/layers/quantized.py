"""Weights on a uniform grid of 1 to 8 bits; in training, floats behind a straight-through estimator.

Jacob et al. 2018, arXiv:1712.05877 (fake quantization); Bengio et al. 2013, arXiv:1308.3432 (straight-through); Esser
et al. 2020, arXiv:1902.08153 (scales that learn).
Differs from the papers: scales stay fixed in training unless `learned`, and are float16 numbers always; a weight that
was exactly zero stays zero (its gradient is stopped), so pruning survives; a clipped weight gets its gradient only
where that leads back into the range.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from laconic.errors import AnatomyError, RecipeError
from laconic.kept import Keeps
from laconic.layers import ROLES, compute_rows, take
from laconic.maths import grid


class Straight(torch.autograd.Function):
    """Grid values forward; backward the gradient of the latent weights, and of the scales where they learn.

    A scale's slope is the code's distance from 0 where a weight is on an end or beyond, else what rounding added, over
    sqrt(count * Q), so that scales learn as fast as weights do (Esser et al., eq. 3 and 2.2). Q is the paper's Q_P:
    2^(bits - 1) - 1, and 2^bits - 1 of a grid with a zero point, whose codes have no sign. `count` is how many weights
    have a scale, those included that a look-up leaves out.
    """

    @staticmethod
    def forward(
        ctx: Any,
        latent: torch.Tensor,
        scale: torch.Tensor,
        zero: torch.Tensor | None,
        bits: int,
        group: grid.Group,
        count: float,
    ) -> torch.Tensor:
        """(rows, columns) to the same."""
        ctx.save_for_backward(latent, scale, zero)
        ctx.bits, ctx.group, ctx.count = bits, group, count
        return grid.snap(latent, scale, zero, bits, group)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Descent moves against the gradient, so one with the latent's own sign brings a clipped weight back."""
        (gradient,) = gradients
        latent, scale, zero = ctx.saved_tensors
        free = grid.inside(latent, scale, zero, ctx.bits, ctx.group)  # (rows, columns)
        slope = None
        if ctx.needs_input_grad[1]:
            moved = grid.rise(latent, scale, zero, ctx.bits, ctx.group)  # (rows, columns)
            slope = grid.split(gradient * moved, ctx.group).sum(-1)  # (R, G)
            most = 2**ctx.bits - 1 if zero is not None else max(1, 2 ** (ctx.bits - 1) - 1)
            slope *= (ctx.count * most) ** -0.5
        if grid.has_zero(zero, ctx.bits):
            free &= latent != 0
        free |= gradient * latent > 0
        return torch.where(free, gradient, 0.0), slope, None, None, None, None


class Quantized(Keeps):
    """In training it holds `latent`; frozen it holds `codes` uint8; both with `scale` and, asymmetric, `zero`.

    The zero is uint8, or with `real` a float. With `learned`, a parameter `step` stands for the scale in training.
    Shapes: latent and codes (out, in) or (rows, width); scale and zero (1, 1) for group "tensor", (rows, 1) for
    "channel", (rows, columns / group) for a number of columns; bias (out,) or None.
    """

    kind: ClassVar[str] = "quantized"
    scale: torch.Tensor
    zero: torch.Tensor | None
    codes: torch.Tensor
    latent: nn.Parameter
    step: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        role: str,
        shape: list[int],
        bits: int,
        group: grid.Group = "channel",
        symmetric: bool = True,
        bias: bool = False,
        multiplier: float = 1.0,
        frozen: bool = True,
        real: bool = False,
        learned: bool = False,
    ) -> None:
        super().__init__()
        grid.check(bits, group, least=1)
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        self.width, self.group, self.symmetric, self.frozen = bits, group, bool(symmetric), bool(frozen)
        self.real, self.learned = bool(real), bool(learned)
        rows, columns = self.shape
        scales = grid.shape(rows, columns, group)
        if learned and not frozen:
            self.step = nn.Parameter(torch.ones(scales[0] * scales[1]))  # one dimension, so that it is not decayed
        else:
            self.register_buffer("scale", torch.ones(scales))
        kind = torch.float32 if real else torch.uint8
        self.register_buffer("zero", None if symmetric else torch.zeros(scales, dtype=kind))
        if frozen:
            self.register_buffer("codes", torch.zeros(rows, columns, dtype=torch.uint8))
        else:
            self.latent = nn.Parameter(torch.zeros(rows, columns))
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        *,
        bits: int,
        group: grid.Group = "channel",
        symmetric: bool = True,
        latent: torch.Tensor | None = None,
        scale: torch.Tensor | None = None,
        zero: torch.Tensor | None = None,
        learned: bool = False,
    ) -> Quantized:
        """In training state, in place of a linear or embedding of any kind; its weights' zeros stay zero.

        `latent` (out, in) replaces the module's weight; `scale` and `zero` give the grid, else it is fitted to the
        weight; with `learned`, scales are trained too. With one bit, or a zero that is a float, zeros do not stay.
        Raises AnatomyError when a weight is not finite.
        """
        parts = take(module)
        weight = (parts.weight if latent is None else latent).detach().float().clone().contiguous()  # (out, in)
        if not torch.isfinite(weight).all():
            raise AnatomyError("a weight is not a finite number, so no grid fits it; train the model anew")
        if scale is None:
            scale, zero = grid.fit(weight, bits, group, symmetric)
        real = zero is not None and zero.is_floating_point()
        with torch.device("meta"):
            layer = cls(
                parts.role, list(weight.shape), bits, group, symmetric, parts.bias is not None, parts.multiplier,
                False, real, learned,
            )  # fmt: skip
        layer.latent = nn.Parameter(weight)
        layer.zero = None if zero is None else zero.detach().clone()
        if learned:
            layer.step = nn.Parameter(scale.detach().flatten().clone())
        else:
            layer.scale = scale.detach().clone()
        if parts.bias is not None:
            layer.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "role": self.role,
            "shape": list(self.shape),
            "bits": self.width,
            "group": self.group,
            "symmetric": self.symmetric,
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
            "frozen": self.frozen,
            **({"real": True} if self.real else {}),
            **({"learned": True} if self.learned else {}),
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight on the grid, (out, in) or (rows, width); in training it carries the gradient to `latent`."""
        if not self.frozen:
            return self._straight(self.latent, self._scales(), self.zero)
        make = partial(grid.values, self.codes, self.scale, self.zero, self.width, self.group)
        return self.kept((self.codes,), make, keep=self.role == "linear")

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Dense rows of a flat index (n,): (n, columns), without computing the others."""
        own = self.group != "tensor"
        scales = self._scales()
        scale = scales[index] if own else scales
        zero = self.zero[index] if own and self.zero is not None else self.zero
        if self.frozen:
            return grid.values(self.codes[index], scale, zero, self.width, self.group)
        return self._straight(functional.embedding(index, self.latent), scale, zero)

    def bits(self) -> int:
        """Bits of codes, 16 of each scale, the code width of each zero, and the bias."""
        codes = self.shape[0] * self.shape[1] * self.width
        wide = 16 + (0 if self.symmetric else 16 if self.real else self.width)
        grids = (self.step if self.learned and not self.frozen else self.scale).numel() * wide
        return codes + grids + (0 if self.bias is None else grid.float_bits(self.bias))

    def freeze(self) -> None:
        """Latent weights become codes; what is computed does not change by a bit."""
        if self.frozen:
            return
        scale = self._scales().detach()
        codes = grid.codes(self.latent.detach(), scale, self.zero, self.width, self.group)
        del self.latent
        if self.learned:
            del self.step
            self.register_buffer("scale", scale)
        self.register_buffer("codes", codes)
        self.frozen = True

    def thaw(self) -> None:
        """Let the weights learn again, from the middle of their steps; what is computed does not change by a bit."""
        if not self.frozen:
            return
        self.latent = nn.Parameter(grid.values(self.codes, self.scale, self.zero, self.width, self.group))
        del self.codes
        if self.learned:
            self.step = nn.Parameter(self.scale.flatten())
            del self.scale
        self.forget()
        self.frozen = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute_rows(self, x)

    def _scales(self) -> torch.Tensor:
        """(R, G); those that learn are rounded to positive float16 numbers, with the gradient of the step."""
        if self.frozen or not self.learned:
            return self.scale
        rows, columns = self.shape
        return grid.half(self.step, least=grid.SMALLEST).reshape(grid.shape(rows, columns, self.group))

    def _straight(self, latent: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None) -> torch.Tensor:
        if (latent.requires_grad or scale.requires_grad) and torch.is_grad_enabled():
            rows, columns = self.shape
            scales: int = math.prod(grid.shape(rows, columns, self.group))
            count = rows * columns / scales
            return Straight.apply(latent, scale, zero, self.width, self.group, count)  # type: ignore[no-any-return, no-untyped-call]
        return grid.snap(latent, scale, zero, self.width, self.group)
