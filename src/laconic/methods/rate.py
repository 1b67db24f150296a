"""Round weights to the grid points that cost little error and few bits once coded, block by block.

Wiedemann et al. 2019, arXiv:1907.11900 (error plus lambda times code length); errors are those of the outputs on
training examples, carried on as in Frantar et al. 2022, arXiv:2210.17323, and with `propagate` from layer to layer too,
as in Arai and Ichikawa 2025, arXiv:2504.09629. Embeddings have no inputs to weigh by and are rounded by their own
error. Training afterwards moves weights without regard to their bits.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from laconic import calibration, effects, layers, options
from laconic.calibration import compare
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid, hessian, rate


@dataclass(frozen=True)
class Rate:
    """`price` is the error that saving a bit may cost, as a share of the squared weights: 0.015, 0.06 and 0.23 leave
    about the error of nearest rounding to 4, 3 and 2 bits. `bits` is the most that a grid may have. `propagate` is the
    part, 0 to 1, of what this step has changed so far that a layer takes back, as for `gptq`.
    """

    bits: int = 8
    price: float = 0.02
    group: grid.Group = "tensor"
    symmetric: bool = True
    where: str = "all"
    true_sequential: bool = True
    damp: float = 0.01
    propagate: float = 0.0
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        calibration.check(self.samples, self.length)
        grid.check(self.bits, self.group)
        hessian.check(self.damp)
        compare.check(self.propagate)
        if not 0 <= self.price <= 1:
            raise RecipeError(f"price is {self.price}; give a share of the squared weights, 0 to 1")

    def forecast(self, sketch: Sketch) -> Sketch:
        """At most the grid's bits, scales included."""
        return effects.on_grid(sketch, self.where, self.bits, self.group, self.symmetric)

    def apply(self, work: Work) -> None:
        """Layer by layer; a grid has the bits that its layer uses."""
        how: dict[str, Any] = {"sequential": self.true_sequential, "length": self.length}
        for found in compare.weights(work, self.where, self.samples, self.propagate, **how):
            for (path, module), weight in zip(found.pairs, found.weights, strict=True):
                layers.swap(work.model, path, self._rounded(module, weight, found.gram))

    @torch.no_grad()
    def _rounded(self, module: nn.Module, weight: torch.Tensor, inputs: torch.Tensor | None) -> Quantized:
        """The layer with that weight (out, in) on its grid, weighed by `inputs` (in, in) where there are some."""
        squares = None if inputs is None else inputs.diagonal()  # (in,)
        scale, zero, worth = rate.fit(weight, self.bits, self.group, self.symmetric, self.price, squares)
        latent = rate.solve(
            weight, inputs, scale, zero, self.bits, self.group, worth=worth, damp=self.damp
        )  # (out, in)
        bits = _fewest(latent, scale, self.bits, self.group) if self.symmetric else self.bits
        return Quantized.of(
            module, bits=bits, group=self.group, symmetric=self.symmetric, latent=latent, scale=scale, zero=zero
        )


def _fewest(weight: torch.Tensor, scale: torch.Tensor, bits: int, group: grid.Group) -> int:
    """Bits of the smallest symmetric grid of these steps that holds all weights."""
    codes = grid.codes(weight, scale, None, bits, group).int() - 2 ** (bits - 1)
    return max(2, int(codes.abs().max()).bit_length() + 1)
