"""Weights that take one of 2 to 256 values of a codebook: one per tensor, channel or group of columns, or one for many
layers, of which every group has its own multiple; the values learn.

Han et al. 2016, arXiv:1510.00149 (Deep Compression): the gradient of a value is the sum over the weights that have it.
Differs from the paper: values are float16 numbers, also in training, so that what was measured is what is stored; where
the layer was pruned, the first value of every codebook is 0 and stays so. Multiples are float16 numbers and stay.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from laconic.errors import AnatomyError, RecipeError
from laconic.kept import Keeps
from laconic.layers import ROLES, compute_rows, take
from laconic.maths import grid


class Codebook(Keeps):
    """`codes` uint8 (out, in) or (rows, width) into `values` (R, G, 2^bits): a parameter in training, frozen a buffer.

    R and G are (1, 1) for group "tensor", (rows, 1) for "channel", (rows, columns / group) for a number of columns.
    With `scaled` there is one codebook (1, 1, 2^bits), of which each group takes `scale` (R, G) times; it may be that
    of the layer at path `source`, which `bind` finds. Bias (out,) or None is dense.
    """

    kind: ClassVar[str] = "codebook"
    codes: torch.Tensor
    values: torch.Tensor
    scale: torch.Tensor | None
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
        scaled: bool = False,
        source: str = "",
    ) -> None:
        """`pruned` holds the first value of every codebook at 0; without `source` the codebook is this layer's own."""
        super().__init__()
        grid.check(bits, group, least=1)
        if role not in ROLES:
            raise RecipeError(f"role is {role!r}; a layer is one of {', '.join(ROLES)}")
        if not isinstance(source, str):
            raise RecipeError(f"source is {source!r}; it is the path of a layer, as text")
        self.role, self.shape, self.multiplier = role, [int(n) for n in shape], float(multiplier)
        self.width, self.group, self.pruned, self.frozen = bits, group, bool(pruned), bool(frozen)
        self.scaled, self.source = bool(scaled or source), source
        rows, columns = self.shape
        groups = grid.shape(rows, columns, group)
        values = torch.zeros(*((1, 1) if self.scaled else groups), 2**bits)  # (R, G, K) or (1, 1, K)
        self.register_buffer("codes", torch.zeros(rows, columns, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(groups) if self.scaled else None)
        if frozen or self.source:
            self.register_buffer("values", None if self.source else values)
        else:
            self.values = nn.Parameter(values)
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)
        self._source: list[Codebook] = []  # in a list, so that torch does not register it as a child

    @classmethod
    def of(
        cls,
        module: nn.Module,
        *,
        bits: int,
        group: grid.Group,
        codes: torch.Tensor,
        values: torch.Tensor | None,
        pruned: bool,
        scale: torch.Tensor | None = None,
        source: str = "",
    ) -> Codebook:
        """In training state, in place of a linear or embedding of any kind, with these codes and values (R, G, K).

        With `scale` (R, G) values are (1, 1, K), or None where they are those of the layer at path `source`.
        """
        parts = take(module)
        if codes.shape != parts.weight.shape or codes.dtype != torch.uint8:
            raise RecipeError(
                f"the codes are {codes.dtype} {tuple(codes.shape)}; give {tuple(parts.weight.shape)} uint8"
            )
        with torch.device("meta"):
            layer = cls(
                parts.role, list(codes.shape), bits, group, pruned, parts.bias is not None, parts.multiplier,
                False, scale is not None, source,
            )  # fmt: skip
        layer.codes = codes.detach().clone()
        layer.scale = None if scale is None else scale.detach().float().clone()
        if values is not None:
            layer.values = nn.Parameter(values.detach().float().clone())
        if parts.bias is not None:
            layer.bias = nn.Parameter(parts.bias.detach().clone())
        return layer.train(module.training)

    def bind(self, model: nn.Module) -> None:
        """Find the layer whose codebook this one reads, by its path the first time and by itself from then on.

        When that has left the model, this layer holds the codebook, and those that read it as well read it here.
        Raises AnatomyError when the path has none that fits.
        """
        try:
            found = model.get_submodule(self.source)
        except AttributeError:
            found = None
        if self._source:
            if found is not self._source[0]:
                self._follow(model)
        elif isinstance(found, Codebook) and found.scaled and not found.source and found.width == self.width:
            self._source = [found]
        else:
            raise AnatomyError(
                f"a layer of {self.width} bits reads the codebook of {self.source!r}, where the model holds none of so "
                "many bits; make it anew"
            )

    def _follow(self, model: nn.Module) -> None:
        """The source is no longer at its path: take its new path, or its place."""
        modules = dict(model.named_modules(remove_duplicate=False))
        old = self._holder()
        readers = [m for m in modules.values() if isinstance(m, Codebook) and m.source and m._holder() is old]
        held = [path for path, module in modules.items() if module is old]
        if not held:
            values = self._table().detach().clone()  # (1, 1, K)
            del self.values
            if self.frozen:
                self.register_buffer("values", values)
            else:
                self.values = nn.Parameter(values)
            self.source, self._source = "", []
            held = [path for path, module in modules.items() if module is self]
        for reader in readers:
            if reader is not self or self.source:
                reader.source, reader._source = held[0], [old if self.source else self]

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
            **({"scaled": True} if self.scaled and not self.source else {}),
            **({"source": self.source} if self.source else {}),
        }

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) or (rows, width); in training it carries the gradient to `values`."""
        if not self.frozen or not self._holder().frozen:
            return self._looked_up(self.codes, self.scale)
        make = partial(self._looked_up, self.codes, self.scale)
        return self.kept((self.codes, self._table()), make, keep=self.role == "linear")

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Dense rows of a flat index (n,): (n, columns), without looking up the others."""
        if self.group == "tensor":
            return self._looked_up(self.codes[index], self.scale)
        return self._looked_up(self.codes[index], None if self.scale is None else self.scale[index], index)

    def bits(self) -> int:
        """Bits of the codes, 16 of each value it holds and of each scale, and the bias."""
        bias = 0 if self.bias is None else grid.float_bits(self.bias)
        numbers = (0 if self.source else self.values.numel()) + (0 if self.scale is None else self.scale.numel())
        return self.shape[0] * self.shape[1] * self.width + 16 * numbers + bias

    def freeze(self) -> None:
        """The values become what they were rounded to; what is computed does not change by a bit."""
        if self.frozen:
            return
        if not self.source:
            values = self._table().detach()
            del self.values
            self.register_buffer("values", values)
        self.frozen = True

    def thaw(self) -> None:
        """Let the values learn again; what is computed does not change by a bit."""
        if not self.frozen:
            return
        if not self.source:
            values = self.values
            del self.values
            self.values = nn.Parameter(values.clone())
        self.forget()
        self.frozen = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...)."""
        return compute_rows(self, x)

    def _holder(self) -> Codebook:
        """The layer that holds the codebook."""
        if not self.source:
            return self
        if not self._source:
            raise AnatomyError(f"the codebook read from {self.source!r} is not bound; call layers.bind(model)")
        return self._source[0]

    def _table(self) -> torch.Tensor:
        """The values as they are used, (R, G, K), or (1, 1, K) before they are scaled."""
        holder = self._holder()
        if holder.frozen:
            return holder.values
        table = grid.half(holder.values)
        return torch.cat([torch.zeros_like(table[..., :1]), table[..., 1:]], -1) if holder.pruned else table

    def _looked_up(
        self, codes: torch.Tensor, scale: torch.Tensor | None, index: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values of codes (rows, columns), times `scale` (R, G); `index` says which rows they are, where not all."""
        table, parts = self._table(), grid.split(codes, self.group).long()  # (R, G, K), (R, G, n)
        if scale is not None:
            found = table[0, 0][parts] * scale.unsqueeze(-1)
        else:
            found = (table if index is None else table[index]).gather(-1, parts)
        return grid.join(found, *codes.shape)
