"""Set weights to zero so that the layers' outputs on training examples stay, and round what is left, if asked.

Frantar and Alistarh 2023, arXiv:2301.00774. A block's inputs come from the blocks before it as they are after pruning.
Differs from the paper: with `bits`, what is left is rounded once it has made up for what went, and not on the way, so
that the grid fits it; the error of rounding adds to that of pruning, which is near the least that the mask allows. With
`propagate` a layer makes up for what pruning before it did to its inputs: Arai and Ichikawa 2025, arXiv:2504.09629.
`maths.surgeon` and `calibration.compare` say the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from laconic import calibration, effects, layers, options
from laconic.calibration import compare
from laconic.contracts import WITH_INPUTS, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse
from laconic.maths import grid, hessian, masks, surgeon


@dataclass(frozen=True)
class SparseGPT:
    """Prunes `sparsity` of every `block` columns, sought in the layer or in each row; with `bits`, rounds the rest.

    A grid with `bits` has scales as those of `gptq`; with it the step makes layers low-bit as well. `propagate` is that
    of `gptq` as well.
    """

    sparsity: float = 0.5
    scope: masks.Inside = "layer"
    where: str = "linears"
    bits: int | None = None
    group: grid.Group = "channel"
    symmetric: bool = True
    true_sequential: bool = True
    block: int = 128
    damp: float = 0.01
    propagate: float = 0.0
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def __post_init__(self) -> None:
        """Say what this step makes, which its bits decide."""
        if self.bits is not None:
            object.__setattr__(self, "makes", self.makes | {"low_bit"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WITH_INPUTS)
        options.choice("scope", self.scope, masks.INSIDE)
        masks.check(self.sparsity, self.scope)
        options.whole("block", self.block)
        surgeon.check(self.sparsity, self.scope, self.block)
        if ":" in self.scope:  # the mask is chosen M columns at a time
            options.unread(self, "scope", "block")
        calibration.check(self.samples, self.length)
        hessian.check(self.damp)
        compare.check(self.propagate)
        if self.bits is not None:
            grid.check(self.bits, self.group)
        else:
            options.unread(self, "bits", "group", "symmetric")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer weights, and a mask or fewer bits."""
        thinned = effects.thinned(sketch, self.where, self.sparsity)
        if self.bits is None:
            return thinned
        return effects.lowered(thinned, self.where, grid.cost(self.bits, self.group, self.symmetric, sketch.hidden))

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Prune each block's layers in the order the model reads them; one of which nothing goes stays as it is."""
        how: dict[str, Any] = {"sequential": self.true_sequential, "length": self.length}
        for found in compare.weights(work, self.where, self.samples, self.propagate, **how):
            if found.gram is None:
                calibration.unreached(work, found.pairs)
                continue
            pruned = self._pruned([module for _, module in found.pairs], found.weights, found.gram)
            for (path, module), layer in zip(found.pairs, pruned, strict=True):
                same = torch.equal(layer.weight, layers.take(module).weight)
                if same and self.bits is None and layer.weight.all():
                    continue
                layer.freeze()  # final, so that passes need not mask it again
                layers.swap(work.model, path, layer)

    def _pruned(
        self, modules: list[torch.nn.Module], weights: list[torch.Tensor], gram: torch.Tensor
    ) -> Sequence[Sparse | Quantized]:
        """The layers in place of those that read one input; `weights` (out, in) are what they should be."""
        pruned = surgeon.prune(weights, gram, self.sparsity, self.scope, damp=self.damp, block=self.block)
        if self.bits is None:
            return [Sparse.of(m, w != 0, w) for m, w in zip(modules, pruned, strict=True)]
        bits, group, even = self.bits, self.group, self.symmetric
        grids = [grid.fit(w, bits, group, even) for w in pruned]
        solved = hessian.together(pruned, gram, grids, bits, group, damp=self.damp)
        return [
            Quantized.of(m, bits=bits, group=group, symmetric=even, latent=w, scale=scale, zero=zero)
            for m, w, (scale, zero) in zip(modules, solved, grids, strict=True)
        ]
