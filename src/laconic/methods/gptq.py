"""Round weights block by block so that the layers' outputs on training examples stay.

Frantar et al. 2022, arXiv:2210.17323. A block's inputs come from the blocks before it as they are after rounding.
Embeddings have no inputs to weigh by and go to the nearest grid point. With `propagate` a layer makes up for what the
rounding before it did to its inputs: Arai and Ichikawa 2025, arXiv:2504.09629.
Differs from the papers: layers that read one input (query, key and value) are solved together, and what
`maths.hessian` and `calibration.compare` say.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from laconic import calibration, effects, layers, options
from laconic.calibration import compare
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import grid, hessian

RANGES = ("mse", "weighted", "minmax")
SCALES = (*RANGES, "best")


@dataclass(frozen=True)
class GPTQ:
    """`damp` is the part of the mean squared input added to all; `act_order` rounds columns of large inputs first.

    `true_sequential` takes a layer's inputs from the rounded layers before it in its block as well. `scale` clips a
    group's range where that lessens the squared error ("mse"), the error weighed by the inputs ("weighted"), or never
    ("minmax"); "best" tries all three, and each row keeps the one with which its outputs stay nearest. `propagate` is
    the part, 0 to 1, of what this step has changed so far that a layer takes back: of its outputs by its inputs, and of
    the residual stream they are added to.
    """

    bits: int = 4
    group: grid.Group = "channel"
    symmetric: bool = True
    where: str = "linears"
    true_sequential: bool = True
    act_order: bool = True
    scale: Literal["mse", "weighted", "minmax", "best"] = "mse"
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
        options.choice("scale", self.scale, SCALES)
        calibration.check(self.samples, self.length)
        grid.check(self.bits, self.group)
        hessian.check(self.damp)
        compare.check(self.propagate)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, scales included."""
        return effects.on_grid(sketch, self.where, self.bits, self.group, self.symmetric)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Round what stands before the blocks, then each block, then what stands after."""
        how: dict[str, Any] = {"sequential": self.true_sequential, "length": self.length}
        for found in compare.weights(work, self.where, self.samples, self.propagate, **how):
            diagonal = None if found.gram is None else found.gram.diagonal()  # (in,)
            ranges = RANGES if self.scale == "best" else (self.scale,)
            tried = [[self._grid(weight, diagonal, kind) for weight in found.weights] for kind in ranges]
            solved, grids = found.weights, tried[0]
            if found.gram is not None:
                solved, grids = self._solved(found.weights, found.gram, tried)
            for (path, module), latent, (scale, zero) in zip(found.pairs, solved, grids, strict=True):
                layer = Quantized.of(
                    module,
                    bits=self.bits,
                    group=self.group,
                    symmetric=self.symmetric,
                    latent=latent,
                    scale=scale,
                    zero=zero,
                )
                if found.gram is not None:
                    layer.freeze()  # on its grid, so that nothing is lost and passes need not round it again
                layers.swap(work.model, path, layer)

    def _grid(self, weight: torch.Tensor, squares: torch.Tensor | None, kind: str) -> grid.Fitted:
        """Scale and zero of a weight (out, in); `squares` are the sums of its inputs' squares, (in,)."""
        ratios = (1.0,) if kind == "minmax" else grid.RATIOS
        weigh = squares if kind == "weighted" else None
        return grid.fit(weight, self.bits, self.group, self.symmetric, weigh, ratios)

    def _solved(
        self, weights: list[torch.Tensor], gram: torch.Tensor, grids: list[list[grid.Fitted]]
    ) -> tuple[list[torch.Tensor], list[grid.Fitted]]:
        return hessian.least(weights, gram, grids, self.bits, self.group, damp=self.damp, act_order=self.act_order)
