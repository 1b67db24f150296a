"""Weights of which a mask keeps some and the others are zero; in training, the mask is held and the rest learns.

Zhu and Gupta 2017, arXiv:1710.01878 (training through a fixed mask); Sanh et al. 2020, arXiv:2005.07683 (movement).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.kept import Keeps
from laconic.layers import ROLES, Parts, compute, take
from laconic.maths import grid


class Scored(torch.autograd.Function):
    """Masked weights forward; backward the gradient of those kept, and -gradient x weight of all added to `moved`."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, mask: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
        """(out, in) to the same."""
        ctx.save_for_backward(latent, mask)
        ctx.moved = moved
        return torch.where(mask, latent, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """`moved` is no input that learns: it is summed up in place, once a backward pass."""
        latent, mask = ctx.saved_tensors
        ctx.moved.addcmul_(gradients[0], latent, value=-1.0)
        return torch.where(mask, gradients[0], 0.0), None, None


class Sparse(Keeps):
    """In training it holds `latent` (out, in); frozen it holds `values` (count,), row by row; both with `mask` bool.

    The mask (out, in) or (rows, width) is True where a weight is kept. Bias (out,) or None is dense.
    """

    kind: ClassVar[str] = "sparse"
    mask: torch.Tensor
    values: torch.Tensor
    latent: nn.Parameter
    moved: torch.Tensor | None  # (out, in) while movement is recorded
    bias: nn.Parameter | None

    def __init__(
        self,
        role: str,
        shape: list[int],
        count: int,
        bias: bool = False,
        multiplier: float = 1.0,
        frozen: bool = True,
    ) -> None:
        """`count` is the number of kept weights; in training it says nothing, since the mask may still move."""
        super().__init__()
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        self.frozen = bool(frozen)
        rows, columns = self.shape
        if not 0 <= count <= rows * columns:
            raise RecipeError(f"count is {count}; a layer of {rows} x {columns} keeps 0 to {rows * columns} weights")
        self.register_buffer("mask", torch.zeros(rows, columns, dtype=torch.bool))
        self.register_buffer("moved", None)
        if frozen:
            self.register_buffer("values", torch.zeros(count))
        else:
            self.latent = nn.Parameter(torch.zeros(rows, columns))
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)

    @classmethod
    def of(cls, module: nn.Module, mask: torch.Tensor, latent: torch.Tensor | None = None) -> Sparse:
        """In training state, in place of a linear or embedding; the mask (out, in) is True where a weight is kept.

        `latent` (out, in) replaces the module's weight. The others are 0 and never return.
        """
        parts = take(module)
        if mask.shape != parts.weight.shape or mask.dtype != torch.bool:
            raise RecipeError(f"the mask is {mask.dtype} {tuple(mask.shape)}; give bool {tuple(parts.weight.shape)}")
        with torch.device("meta"):
            layer = cls(parts.role, list(mask.shape), 0, parts.bias is not None, parts.multiplier, False)
        weight = parts.weight if latent is None else latent
        layer.latent = nn.Parameter(torch.where(mask, weight.detach().float(), 0.0).contiguous())
        layer.mask = mask.detach().clone()
        if parts.bias is not None:
            layer.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "role": self.role,
            "shape": list(self.shape),
            "count": len(self.values) if self.frozen else int(self.mask.sum()),
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
            "frozen": self.frozen,
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) or (rows, width); in training it carries the gradient to what is kept."""
        if not self.frozen:
            if self.moved is not None and self.latent.requires_grad and torch.is_grad_enabled():
                return Scored.apply(self.latent, self.mask, self.moved)  # type: ignore[no-any-return, no-untyped-call]
            return torch.where(self.mask, self.latent, 0.0)
        return self.kept((self.values,), self._spread)

    def prune(self, mask: torch.Tensor) -> None:
        """Hold another mask from now on, in training; weights it gives back return as they were left."""
        if self.frozen:
            raise RecipeError("a frozen sparse layer keeps its mask; prune before it is frozen")
        self.mask.copy_(mask)

    def record(self, on: bool) -> None:
        """Sum up, from now on, how far training moves each weight away from zero; or stop and forget it."""
        self.moved = torch.zeros_like(self.latent, requires_grad=False) if on else None

    def bits(self) -> int:
        """One bit a weight for the mask, the kept weights (16 bits each where float16 loses nothing), and the bias."""
        values = self.values if self.frozen else self.latent[self.mask]
        return self.mask.numel() + grid.float_bits(values) + (0 if self.bias is None else grid.float_bits(self.bias))

    def freeze(self) -> None:
        """Keep only the values under the mask; a kept weight that is exactly zero leaves the mask."""
        if self.frozen:
            return
        mask = self.mask & (self.latent.detach() != 0)
        values = self.latent.detach()[mask]
        del self.latent
        self.record(False)
        self.mask = mask
        self.register_buffer("values", values)
        self.frozen = True

    def thaw(self) -> None:
        """Let the kept weights learn again; what is computed does not change by a bit."""
        if not self.frozen:
            return
        self.latent = nn.Parameter(self.weight.clone())
        del self.values
        self.forget()
        self.frozen = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute(Parts(self.role, self.weight, self.bias, self.multiplier), x)

    def _spread(self) -> torch.Tensor:
        return torch.zeros_like(self.mask, dtype=self.values.dtype).masked_scatter_(self.mask, self.values)
