"""Prune by magnitude a little at a time while the model trains, fast at first and slower towards the end.

Zhu and Gupta 2017, arXiv:1710.01878: sparsity s(t) = s (1 - (1 - t / T)^3), t training steps of T.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import pruning
from laconic.contracts import Work


@dataclass(frozen=True)
class Gradual(pruning.Pruning):
    """Prunes the smallest weights on the schedule of `pruning`; with 0 epochs at once."""

    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def apply(self, work: Work) -> None:
        """Train, and mask the smallest weights as they are by then."""
        self.prune(work, lambda layer: layer.latent.abs())
