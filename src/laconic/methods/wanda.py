"""Set the weights to zero whose product with their input is smallest, row by row.

Sun et al. 2023, arXiv:2306.11695: |weight| times the norm of its input over training examples. A block's inputs come
from the blocks before it as they are after pruning.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import calibration, effects, layers, options
from laconic.contracts import WITH_INPUTS, Sketch, Work
from laconic.layers.sparse import Sparse
from laconic.maths import masks


@dataclass(frozen=True)
class Wanda:
    """Prunes `sparsity` of each row, or of what `scope` says; what stays is as it was."""

    sparsity: float = 0.5
    scope: masks.Inside = "row"
    where: str = "linears"
    true_sequential: bool = False
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WITH_INPUTS)
        options.choice("scope", self.scope, masks.INSIDE)
        masks.check(self.sparsity, self.scope)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer weights, and a mask."""
        return effects.thinned(sketch, self.where, self.sparsity)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Put a mask over each block's layers in the order the model reads them; zero weights stay zero and count.

        A layer of which no weight goes stays as it is.
        """
        sequential, length = self.true_sequential, self.length
        for pairs, gram in calibration.reached(work, self.where, self.samples, sequential=sequential, length=length):
            norms = gram.diagonal().sqrt()  # (in,)
            for path, module in pairs:
                weight = layers.take(module).weight  # (out, in)
                scores = torch.where(weight == 0, -1.0, weight.abs() * norms)  # (out, in)
                (kept,) = masks.kept([scores], self.sparsity, self.scope)
                if not kept.all():
                    layers.swap(work.model, path, Sparse.of(module, kept & (weight != 0)))
