"""Prune the weights that training moves towards zero, a little at a time.

Sanh et al. 2020, arXiv:2005.07683 (hard movement pruning): a weight's score is -sum of dL/dw w over the steps so far,
the gradient taken at the masked weights and let through to those that are masked (straight-through), so that they may
return; the schedule is that of Zhu and Gupta 2017, arXiv:1710.01878.
Differs from the paper: scores are summed as its equation has it, by plain descent with one rate, where its authors
train them by Adam; so they need no optimizer and no learning rate, of which a ranking is free.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import options, pruning
from laconic.contracts import Work
from laconic.layers.sparse import Sparse


@dataclass(frozen=True)
class Movement(pruning.Pruning):
    """Prunes the weights of lowest score on the schedule of `pruning`."""

    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work; without training nothing moves."""
        options.positive("epochs", self.epochs)
        pruning.Pruning.check(self)

    def apply(self, work: Work) -> None:
        """Train, and mask what has moved towards zero most by then."""
        self.prune(work, _moved, movement=True)


def _moved(layer: Sparse) -> torch.Tensor:
    assert layer.moved is not None
    return layer.moved
