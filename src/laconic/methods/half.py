"""Round the floats that remain (norms, biases, heads, embeddings) to float16 numbers, so that 16 bits hold them.

Micikevicius et al. 2018, arXiv:1710.03740 (half precision). The tensors stay float32 in memory: what computes does not
change its type, and the store sees that half of each number is enough.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from laconic import effects, layers
from laconic.contracts import PROPERTIES, Sketch, Work
from laconic.maths import grid


@dataclass(frozen=True)
class Half:
    """Has no options. Training after it would move the numbers off again, and is refused: it belongs at the end."""

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit", "half"})
    keeps: ClassVar[frozenset[str]] = PROPERTIES

    def check(self) -> None:
        """There is nothing to check."""

    def forecast(self, sketch: Sketch) -> Sketch:
        """At most 16 bits for everything."""
        return replace(
            sketch,
            embedding_bits=min(16, sketch.embedding_bits),
            linear_bits=min(16, sketch.linear_bits),
            rest_bits=min(16, sketch.rest_bits),
        )

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Round every float; weights on a grid stay on it."""
        layers.thaw(work.model)
        moved = False
        for tensor in effects.floats(work.model):
            rounded = tensor.clamp(-grid.LARGEST, grid.LARGEST).half().float()
            moved = moved or not torch.equal(rounded, tensor)
            tensor.copy_(rounded)
        if not moved:
            work.idle = "every float is a number of 16 bits already"
