"""A linear whose inputs and outputs are dealt into groups that see only each other: a grouped 1x1 convolution.

Krizhevsky et al. 2012 (grouped convolutions); Iandola et al. 2020, arXiv:2006.11316 (SqueezeBERT: position-wise layers
as grouped convolutions); Zhang et al. 2018, arXiv:1707.01083 (channels reordered between groups). Each group is a
linear of its own at a path below the layer.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import take


class Grouped(nn.Module):
    """`filters` are linears of in / groups -> out / groups.

    Shuffled, the layer reads its inputs in the order `inputs` (in,), and output i is number `places`[i] (out,) of what
    the groups give one after another.
    """

    kind: ClassVar[str] = "grouped"
    role: ClassVar[str] = "linear"
    multiplier: ClassVar[float] = 1.0
    inputs: torch.Tensor
    places: torch.Tensor

    def __init__(self, shape: list[int], groups: int, bias: bool = False, shuffled: bool = False) -> None:
        super().__init__()
        self.shape, self.groups, self.shuffled = [int(n) for n in shape], int(groups), bool(shuffled)
        rows, columns = self.shape
        if groups < 1 or rows % groups or columns % groups:
            raise RecipeError(f"groups is {groups}; it must divide both sides of a layer of {rows} x {columns}")
        linears = [nn.Linear(columns // groups, rows // groups, bias=bias) for _ in range(groups)]
        self.filters = nn.ModuleList(linears)
        self.register_buffer("inputs", torch.arange(columns, dtype=torch.int32) if shuffled else None)
        self.register_buffer("places", torch.arange(rows, dtype=torch.int32) if shuffled else None)

    @classmethod
    def of(
        cls,
        filters: list[torch.Tensor],
        bias: torch.Tensor | None,
        orders: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Grouped:
        """From each group's weight (out / groups, in / groups) and the bias (out,) of all.

        `orders` are the outputs (out,) and the inputs (in,) of the groups one after another; None where as they come.
        """
        each, width = filters[0].shape
        shape = [each * len(filters), width * len(filters)]
        with torch.device("meta"):
            layer = cls(shape, len(filters), bias is not None, orders is not None)
        if orders is not None:
            device = filters[0].device
            layer.inputs, layer.places = (o.to(device, torch.int32) for o in (orders[1], orders[0].argsort()))
            bias = None if bias is None else bias[orders[0]]
        for i, (held, weight) in enumerate(zip(layer.filters, filters, strict=True)):
            held.weight = nn.Parameter(weight.detach().float().clone().contiguous())
            if bias is not None:
                held.bias = nn.Parameter(bias[i * each : (i + 1) * each].detach().float().clone())
        return layer

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the groups' linears."""
        return tuple(f"filters.{i}" for i in range(self.groups))

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        return {
            "shape": list(self.shape),
            "groups": self.groups,
            "bias": self.bias is not None,
            "shuffled": self.shuffled,
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in), zero between groups; computed each time."""
        blocks: torch.Tensor = torch.block_diag(  # type: ignore[no-untyped-call]
            *(take(held).weight for held in self.filters)
        )  # (out, in)
        return blocks[self.places.long()][:, self.inputs.argsort()] if self.shuffled else blocks

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        held = [cast("torch.Tensor | None", part.bias) for part in self.filters]
        if held[0] is None:
            return None
        bias = torch.cat(cast(list[torch.Tensor], held))
        return bias[self.places.long()] if self.shuffled else bias

    def bits(self) -> int:
        """Those of the orders; the groups count theirs."""
        return sum(n * max(1, (n - 1).bit_length()) for n in self.shape) if self.shuffled else 0

    def freeze(self) -> None:
        """The groups are frozen where they stand."""

    def thaw(self) -> None:
        """The groups are thawed where they stand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., out) of (..., in)."""
        x = x.index_select(-1, self.inputs) if self.shuffled else x
        found = [held(part) for held, part in zip(self.filters, x.chunk(self.groups, -1), strict=True)]
        joined = torch.cat(found, -1)
        return joined.index_select(-1, self.places) if self.shuffled else joined
