"""Rotate the residual stream so that no channel stands out, which grids take well; the function stays.

Ashkboos et al. 2024, arXiv:2404.00456 (QuaRot): a randomized Hadamard matrix, folded into the weights after the norms'
gains are; also within each head's values.
Differs from the paper: nothing is rotated while the model runs, since weights are rounded and activations are not; what
enters the last projection of a feed-forward therefore stays as it is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic.contracts import Sketch, Work
from laconic.maths import rotation


@dataclass(frozen=True)
class Rotate:
    """`values` turns each head's values too. A step that rounds comes after."""

    values: bool = True

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})
    levels: ClassVar[bool] = True

    def check(self) -> None:
        """There is nothing to check before the model is seen."""

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay, but for a tied head, which is untied."""
        return sketch

    def apply(self, work: Work) -> None:
        """Draw the rotations from the seed and fold them in."""
        anatomy = work.anatomy
        generator = torch.Generator().manual_seed(work.seed)
        stream = rotation.hadamard(anatomy.hidden, generator)
        size = anatomy.stacks[0].blocks[0].attention.head_size
        anatomy.rotate(stream, rotation.hadamard(size, generator) if self.values else None)
