"""Round weights block by block so that the layers' outputs on training examples stay.

Frantar et al. 2022, arXiv:2210.17323. A block's inputs come from the blocks before it as they are after rounding.
Embeddings have no inputs to weigh by and go to the nearest grid point.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import nn

from laconic import effects, layers, options, scoring
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid, hessian


@dataclass(frozen=True)
class GPTQ:
    """`damp` is the part of the mean squared input added to all; `act_order` rounds columns of large inputs first."""

    bits: int = 4
    group: grid.Group = "channel"
    symmetric: bool = True
    where: str = "linears"
    act_order: bool = True
    damp: float = 0.01
    samples: int = 256

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = frozenset({"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_bit"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        options.whole("samples", self.samples)
        grid.check(self.bits, self.group)
        if not 0 < self.damp <= 1:
            raise RecipeError(f"damp is {self.damp}; give a part of the mean squared input, above 0 and at most 1")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, scales included."""
        cost = grid.cost(self.bits, self.group, self.symmetric, sketch.hidden)
        return effects.lowered(sketch, self.where, cost)

    def apply(self, work: Work) -> None:
        """Round what stands before the blocks, then each block, then what stands after."""
        for path, module, inputs in scoring.weighed(work, self.where, self.samples):
            layers.swap(work.model, path, self._rounded(module, inputs))

    @torch.no_grad()
    def _rounded(self, module: nn.Module, inputs: torch.Tensor | None) -> Quantized:
        """The layer on its grid, weighed by `inputs` (in, in) where there are some."""
        on_grid = partial(Quantized.of, module, bits=self.bits, group=self.group, symmetric=self.symmetric)
        if inputs is None:
            return on_grid()
        weight = layers.take(module).weight.detach().float()  # (out, in)
        scale, zero = grid.fit(weight, self.bits, self.group, self.symmetric)
        solved = hessian.solve(
            weight, inputs, scale, zero, self.bits, self.group,
            damp=self.damp, act_order=self.act_order,
        )  # (out, in)  # fmt: skip
        return on_grid(latent=solved, scale=scale, zero=zero)
