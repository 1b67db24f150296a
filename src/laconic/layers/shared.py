"""A layer that computes with the weight of another path and holds none itself.

Press and Wolf 2017, arXiv:1608.05859 (input and output embeddings tied); any layer can be the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import nn

from laconic.errors import AnatomyError, RecipeError
from laconic.layers import ROLES, Parts, compute, take
from laconic.maths import grid


class Shared(nn.Module):
    """Reads `weight` of the layer at path `source`, with a bias of its own; `bind` finds that in a built model."""

    kind: ClassVar[str] = "shared"
    bias: nn.Parameter | None

    def __init__(self, source: str, role: str = "linear", bias: int = 0, multiplier: float = 1.0) -> None:
        """`bias` is its length, 0 for none: the source, and so its rows, are not known yet."""
        super().__init__()
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.source, self.role, self.multiplier = source, role, float(multiplier)
        self.register_parameter("bias", nn.Parameter(torch.zeros(bias)) if bias else None)  # (out,)
        self._source: list[nn.Module] = []  # in a list, so that torch does not register it as a child

    @classmethod
    def of(cls, module: nn.Module, source: str) -> Shared:
        """In place of `module`, whose weight is that of `source`; its bias is kept. Not bound yet."""
        parts = take(module)
        with torch.device("meta"):
            layer = cls(source, parts.role, 0 if parts.bias is None else len(parts.bias), parts.multiplier)
        if parts.bias is not None:
            layer.bias = cast(nn.Parameter, parts.bias)  # the same, since it may be tied as well
        return layer.train(module.training)

    def bind(self, model: nn.Module) -> None:
        """Find the source in the model; raises AnatomyError when it is not there or shares in turn."""
        try:
            found = model.get_submodule(self.source)
        except AttributeError as error:
            raise AnatomyError(f"a shared layer reads {self.source!r}, which the model does not have") from error
        if isinstance(found, Shared):
            raise AnatomyError(f"a shared layer reads {self.source!r}, which holds no weight itself; name its source")
        self._source = [found]

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        bias = 0 if self.bias is None else len(self.bias)
        return {"source": self.source, "role": self.role, "bias": bias, "multiplier": self.multiplier}

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight of the source, (out, in) or (rows, width)."""
        return take(self._bound()).weight

    def bits(self) -> int:
        """Nothing: its source counts the weight. A bias counts in full."""
        return 0 if self.bias is None else grid.float_bits(self.bias)

    def freeze(self) -> None:
        """The source is frozen where it stands."""

    def thaw(self) -> None:
        """The source is thawed where it stands."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        rows: Callable[[torch.Tensor], torch.Tensor] | None = getattr(self._bound(), "rows", None)
        product: Callable[[torch.Tensor], torch.Tensor] | None = getattr(self._bound(), "product", None)
        if self.role == "linear" and product is not None:
            out = product(x)  # (..., out), without computing the weight
            return out if self.bias is None else out + self.bias
        if self.role == "linear" or rows is None:
            return compute(Parts(self.role, self.weight, self.bias, self.multiplier), x)
        found = rows(x.reshape(-1))  # (n, width), without the rest of a computed table
        return (found if self.multiplier == 1.0 else found * self.multiplier).reshape(*x.shape, -1)

    def _bound(self) -> nn.Module:
        if not self._source:
            raise AnatomyError(f"the layer shared from {self.source!r} is not bound; call layers.bind(model)")
        return self._source[0]
