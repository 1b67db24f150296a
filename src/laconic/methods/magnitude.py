"""Set the weights of smallest magnitude to zero.

Han et al. 2015, arXiv:1506.02626 (per layer); Zhu and Gupta 2017, arXiv:1710.01878 (held in later training); Zhou et
al. 2021, arXiv:2102.04010 (N:M).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.sparse import Sparse
from laconic.maths import masks


@dataclass(frozen=True)
class Magnitude:
    """Prunes `sparsity` of the weights that `where` says; `scope` is what the smallest are sought among."""

    sparsity: float = 0.5
    where: str = "linears"
    scope: masks.Scope = "global"

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def check(self) -> None:
        """Raise RecipeError for a sparsity, place or scope that cannot work."""
        options.choice("where", self.where, WHERE)
        masks.check(self.sparsity, self.scope)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer weights, and a mask."""
        return effects.thinned(sketch, self.where, self.sparsity)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Put a mask over every layer; weights that are zero already are among the smallest and stay zero.

        Where so little is asked for that no weight goes, there is no mask.
        """
        pairs = layers.distinct(work.anatomy.linears(self.where))
        scores = [layers.take(module).weight.abs() for _, module in pairs]  # (out, in)
        kept = masks.kept(scores, self.sparsity, self.scope)
        if all(bool(mask.all()) for mask in kept):
            return
        for (path, module), score, mask in zip(pairs, scores, kept, strict=True):
            layers.swap(work.model, path, Sparse.of(module, mask & (score > 0)))
