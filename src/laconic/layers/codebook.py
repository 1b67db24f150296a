"""Weights that take one of 2 to 256 values of a codebook per tensor, channel or group of columns; the values learn.

Han et al. 2016, arXiv:1510.00149 (Deep Compression): the gradient of a value is the sum over the weights that have it.
Differs from the paper: values are float16 numbers, also in training, so that what was measured is what is stored; where
the layer was pruned, the first value of every codebook is 0 and stays so.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from laconic.errors import RecipeError
from laconic.layers import ROLES, compute_by_row, take
from laconic.maths import grid

CACHED = 2**22  # weights: a frozen linear up to this size keeps its dense weight between calls; larger ones compute it


class Codebook(nn.Module):
    """`codes` uint8 (out, in) or (rows, width) into `values` (R, G, 2^bits): a parameter in training, frozen a buffer.

    R and G are (1, 1) for group "tensor", (rows, 1) for "channel", (rows, columns / group) for a number of columns.
    Bias (out,) or None is dense.
    """

    kind: ClassVar[str] = "codebook"
    codes: torch.Tensor
    values: torch.Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        role: str,
        shape: list[int],
        bits: int,
        group: grid.Group = "channel",
        pruned: bool = False,
        bias: bool = False,
        multiplier: float = 1.0,
        frozen: bool = True,
    ) -> None:
        """`pruned` holds the first value of every codebook at 0."""
        super().__init__()
        grid.check(bits, group, least=1)
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        self.width, self.group, self.pruned, self.frozen = bits, group, bool(pruned), bool(frozen)
        rows, columns = self.shape
        values = torch.zeros(*grid.shape(rows, columns, group), 2**bits)  # (R, G, K)
        self.register_buffer("codes", torch.zeros(rows, columns, dtype=torch.uint8))
        if frozen:
            self.register_buffer("values", values)
        else:
            self.values = nn.Parameter(values)
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)
        self._dense: tuple[torch.Tensor, torch.Tensor] | None = None  # the codes it was computed from, and the weight

    @classmethod
    def of(
        cls, module: nn.Module, *, bits: int, group: grid.Group, codes: torch.Tensor, values: torch.Tensor, pruned: bool
    ) -> Codebook:
        """In training state, in place of a linear or embedding of any kind, with these codes and values (R, G, K)."""
        parts = take(module)
        if codes.shape != parts.weight.shape or codes.dtype != torch.uint8:
            raise RecipeError(
                f"the codes are {codes.dtype} {tuple(codes.shape)}; give {tuple(parts.weight.shape)} uint8"
            )
        with torch.device("meta"):
            layer = cls(
                parts.role, list(codes.shape), bits, group, pruned, parts.bias is not None, parts.multiplier, False
            )
        layer.codes, layer.values = codes.detach().clone(), nn.Parameter(values.detach().float().clone())
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
            "pruned": self.pruned,
            "bias": self.bias is not None,
            "multiplier": self.multiplier,
            "frozen": self.frozen,
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) or (rows, width); in training it carries the gradient to `values`."""
        if not self.frozen:
            return self._looked_up(self.codes, self._table())
        if self._dense is not None and self._dense[0] is self.codes:
            return self._dense[1]
        with torch.inference_mode(False), torch.no_grad():  # so that a kept weight can meet autograd later
            dense = self._looked_up(self.codes, self.values)
        if self.role == "linear" and dense.numel() <= CACHED:
            self._dense = (self.codes, dense)
        return dense

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Dense rows of a flat index (n,): (n, columns), without looking up the others."""
        table = self._table()
        return self._looked_up(self.codes[index], table if self.group == "tensor" else table[index])

    def bits(self) -> int:
        """Bits of the codes, 16 of each value, and the bias."""
        bias = 0 if self.bias is None else grid.float_bits(self.bias)
        return self.shape[0] * self.shape[1] * self.width + 16 * self.values.numel() + bias

    def freeze(self) -> None:
        """The values become what they were rounded to; what is computed does not change by a bit."""
        if self.frozen:
            return
        values = self._table().detach()
        del self.values
        self.register_buffer("values", values)
        self.frozen = True

    def thaw(self) -> None:
        """Let the values learn again; what is computed does not change by a bit."""
        if not self.frozen:
            return
        values = self.values
        del self.values
        self.values = nn.Parameter(values.clone())
        self.frozen, self._dense = False, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute_by_row(self, x)

    def _table(self) -> torch.Tensor:
        """The values as they are used, (R, G, K)."""
        if self.frozen:
            return self.values
        table = grid.half(self.values)
        return torch.cat([torch.zeros_like(table[..., :1]), table[..., 1:]], -1) if self.pruned else table

    def _looked_up(self, codes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Values of codes (rows, columns) in a table (R, G, K)."""
        parts = grid.split(codes, self.group).long()  # (R, G, n)
        return grid.join(table.gather(-1, parts), *codes.shape)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Loading writes into codes and values in place, so the kept weight belongs to others."""
        self._dense = None
        super()._load_from_state_dict(*arguments)
