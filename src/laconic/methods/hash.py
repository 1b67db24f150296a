"""Let the weights of a layer share a short list of values, dealt out by a hash.

Chen et al. 2015, arXiv:1504.04788 (HashedNets).
Differs from the paper: a trained model is replaced, so that the values begin as the least-squares ones, the mean of the
weights that read each. That keeps little of the function: training has to follow.
"""

import zlib
from dataclasses import dataclass
from typing import ClassVar

from laconic import effects, layers, options
from laconic.anatomy.cut import size
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.hashed import Hashed


@dataclass(frozen=True)
class Hash:
    """A layer has the fraction `keep` of its weights as values of its own; which reads which follows from the seed."""

    keep: float = 0.25
    where: str = "linears"

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )
    pools: ClassVar[bool] = True

    def check(self) -> None:
        """Raise RecipeError for a fraction or place that cannot work."""
        options.fraction("keep", self.keep)
        options.choice("where", self.where, WHERE)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight."""
        return effects.lowered(sketch, self.where, self.keep * effects.FULL_BITS)

    def apply(self, work: Work) -> None:
        """Replace each layer; with all values kept there is nothing to share."""
        if self.keep == 1:
            return
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            rows, columns = size(module)
            seed = zlib.crc32(f"{work.seed} {path}".encode())
            layers.swap(work.model, path, Hashed.of(module, max(1, round(self.keep * rows * columns)), seed))
